//! What a written path means: a module of this crate, another crate, or something local.
//!
//! Not the compiler's resolver: it knows modules and imports, not items, and takes every import of
//! a file as visible in the whole file. Where that is wrong it names one thing too many, never one
//! too few.

use std::collections::BTreeSet;

use super::references::{Binding, Reference, References};

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A module of this crate or an item in it: the segments behind the crate's root.
    Inside(Vec<String>),
    /// Another crate: its name comes first.
    Outside(Vec<String>),
}

/// What paths are looked up in.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    /// Every module of the crate.
    pub(super) modules: &'a BTreeSet<Vec<String>>,
    /// The crates that can be named.
    pub(super) crates: &'a BTreeSet<String>,
    /// The module that `crate` means here.
    pub(super) root: &'a [String],
    /// The crate's own name, for a program that uses the library beside it.
    pub(super) library: Option<&'a str>,
    /// The imports of this file.
    pub(super) references: &'a References,
}

/// How many imports are followed from one name to the next. An import of an import of an import is
/// already hard to read; the limit ends `use a as b; use b as a;`.
const HOPS_MAX: usize = 8;

impl Scope<'_> {
    /// Everything `reference` may lead to.
    pub(super) fn resolve(&self, reference: &Reference) -> Vec<Target> {
        let mut targets = Vec::new();
        self.follow(reference, HOPS_MAX, &mut targets);
        targets
    }

    fn follow(&self, reference: &Reference, hops: usize, targets: &mut Vec<Target>) {
        let Some((first, rest)) = reference.segments.split_first() else { return };
        if reference.is_absolute {
            targets.push(self.named(&reference.segments));
            return;
        }
        match first.as_str() {
            "crate" => targets.push(walk(self.root, rest)),
            "self" => targets.push(walk(&reference.module, rest)),
            "super" => targets.push(walk(&reference.module, &reference.segments)),
            _ if self.has_module(&reference.module, first) => {
                let path = [&reference.module[..], &reference.segments].concat();
                targets.push(Target::Inside(path));
            }
            name if self.library == Some(name) => targets.push(Target::Inside(rest.to_vec())),
            name => {
                let followed = hops > 0 && self.imported(name, reference, hops, targets);
                let is_crate = self.crates.contains(name);
                if !followed && is_crate && (reference.is_import || !rest.is_empty()) {
                    targets.push(Target::Outside(reference.segments.clone()));
                }
            }
        }
    }

    /// Follows the imports of `name`; whether there was one.
    fn imported(
        &self,
        name: &str,
        reference: &Reference,
        hops: usize,
        targets: &mut Vec<Target>,
    ) -> bool {
        let mut found = false;
        let leads_on = |binding: &&Binding| {
            binding.name == name && binding.target.segments != reference.segments[..1]
        };
        for binding in self.references.bindings.iter().filter(leads_on) {
            // The import itself is no use of what it brings.
            if binding.target.line == reference.line && binding.target == *reference {
                continue;
            }
            let segments = [&binding.target.segments[..], &reference.segments[1..]].concat();
            self.follow(&Reference { segments, ..binding.target.clone() }, hops - 1, targets);
            found = true;
        }
        for glob in self.references.paths.iter().filter(|path| path.is_glob) {
            if glob.segments[0] == name {
                continue;
            }
            for target in self.resolve_glob(glob, hops) {
                if let Target::Inside(module) = target
                    && self.has_module(&module, name)
                {
                    targets.push(Target::Inside([&module[..], &reference.segments].concat()));
                    found = true;
                }
            }
        }
        found
    }

    fn resolve_glob(&self, glob: &Reference, hops: usize) -> Vec<Target> {
        let mut targets = Vec::new();
        self.follow(glob, hops - 1, &mut targets);
        targets
    }

    fn named(&self, segments: &[String]) -> Target {
        match segments.split_first() {
            Some((first, rest)) if self.library == Some(first.as_str()) => {
                Target::Inside(rest.to_vec())
            }
            Some(_) | None => Target::Outside(segments.to_vec()),
        }
    }

    fn has_module(&self, parent: &[String], name: &str) -> bool {
        self.modules.contains(&[parent, &[name.to_owned()]].concat())
    }
}

/// Where `path` leads from `module`: each `super` is a step up.
fn walk(module: &[String], path: &[String]) -> Target {
    let mut place = module.to_vec();
    for segment in path {
        if segment == "super" {
            place.pop();
        } else {
            place.push(segment.clone());
        }
    }
    Target::Inside(place)
}
