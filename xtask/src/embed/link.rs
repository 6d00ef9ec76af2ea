//! The freestanding link: ppcore in a program without std, judged by its symbol table.
//!
//! Not a test of behaviour, though the program checks itself where this machine can run it.
//! Invariant: the judge has seen a planted panic in the same program before it is believed.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use object::{BinaryFormat, Object, ObjectSection, ObjectSymbol, SectionKind};
use tools::cargo::run;

use super::Toolchain;

/// The program, a workspace of its own: nothing else may decide its features or its profile.
const PACKAGE: &str = "tests/freestanding";

/// Where it is built: with all other build output.
const TARGET_DIR: &str = "target/freestanding";

/// What the program is linked for, with the compiler that does it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Platform {
    pub(super) toolchain: Toolchain,
    pub(super) target: &'static str,
    /// The file that the linker makes.
    pub(super) file: &'static str,
    /// Whether it is a program of this machine.
    pub(super) runs_here: bool,
}

/// Sizes of a linked program, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Code.
    pub(super) text: u64,
    /// Constants and tables; for WebAssembly its data segments, which are nothing else.
    pub(super) rodata: u64,
    /// Variables, set up by somebody or zeroed by somebody.
    pub(super) data: u64,
}

impl Sizes {
    pub(super) fn total(self) -> u64 {
        self.text + self.rodata + self.data
    }
}

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

/// Sections of constants that do not look like it: a loader writes their addresses, or the format
/// has one section for constants and variables.
const CONSTANTS: [&str; 3] = [".data.rel.ro", ".got", "<data>"];
/// Nothing, up to the end of a page, so that the loader can protect what is in front of it.
const RELRO_PADDING: &str = ".relro_padding";

/// A symbol of the linked program.
#[derive(Clone, Debug)]
struct Symbol {
    name: String,
    bytes: u64,
    is_undefined: bool,
}

/// Returns `cargo SUBCOMMAND` for the program, from the workspace's root.
pub(super) fn cargo(toolchain: Toolchain, subcommand: &str) -> Command {
    let mut command = toolchain.cargo();
    command.arg(subcommand);
    command.args(["--manifest-path", &format!("{PACKAGE}/Cargo.toml")]);
    command.env("CARGO_TARGET_DIR", format!("{TARGET_DIR}/{}", toolchain.name()));
    // Flags of the caller's (coverage, say) would be judged in place of ours.
    command.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    command
}

/// Links the program, runs it where it can run, and judges its symbols; then does so with a panic
/// planted in it.
///
/// # Errors
/// When its target cannot be installed, it does not build, fails its own checks, can panic or
/// allocate, has variables, or when the planted panic is not caught.
pub(super) fn check(platform: Platform) -> Result<Sizes> {
    platform.toolchain.ensure(platform.target)?;
    let program = build(platform, &[])?;
    if platform.runs_here {
        // It exits with the number of the first check in its `run` that fails.
        run(&mut Command::new(&program))?;
    }
    let (symbols, sizes) = read(&program)?;
    let problems = judge(&symbols, sizes);
    if !problems.is_empty() {
        bail!("ppcore does not stand alone:\n    {}", problems.join("\n    "));
    }
    println!("no panic and no allocator among {} symbols; the exports in bytes:", symbols.len());
    for symbol in symbols.iter().filter(|symbol| EXPORTS.contains(&symbol.name.as_str())) {
        println!("    {:<20}{:>6}", symbol.name, symbol.bytes);
    }

    let (planted, planted_sizes) = read(&build(platform, &["--features", "planted"])?)?;
    let problems = judge(&planted, planted_sizes);
    if !problems.iter().any(|problem| problem.starts_with(CAN_PANIC)) {
        bail!("the check is blind: it found no panic where one is planted");
    }
    println!("the planted panic is caught: {}", problems.join("; "));
    Ok(sizes)
}

fn build(platform: Platform, features: &[&str]) -> Result<PathBuf> {
    let Platform { toolchain, target, file, .. } = platform;
    run(cargo(toolchain, "build").args(["--release", "--target", target]).args(features))?;
    Ok(Path::new(TARGET_DIR).join(toolchain.name()).join(target).join("release").join(file))
}

fn read(program: &Path) -> Result<(Vec<Symbol>, Sizes)> {
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
    let mut sizes = Sizes::default();
    for section in file.sections() {
        let kind = section.kind();
        let is_constant = matches!(
            kind,
            SectionKind::ReadOnlyData
                | SectionKind::ReadOnlyDataWithRel
                | SectionKind::ReadOnlyString
        );
        let name = section.name()?;
        if kind == SectionKind::Text {
            sizes.text += section.size();
        } else if is_constant || CONSTANTS.contains(&name) {
            sizes.rodata += section.size();
        } else if file.format() != BinaryFormat::Wasm
            && (kind == SectionKind::Data || kind.is_bss())
            && name != RELRO_PADDING
        {
            sizes.data += section.size();
        }
    }
    Ok((symbols, sizes))
}

const CAN_PANIC: &str = "it can panic";

/// Everything that is wrong with a program of these symbols and sizes.
fn judge(symbols: &[Symbol], sizes: Sizes) -> Vec<String> {
    let mut problems = Vec::new();
    if sizes.data > 0 {
        problems.push(format!("it has {} bytes of variables", sizes.data));
    }
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

    const CONSTANT: Sizes = Sizes { text: 3000, rodata: 1000, data: 0 };

    fn good() -> Vec<Symbol> {
        EXPORTS.iter().map(|name| symbol(name, 300)).collect()
    }

    #[test]
    fn a_program_with_all_exports_and_nothing_else_is_good() {
        assert_eq!(judge(&good(), CONSTANT), [""; 0]);
    }

    #[test]
    fn a_missing_or_emptied_export_is_a_problem() {
        assert_eq!(judge(&good()[1..], CONSTANT).len(), 1);
        let mut emptied = good();
        emptied[0].bytes = 6;
        assert_eq!(judge(&emptied, CONSTANT).len(), 1);
    }

    #[test]
    fn a_variable_is_a_problem() {
        let problems = judge(&good(), Sizes { data: 4, ..CONSTANT });
        assert_eq!(problems, ["it has 4 bytes of variables"]);
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
            let problems = judge(&symbols, CONSTANT);
            assert!(problems.len() == 1 && problems[0].starts_with(problem), "{problems:?}");
        }
        let mut symbols = good();
        symbols.push(Symbol { is_undefined: true, ..symbol("strlen", 0) });
        assert_eq!(judge(&symbols, CONSTANT), ["it needs something from outside: strlen"]);
    }
}
