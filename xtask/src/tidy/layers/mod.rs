//! The layers: which module of ppserver may know which other, and what ppcore, pptrust and the pure
//! modules may know of the world outside.
//!
//! `table` is docs/architecture.md in a form that can fail, `references` finds what a source names,
//! `resolve` finds what that means, and here the two are compared. Invariant: an edge that is not
//! in the table is an error, and so is a module that is not in the table.

mod control;
mod references;
mod resolve;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use self::references::{Reference, References, collect};
use self::resolve::{Scope, Target};
use self::table::{
    ASYNC_CRATES, CORE_CRATES, IMPURE_STD, Layer, PLANES, PURE_CRATES, PURE_NET, PURE_TESTS_MAY,
    STD, World, layers,
};
use super::Violation;
use super::source::Source;

const SERVER: &str = "crates/ppserver/";
const CORE: &str = "crates/ppcore/";
const TRUST: &str = "crates/pptrust/";

/// A Rust source of one crate, ready to be judged.
struct Unit<'a> {
    path: &'a str,
    /// Where it stands in the crate; `["main"]` for the program.
    module: Vec<String>,
    references: References,
    is_test: bool,
}

/// Checks the edges between the modules of ppserver.
pub(super) fn check_server(sources: &[Source]) -> Vec<Violation> {
    let units = units(sources, SERVER);
    let manifest = Manifest::read(sources, SERVER);
    let modules: BTreeSet<Vec<String>> = units
        .iter()
        .flat_map(|unit| {
            let inline = unit.references.inline_modules.iter().map(|(module, _)| module);
            std::iter::once(&unit.module).chain(inline)
        })
        .cloned()
        .collect();
    let mut found = unknown_modules(&units);
    for unit in &units {
        let Some(from) = layer_of(&unit.module, &modules) else { continue };
        let is_program = unit.module.first().is_some_and(|first| first == "main");
        let scope = Scope {
            modules: &modules,
            crates: &manifest.crates(),
            root: if is_program { &unit.module[..1] } else { &[] },
            library: is_program.then_some("ppserver"),
            references: &unit.references,
        };
        for line in &unit.references.path_attributes {
            let reason =
                "#[path] hides a module from the layers: a module lives where its path says";
            found.push(Violation::new(unit.path, *line, reason));
        }
        for reference in &unit.references.paths {
            for target in scope.resolve(reference) {
                let reason = match target {
                    Target::Inside(path) => inside(from, &path, &modules),
                    Target::Outside(path) => {
                        outside(from, &path, reference, unit.is_test, &manifest)
                    }
                };
                found.extend(reason.map(|reason| {
                    let reason = format!("{reason} ({}): {}", shown(reference), from.why);
                    Violation::new(unit.path, reference.line, reason)
                }));
            }
        }
        if from.world == World::Pure {
            found.extend(clock_reads(unit, from));
        }
    }
    found
}

/// Checks that ppcore names and depends on nothing but core, crc and thiserror; its tests may use
/// std.
pub(super) fn check_core(sources: &[Source]) -> Vec<Violation> {
    let manifest = Manifest::read(sources, CORE);
    let mut found = Vec::new();
    for name in &manifest.dependencies {
        if !CORE_CRATES.contains(&name.as_str()) {
            let reason =
                format!("ppcore may depend on {} only, not {name}", CORE_CRATES.join(", "));
            found.push(Violation::new(&format!("{CORE}Cargo.toml"), manifest.line(name), reason));
        }
    }
    found.extend(judge_shipped(sources, CORE, &manifest, |path, reference| {
        let is_known = path[0] == "core" || CORE_CRATES.contains(&path[0].as_str());
        (!is_known).then(|| {
            let (name, shown) = (&path[0], shown(reference));
            format!("ppcore may not use `{name}` ({shown}): it has no std and no allocator")
        })
    }));
    found
}

/// Checks that pptrust opens nothing, waits for nothing and reads no clock; its tests may.
pub(super) fn check_trust(sources: &[Source]) -> Vec<Violation> {
    let manifest = Manifest::read(sources, TRUST);
    judge_shipped(sources, TRUST, &manifest, |path, reference| {
        let is_std = STD.contains(&path[0].as_str());
        (is_std && !is_pure_std(&path[1..], reference.is_glob, false)).then(|| {
            let (name, shown) = (path.join("::"), shown(reference));
            format!("pptrust may not use `{name}` ({shown}): its rules have no socket and no clock")
        })
    })
}

