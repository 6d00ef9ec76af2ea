//! The program, linked statically, the same bytes wherever it is built.
//!
//! Invariant: no path of the machine that builds it is in it. rustc writes others in their place
//! (`--remap-path-prefix`), and the lines of its symbols are left out.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tools::cargo::{cargo, run, rustup};

use crate::release::Release;
use crate::target::Target;

/// Between flags in CARGO_ENCODED_RUSTFLAGS, so that paths may have blanks.
const SEPARATOR: &str = "\x1f";

/// Where it is built from, and where to.
#[derive(Debug)]
pub(crate) struct Sources {
    /// Absolute: the workspace, or a copy of it.
    pub(crate) root: PathBuf,
    /// Absolute.
    pub(crate) target_dir: PathBuf,
}

impl Sources {
    /// This workspace.
    ///
    /// # Errors
    /// When the directory cannot be told.
    pub(crate) fn here() -> Result<Self> {
        let root = std::env::current_dir()?;
        let target_dir = root.join(tools::target_dir());
        Ok(Self { root, target_dir })
    }
}

/// Builds it, and returns where it is.
///
/// # Errors
/// When the target cannot be had, or it does not build.
pub(crate) fn build(target: Target, release: &Release, sources: &Sources) -> Result<PathBuf> {
    let triple = target.triple();
    rustup(&["target", "add", triple])?;
    let mut command = cargo();
    command.current_dir(&sources.root).args(["build", "--locked", "--profile", "dist"]);
    // Whose lines nobody looks up any more, once it is stripped.
    command.args(["--config", "profile.dist.debug=false", "--config", "profile.dist.strip=true"]);
    command.args(["--package", "ppserver", "--target", triple]);
    // Comes with the compiler, for every target.
    let linker = format!("CARGO_TARGET_{}_LINKER", triple.replace('-', "_").to_uppercase());
    command.env(linker, "rust-lld");
    command.env("CARGO_TARGET_DIR", &sources.target_dir);
    command.env("CARGO_ENCODED_RUSTFLAGS", remapped(sources)?);
    command.env("SOURCE_DATE_EPOCH", release.epoch.to_string());
    command.env("PPSERVER_COMMIT", &release.commit);
    run(&mut command)?;
    let built = sources.target_dir.join(triple).join("dist/ppserver-stripped");
    // What lld leaves in spite of `strip`: the names of functions, a sixth of the file.
    let mut strip = rust_objcopy()?;
    strip.arg("--strip-all").arg(built.with_file_name("ppserver")).arg(&built);
    run(&mut strip)?;
    let bytes = fs::read(&built).with_context(|| format!("reading {}", built.display()))?;
    if let Some(path) = known_path(&bytes, sources)? {
        bail!("{} holds {}, a path of this machine", built.display(), path.display());
    }
    Ok(built)
}

/// The program that comes with the compiler for what it strips itself, and finds its library as the compiler does.
fn rust_objcopy() -> Result<Command> {
    let output = Command::new("rustc").args(["--print", "target-libdir"]).output();
    let libdir = String::from_utf8(output.context("rustc does not start")?.stdout)?;
    let libdir = Path::new(libdir.trim());
    let mut command = Command::new(libdir.with_file_name("bin").join("rust-objcopy"));
    // SYSROOT/lib, from SYSROOT/lib/rustlib/HOST/lib.
    command.env("LD_LIBRARY_PATH", libdir.ancestors().nth(3).unwrap_or(libdir));
    Ok(command)
}

/// The flags that put other paths in place of this machine's. The last that fits is taken.
fn remapped(sources: &Sources) -> Result<OsString> {
    let mut flags = OsString::new();
    let mut remap = |from: &Path, to: &str| {
        if !flags.is_empty() {
            flags.push(SEPARATOR);
        }
        flags.push("--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    };
    let cargo_home = cargo_home()?;
    remap(&cargo_home, "/cargo");
    // Named after where crates come from, which may be a mirror.
    let registries = fs::read_dir(cargo_home.join("registry/src")).into_iter().flatten();
    let mut registries: Vec<PathBuf> = registries.flatten().map(|entry| entry.path()).collect();
    registries.sort();
    for registry in registries {
        remap(&registry, "/cargo/registry");
    }
    remap(&sources.root, "/ppserver");
    remap(&sources.target_dir, "/ppserver/target");
    Ok(flags)
}

fn cargo_home() -> Result<PathBuf> {
    let told = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = || std::env::home_dir().map(|home| home.join(".cargo"));
    told.or_else(home).context("neither CARGO_HOME nor HOME is set")
}

/// A path of this machine that the program holds, if there is one.
fn known_path(bytes: &[u8], sources: &Sources) -> Result<Option<PathBuf>> {
    let paths = [cargo_home()?, sources.root.clone(), sources.target_dir.clone()];
    let holds = |path: &PathBuf| {
        let path = path.as_os_str().as_encoded_bytes();
        bytes.windows(path.len()).any(|window| window == path)
    };
    Ok(paths.into_iter().find(holds))
}
