//! Every path a Rust source names: in imports, re-exports, expressions, types, patterns,
//! attributes, and in the tokens of macros, where there is no syntax tree to ask.
//!
//! Not a resolver: a reference is what was written, with the module it was written in.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::super::source::is_test_only;

/// A path as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// At least one; two or more unless it is an import.
    pub(super) segments: Vec<String>,
    /// It begins with `::`.
    pub(super) is_absolute: bool,
    /// It stands in a `use` or an `extern crate`.
    pub(super) is_import: bool,
    /// It ends in `::*`; the star is not a segment.
    pub(super) is_glob: bool,
    /// Only test builds see it.
    pub(super) is_test: bool,
    /// The module it stands in.
    pub(super) module: Vec<String>,
    pub(super) line: usize,
}

/// A name that an import brings into its file.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) target: Reference,
}

/// What one source names and declares.
#[derive(Debug, Default)]
pub(super) struct References {
    pub(super) paths: Vec<Reference>,
    pub(super) bindings: Vec<Binding>,
    /// Modules with a body here, and the line.
    pub(super) inline_modules: Vec<(Vec<String>, usize)>,
    /// Modules in files of their own that only test builds have.
    pub(super) test_modules: Vec<Vec<String>>,
    /// Lines of `#[path = ".."]`.
    pub(super) path_attributes: Vec<usize>,
    /// Lines of `x.elapsed()`: a reading of the clock that names no path; whether only test
    /// builds see it.
    pub(super) elapsed_calls: Vec<(usize, bool)>,
}

/// Collects what `syntax`, the source of `module`, names.
pub(super) fn collect(syntax: &syn::File, module: &[String]) -> References {
    let mut collector =
        Collector { found: References::default(), module: module.to_vec(), is_test: false };
    collector.visit_file(syntax);
    collector.found
}

struct Collector {
    found: References,
    module: Vec<String>,
    is_test: bool,
}

/// How a path was written, for [`Collector::add`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Import,
    Glob,
}

impl Collector {
    fn add(&mut self, segments: Vec<String>, is_absolute: bool, form: Form, line: usize) {
        let reference = self.reference(segments, is_absolute, form, line);
        self.found.paths.push(reference);
    }

    fn reference(
        &self,
        segments: Vec<String>,
        is_absolute: bool,
        form: Form,
        line: usize,
    ) -> Reference {
        Reference {
            segments,
            is_absolute,
            is_import: form != Form::Plain,
            is_glob: form == Form::Glob,
            is_test: self.is_test,
            module: self.module.clone(),
            line,
        }
    }

    fn import(&mut self, prefix: &[String], is_absolute: bool, tree: &syn::UseTree) {
        let with = |last: &Ident| [prefix, &[last.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => {
                self.import(&with(&path.ident), is_absolute, &path.tree);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(prefix, is_absolute, tree);
                }
            }
            syn::UseTree::Glob(star) => {
                let line = star.star_token.span().start().line;
                self.add(prefix.to_vec(), is_absolute, Form::Glob, line);
            }
            syn::UseTree::Name(name) => {
                let segments = drop_self(with(&name.ident));
                self.bind(segments, is_absolute, &name.ident, None);
            }
            syn::UseTree::Rename(rename) => {
                let segments = drop_self(with(&rename.ident));
                self.bind(segments, is_absolute, &rename.ident, Some(&rename.rename));
            }
        }
    }

    fn bind(
        &mut self,
        segments: Vec<String>,
        is_absolute: bool,
        written: &Ident,
        renamed: Option<&Ident>,
    ) {
        let line = written.span().start().line;
        let name = renamed.map(Ident::to_string).or_else(|| segments.last().cloned());
        let target = self.reference(segments, is_absolute, Form::Import, line);
        self.found.paths.push(target.clone());
        self.found.bindings.extend(name.map(|name| Binding { name, target }));
    }

    /// Runs `inside` with test code on when `attributes` say so.
    fn within(&mut self, attributes: &[syn::Attribute], inside: impl FnOnce(&mut Self)) {
        let outer = self.is_test;
        self.is_test |= is_test_only(attributes);
        inside(self);
        self.is_test = outer;
    }

