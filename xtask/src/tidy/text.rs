//! Rules of the text itself: blanks, tabs, markers, paths of one machine, length, the first line,
//! `#[ignore]`.

use syn::spanned::Spanned;
use syn::visit::Visit;

use super::Violation;
use super::source::{Source, has_extension, is_test_only};

/// The most lines a Rust file may have outside its tests. A file has one idea, and the ideas of
/// this project fit into 100 to 500 lines; the slack is for a table or a long enum.
const LINES_MAX: usize = 700;

// The words below are joined from halves so that this file does not break its own rules.

/// Unfinished work belongs into an issue, where somebody finds it.
const MARKERS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// Directories that exist on one person's machine only.
const MACHINE_DIRS: [&str; 4] =
    [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];

/// Directories of recorded bytes: a blank, a tab or a marker there is what a program wrote or read.
const RECORDS: [&str; 3] = ["golden", "plots", "vectors"];

fn is_record(path: &str) -> bool {
    path.split('/').any(|part| RECORDS.contains(&part))
}

/// Files whose own format asks for tabs.
fn takes_tabs(path: &str) -> bool {
    has_extension(path, "go") || path.rsplit('/').next() == Some("Makefile")
}

/// Checks what holds for every text file.
pub(super) fn check(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut add = |line: usize, reason: String| {
        found.push(Violation::new(&source.path, line, reason));
    };
    for (index, line) in source.text.split('\n').enumerate() {
        let number = index + 1;
        let is_record = is_record(&source.path);
        if line.ends_with([' ', '\t', '\r']) && !is_record {
            add(number, "blanks at the end of the line".to_owned());
        }
        if line.contains('\t') && !is_record && !takes_tabs(&source.path) {
            add(number, "a tab: indent with spaces".to_owned());
        }
        let marker = MARKERS.iter().find(|marker| has_word(line, marker));
        if let Some(marker) = marker.filter(|_| !is_record) {
            add(number, format!("{marker}: do it, or write it down as an issue"));
        }
        if let Some(dir) = MACHINE_DIRS.iter().find(|dir| starts_a_path(line, dir)) {
            add(number, format!("a path below {dir} exists on one machine only"));
        }
    }
    if has_extension(&source.path, "rs") && !source.text.starts_with("//!") {
        add(1, "a Rust file begins with `//!`: what it is, what it is not, its invariant".into());
    }
    found
}

/// Checks what needs the syntax: the length without tests, and `#[ignore]`.
pub(super) fn check_syntax(source: &Source, syntax: &syn::File) -> Vec<Violation> {
    let mut found = Vec::new();
    if !is_test_file(&source.path) {
        let lines = source.text.lines().count() - test_lines(syntax);
        if lines > LINES_MAX {
            let reason = format!(
                "{lines} lines outside tests, {LINES_MAX} at most: a file has one idea, split it"
            );
            found.push(Violation::new(&source.path, LINES_MAX + 1, reason));
        }
    }
    let mut ignores = Ignores { path: &source.path, found };
    ignores.visit_file(syntax);
    ignores.found
}

/// Whether `word` stands alone in `line`.
fn has_word(line: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(joins) && !line[at + word.len()..].starts_with(joins))
}

/// Whether `dir` begins an absolute path in `line`, rather than going on one or a URL.
fn starts_a_path(line: &str, dir: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || "._-/}>)*~".contains(c);
    line.match_indices(dir).any(|(at, _)| !line[..at].ends_with(goes_on))
}

/// Integration tests, benches and test modules in files of their own.
fn is_test_file(path: &str) -> bool {
    path.split('/').any(|part| ["tests", "benches", "tests.rs"].contains(&part))
}

/// The lines of the top-level items that only test builds have.
fn test_lines(syntax: &syn::File) -> usize {
    let lines_of = |item: &syn::Item| {
        let syn::Item::Mod(module) = item else { return 0 };
        if !is_test_only(&module.attrs) {
            return 0;
        }
        let span = item.span();
        span.end().line - span.start().line + 1
    };
    syntax.items.iter().map(lines_of).sum()
}

struct Ignores<'a> {
    path: &'a str,
    found: Vec<Violation>,
}

