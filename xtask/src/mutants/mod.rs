//! The mutation check: historic bugs of proxies, planted one at a time, must each be found by the
//! simulator.
//!
//! The sources of `core` are copied into a package of their own, without the rest of the server, and each mutant is a replacement in that copy. Invariants: a replacement that does not
//! fit exactly once is an error, so no change of the sources disarms a mutant in silence; the copy
//! without a mutant passes; debug assertions are off, so that only an oracle can find anything.

mod table;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::FlockOperation;
use tools::cargo::{cargo, needs, run_expecting};

use self::table::{MUTANTS, Mutant};
use crate::sim::{build_test, run_seeds};

/// What is copied.
const CORE: &str = "crates/ppserver/src/core";
/// Where the copy is built.
const SCRATCH: &str = "target/mutants";
/// A mutant must be found within this many seeds.
const SEEDS_MAX: u64 = 10_000;
/// Seeds that the copy without a mutant passes first.
const UNPLANTED: u64 = 512;
/// The first stretch of seeds; each one that finds nothing is followed by one four times as long.
const STRETCH: u64 = 64;

const MANIFEST: &str = "\
[package]
name = \"decisions\"
edition = \"2024\"

[workspace]

[dependencies]
ppcore = { path = \"../../crates/ppcore\" }
pptrust = { path = \"../../crates/pptrust\" }
siphasher = \"1\"

[profile.dev]
opt-level = 1
debug = false
debug-assertions = false
overflow-checks = true
";

/// Plant historic bugs in what decides and show that the simulator finds each
#[derive(Debug, clap::Args)]
pub(crate) struct MutantsArgs {
    /// Only the mutants whose name contains this
    #[arg(value_name = "NAME", conflicts_with = "every")]
    name: Option<String>,
    /// Instead of historic bugs, every change that cargo-mutants can think of
    #[arg(long, value_name = "WHERE")]
    every: Option<Place>,
    /// With --every: only this part of them, such as 0/4
    #[arg(long, value_name = "K/N", requires = "every")]
    shard: Option<String>,
}

/// Where cargo-mutants changes what it likes.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Place {
    /// What decides about connections, tested by the simulator and by hand
    Core,
    /// The decoder and encoder, tested by their vectors, properties and the naive decoder
    Ppcore,
}

/// What cargo-mutants leaves out, each line with its reason.
const CONFIG: &str = ".cargo/mutants.toml";
/// Its exit code when a test never ended, which finds a change as well, whether or not others were missed.
const NEVER_ENDING: i32 = 3;

/// Runs what the arguments say.
///
/// # Errors
/// When a replacement does not fit, a mutant does not build, or one survives.
pub(crate) fn run(args: &MutantsArgs) -> Result<()> {
    match args.every {
        Some(place) => every(place, args.shard.as_deref()),
        None => plant_all(args.name.as_deref()),
    }
}

/// Runs cargo-mutants, which changes one expression or function at a time.
fn every(place: Place, shard: Option<&str>) -> Result<()> {
    const INSTALL: &str = "cargo install --locked cargo-mutants";
    let _lock = lock_scratch()?;
    needs(cargo().args(["mutants", "--version"]), INSTALL)?;
    let mut command = cargo();
    command.args(["mutants", "--no-shuffle", "--baseline", "skip"]);
    command.args(["--output", SCRATCH]);
    if let Some(shard) = shard {
        command.args(["--shard", shard]);
    }
    match place {
        Place::Core => {
            let copy = Copy::new()?;
            let config = std::path::absolute(CONFIG)?;
            command.arg("--config").arg(config).arg("--in-place").arg("--dir").arg(&copy.root);
            // The tests are not to be changed, and the long search adds nothing to the seeds.
            command.args([
                "--exclude",
                "src/core/sim/**",
                "--exclude",
                "src/core/session/tests.rs",
            ]);
            command.args(["--timeout", "60", "--", "--lib", "--", "--skip", "every_order"]);
        }
        Place::Ppcore => {
            command.args(["--package", "ppcore", "--timeout", "20"]);
            // Handed to the build too: it makes the whole package's tests otherwise.
            let tests = ["--lib", "--test=vectors", "--test=properties"];
            command.args(tests.map(|tests| format!("--cargo-arg={tests}")));
            // Seconds a mutant, not minutes: the gate runs all cases, and shrinks what they find.
            command.env("PROPTEST_CASES", "500").env("PROPTEST_MAX_SHRINK_ITERS", "0");
            command.env("CARGO_PROFILE_DEV_DEBUG", "false");
        }
    }
    run_expecting(&mut command, &[0, NEVER_ENDING])?;
    let path = Path::new(SCRATCH).join("mutants.out/missed.txt");
    let missed = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    ensure!(missed.trim().is_empty(), "nothing finds these changes:\n{missed}");
    Ok(())
}

/// Every historic bug by its name, and what it stands for.
pub(crate) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    MUTANTS.iter().map(|mutant| (mutant.name, mutant.origin))
}

