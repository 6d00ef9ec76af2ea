//! What is measured: the inputs, our own work on them, and a session without sockets.
//!
//! Shared by the benches, which time it beside other crates, and by `instructions`, which only
//! runs it, for callgrind to count. Not a test, though nothing is measured that has not been
//! checked once. Invariant: neither inputs nor work depend on the machine, the time or chance, so
//! that instruction counts repeat exactly.
//!
//! # Reading the results
//!
//! `cargo xtask test --step instructions` counts the instructions of our own cases and holds them
//! against `limits.toml`. A count is what one call takes in the long run: it repeats to the last
//! digit on one machine, needs no quiet one, and moves with the compiler and, where the C library
//! picks another `memcpy`, with the processor. It says nothing of cache misses or of how many
//! instructions run at once: halving a count seldom halves the time.
//!
//! `cargo bench -p benches` times the same cases beside every other crate of the field. Times drift
//! with the machine; only ratios out of one run count. A cell that is missing is a case that crate
//! cannot do; the bench says why.

pub mod input;
pub mod ours;
pub mod script;