/// What `judge` has against the paths outside of the crate in `dir` that are named there, but for its tests.
fn judge_shipped(
    sources: &[Source],
    dir: &str,
    manifest: &Manifest,
    judge: impl Fn(&[String], &Reference) -> Option<String>,
) -> Vec<Violation> {
    let (modules, crates) = (BTreeSet::new(), manifest.crates());
    let mut found = Vec::new();
    for unit in units(sources, dir) {
        let references = &unit.references;
        let scope =
            Scope { modules: &modules, crates: &crates, root: &[], library: None, references };
        for reference in references.paths.iter().filter(|path| !(path.is_test || unit.is_test)) {
            for target in scope.resolve(reference) {
                if let Target::Outside(path) = target {
                    let reason = judge(&path, reference);
                    found.extend(reason.map(|why| Violation::new(unit.path, reference.line, why)));
                }
            }
        }
    }
    found
}

/// Why `from` may not name `path` of its own crate; none when it may.
fn inside(from: &Layer, path: &[String], modules: &BTreeSet<Vec<String>>) -> Option<String> {
    let to = match layer_of(path, modules) {
        Some(layer) => layer.name,
        // A module without a layer is reported where it stands.
        None if modules.contains(&path[..1]) => return None,
        None => "lib",
    };
    let allowed = from.name == to || from.uses.contains(&to);
    (!allowed).then(|| format!("`{}` may not use `{to}`", from.name))
}

/// Why `from` may not name `path` of another crate; none when it may.
fn outside(
    from: &Layer,
    path: &[String],
    reference: &Reference,
    in_test_file: bool,
    manifest: &Manifest,
) -> Option<String> {
    let is_test = reference.is_test || in_test_file;
    let (first, rest) = path.split_first()?;
    let allowed = match from.world {
        World::Async => true,
        World::Open => !ASYNC_CRATES.contains(&first.as_str()),
        World::Pure if STD.contains(&first.as_str()) => {
            is_pure_std(rest, reference.is_glob, is_test)
        }
        World::Pure => {
            PURE_CRATES.contains(&first.as_str())
                || (is_test && manifest.test_dependencies.contains(first))
        }
    };
    (!allowed).then(|| format!("`{}` may not use `{}`", from.name, path.join("::")))
}

/// Whether `path`, behind `std`, only names something; a glob names everything below.
fn is_pure_std(path: &[String], is_glob: bool, is_test: bool) -> bool {
    let Some(first) = path.first() else { return !is_glob };
    if first == "net" {
        return path.get(1).is_some_and(|name| PURE_NET.contains(&name.as_str()));
    }
    // An error as a value; its functions, like `last_os_error`, are not.
    if matches!(path, [io, error] if io == "io" && error == "Error")
        || matches!(path, [io, kind, ..] if io == "io" && kind == "ErrorKind")
    {
        return true;
    }
    let names = |prefix: &&[&str]| {
        path.iter().map(String::as_str).take(prefix.len()).eq(prefix.iter().copied())
    };
    let may_import_all = !is_glob || first != "time";
    (may_import_all && !IMPURE_STD.iter().any(names))
        || (is_test && PURE_TESTS_MAY.iter().any(names))
}

fn clock_reads(unit: &Unit<'_>, from: &Layer) -> Vec<Violation> {
    let shipped = unit.references.elapsed_calls.iter().filter(|(_, is_test)| !is_test);
    shipped
        .filter(|_| !unit.is_test)
        .map(|(line, _)| {
            let reason = format!("`elapsed()` reads the clock: {}", from.why);
            Violation::new(unit.path, *line, reason)
        })
        .collect()
}