    /// Finds the paths in tokens; `prefix` is what stands before `::{ .. }`, or empty.
    fn scan(&mut self, tokens: TokenStream, prefix: &[String]) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            let next = match &tokens[at] {
                TokenTree::Ident(word) => self.scan_path(&tokens, at, word, prefix),
                TokenTree::Group(group) => {
                    self.scan(group.stream(), &[]);
                    at + 1
                }
                TokenTree::Punct(star) if star.as_char() == '*' && !prefix.is_empty() => {
                    self.add(prefix.to_vec(), false, Form::Glob, star.span().start().line);
                    at + 1
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => at + 1,
            };
            at = next;
        }
    }

    /// Reads the path that begins with `word` at `start`; returns where it ends.
    fn scan_path(
        &mut self,
        tokens: &[TokenTree],
        start: usize,
        word: &Ident,
        prefix: &[String],
    ) -> usize {
        let line = word.span().start().line;
        if word == "elapsed" && start > 0 && is_punct(tokens.get(start - 1), '.') {
            self.found.elapsed_calls.push((line, self.is_test));
        }
        let is_absolute =
            start >= 2 && is_colons(tokens, start - 2) && !continues_a_path(tokens, start);
        let mut segments = [prefix, &[word.to_string()]].concat();
        let mut at = start + 1;
        while is_colons(tokens, at) {
            match tokens.get(at + 2) {
                Some(TokenTree::Ident(next)) => segments.push(next.to_string()),
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    self.scan(group.stream(), &segments);
                    return at + 3;
                }
                Some(TokenTree::Punct(star)) if star.as_char() == '*' => {
                    self.add(segments, is_absolute, Form::Glob, line);
                    return at + 3;
                }
                _ => break,
            }
            at += 3;
        }
        let segments = drop_self(segments);
        if segments.len() >= 2 {
            self.add(segments, is_absolute, Form::Plain, line);
        }
        at
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.found.path_attributes.extend(
            item.attrs
                .iter()
                .filter(|attribute| attribute.path().is_ident("path"))
                .map(|attribute| attribute.span().start().line),
        );
        self.module.push(item.ident.to_string());
        self.within(&item.attrs, |this| {
            if item.content.is_some() {
                let line = item.ident.span().start().line;
                this.found.inline_modules.push((this.module.clone(), line));
            } else if this.is_test {
                this.found.test_modules.push(this.module.clone());
            }
            visit::visit_item_mod(this, item);
        });
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.within(&item.attrs, |this| {
            this.import(&[], item.leading_colon.is_some(), &item.tree);
        });
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.within(&item.attrs, |this| {
            // `extern crate self as x` names the crate's root.
            let name = item.ident.to_string();
            let (name, is_absolute) =
                if name == "self" { ("crate".to_owned(), false) } else { (name, true) };
            let renamed = item.rename.as_ref().map(|(_, renamed)| renamed);
            this.bind(vec![name], is_absolute, &item.ident, renamed);
        });
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.within(&item.attrs, |this| visit::visit_item_fn(this, item));
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.within(&item.attrs, |this| visit::visit_item_impl(this, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.within(&item.attrs, |this| visit::visit_impl_item_fn(this, item));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() >= 2 {
            let line = path.span().start().line;
            self.add(segments, path.leading_colon.is_some(), Form::Plain, line);
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_path(&mut self, expression: &'ast syn::ExprPath) {
        // `<a::B>::c` names `a::B::c`.
        if let Some(qself) = &expression.qself
            && let syn::Type::Path(of) = &*qself.ty
            && qself.position == 0
        {
            let segments = of.path.segments.iter().chain(&expression.path.segments);
            let segments = segments.map(|segment| segment.ident.to_string()).collect();
            let line = expression.span().start().line;
            self.add(segments, of.path.leading_colon.is_some(), Form::Plain, line);
        }
        visit::visit_expr_path(self, expression);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "elapsed" && call.args.is_empty() {
            self.found.elapsed_calls.push((call.method.span().start().line, self.is_test));
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        visit::visit_macro(self, invocation);
        self.scan(invocation.tokens.clone(), &[]);
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        visit::visit_attribute(self, attribute);
        if let syn::Meta::List(list) = &attribute.meta {
            self.scan(list.tokens.clone(), &[]);
        }
    }

    /// Who may see an item is not a use of what is named there.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}
}

/// `a::{self}` names `a`.
fn drop_self(mut segments: Vec<String>) -> Vec<String> {
    if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
        segments.pop();
    }
    segments
}

fn is_punct(token: Option<&TokenTree>, expected: char) -> bool {
    matches!(token, Some(TokenTree::Punct(found)) if found.as_char() == expected)
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

/// Whether the `::` right before `at` follows a path or a generic argument.
fn continues_a_path(tokens: &[TokenTree], at: usize) -> bool {
    at.checked_sub(3).is_some_and(|before| {
        matches!(tokens[before], TokenTree::Ident(_)) || is_punct(tokens.get(before), '>')
    })
}
