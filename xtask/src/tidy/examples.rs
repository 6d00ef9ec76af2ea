//! Every public type and function of the libraries stands in an example.
//!
//! The rule: a `pub` struct, enum, trait, function or method in `crates/ppcore`, `crates/ppnet` or `crates/pptrust` has an
//! example in its own documentation, or its name is a word in an example of the same file. `pub`
//! means public, since the compiler denies it elsewhere. What a macro makes is not seen.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use super::Violation;
use super::source::{Source, is_test_only};

/// Where the rule holds.
const LIBRARIES: [&str; 3] = ["crates/ppcore/src/", "crates/ppnet/src/", "crates/pptrust/src/"];

/// Checks one Rust source.
pub(super) fn check(source: &Source, syntax: &syn::File) -> Vec<Violation> {
    if !LIBRARIES.iter().any(|library| source.path.starts_with(library)) {
        return Vec::new();
    }
    let mut found = Found::default();
    found.visit_file(syntax);
    let Found { words, public, .. } = found;
    public
        .into_iter()
        .filter(|item| !item.has_example && !words.contains(&item.name))
        .map(|item| {
            let reason = format!("no example in this file shows `{}`", item.name);
            Violation::new(&source.path, item.line, reason)
        })
        .collect()
}

/// A public type or function.
struct Item {
    name: String,
    line: usize,
    /// In its own documentation.
    has_example: bool,
}

#[derive(Default)]
struct Found {
    /// Every word in the code of an example, comments left out.
    words: BTreeSet<String>,
    public: Vec<Item>,
    in_example: bool,
}

impl Found {
    fn item(&mut self, name: &syn::Ident, visibility: &syn::Visibility, docs: &[syn::Attribute]) {
        if matches!(visibility, syn::Visibility::Public(_)) {
            self.public.push(Item {
                name: name.to_string(),
                line: name.span().start().line,
                has_example: docs.iter().filter_map(doc_line).any(|line| is_fence(&line)),
            });
        }
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        let Some(line) = doc_line(attribute) else { return };
        if is_fence(&line) {
            self.in_example = !self.in_example;
        } else if self.in_example {
            let code = line.split("//").next().unwrap_or_default();
            let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            self.words.extend(words.map(str::to_owned));
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test_only(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.item(&item.ident, &item.vis, &item.attrs);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.item(&item.ident, &item.vis, &item.attrs);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.item(&item.ident, &item.vis, &item.attrs);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.item(&item.sig.ident, &item.vis, &item.attrs);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.item(&item.sig.ident, &item.vis, &item.attrs);
        visit::visit_impl_item_fn(self, item);
    }
}

/// The text of a line of documentation.
fn doc_line(attribute: &syn::Attribute) -> Option<String> {
    let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
    let syn::Expr::Lit(value) = &pair.value else { return None };
    let syn::Lit::Str(text) = &value.lit else { return None };
    pair.path.is_ident("doc").then(|| text.value())
}

fn is_fence(line: &str) -> bool {
    line.trim_start().starts_with("```")
}

#[cfg(test)]
mod tests {
    use super::super::source::lines_of;
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        lines_of(check, path, text)
    }

    const HEADER: &str = "crates/ppcore/src/header.rs";

    #[test]
    fn what_no_example_shows_is_found_in_every_form() {
        for bad in [
            "pub struct Bare;",
            "pub enum Bare { A }",
            "pub trait Bare {}",
            "pub fn bare() {}",
            "impl X { pub fn bare(&self) {} }",
            "pub(crate) mod x { pub fn bare() {} }",
        ] {
            assert_eq!(lines(HEADER, &format!("\n{bad}")), [2], "{bad}");
        }
        let comment = "//! ```\n//! shown(); // not bare()\n//! ```\npub fn bare() {}";
        assert_eq!(lines(HEADER, comment), [4]);
    }

    #[test]
    fn an_example_of_its_own_or_one_in_the_file_is_enough() {
        for good in [
            "/// It.\n/// ```\n/// use it;\n/// ```\npub fn of_its_own() {}",
            "//! ```\n//! # x.shown(y::Kind::A)\n//! ```\npub fn shown() {}\npub enum Kind { A }",
            "pub(crate) fn ours() {}\nfn private() {}\nimpl T for X { fn from_a_trait() {} }",
            "#[cfg(test)]\nmod tests { pub fn helper() {} }",
        ] {
            assert_eq!(lines(HEADER, good), [0; 0], "{good}");
        }
        assert_eq!(lines("crates/ppserver/src/control/process.rs", "pub fn bare() {}"), [0; 0]);
    }
}
