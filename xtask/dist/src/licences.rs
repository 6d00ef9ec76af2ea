//! The licences of everything in the program: crates, Rust's library, the C library of its target.
//!
//! Most licences ask that their text comes with the program. Which are allowed at all says deny.toml, and cargo-deny
//! holds to it. Invariant: nobody in the program is without a text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::crates::{Crate, Crates};

/// How the files begin that hold a licence, or what goes with it.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE", "COPYRIGHT"];

/// A crate without a file may be given on under this licence, if it says so: its text is nobody's in particular, and
/// stands in our own.
const COMMON: &str = "Apache-2.0";
const COMMON_FILE: &str = "LICENSE-APACHE";

const RULE: &str = "\n----------------------------------------------------------------------\n\n";

/// Writes them: each text once, behind the names of those whose it is.
///
/// # Errors
/// When a text is missing.
pub(crate) fn third_parties(crates: &Crates) -> Result<String> {
    let others: Vec<&Crate> = crates.0.values().filter(|one| !one.is_own()).collect();
    let mut text = String::from(
        "ppserver is linked statically. Besides its own code it holds the crates below, the standard library of Rust, \
         musl and LLVM's libunwind. Each text is here once, behind the names of those whose it is.\n\n",
    );
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for one in &others {
        let name = format!("{} {}", one.id.0, one.id.1);
        let _ = writeln!(text, "{name}: {}", one.licence);
        for file in files(one)? {
            let licence = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
            let licence = String::from_utf8_lossy(&licence).replace('\r', "");
            texts.entry(licence.trim().to_owned()).or_default().push(name.clone());
        }
    }
    for (licence, mut names) in texts {
        names.dedup();
        let _ = write!(text, "{RULE}{}:\n\n{licence}\n", names.join(", "));
    }
    text.push_str(&of_the_toolchain()?);
    Ok(text)
}

/// The files of a crate that hold its licence; the common one of ours where it has none.
fn files(one: &Crate) -> Result<Vec<PathBuf>> {
    let listed =
        fs::read_dir(&one.dir).with_context(|| format!("reading {}", one.dir.display()))?;
    let mut files = Vec::new();
    for file in listed {
        let file = file?;
        let name = file.file_name().to_string_lossy().to_uppercase();
        if file.file_type()?.is_file() && NAMES.iter().any(|begin| name.starts_with(begin)) {
            files.push(file.path());
        }
    }
    if files.is_empty() {
        if !one.licence.split(' ').any(|word| word.trim_matches(['(', ')']) == COMMON) {
            bail!("{} {} ({}) has no file with its licence", one.id.0, one.id.1, one.licence);
        }
        files.push(PathBuf::from(COMMON_FILE));
    }
    files.sort();
    Ok(files)
}

/// Of what comes with the compiler, and which files say so.
fn of_the_toolchain() -> Result<String> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output();
    let sysroot = String::from_utf8(output.context("rustc does not start")?.stdout)?;
    let docs = Path::new(sysroot.trim()).join("share/doc/rust");
    let read = |name: &str| {
        let path = docs.join(name);
        fs::read_to_string(&path)
            .with_context(|| format!("{} comes with Rust from rustup", path.display()))
    };
    let mut text = String::new();
    let musl = read("licenses/MIT.txt")?;
    let _ = write!(
        text,
        "{RULE}musl:\n\nCopyright (c) 2005-2020 Rich Felker, et al.\n\n{}\n",
        musl.trim()
    );
    let exception = read("licenses/LLVM-exception.txt")?;
    let _ = write!(
        text,
        "{RULE}libunwind of LLVM: Apache-2.0, whose text stands above, with this exception:\n\n{}\n",
        exception.trim()
    );
    let library = plain(&read("COPYRIGHT-library.html")?);
    let _ = writeln!(text, "{RULE}{library}");
    Ok(text)
}

/// The text of a page.
fn plain(html: &str) -> String {
    let mut text = String::new();
    for part in html.split('<') {
        // Behind the end of the tag that this begins with; what stands before the first has none.
        text.push_str(part.split_once('>').map_or(part, |(_, behind)| behind));
    }
    for (entity, character) in
        [("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'"), ("&#38;", "&")]
    {
        text = text.replace(entity, character);
    }
    let lines = text.lines().map(str::trim_end).collect::<Vec<_>>();
    let mut lines = lines;
    lines.dedup_by(|a, b| a.is_empty() && b.is_empty());
    lines.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(licence: &str, dir: &Path) -> Crate {
        Crate {
            id: ("x".to_owned(), "1.0.0".to_owned()),
            licence: licence.to_owned(),
            dir: dir.to_owned(),
            sha256: Some(String::new()),
            needs: [].into(),
        }
    }

    #[test]
    fn a_crate_has_its_own_texts_or_the_common_one_and_else_it_is_an_error() {
        // Rust sources, and none of them a licence.
        let none = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/src");
        let common = files(&made("MIT OR Apache-2.0", &none)).unwrap();
        assert_eq!(common, [Path::new(COMMON_FILE)]);
        let error = files(&made("Zlib", &none)).expect_err("nothing says its text");
        assert!(error.to_string().contains("x 1.0.0 (Zlib)"), "{error}");

        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let names = files(&made("Zlib", &root)).unwrap();
        let names: Vec<_> = names.iter().filter_map(|path| path.file_name()).collect();
        assert_eq!(names, ["LICENSE-APACHE", "LICENSE-MIT"]);
    }

    #[test]
    fn a_page_becomes_its_text() {
        let html = "<h1>A</h1>\n<p class=\"x\">b &#60;c&#62;</p>  \n\n\n\nd";
        assert_eq!(plain(html), "A\nb <c>\n\nd");
    }
}