/// Plants every historic bug, or those of a name.
///
/// # Errors
/// When a replacement does not fit, a mutant does not build, or one survives.
pub(crate) fn plant_all(name: Option<&str>) -> Result<()> {
    let wanted = |mutant: &&Mutant| name.is_none_or(|part| mutant.name.contains(part));
    let chosen: Vec<&Mutant> = MUTANTS.iter().filter(wanted).collect();
    ensure!(!chosen.is_empty(), "no mutant is called so");
    let _lock = lock_scratch()?;
    let copy = Copy::new()?;
    println!("without a mutant: a build, and {UNPLANTED} seeds that must pass");
    let program = copy.build()?;
    let outcome = run_seeds(&program, 0..UNPLANTED)?;
    if let Some((seed, rule)) = outcome.failure {
        bail!("without a mutant seed {seed} breaks {rule}");
    }
    println!("{:<34}{:<13}{:>6}  stands for", "mutant", "found by", "seed");
    let mut survivors = Vec::new();
    for mutant in chosen {
        copy.plant(mutant)?;
        let found = copy.build().and_then(|program| find(&program));
        copy.restore(mutant)?;
        match found.with_context(|| mutant.name)? {
            Some((seed, rule)) => {
                println!("{:<34}{rule:<13}{seed:>6}  {}", mutant.name, mutant.origin);
            }
            None => {
                println!("{:<34}{:<13}{:>6}  {}", mutant.name, "SURVIVES", "", mutant.origin);
                survivors.push(mutant.name);
            }
        }
    }
    if !survivors.is_empty() {
        bail!("not found in {SEEDS_MAX} seeds: {}", survivors.join(", "));
    }
    Ok(())
}

/// Returns the first seed that fails, and the rule it breaks.
fn find(program: &Path) -> Result<Option<(u64, String)>> {
    let (mut from, mut count) = (0, STRETCH);
    while from < SEEDS_MAX {
        let to = (from + count).min(SEEDS_MAX);
        if let Some((seed, text)) = run_seeds(program, from..to)?.failure {
            let (rule, _) = text.split_once(':').unwrap_or((&text, ""));
            // A panic that is no oracle's has no such name.
            ensure!(
                rule.chars().all(|c| c.is_ascii_alphanumeric()),
                "seed {seed} fails otherwise than by an oracle: {text}"
            );
            return Ok(Some((seed, rule.to_owned())));
        }
        (from, count) = (to, count * 4);
    }
    Ok(None)
}

/// Takes the scratch for one run at a time: two would test each other's mutants.
///
/// # Errors
/// While another run has it.
fn lock_scratch() -> Result<File> {
    fs::create_dir_all(SCRATCH)?;
    let lock = File::create(Path::new(SCRATCH).join("lock"))?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .with_context(|| format!("another run works in {SCRATCH}: wait for its end"))?;
    Ok(lock)
}

/// A copy of `core` as a package.
struct Copy {
    root: PathBuf,
}

impl Copy {
    fn new() -> Result<Self> {
        let root = PathBuf::from(SCRATCH);
        let sources = root.join("src");
        if sources.exists() {
            fs::remove_dir_all(&sources).with_context(|| format!("{}", sources.display()))?;
        }
        copy_dir(Path::new(CORE), &sources.join("core"))?;
        fs::write(sources.join("lib.rs"), "pub mod core;\n")?;
        fs::write(root.join("Cargo.toml"), MANIFEST)?;
        // The versions of the project, and none that came out since.
        fs::copy("Cargo.lock", root.join("Cargo.lock"))?;
        Ok(Self { root })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root.join("src/core").join(file)
    }

    fn plant(&self, mutant: &Mutant) -> Result<()> {
        let path = self.path(mutant.file);
        let text = fs::read_to_string(&path).with_context(|| mutant.file.to_owned())?;
        fs::write(&path, replaced(mutant, &text)?)?;
        Ok(())
    }

    fn restore(&self, mutant: &Mutant) -> Result<()> {
        fs::copy(Path::new(CORE).join(mutant.file), self.path(mutant.file))?;
        Ok(())
    }

    fn build(&self) -> Result<PathBuf> {
        let mut build = cargo();
        build.args(["test", "--quiet", "--lib", "--no-run", "--manifest-path"]);
        build.arg(self.root.join("Cargo.toml"));
        build.arg("--target-dir").arg(self.root.join("target"));
        // A mutant leaves things unused.
        build.env("RUSTFLAGS", "--cap-lints allow").env_remove("CARGO_ENCODED_RUSTFLAGS");
        build_test(&mut build)
    }
}

/// Returns the text with the mutant in it.
fn replaced(mutant: &Mutant, text: &str) -> Result<String> {
    let Mutant { name, file, find, replace, .. } = mutant;
    let count = text.matches(find).count();
    ensure!(count == 1, "{name}: its text stands {count} times in {file}, not once:\n{find}");
    Ok(text.replacen(find, replace, 1))
}

fn copy_dir(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("{}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_mutant_fits_the_sources_as_they_are() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(CORE);
        for mutant in MUTANTS {
            let text = fs::read_to_string(root.join(mutant.file)).unwrap();
            assert_ne!(replaced(mutant, &text).unwrap(), text);
        }
        let names: BTreeSet<&str> = MUTANTS.iter().map(|mutant| mutant.name).collect();
        assert_eq!(names.len(), MUTANTS.len(), "each has a name of its own");
    }

    #[test]
    fn a_text_that_is_not_there_or_there_twice_is_an_error() {
        for text in ["", "a; a;"] {
            let mutant = Mutant { find: "a;", ..MUTANTS[0] };
            assert!(replaced(&mutant, text).is_err(), "{text}");
        }
    }
}
