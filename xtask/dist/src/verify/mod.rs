//! `--verify`: what was built is built again, linted, installed, upgraded, removed and run.
//!
//! Not a step of the gate: it needs root, Debian's packages, and minutes. Invariant: a program that is missing is an
//! error with the line that installs it, before anything is built.

mod again;
mod container;
mod install;
mod lint;
mod peer;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::contents::Contents;
use crate::release::Release;
use crate::target::Target;

/// What is run, and Debian's package that has it.
const PROGRAMS: [(&str, &str); 6] = [
    ("lintian", "lintian"),
    ("rpm", "rpm"),
    ("rpmlint", "rpmlint"),
    ("mmdebstrap", "mmdebstrap"),
    ("podman", "podman"),
    ("runc", "runc"),
];
/// Runs programs for the other processors.
const EMULATOR: &str = "qemu-user-static";

/// Checks that everything is there that verifying takes.
///
/// # Errors
/// When something is missing; the text has the line that installs it.
pub(crate) fn needs(targets: &[Target]) -> Result<()> {
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| tools::programs::find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    let here = Target::of_this_machine()?;
    for &target in targets.iter().filter(|&&target| target != here) {
        if tools::programs::find(emulator(target)).is_none() && !missing.contains(&EMULATOR) {
            missing.push(EMULATOR);
        }
    }
    if !missing.is_empty() {
        bail!(
            "--verify needs programs that are not here. On Debian:\n    sudo apt-get update && sudo \
             apt-get install -y --no-install-recommends {}",
            missing.join(" ")
        );
    }
    Ok(())
}

/// What runs programs for `target` on another processor.
fn emulator(target: Target) -> &'static str {
    match target {
        Target::X86_64 => "qemu-x86_64-static",
        Target::Aarch64 => "qemu-aarch64-static",
    }
}

/// Does all of it with what stands in `out`.
///
/// # Errors
/// The first thing that is not as it should be.
pub(crate) fn all(built: &[(Target, Contents<'_>)], release: &Release, out: &Path) -> Result<()> {
    let dir = tools::target_dir().join("dist-verify");
    // Of an earlier run, nothing is left.
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let dir = std::path::absolute(dir)?;

    let targets: Vec<Target> = built.iter().map(|(target, _)| *target).collect();
    for &target in &targets {
        let packages = ["deb", "rpm"].map(|kind| out.join(release.file(target, kind)));
        lint::all(&packages)?;
    }
    let here = Target::of_this_machine()?;
    for (target, contents) in built {
        run_the_archive(*target, release, out, &dir)?;
        if *target == here {
            install::all(contents, *target, release, out, &dir)?;
            container::run(&out.join(release.file(*target, "oci.tar")), release, &dir)?;
        }
    }
    again::compare(&targets, release, &dir)
}

/// Unpacks the archive, and runs the program's demonstration out of it.
fn run_the_archive(target: Target, release: &Release, out: &Path, dir: &Path) -> Result<()> {
    println!("\n== {} is run", release.file(target, "tar.gz"));
    let archive = out.join(release.file(target, "tar.gz"));
    tools::cargo::run(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(dir))?;
    let program = dir.join(release.name(target)).join("ppserver");
    let run = || {
        if Target::of_this_machine().is_ok_and(|here| here == target) {
            return Command::new(&program);
        }
        let mut command = Command::new(emulator(target));
        command.arg(&program);
        command
    };
    let version = peer::output(run().arg("--version"))?;
    println!("{}", version.trim());
    if !version.contains(release.version) || !version.contains(&release.commit) {
        bail!("`ppserver --version` says neither version nor commit: {version}");
    }
    peer::demonstrate(&mut run())
}

/// A path below the directory of this run.
fn below(dir: &Path, name: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
    Ok(path)
}
