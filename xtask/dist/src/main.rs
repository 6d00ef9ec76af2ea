//! `cargo xtask dist`: everything that is published of ppserver beside its crates.
//!
//! Nothing is published by it. Invariant: the same commit and the same compiler give the same bytes, in whatever
//! directory and on whatever day; `--verify` builds again elsewhere and compares.
#![expect(clippy::print_stdout, reason = "this is a command line: its output is its product")]

mod archive;
mod binary;
mod contents;
mod crates;
mod deb;
mod image;
mod licences;
mod release;
mod rpm;
mod sbom;
mod target;
mod verify;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::binary::Sources;
use crate::contents::{Contents, Layout};
use crate::crates::Crates;
use crate::release::Release;
use crate::target::Target;

const HELP: &str = "\
Examples:
  cargo xtask dist                                         # all of it, into target/dist-out
  cargo xtask dist --target x86_64-unknown-linux-musl      # for one kind of processor
  cargo xtask dist --verify                                # then build again elsewhere, lint, install and run it

--verify runs as root and needs of Debian: lintian rpm rpmlint mmdebstrap podman runc qemu-user-static";

/// Build what is published of ppserver
///
/// For each target a static program in a tar.gz, a .deb, an .rpm and an image, with a list of the crates in it (SBOM);
/// and SHA256SUMS of them all.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask dist", bin_name = "cargo xtask dist", after_help = HELP)]
struct Arguments {
    /// Where it is put
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Build for this target alone (repeatable)
    #[arg(long = "target", value_name = "TRIPLE")]
    targets: Vec<Target>,
    /// Then build again in another directory, lint the packages, install them in a fresh root, run all of it
    #[arg(long)]
    verify: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let out = arguments.out.as_ref().map(std::path::absolute).transpose()?;
    tools::enter_workspace()?;
    let out = out.unwrap_or_else(|| tools::target_dir().join("dist-out"));
    let mut targets = arguments.targets.clone();
    if targets.is_empty() {
        targets = vec![Target::X86_64, Target::Aarch64];
    }
    if arguments.verify {
        verify::needs(&targets)?;
    }
    let release = Release::of_this_clone()?;
    let sources = Sources::here()?;
    // Of what was built before, nothing is left.
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out).with_context(|| format!("making {}", out.display()))?;

    let own = binary::build(Target::of_this_machine()?, &release, &sources)?;
    let generated = contents::generated(&own)?;
    let mut files = Vec::new();
    let mut packed = Vec::new();
    for &target in &targets {
        println!("\n== {}", target.triple());
        let crates = Crates::of(target)?;
        let built = binary::build(target, &release, &sources)?;
        let contents = Contents::read(&built, &generated, &crates)?;
        let name = release.name(target);
        let archive = archive::tar(&contents.entries(Layout::Archive(&name)), "", release.epoch)?;
        for (extension, bytes) in [
            ("tar.gz", archive::gzip(&archive)?),
            ("deb", deb::package(&contents, target, &release)?),
            ("rpm", rpm::package(&contents, target, &release)?),
            ("oci.tar", image::archive(&contents, target, &release)?),
            ("cdx.json", sbom::document(&crates, &release)?),
        ] {
            files.push(write(&out, &release.file(target, extension), &bytes)?);
        }
        packed.push((target, contents));
    }
    let sums: String = files.iter().map(|file| file.sum_line()).collect();
    fs::write(out.join("SHA256SUMS"), &sums)?;
    println!("\n{}:", out.display());
    for file in &files {
        println!("{:>10} B  {}", file.size, file.name);
    }
    if arguments.verify {
        verify::all(&packed, &release, &out)?;
    }
    Ok(())
}

/// A file that was written.
struct Written {
    name: String,
    size: usize,
    sha256: String,
}

impl Written {
    /// As sha256sum(1) writes and checks it.
    fn sum_line(&self) -> String {
        format!("{}  {}\n", self.sha256, self.name)
    }
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> Result<Written> {
    let path = dir.join(name);
    fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    Ok(Written { name: name.to_owned(), size: bytes.len(), sha256: archive::sha256(bytes) })
}
