//! The freestanding link: ppcore in a static program without std, judged by its symbol table.
//!
//! Not a test of behaviour, though the program checks itself when it runs. Invariant: the judge has
//! seen a planted panic in the same program before it is believed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSymbol};

use crate::cargo::{cargo as plain_cargo, run};

/// The program, a workspace of its own: nothing else may decide its features or its profile.
const PACKAGE: &str = "tests/freestanding";
/// The one platform its entry and its memory functions are written for.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Where it is built: with all other build output.
const TARGET_DIR: &str = "target/freestanding";

/// What the program must export: the ways into ppcore.
const EXPORTS: [&str; 8] = [
    "pp_collect",
    "pp_decode",
    "pp_decode_datagram",
    "pp_encode_v1",
    "pp_encode_v2",
    "pp_spp",
    "pp_verify_crc32c",
    "pp_walk_tlvs",
];
/// The least bytes of code in an export: the smallest has some 300, an emptied one fewer than 20.
const EXPORT_BYTES_MIN: u64 = 64;

/// A part of a demangled name that only a program that can panic has. The last is the program's own
/// panic handler, which no inlining can hide.
const PANICS: [&str; 6] = [
    "core::panicking",
    "panic_fmt",
    "unwrap_failed",
    "expect_failed",
    "rust_begin_unwind",
    "panic_is_reachable",
];
/// A part of a demangled name that only a program that can allocate has.
const ALLOCATOR_PARTS: [&str; 4] =
    ["__rust_alloc", "__rust_realloc", "__rust_dealloc", "alloc::alloc"];
/// Names of C's allocator.
const ALLOCATOR_NAMES: [&str; 6] =
    ["malloc", "calloc", "realloc", "free", "aligned_alloc", "posix_memalign"];

/// A symbol of the linked program.
#[derive(Clone, Debug)]
struct Symbol {
    name: String,
    bytes: u64,
    is_undefined: bool,
}

/// Returns `cargo SUBCOMMAND` for the program, from the workspace's root.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut command = plain_cargo();
    command.arg(subcommand);
    command.args(["--manifest-path", &format!("{PACKAGE}/Cargo.toml")]);
    command.env("CARGO_TARGET_DIR", TARGET_DIR);
    // Flags of the caller's (coverage, say) would be judged in place of ours.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command
}

/// Builds the program, runs it and judges its symbols; then does so with a panic planted in it.
///
/// # Errors
/// When it does not build, fails its own checks, can panic or allocate, or when the planted panic
/// is not caught.
pub(crate) fn check() -> Result<()> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        bail!("{PACKAGE} is written for {TARGET} and can only be built and run there");
    }
    let program = build(&[])?;
    // It exits with the number of the first check in its `run` that fails.
    run(&mut Command::new(&program))?;
    let symbols = read(&program)?;
    let problems = judge(&symbols);
    if !problems.is_empty() {
        bail!("ppcore does not stand alone:\n    {}", problems.join("\n    "));
    }
    println!("no panic and no allocator among {} symbols; the exports in bytes:", symbols.len());
    for symbol in symbols.iter().filter(|symbol| EXPORTS.contains(&symbol.name.as_str())) {
        println!("    {:<20}{:>6}", symbol.name, symbol.bytes);
    }
    println!("    {:<20}{:>6}", "all code", symbols.iter().map(|symbol| symbol.bytes).sum::<u64>());

    let problems = judge(&read(&build(&["--features", "planted"])?)?);
    if !problems.iter().any(|problem| problem.starts_with(CAN_PANIC)) {
        bail!("the check is blind: it found no panic where one is planted");
    }
    println!("the planted panic is caught: {}", problems.join("; "));
    Ok(())
}

fn build(features: &[&str]) -> Result<PathBuf> {
    run(cargo("build").args(["--release", "--target", TARGET]).args(features))?;
    Ok(Path::new(TARGET_DIR).join(TARGET).join("release/freestanding"))
}

fn read(program: &Path) -> Result<Vec<Symbol>> {
    let bytes = std::fs::read(program).with_context(|| format!("{}", program.display()))?;
    let file = object::File::parse(&*bytes)?;
    let mut symbols = Vec::new();
    for symbol in file.symbols().filter(|symbol| !symbol.name_bytes().unwrap_or(b"").is_empty()) {
        symbols.push(Symbol {
            name: format!("{:#}", rustc_demangle::demangle(symbol.name()?)),
            bytes: symbol.size(),
            is_undefined: symbol.is_undefined(),
        });
    }
    Ok(symbols)
}

const CAN_PANIC: &str = "it can panic";

/// Everything that is wrong with a program of these symbols.
fn judge(symbols: &[Symbol]) -> Vec<String> {
    let mut problems = Vec::new();
    for export in EXPORTS {
        match symbols.iter().find(|symbol| symbol.name == export) {
            None => problems.push(format!("{export} is not in it")),
            Some(symbol) if symbol.bytes < EXPORT_BYTES_MIN => {
                problems
                    .push(format!("{export} has {} bytes: nothing is left of it", symbol.bytes));
            }
            Some(_) => {}
        }
    }
    for symbol in symbols {
        let name = symbol.name.as_str();
        if PANICS.iter().any(|part| name.contains(part)) {
            problems.push(format!("{CAN_PANIC}: {name}"));
        }
        if ALLOCATOR_NAMES.contains(&name) || ALLOCATOR_PARTS.iter().any(|part| name.contains(part))
        {
            problems.push(format!("it can allocate: {name}"));
        }
        if symbol.is_undefined {
            problems.push(format!("it needs something from outside: {name}"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(name: &str, bytes: u64) -> Symbol {
        Symbol { name: name.to_owned(), bytes, is_undefined: false }
    }

    fn good() -> Vec<Symbol> {
        EXPORTS.iter().map(|name| symbol(name, 300)).collect()
    }

    #[test]
    fn a_program_with_all_exports_and_nothing_else_is_good() {
        assert_eq!(judge(&good()), [""; 0]);
    }

    #[test]
    fn a_missing_or_emptied_export_is_a_problem() {
        assert_eq!(judge(&good()[1..]).len(), 1);
        let mut emptied = good();
        emptied[0].bytes = 6;
        assert_eq!(judge(&emptied).len(), 1);
    }

    #[test]
    fn a_panic_an_allocator_and_an_open_end_are_problems() {
        for (name, problem) in [
            ("core::panicking::panic_fmt", CAN_PANIC),
            ("core::option::unwrap_failed", CAN_PANIC),
            ("__rustc::rust_begin_unwind", CAN_PANIC),
            ("freestanding::runtime::panic_is_reachable", CAN_PANIC),
            ("__rust_alloc", "it can allocate"),
            ("malloc", "it can allocate"),
        ] {
            let mut symbols = good();
            symbols.push(symbol(name, 9));
            let problems = judge(&symbols);
            assert!(problems.len() == 1 && problems[0].starts_with(problem), "{problems:?}");
        }
        let mut symbols = good();
        symbols.push(Symbol { is_undefined: true, ..symbol("strlen", 0) });
        assert_eq!(judge(&symbols), ["it needs something from outside: strlen"]);
    }
}
