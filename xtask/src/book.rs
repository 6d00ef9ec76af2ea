//! `cargo xtask book`: the documentation as a website that can be searched, by mdBook, in `target/book/html`.
//!
//! The pages are written for the repository, and link to sources too. Invariant: what mdBook gets is a copy in which links
//! to pages and to files of docs/ lead into the book, and those to anything else are plain words; and every link of the
//! result leads somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use tools::cargo::{needs, run as run_command};
use tools::target_dir;

use crate::markdown::{addresses, join, links};

/// The book's table of contents, a page of the repository like others.
pub(crate) const SUMMARY: &str = "docs/SUMMARY.md";
const SETTINGS: &str = "docs/book.toml";
/// All that mdBook needs for this; the rest of its features are for looking at a book while it is written.
const INSTALL: &str = "cargo install mdbook --locked --no-default-features --features search";

/// Builds the book, and says where it is.
///
/// # Errors
/// When mdBook is not there or fails, or a link of the book leads nowhere.
pub(crate) fn build() -> Result<()> {
    needs(Command::new("mdbook").arg("--version"), INSTALL)?;
    let book = target_dir().join("book");
    if book.exists() {
        fs::remove_dir_all(&book).with_context(|| format!("clearing {}", book.display()))?;
    }
    let summary = fs::read_to_string(SUMMARY).with_context(|| format!("reading {SUMMARY}"))?;
    let pages = pages(&summary);
    let source = book.join("src");
    let mut files = BTreeSet::new();
    for page in &pages {
        let text = fs::read_to_string(page).with_context(|| format!("reading {page}"))?;
        files.extend(files_of(page, &text));
        write(&source.join(page), staged(page, &text, &pages).as_bytes())?;
    }
    for file in &files {
        let bytes = fs::read(file).with_context(|| format!("reading {file}"))?;
        write(&source.join(file), &bytes)?;
    }
    write(&source.join("SUMMARY.md"), rebased(&summary).as_bytes())?;
    let settings = fs::read(SETTINGS).with_context(|| format!("reading {SETTINGS}"))?;
    write(&book.join("book.toml"), &settings)?;
    run_command(Command::new("mdbook").arg("build").arg(&book))?;
    let html = book.join("html");
    let mut dead = Vec::new();
    find_dead_links(&html, &mut dead)?;
    if !dead.is_empty() {
        bail!("links of the book that lead nowhere:\n{}", dead.join("\n"));
    }
    println!("{} pages: {}", pages.len(), html.join("index.html").display());
    Ok(())
}

/// The pages that a table of contents lists, as paths from the root.
pub(crate) fn pages(summary: &str) -> Vec<String> {
    links(summary).iter().filter_map(|link| join(SUMMARY, link.target.as_deref()?)).collect()
}

/// The table of contents as it reads from the root.
fn rebased(summary: &str) -> String {
    relinked(summary, |target| match join(SUMMARY, target) {
        Some(path) => Fate::LeadsTo(path),
        None => Fate::Stays,
    })
}

/// The files of docs/ that a page shows or links to, beside pages.
fn files_of(page: &str, text: &str) -> Vec<String> {
    let targets = links(text).into_iter().filter_map(|link| link.target);
    targets.filter_map(|target| join(page, &target)).filter(|path| is_file_of_docs(path)).collect()
}

fn is_file_of_docs(path: &str) -> bool {
    path.starts_with("docs/") && !path.ends_with(".md") && Path::new(path).is_file()
}

/// A page as it goes into the book.
fn staged(page: &str, text: &str, pages: &[String]) -> String {
    relinked(text, |target| {
        let (file, heading) = target.split_at(target.find('#').unwrap_or(target.len()));
        if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
            return Fate::Stays;
        }
        let path = join(page, file).unwrap_or_default();
        match (pages.contains(&path), file.strip_suffix("README.md")) {
            // mdBook names what it makes of a README.md index.html, and leaves links to it alone.
            (true, Some(dir)) => Fate::LeadsTo(format!("{dir}index.md{heading}")),
            (true, None) => Fate::Stays,
            (false, _) if is_file_of_docs(&path) => Fate::Stays,
            (false, _) => Fate::IsText,
        }
    })
}

/// What becomes of a link.
enum Fate {
    Stays,
    LeadsTo(String),
    /// Its words are left.
    IsText,
}

/// A document with its links as `fate` decides by their targets; pictures, and what stands in HTML, stay.
fn relinked(text: &str, fate: impl Fn(&str) -> Fate) -> String {
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    for link in links(text) {
        let written = &text[link.span.clone()];
        let (Some(target), Some(label)) = (link.target, written.strip_prefix('[')) else {
            continue;
        };
        let Some(label) = label.rfind("](").map(|end| &label[..end]) else { continue };
        if link.span.start < copied {
            continue;
        }
        let new = match fate(&target) {
            Fate::Stays => continue,
            Fate::LeadsTo(target) => format!("[{label}]({target})"),
            Fate::IsText => label.to_owned(),
        };
        out.push_str(&text[copied..link.span.start]);
        out.push_str(&new);
        copied = link.span.end;
    }
    out.push_str(&text[copied..]);
    out
}

/// Looks at each page below `dir` for links to files that are not there.
fn find_dead_links(dir: &Path, dead: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            find_dead_links(&path, dead)?;
        } else if path.extension().is_some_and(|extension| extension == "html") {
            let page = fs::read_to_string(&path)?;
            for address in addresses(&page) {
                let target = page[address].split(['#', '?']).next().unwrap_or_default();
                let is_here = !target.contains(':') && !target.starts_with('/');
                if is_here && !dir.join(target).exists() {
                    dead.push(format!("{}: {target}", path.display()));
                }
            }
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_contents_lists_pages_and_reads_from_the_root() {
        let summary = "# S\n\n[Top](../README.md)\n\n- [Udp](udp.md)\n";
        assert_eq!(pages(summary), ["README.md", "docs/udp.md"]);
        assert_eq!(rebased(summary), "# S\n\n[Top](README.md)\n\n- [Udp](docs/udp.md)\n");
    }

    #[test]
    fn links_to_pages_stay_and_those_that_leave_the_book_are_words() {
        let pages = ["README.md", "docs/udp.md"].map(str::to_owned);
        let text = "[a](udp.md#x) [b](../README.md#y) [`c`](../crates/x.rs) [d](https://e.org/f) [g](#h) ![i](j.png)";
        let expected =
            "[a](udp.md#x) [b](../index.md#y) `c` [d](https://e.org/f) [g](#h) ![i](j.png)";
        assert_eq!(staged("docs/a.md", text, &pages), expected);
    }

    #[test]
    fn a_link_to_what_is_not_there_is_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let page =
            "<a href=\"there.html#x\"></a><a href=\"https://e.org\"></a><img src=\"gone.png\">";
        fs::write(dir.path().join("there.html"), page).expect("it can be written");
        let mut dead = Vec::new();
        find_dead_links(dir.path(), &mut dead).expect("it can be read");
        assert_eq!(dead.len(), 1, "{dead:?}");
        assert!(dead[0].ends_with("there.html: gone.png"), "{dead:?}");
    }
}
