//! Relative links of the documents: the file is there, and so is the heading behind `#`.
//!
//! Not a check of the web: links with a scheme are left alone.

use std::path::Path;

use super::Violation;
use super::source::{Source, has_extension};
use crate::markdown::{headings, join, links};

/// Checks every Markdown file; `root` is where a link's file is looked for.
pub(super) fn check(root: &Path, sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| has_extension(&source.path, "md")) {
        for link in links(&source.text) {
            let add = |reason: String| Violation::new(&source.path, link.line, reason);
            match &link.target {
                Some(target) => {
                    found.extend(obstacle(root, sources, &source.path, target).map(add));
                }
                None => found.push(add(format!("link [{}] has no definition", link.label))),
            }
        }
    }
    found
}

/// Why `target`, written in the document `from`, leads nowhere; none when it leads somewhere.
fn obstacle(root: &Path, sources: &[Source], from: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() {
        from.to_owned()
    } else if let Some(path) = join(from, file) {
        path
    } else {
        return Some(format!("link `{target}` leaves the repository"));
    };
    if !root.join(&path).exists() {
        return Some(format!("link `{target}`: there is no {path}"));
    }
    if heading.is_empty() || !has_extension(&path, "md") {
        return None;
    }
    let document = sources.iter().find(|source| source.path == path)?;
    (!headings(&document.text).iter().any(|slug| slug == heading))
        .then(|| format!("link `{target}`: {path} has no heading #{heading}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A workspace of a README and one page; returns what is found as (line, reason).
    fn found(readme: &str) -> Vec<(usize, String)> {
        let dir = tempfile::tempdir().unwrap();
        let page = "# A page\n\n## Twice\n\n## Twice\n\n## `code`, and more\n";
        fs::create_dir(dir.path().join("docs")).unwrap();
        fs::write(dir.path().join("docs/page.md"), page).unwrap();
        fs::write(dir.path().join("README.md"), readme).unwrap();
        let sources = [Source::new("README.md", readme), Source::new("docs/page.md", page)];
        let violations = check(dir.path(), &sources);
        violations.into_iter().map(|found| (found.line, found.reason)).collect()
    }

    #[test]
    fn links_that_lead_somewhere_are_clean() {
        let readme = "# Top\n[a](docs/page.md) [b](./docs/) [c](https://example.org/none)\n\
            [d](docs/page.md#twice-1) [e](#top) [f][label] [g](docs/page.md#code-and-more)\n\n\
            `[x](none.md)` and [brackets]\n\n```\n[y](none.md)\n```\n\n[label]: docs/page.md\n";
        assert_eq!(found(readme), []);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found_with_its_line() {
        for bad in [
            "[a](docs/none.md)",
            "![a](docs/none.png)",
            "<img src=\"docs/none.png\">",
            "[a](docs/page.md#none)",
            "[a](docs/page.md#twice-2)",
            "[a](#none)",
            "[a](../outside.md)",
            "[a](/docs/page.md)",
            "[a][nowhere]",
            "[a][label]\n\n[label]: docs/none.md",
        ] {
            let found = found(&format!("# Top\n\n{bad}\n"));
            assert_eq!(found.len(), 1, "{bad}: {found:?}");
            assert_eq!(found[0].0, 3, "{bad}");
        }
    }
}
