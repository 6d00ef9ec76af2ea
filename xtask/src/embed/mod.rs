//! `cargo xtask embed`: the libraries away from here, and ppcore where there is nothing else.
//!
//! ppcore, pptrust and ppnet with fewer features, for other systems and with the oldest compiler: `cargo check`
//! and no more, since nothing here can run what it would build. ppcore alone is linked, and judged:
//! [`link`]. Invariant: what is missing is installed by rustup or is an error with the line that does
//! it.

mod link;

use std::process::Command;

use anyhow::{Result, bail};
use tools::cargo::{cargo, run, rustup};

use self::link::{Platform, Sizes};

/// The oldest compiler, the `rust-version` of their manifests.
const OLDEST: &str = "1.85.0";

/// One of each other kind of system.
const SYSTEMS: [&str; 2] = ["x86_64-pc-windows-gnu", "aarch64-apple-darwin"];

/// With another C library, whose types differ where the server speaks to the kernel (msghdr).
const MUSL: [&str; 2] = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"];

/// Each set leaves something out that another needs.
const FEATURES: [&str; 7] = ["", "std", "tokio", "axum", "tonic", "rustls", "tonic,rustls"];

const LIBRARIES: [&str; 8] =
    ["check", "-p", "ppcore", "-p", "pptrust", "-p", "ppnet", "--all-features"];

/// The one platform whose program is run.
const HERE: &str = "x86_64-unknown-linux-gnu";

const PLATFORMS: [Platform; 4] = [
    Platform { toolchain: Toolchain::Current, target: HERE, file: "freestanding", runs_here: true },
    Platform { toolchain: Toolchain::Oldest, target: HERE, file: "freestanding", runs_here: true },
    Platform {
        toolchain: Toolchain::Current,
        target: "thumbv7em-none-eabi",
        file: "freestanding",
        runs_here: false,
    },
    Platform {
        toolchain: Toolchain::Current,
        target: "wasm32-unknown-unknown",
        file: "freestanding.wasm",
        runs_here: false,
    },
];

/// Which compiler builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Toolchain {
    /// The one that runs this.
    Current,
    /// [`OLDEST`].
    Oldest,
}

impl Toolchain {
    fn cargo(self) -> Command {
        match self {
            Self::Current => cargo(),
            Self::Oldest => {
                let mut command = Command::new("rustup");
                command.args(["run", OLDEST, "cargo"]);
                command
            }
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Oldest => OLDEST,
        }
    }

    /// Installs what is missing of it to build for `target`.
    fn ensure(self, target: &str) -> Result<()> {
        match self {
            Self::Current => rustup(&["target", "add", target]),
            Self::Oldest => rustup(&["target", "add", target, "--toolchain", OLDEST]),
        }
    }
}

/// Checks the libraries with each feature alone, for the other systems and with the oldest compiler, and the server for
/// musl; then links ppcore freestanding for each platform, and prints how large it is.
///
/// # Errors
/// When one of them does not build, ppcore can panic or allocate, or a target or toolchain cannot be
/// installed.
pub(crate) fn check() -> Result<()> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        bail!("one of the programs is run, and it is for {HERE}: start this there");
    }
    for features in FEATURES {
        let alone = ["clippy", "-p", "ppnet", "--no-default-features", "--features", features];
        run(cargo().args(alone).args(["--", "-D", "warnings"]))?;
    }
    for system in SYSTEMS {
        Toolchain::Current.ensure(system)?;
        run(cargo().args(LIBRARIES).args(["--target", system]))?;
    }
    for target in MUSL {
        Toolchain::Current.ensure(target)?;
        run(cargo().args(["check", "-p", "ppserver", "--target", target]))?;
    }
    rustup(&["toolchain", "install", OLDEST, "--profile", "minimal", "--no-self-update"])?;
    run(Toolchain::Oldest.cargo().args(LIBRARIES))?;

    let mut rows = Vec::new();
    for platform in PLATFORMS {
        println!("\n{} with {}:", platform.target, platform.toolchain.name());
        rows.push((platform, link::check(platform)?));
    }
    println!("\n{}", table(&rows));
    Ok(())
}

/// Checks the sources of the freestanding program with rustfmt.
///
/// # Errors
/// When one is not formatted.
pub(crate) fn fmt() -> Result<()> {
    run(link::cargo(Toolchain::Current, "fmt").arg("--check"))
}

/// Checks the sources of the freestanding program with clippy, as they are on this machine.
///
/// # Errors
/// When clippy has a word to say.
pub(crate) fn clippy() -> Result<()> {
    let strict = ["--all-features", "--", "-D", "warnings"];
    run(link::cargo(Toolchain::Current, "clippy").args(strict))
}

/// The sizes in bytes, one platform a line.
fn table(rows: &[(Platform, Sizes)]) -> String {
    let mut lines = vec![format!(
        "{:<28}{:<10}{:>8}{:>8}{:>8}{:>8}",
        "bytes of the whole program", "compiler", "text", "rodata", "data", "total"
    )];
    for (platform, sizes) in rows {
        lines.push(format!(
            "{:<28}{:<10}{:>8}{:>8}{:>8}{:>8}",
            platform.target,
            platform.toolchain.name(),
            sizes.text,
            sizes.rodata,
            sizes.data,
            sizes.total()
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_adds_up_each_platform() {
        let sizes = Sizes { text: 3000, rodata: 200, data: 1 };
        let table = table(&[(PLATFORMS[2], sizes)]);
        let row: Vec<&str> = table.lines().last().unwrap_or_default().split_whitespace().collect();
        assert_eq!(row, ["thumbv7em-none-eabi", "current", "3000", "200", "1", "3201"]);
    }
}
