//! `cargo xtask package`: what would be published, and that it builds where the workspace is not.
//!
//! Nothing is published. Invariant: what is built comes out of the packages, never from crates/.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use tools::cargo::{cargo, run as run_command, rustup};

/// The packages, each behind those it needs: the order in which they are published.
const PACKAGES: [&str; 5] = ["ppcore", "pptrust", "ppnet", "ppserver", "ppload"];
/// Those that are programs.
const PROGRAMS: [&str; 2] = ["ppserver", "ppload"];
/// The oldest compiler for the programs, the `rust-version` of the workspace; that of the libraries is
/// [`embed`](crate::embed)'s.
const OLDEST: &str = "1.88.0";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a project on the libraries says and writes.
const USER_MANIFEST: &str = "\
[package]
name = \"user\"
version = \"0.0.0\"
edition = \"2024\"

[dependencies]
ppcore = \"0.1\"
ppnet = { version = \"0.1\", features = [\"tokio\"] }
pptrust = \"0.1\"
";
const USER: &str = "\
use ppnet::{Listener, Trust};

fn main() -> std::io::Result<()> {
    let listener = Listener::bind(\"127.0.0.1:0\", Trust::any())?;
    println!(\"{}\", listener.local_addr());
    Ok(())
}
";

/// Makes the packages, runs a project on the libraries and checks the programs with their oldest compiler, all of it
/// from what was packed.
///
/// # Errors
/// When a package cannot be made, lacks its licences, or does not build.
pub(crate) fn check() -> Result<()> {
    let packages = PACKAGES.iter().flat_map(|name| ["--package", name]);
    run_command(cargo().args(["package", "--no-verify", "--allow-dirty"]).args(packages))?;
    let outside = unpack()?;
    run_command(cargo().args(["run", "--package", "user"]).current_dir(&outside))?;
    rustup(&["toolchain", "install", OLDEST, "--profile", "minimal", "--no-self-update"])?;
    let programs = PROGRAMS.iter().flat_map(|name| ["--package", name]);
    let mut oldest = Command::new("rustup");
    oldest.args(["run", OLDEST, "cargo", "check"]).args(programs);
    run_command(oldest.current_dir(&outside))
}

/// Makes a workspace of the packages and a project that uses them, and returns where.
fn unpack() -> Result<PathBuf> {
    let dir = tools::target_dir().join("packages");
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    let mut members = String::from("[workspace]\nresolver = \"3\"\nmembers = [\"user\"");
    // In place of what a registry has, if it has them.
    let mut patches = String::from("[patch.crates-io]\n");
    for name in PACKAGES {
        let packed = format!("{name}-{VERSION}");
        let unpacked = dir.join(&packed);
        // Of what was packed before, nothing is left.
        let _ = fs::remove_dir_all(&unpacked);
        let file = tools::target_dir().join(format!("package/{packed}.crate"));
        run_command(Command::new("tar").arg("-xzf").arg(file).arg("-C").arg(&dir))?;
        for file in ["LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
            let file = unpacked.join(file);
            fs::metadata(&file).with_context(|| format!("{} is missing", file.display()))?;
        }
        let _ = write!(members, ", {packed:?}");
        let _ = writeln!(patches, "{name} = {{ path = {packed:?} }}");
    }
    fs::write(dir.join("Cargo.toml"), format!("{members}]\n\n{patches}"))?;
    // What they depend on is what everything else is tested with.
    fs::copy("Cargo.lock", dir.join("Cargo.lock"))?;
    let user = dir.join("user");
    fs::create_dir_all(user.join("src"))?;
    fs::write(user.join("Cargo.toml"), USER_MANIFEST)?;
    fs::write(user.join("src/main.rs"), USER)?;
    Ok(dir)
}
