//! Where `unsafe` may stand, and the comment each block owes its reader.
//!
//! The compiler denies `unsafe_code` too, but an `#[expect]` anywhere lifts that; this list is the
//! one place that says where it may be lifted.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::Violation;
use super::source::Source;

/// Files and directories that may hold `unsafe`, each with what it needs it for.
const ALLOWED: [(&str, &str); 6] = [
    ("crates/ppserver/src/data/sys.rs", "system calls without a safe wrapper"),
    ("crates/ppserver/src/data/sys/", "those of datagrams"),
    ("crates/ppload/src/udp/sys.rs", "options of sockets of datagrams"),
    ("crates/ppcapi/", "the C ABI: pointers from the caller"),
    ("tests/fuzz/src/capi/", "the C ABI as its caller, and pages that nobody may touch"),
    ("tests/freestanding/", "exports without a runtime: a C ABI and its own memcpy"),
];

/// Checks one Rust source.
pub(super) fn check(source: &Source, syntax: &syn::File) -> Vec<Violation> {
    let mut places = Places::default();
    places.visit_file(syntax);
    if !ALLOWED.iter().any(|(place, _)| source.path.starts_with(place)) {
        let allowed: Vec<&str> = ALLOWED.iter().map(|(place, _)| *place).collect();
        let reason = format!("`unsafe` stands only in {}", allowed.join(", "));
        let lines: BTreeSet<usize> = places.all.into_iter().collect();
        return lines.iter().map(|line| Violation::new(&source.path, *line, &*reason)).collect();
    }
    let lines: Vec<&str> = source.text.lines().collect();
    places
        .owe_comment
        .into_iter()
        .filter(|(at, statement)| !is_explained(&lines, *at) && !is_explained(&lines, *statement))
        .map(|(at, _)| {
            let reason = "directly above an unsafe block stands `// SAFETY:` and the rule it meets";
            Violation::new(&source.path, at, reason)
        })
        .collect()
}

/// The lines of a source's unsafe blocks and impls.
pub(super) fn blocks(syntax: &syn::File) -> Vec<usize> {
    let mut places = Places::default();
    places.visit_file(syntax);
    places.owe_comment.into_iter().map(|(line, _)| line).collect()
}

/// Whether the comment that ends right above `line` (attributes may stand between) begins a line
/// with `// SAFETY:`.
fn is_explained(lines: &[&str], line: usize) -> bool {
    lines[..line.saturating_sub(1)]
        .iter()
        .rev()
        .map(|line| line.trim_start())
        .take_while(|line| line.starts_with("//") || line.starts_with("#["))
        .any(|line| line.starts_with("// SAFETY:"))
}

/// The lines where `unsafe` stands.
#[derive(Default)]
struct Places {
    all: Vec<usize>,
    /// Blocks and impls: the line of `unsafe` and of the statement it is part of.
    owe_comment: Vec<(usize, usize)>,
    statement: usize,
}

impl Places {
    fn owes(&mut self, line: usize) {
        self.all.push(line);
        let statement = if self.statement == 0 { line } else { self.statement };
        self.owe_comment.push((line, statement));
    }

    /// Inside a macro or an attribute there is no syntax tree: every `unsafe` token counts.
    fn scan(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Ident(word) if word == "unsafe" => self.owes(word.span().start().line),
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Places {
    fn visit_stmt(&mut self, statement: &'ast syn::Stmt) {
        let outer = self.statement;
        self.statement = statement.span().start().line;
        visit::visit_stmt(self, statement);
        self.statement = outer;
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.owes(block.unsafe_token.span.start().line);
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(word) = item.unsafety {
            self.owes(word.span.start().line);
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.all.extend(signature.unsafety.map(|word| word.span.start().line));
        visit::visit_signature(self, signature);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.all.extend(item.unsafety.map(|word| word.span.start().line));
        visit::visit_item_trait(self, item);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        self.all.extend(item.unsafety.map(|word| word.span.start().line));
        visit::visit_item_foreign_mod(self, item);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if attribute.path().is_ident("unsafe") {
            self.all.push(attribute.span().start().line);
        }
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        self.scan(invocation.tokens.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::lines_of;
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        lines_of(check, path, text)
    }

    const SYS: &str = "crates/ppserver/src/data/sys.rs";

    #[test]
    fn unsafe_outside_its_places_is_found_in_every_form() {
        for bad in [
            "fn f() { unsafe { g() } }",
            "unsafe fn f() {}",
            "unsafe impl Send for X {}",
            "unsafe trait T {}",
            "unsafe extern \"C\" { fn g(); }",
            "#[unsafe(no_mangle)] fn f() {}",
            "fn f() { run!(unsafe { g() }) }",
            "macro_rules! m { () => { unsafe { g() } } }",
        ] {
            assert_eq!(
                lines("crates/ppserver/src/data/conn/mod.rs", &format!("\n{bad}")),
                [2],
                "{bad}"
            );
        }
        assert_eq!(lines("crates/ppserver/src/data/sys/pipe.rs", "fn f() { unsafe { g() } }"), [1]);
    }

    #[test]
    fn the_word_in_a_comment_or_a_string_is_not_unsafe_code() {
        let text = "// unsafe {\nconst X: &str = \"unsafe { }\";\nfn f() { p!(\"unsafe\") }";
        assert_eq!(lines("crates/ppserver/src/core/session/mod.rs", text), [0; 0]);
    }

    #[test]
    fn a_block_without_its_comment_is_found_also_inside_a_macro() {
        assert_eq!(lines(SYS, "fn f() {\n    unsafe { g() }\n}"), [2]);
        assert_eq!(lines(SYS, "fn f() {\n    // SAFETY: x\n    g();\n    unsafe { g() }\n}"), [4]);
        assert_eq!(lines(SYS, "fn f() {\n    check!(unsafe { g() })\n}"), [2]);
        assert_eq!(lines(SYS, "// Said elsewhere.\nunsafe impl Send for X {}"), [2]);
    }

    #[test]
    fn a_block_with_its_comment_directly_above_is_clean() {
        for good in [
            "fn f() {\n    // SAFETY: g(2) asks nothing\n    // of its caller.\n    unsafe { g() }\n}",
            "fn f() {\n    // SAFETY: x\n    let a =\n        unsafe { g() };\n}",
            "fn f() {\n    let a =\n        // SAFETY: x\n        unsafe { g() };\n}",
            "fn f() {\n    // SAFETY: x\n    check!(unsafe { g() })\n}",
            "// SAFETY: x\n#[cfg(unix)]\nunsafe impl Send for X {}",
        ] {
            assert_eq!(lines(SYS, good), [0; 0], "{good}");
        }
    }
}
