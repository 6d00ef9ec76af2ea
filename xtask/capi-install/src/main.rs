//! The C library, built and put where a compiler finds it: `cargo capi-install --prefix /usr/local`.
//!
//! A package of its own that stands on next to nothing: who installs a C library does not wait for the project's
//! other commands to be built. Invariant: nothing is written outside the directories that were named.
#![expect(clippy::print_stdout, reason = "this is a command line: its output is its product")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use tools::cargo::{cargo, run as run_command};

/// What programs include; the second is written by hand.
const HEADERS: [&str; 2] = ["ppcapi.h", "ppcapi_sockaddr.h"];
const HEADER_DIR: &str = "crates/ppcapi/include";
const STATIC: &str = "target/dist/libppcapi.a";
const SHARED: &str = "target/dist/libppcapi.so";
/// The name that programs ask for at run time, as in crates/ppcapi/build.rs.
const SONAME: &str = "libppcapi.so.0";
/// What a program that is linked statically needs besides (`rustc --print native-static-libs`), but for
/// libgcc_s: the C compiler brings that, and with `-static` libgcc_eh in its place.
const PRIVATE_LIBS: &str = "-lutil -lrt -lpthread -lm -ldl -lc";

const USAGE: &str = "\
usage: cargo capi-install --prefix DIR [--libdir DIR] [--includedir DIR] [--destdir DIR]

  --prefix DIR      where programs will find it, such as /usr/local
  --libdir DIR      the libraries, and pkgconfig below it [default: PREFIX/lib]
  --includedir DIR  the headers [default: PREFIX/include]
  --destdir DIR     for who makes packages: put all of it below DIR, and do not name DIR in it";

fn main() -> ExitCode {
    match Places::read(std::env::args().skip(1)).and_then(|places| install(&places)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Where things go.
#[derive(Debug, PartialEq, Eq)]
struct Places {
    prefix: PathBuf,
    lib: PathBuf,
    include: PathBuf,
    dest: Option<PathBuf>,
}

impl Places {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let [mut prefix, mut lib, mut include, mut dest] = [const { None }; 4];
        while let Some(word) = words.next() {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
                None => (word, words.next()),
            };
            let place = match flag.as_str() {
                "--prefix" => &mut prefix,
                "--libdir" => &mut lib,
                "--includedir" => &mut include,
                "--destdir" => &mut dest,
                _ => bail!("`{flag}` is none of its flags\n{USAGE}"),
            };
            let value = value.filter(|value| !value.is_empty());
            let value = value.with_context(|| format!("{flag} needs a directory\n{USAGE}"))?;
            *place = Some(std::path::absolute(value)?);
        }
        let prefix = prefix.with_context(|| format!("--prefix is missing\n{USAGE}"))?;
        Ok(Self {
            lib: lib.unwrap_or_else(|| prefix.join("lib")),
            include: include.unwrap_or_else(|| prefix.join("include")),
            prefix,
            dest,
        })
    }

    /// Where a directory is written to.
    fn written(&self, dir: &Path) -> PathBuf {
        match &self.dest {
            Some(dest) => dest.join(dir.strip_prefix("/").unwrap_or(dir)),
            None => dir.to_owned(),
        }
    }

    /// The file that pkg-config reads.
    fn pc(&self, version: &str) -> String {
        let dir = |dir: &Path| match dir.strip_prefix(&self.prefix) {
            Ok(below) => format!("${{prefix}}/{}", below.display()),
            Err(_) => dir.display().to_string(),
        };
        format!(
            "prefix={}\n\
             libdir={}\n\
             includedir={}\n\n\
             Name: ppcapi\n\
             Description: PROXY protocol decoder and encoder\n\
             Version: {version}\n\
             Cflags: -I${{includedir}}\n\
             Libs: -L${{libdir}} -lppcapi\n\
             Libs.private: {PRIVATE_LIBS}\n",
            self.prefix.display(),
            dir(&self.lib),
            dir(&self.include),
        )
    }
}

fn install(places: &Places) -> Result<()> {
    tools::enter_workspace()?;
    let mut build = cargo();
    // Wherever the caller builds, the libraries are copied from here; nobody debugs what is installed.
    build.env("CARGO_TARGET_DIR", "target").env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    run_command(build.args(["build", "--profile", "dist", "--package", "ppcapi"]))?;
    let version = env!("CARGO_PKG_VERSION");
    let [include, lib] = [&places.include, &places.lib].map(|dir| places.written(dir));
    let pkgconfig = lib.join("pkgconfig");
    for dir in [&include, &lib, &pkgconfig] {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    }
    let full = format!("libppcapi.so.{version}");
    for header in HEADERS {
        copy(&Path::new(HEADER_DIR).join(header), &include.join(header))?;
    }
    copy(Path::new(STATIC), &lib.join("libppcapi.a"))?;
    copy(Path::new(SHARED), &lib.join(&full))?;
    for (link, target) in [(SONAME, full.as_str()), ("libppcapi.so", SONAME)] {
        let at = lib.join(link);
        let _ = fs::remove_file(&at);
        symlink(target, &at).with_context(|| format!("linking {}", at.display()))?;
    }
    let file = pkgconfig.join("ppcapi.pc");
    fs::write(&file, places.pc(version)).with_context(|| format!("writing {}", file.display()))?;
    println!(
        "installed: {}/{}, {}/libppcapi.a, {full}",
        include.display(),
        HEADERS[0],
        lib.display()
    );
    if places.dest.is_none() {
        println!("programs find the shared library once ldconfig knows {}", places.lib.display());
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    // A library in use is replaced, not written over.
    let _ = fs::remove_file(to);
    fs::copy(from, to)
        .map(|_| ())
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Places> {
        Places::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn directories_follow_the_prefix_unless_they_are_named() {
        let places =
            read("--prefix /usr --libdir=/usr/lib/x86_64-linux-gnu --destdir /tmp/x").unwrap();
        assert_eq!(places.written(&places.lib), Path::new("/tmp/x/usr/lib/x86_64-linux-gnu"));
        let pc = places.pc("1.2.3");
        let dirs =
            "prefix=/usr\nlibdir=${prefix}/lib/x86_64-linux-gnu\nincludedir=${prefix}/include\n";
        assert!(pc.starts_with(dirs), "{pc}");
        let apart = read("--prefix /opt/pp --includedir /usr/include").unwrap().pc("1");
        assert!(apart.contains("libdir=${prefix}/lib\nincludedir=/usr/include\n"), "{apart}");
    }

    #[test]
    fn what_is_not_understood_is_refused_with_the_usage() {
        for (line, why) in [
            ("", "--prefix is missing"),
            ("--prefix", "--prefix needs a directory"),
            ("--prefix=", "--prefix needs a directory"),
            ("/usr/local", "`/usr/local` is none of its flags"),
        ] {
            let error = read(line).unwrap_err().to_string();
            assert!(error.starts_with(why) && error.contains("usage: "), "{error}");
        }
    }
}
