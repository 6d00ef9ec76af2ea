//! `cargo xtask capi`: the C library's header, and the library put where a compiler finds it.
//!
//! Not the library: that is crates/ppcapi. Nor the making of its header, which is checked in:
//! installing needs no more than cargo.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tools::cargo::{cargo, run as run_command};

const HEADER: &str = "crates/ppcapi/include/ppcapi.h";
const STATIC: &str = "target/release/libppcapi.a";
const SHARED: &str = "target/release/libppcapi.so";
/// The name that programs ask for at run time, as in crates/ppcapi/build.rs.
const SONAME: &str = "libppcapi.so.0";
/// What a program that is linked statically needs besides (`rustc --print native-static-libs`), but for
/// libgcc_s: the C compiler brings that, and with `-static` libgcc_eh in its place.
const PRIVATE_LIBS: &str = "-lutil -lrt -lpthread -lm -ldl -lc";

const HELP: &str = "\
Examples:
  cargo xtask capi header                    # after a change of crates/ppcapi
  cargo xtask capi install --prefix /usr/local
  cc app.c $(PKG_CONFIG_PATH=/usr/local/lib/pkgconfig pkg-config --cflags --libs ppcapi)";

/// The C library: its header, and how to install it
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct CapiArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write crates/ppcapi/include/ppcapi.h anew
    Header,
    /// Build the libraries and copy them with header and pkg-config file below a directory
    Install {
        /// The directory: include, lib and lib/pkgconfig are made in it
        #[arg(long, value_name = "DIR")]
        prefix: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// When the sources cannot be read, do not build, or a file cannot be written.
pub(crate) fn run(args: &CapiArgs) -> Result<()> {
    match &args.command {
        Command::Header => run_command(cargo().args(["run", "--package", "capi-header"])),
        Command::Install { prefix } => install(prefix),
    }
}

fn install(prefix: &Path) -> Result<()> {
    // Wherever the caller builds, the libraries are copied from here.
    let mut build = cargo();
    build.env("CARGO_TARGET_DIR", "target");
    run_command(build.args(["build", "--release", "--package", "ppcapi"]))?;
    let version = env!("CARGO_PKG_VERSION");
    let [include, lib] = ["include", "lib"].map(|name| prefix.join(name));
    let pkgconfig = lib.join("pkgconfig");
    for dir in [&include, &lib, &pkgconfig] {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    }
    let full = format!("libppcapi.so.{version}");
    copy(Path::new(HEADER), &include.join("ppcapi.h"))?;
    copy(Path::new(STATIC), &lib.join("libppcapi.a"))?;
    copy(Path::new(SHARED), &lib.join(&full))?;
    for (link, target) in [(SONAME, full.as_str()), ("libppcapi.so", SONAME)] {
        let at = lib.join(link);
        let _ = fs::remove_file(&at);
        symlink(target, &at).with_context(|| format!("linking {}", at.display()))?;
    }
    let root = std::path::absolute(prefix)?;
    let file = pkgconfig.join("ppcapi.pc");
    fs::write(&file, pc(&root, version)).with_context(|| format!("writing {}", file.display()))?;
    println!("installed below {}: include/ppcapi.h, lib/libppcapi.a, lib/{full}", prefix.display());
    Ok(())
}

fn pc(prefix: &Path, version: &str) -> String {
    format!(
        "prefix={}\n\
         Name: ppcapi\n\
         Description: PROXY protocol decoder and encoder\n\
         Version: {version}\n\
         Cflags: -I${{prefix}}/include\n\
         Libs: -L${{prefix}}/lib -lppcapi\n\
         Libs.private: {PRIVATE_LIBS}\n",
        prefix.display()
    )
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    // A library in use is replaced, not written over.
    let _ = fs::remove_file(to);
    fs::copy(from, to)
        .map(|_| ())
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))
}