impl Visit<'_> for Ignores<'_> {
    fn visit_attribute(&mut self, attribute: &syn::Attribute) {
        if is_bare_ignore(&attribute.meta) {
            let reason = "an ignored test says why: #[ignore = \"reason\"]";
            self.found.push(Violation::new(self.path, attribute.span().start().line, reason));
        }
    }
}

/// `ignore` or `ignore = ""`, also inside `cfg_attr(.., ..)`.
fn is_bare_ignore(meta: &syn::Meta) -> bool {
    match meta {
        syn::Meta::Path(path) => path.is_ident("ignore"),
        syn::Meta::NameValue(pair) => {
            let empty = |value: &syn::Expr| {
                matches!(value, syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. })
                    if text.value().trim().is_empty())
            };
            pair.path.is_ident("ignore") && empty(&pair.value)
        }
        syn::Meta::List(list) => {
            let parts = syn::punctuated::Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated;
            list.path.is_ident("cfg_attr")
                && list
                    .parse_args_with(parts)
                    .is_ok_and(|parts| parts.iter().skip(1).any(is_bare_ignore))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let source = Source::new(path, text);
        let mut found = check(&source);
        if let Some(Ok(syntax)) = &source.syntax {
            found.extend(check_syntax(&source, syntax));
        }
        found.into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn tabs_and_blanks_at_line_ends_are_found_but_not_in_go_and_records() {
        assert_eq!(lines("a.toml", "x = 1 \n\ty = 2\nz = 3\r\n"), [1, 2, 3]);
        assert_eq!(lines("a.go", "\tx := 1\n"), [0; 0]);
        assert_eq!(lines("tests/cli/golden/a.txt", "a \n\tb\n"), [0; 0]);
        assert_eq!(lines("a.toml", "x = 1\n    y = 2\n"), [0; 0]);
    }

    #[test]
    fn markers_of_unfinished_work_are_found_as_words_only() {
        for marker in MARKERS {
            assert_eq!(lines("a.md", &format!("fine\nnot fine, {marker}: later\n")), [2]);
            assert_eq!(
                lines("a.md", &format!("{marker}X and MAS{marker} are other words\n")),
                [0; 0]
            );
        }
    }

    #[test]
    fn a_path_of_one_machine_is_found_and_a_url_is_not() {
        for dir in MACHINE_DIRS {
            assert_eq!(lines("a.md", &format!("see `{dir}me/notes`\n")), [1], "{dir}");
            assert_eq!(
                lines("a.md", &format!("see https://example.org{dir}me\n")),
                [0; 0],
                "{dir}"
            );
        }
    }

    #[test]
    fn a_rust_file_says_first_what_it_is() {
        assert_eq!(lines("a.rs", "// A.\nfn f() {}\n"), [1]);
        assert_eq!(lines("a.rs", "//! A.\nfn f() {}\n"), [0; 0]);
        assert_eq!(lines("a.md", "A.\n"), [0; 0]);
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let filler = "const X: u8 = 1;\n".repeat(LINES_MAX - 1);
        let fits = format!("//! A.\n{filler}");
        assert_eq!(lines("crates/a/src/a.rs", &fits), [0; 0]);
        assert_eq!(lines("crates/a/src/a.rs", &format!("{fits}fn f() {{}}\n")), [LINES_MAX + 1]);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{filler}}}\n");
        assert_eq!(lines("crates/a/src/a.rs", &format!("{fits}{tests}")), [0; 0]);
        assert_eq!(lines("tests/e2e/a.rs", &format!("{fits}fn f() {{}}\n")), [0; 0]);
    }

    #[test]
    fn an_ignored_test_without_a_reason_is_found_and_one_with_a_reason_is_not() {
        for bad in ["ignore", "ignore = \"\"", "cfg_attr(unix, ignore)"] {
            assert_eq!(lines("a.rs", &format!("//! A.\n#[test]\n#[{bad}]\nfn f() {{}}\n")), [3]);
        }
        for good in ["ignore = \"takes an hour\"", "cfg_attr(unix, ignore = \"needs x\")"] {
            assert_eq!(lines("a.rs", &format!("//! A.\n#[{good}]\nfn f() {{}}\n")), [0; 0]);
        }
        assert_eq!(lines("a.rs", "//! A.\nconst X: &str = \"#[ignore]\";\n"), [0; 0]);
    }
}
