//! The seeded simulator: sessions, and flows of datagrams, against a modelled kernel, hostile peers and a virtual clock.
//!
//! ```text
//! plan (what a session will meet) -> world (who moves next) -> shell -> session, pool
//!                                      |                         |
//!                                      +-> peers -> kernel <-----+      oracle judges each step
//! ```
//!
//! One `u64` decides everything: no thread, no clock, no I/O. It is a test of the machine, not of
//! the real shell. `cargo xtask sim` runs more seeds, and tells the story of one.

mod case;
mod coverage;
mod datagrams;
mod exhaustive;
pub(crate) mod kernel;
mod oracle;
mod peer;
mod plan;
mod pool;
pub(crate) mod queue;
pub(crate) mod rng;
pub(crate) mod shell;
pub(crate) mod socket;
mod stage;
pub(crate) mod wire;
mod world;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use coverage::Coverage;
use kernel::{Budget, Kernel};
use rng::Rng;
use socket::{Handshake, Sizes};
use wire::Move;
use world::World;

const SEEDS: u64 = 512;
const STEPS: u64 = 3_000;
/// So many failing seeds are enough to begin with.
const FAILURES_MAX: u64 = 20;
/// How often everything must have been met, over all seeds.
const HITS_MIN: u64 = 10;

/// Runs sessions until the steps of a seed are used up, and then its worlds of datagrams.
fn run(seed: u64, begin: Instant, is_traced: bool) -> Coverage {
    let mut rng = Rng::new(seed);
    let mut cover = Coverage::new();
    while cover.steps < STEPS {
        cover.add(&World::run(&mut rng, begin, is_traced));
    }
    datagrams::run(seed, begin, is_traced, &mut cover);
    cover
}

/// Runs one session that meets what `choices` say; they stand in for a seed.
#[cfg(fuzzing)]
pub fn simulate(choices: &[u8]) {
    World::run(&mut Rng::of_choices(choices), begin(), false);
}

#[expect(clippy::disallowed_methods, reason = "an Instant has no other origin; only spans count")]
fn begin() -> Instant {
    Instant::now()
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Returns the seeds to run, from `PPSERVER_SIM_SEEDS=1000..2000` if it is set.
fn seeds() -> Option<Range<u64>> {
    let text = std::env::var("PPSERVER_SIM_SEEDS").ok()?;
    let ends =
        text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    let (from, to) = ends.expect("PPSERVER_SIM_SEEDS is FROM..TO");
    Some(from..to)
}

/// Says which rule was broken, and how.
fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic")
}

/// Each failure is one line: `seed 7 breaks Spin: what it was`. `cargo xtask` reads them.
#[test]
fn sim_every_seed_keeps_every_rule() {
    let begin = begin();
    let mut cover = Coverage::new();
    let mut failed = 0;
    for seed in seeds().unwrap_or(0..SEEDS) {
        match catch_unwind(AssertUnwindSafe(|| run(seed, begin, false))) {
            Ok(covered) => cover.add(&covered),
            Err(panic) => {
                failed += 1;
                let text = message(&*panic);
                println!("seed {seed} breaks {}", text.lines().next().unwrap_or(text));
            }
        }
        if failed == FAILURES_MAX {
            break;
        }
    }
    println!("{cover}");
    assert_eq!(failed, 0, "replay one of them: cargo xtask sim --seed SEED");
    if seeds().is_none() {
        let holes = cover.holes(HITS_MIN);
        assert!(holes.is_empty(), "met fewer than {HITS_MIN} times: {holes:?}");
    }
}

/// `PPSERVER_SIM_SEED=7` tells the story of that seed.
#[test]
fn sim_replay_of_a_seed_takes_the_same_course() {
    let (seed, begin) = (number("PPSERVER_SIM_SEED").unwrap_or(0), begin());
    let is_told = number("PPSERVER_SIM_SEED").is_some();
    let told = run(seed, begin, is_told);
    assert_eq!(told.to_string(), run(seed, begin, false).to_string());
}

/// Once the clock leapt while a connection ended with bytes unsent: the look that was due came late, and so did
/// what it found, for which the session was blamed.
#[test]
fn sim_an_end_over_which_the_clock_leaps_is_seen_late() {
    run(5_019_838, begin(), false);
}

/// Once the world of a connection that was reset with bytes held back waited for them for ever.
#[test]
fn sim_what_a_reset_socket_holds_back_never_leaves() {
    let now = begin();
    let budget = Budget { fds: 1, ports: 1, pipes: 0 };
    let mut kernel = Kernel::new(Rng::new(0), budget);
    let sizes = Sizes { received_max: 8, unsent_max: 8, segment_max: 8 };
    let stands = Some((now, Handshake::Stands));
    let fd = kernel.connect(stands, sizes, now).expect("the budget allows it");
    kernel.send_more(fd, b"held", now).expect("it stands and has room");
    let until = kernel.look(fd).held_until().expect("MSG_MORE holds it back");
    assert!(kernel.moves(&[fd], until).contains(&Move::Release(fd)));
    kernel.reset(fd);
    assert_eq!(kernel.look(fd).held_until(), None);
    assert_eq!(kernel.moves(&[fd], until), [Move::Reset(fd.other_end())]);
}
