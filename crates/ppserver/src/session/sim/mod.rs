//! The seeded simulator: sessions against a modelled kernel, hostile peers and a virtual clock.
//!
//! ```text
//! plan (what a session will meet) -> world (who moves next) -> shell -> session
//!                                      |                         |
//!                                      +-> peers -> kernel <-----+      oracle judges each step
//! ```
//!
//! One `u64` decides everything: no thread, no clock, no I/O. It is a test of the machine, not of
//! the real shell. A failure prints the seed, and the line that prints the whole story of it.

mod coverage;
mod kernel;
mod oracle;
mod peer;
mod plan;
mod rng;
mod shell;
mod socket;
mod stage;
mod wire;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use coverage::Coverage;
use rng::Rng;
use world::World;

const SEEDS: u64 = 512;
const STEPS: u64 = 3_000;
/// How often everything must have been met, over all seeds.
const HITS_MIN: u64 = 10;

/// Runs sessions until the steps of a seed are used up.
fn run(seed: u64, begin: Instant, is_traced: bool) -> Coverage {
    let mut rng = Rng::new(seed);
    let mut cover = Coverage::new();
    while cover.steps < STEPS {
        cover.add(&World::run(&mut rng, begin, is_traced));
    }
    cover
}

#[expect(clippy::disallowed_methods, reason = "an Instant has no other origin; only spans count")]
fn begin() -> Instant {
    Instant::now()
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Says what went wrong, without the numbers that differ from seed to seed.
fn rule_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
    text.split([':', '\n']).next().unwrap_or(text).to_owned()
}

/// `PPSERVER_SIM_SEEDS=1000000` runs more of them.
#[test]
fn sim_every_seed_keeps_every_rule() {
    let seeds = number("PPSERVER_SIM_SEEDS").unwrap_or(SEEDS);
    let begin = begin();
    let mut cover = Coverage::new();
    let mut failed: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for seed in 0..seeds {
        match catch_unwind(AssertUnwindSafe(|| run(seed, begin, false))) {
            Ok(covered) => cover.add(&covered),
            Err(panic) => failed.entry(rule_of(&*panic)).or_default().push(seed),
        }
    }
    for (rule, seeds) in &failed {
        println!("{} seeds break {rule}, the first:", seeds.len());
        println!(
            "    PPSERVER_SIM_SEED={} cargo test -p ppserver sim_replay -- --nocapture",
            seeds[0]
        );
    }
    assert!(failed.is_empty(), "{failed:?}");
    println!("{cover}");
    let holes = cover.holes(HITS_MIN);
    assert!(holes.is_empty(), "met fewer than {HITS_MIN} times: {holes:?}");
}

/// `PPSERVER_SIM_SEED=7` tells the story of that seed.
#[test]
fn sim_replay_of_a_seed_takes_the_same_course() {
    let (seed, begin) = (number("PPSERVER_SIM_SEED").unwrap_or(0), begin());
    let told = run(seed, begin, true);
    assert_eq!(told.to_string(), run(seed, begin, false).to_string());
}