/// Modules that the table does not know, each where it stands.
fn unknown_modules(units: &[Unit<'_>]) -> Vec<Violation> {
    let mut found = Vec::new();
    for unit in units {
        let files = std::iter::once((&unit.module, 1, true));
        let inline =
            unit.references.inline_modules.iter().map(|(module, line)| (module, *line, false));
        for (module, line, is_file) in files.chain(inline) {
            // Below the root every module needs a layer; below a plane every file does.
            let name = match &module[..] {
                [top] => top.clone(),
                [top, part] if PLANES.contains(&top.as_str()) && is_file => {
                    format!("{top}::{part}")
                }
                _ => continue,
            };
            if !layers().any(|layer| layer.name == name) {
                let reason = format!(
                    "module `{name}` has no layer: add it to xtask/src/tidy/layers/table.rs \
                     and to docs/architecture.md"
                );
                found.push(Violation::new(unit.path, line, reason));
            }
        }
    }
    found
}

/// The layer that `path`, a module or an item in one, belongs to.
fn layer_of(path: &[String], modules: &BTreeSet<Vec<String>>) -> Option<&'static Layer> {
    let name = match path {
        [] => "lib".to_owned(),
        [top, part, ..] if PLANES.contains(&top.as_str()) && modules.contains(&path[..2]) => {
            let name = format!("{top}::{part}");
            // A module written inside a plane's mod.rs is a piece of the plane itself.
            if layers().any(|layer| layer.name == name) { name } else { top.clone() }
        }
        [top, ..] => top.clone(),
    };
    layers().find(|layer| layer.name == name)
}

fn shown(reference: &Reference) -> String {
    let star = if reference.is_glob { "::*" } else { "" };
    format!("{}{star}", reference.segments.join("::"))
}

/// The parsed sources of the crate in `dir`; what is in files of test modules is marked.
fn units<'a>(sources: &'a [Source], dir: &str) -> Vec<Unit<'a>> {
    let mut units: Vec<Unit<'a>> = sources
        .iter()
        .filter_map(|source| {
            let module = module_of(source.path.strip_prefix(dir)?.strip_prefix("src/")?)?;
            let Some(Ok(syntax)) = &source.syntax else { return None };
            let references = collect(syntax, &module);
            Some(Unit { path: &source.path, module, references, is_test: false })
        })
        .collect();
    let tests: Vec<Vec<String>> =
        units.iter().flat_map(|unit| unit.references.test_modules.clone()).collect();
    for unit in &mut units {
        unit.is_test = tests.iter().any(|test| unit.module.starts_with(test));
    }
    units
}

/// The module whose source is `path` below `src/`.
fn module_of(path: &str) -> Option<Vec<String>> {
    let mut parts: Vec<String> = path.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    if parts == ["lib"] || (parts.len() > 1 && parts.last().is_some_and(|last| last == "mod")) {
        parts.pop();
    }
    Some(parts)
}

/// The crates a manifest names, as they are written in code.
#[derive(Default)]
struct Manifest {
    text: String,
    dependencies: BTreeSet<String>,
    test_dependencies: BTreeSet<String>,
}

impl Manifest {
    fn read(sources: &[Source], dir: &str) -> Self {
        let path = format!("{dir}Cargo.toml");
        let Some(source) = sources.iter().find(|source| source.path == path) else {
            return Self::default();
        };
        // A manifest that is broken is cargo's to report: nothing gets as far as this with one.
        let table: toml::Table = source.text.parse().unwrap_or_default();
        let names = |section: &str| -> BTreeSet<String> {
            let targets = table.get("target").and_then(toml::Value::as_table);
            let of_targets = targets.into_iter().flat_map(|targets| targets.values());
            std::iter::once(table.get(section))
                .chain(of_targets.map(|target| target.get(section)))
                .filter_map(|section| section?.as_table())
                .flat_map(|section| section.keys().map(|name| name.replace('-', "_")))
                .collect()
        };
        Self {
            text: source.text.clone(),
            dependencies: names("dependencies"),
            test_dependencies: names("dev-dependencies"),
        }
    }

    /// Every crate that code can name.
    fn crates(&self) -> BTreeSet<String> {
        let std = STD.iter().map(|name| (*name).to_owned());
        std.chain(self.dependencies.iter().chain(&self.test_dependencies).cloned()).collect()
    }

    /// The line of a dependency.
    fn line(&self, name: &str) -> usize {
        let is_it = |line: &str| line.replace('-', "_").starts_with(name);
        self.text.lines().position(is_it).map_or(1, |index| index + 1)
    }
}
