//! `cargo xtask torment --sessions N`: so many random sessions through one server, as fast as they
//! go, and what it holds when they are over.
//!
//! The sessions are those of a soak. Invariant: every one of them ends as its kind must, and the
//! server is then what it was: descriptors exactly, memory but for its own rounding.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Result, bail};

use super::server::{Sample, Server};
use super::stream::PATIENCE;
use super::{CLIENTS, Shared, report, start};
use crate::host;

/// The sessions run in so many parts, and the server is looked at, at rest, behind each.
const PARTS: u64 = 10;
/// By how much memory may be higher behind the last part than behind any of the first half. The
/// allocator keeps what the busiest moment took, and that may come late: runs of 10,000 and 100,000
/// sessions rose by 0.4 to 1 MiB. In 100,000 a session that leaves 84 bytes behind is found.
const GROWTH_KIB_MAX: u64 = 4096;

/// Runs the sessions and prints what they left.
///
/// # Errors
/// When it cannot run, or when something is left.
pub(super) fn run(program: &Path, sessions: u64, seed: u64) -> Result<()> {
    host::raise_descriptor_limit()?;
    let (mut server, shared) = start(program, seed)?;
    let (began, first) = (host::now(), server.sample()?);
    let mut at_rest = Vec::new();
    for part in 0..PARTS {
        let numbers = sessions * part / PARTS..sessions * (part + 1) / PARTS;
        eprintln!("   sessions {} to {} of {sessions}", numbers.start + 1, numbers.end);
        at_rest.push(batch(&mut server, &shared, numbers)?);
    }
    let last = at_rest.last().copied().unwrap_or_default();
    let memory: Vec<u64> = at_rest.iter().map(|sample| sample.allocated / 1024).collect();
    let seconds = (host::now() - began).as_secs_f64();
    let (counters, _) = server.stop()?;
    let (lost, faults) = shared.faults.counts();
    println!(
        "seed {seed}, {sessions} sessions, {CLIENTS} at a time, in {seconds:.1} s\n\
         lost bytes    {lost} times\n\
         other faults  {faults}\n\
         memory        {} KiB at start, {memory:?} at rest\n\
         descriptors   {} at start, {} at rest, {} pipe ends kept\n\
         counters      {counters}",
        first.allocated / 1024,
        first.descriptors,
        last.descriptors,
        last.pipe_ends,
    );
    let connections = shared.connections.load(Ordering::Relaxed);
    let mut complaints = report::imbalance(&counters, connections);
    if lost + faults > 0 {
        complaints.push(format!("{} sessions went wrong", lost + faults));
    }
    if last.descriptors != first.descriptors {
        complaints.push(format!("{} descriptors, {} before", last.descriptors, first.descriptors));
    }
    if let Some(growth) = growth(&memory).filter(|growth| *growth > GROWTH_KIB_MAX) {
        complaints.push(format!("memory grew by {growth} KiB"));
    }
    if !complaints.is_empty() {
        bail!("{}", complaints.join("; "));
    }
    Ok(())
}

/// How much more is held behind the last part than at the most in the first half of them: memory
/// rises to what the most sessions at a time take, and that is met early.
fn growth(memory: &[u64]) -> Option<u64> {
    let (first, _) = memory.split_at(memory.len() / 2);
    Some(memory.last()?.saturating_sub(*first.iter().max()?))
}

/// Runs the sessions of these numbers, and looks at the server once the last of them is over.
fn batch(server: &mut Server, shared: &Shared, numbers: Range<u64>) -> Result<Sample> {
    let next = AtomicU64::new(numbers.start);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        return;
                    }
                    shared.session(number);
                }
            });
        }
    });
    host::poll_for(PATIENCE, || Ok((server.counters()?["active"] == 0).then_some(())))?;
    server.sample()
}
