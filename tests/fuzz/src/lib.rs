//! What the targets share: the slow oracle and the comparisons of the ordinary tests, and how the
//! first bytes of an input choose a receiver's options.
//!
//! Invariant: what judges is written from docs/protocol.md and shares nothing with what is judged.
#![allow(dead_code, reason = "each target uses a part of what the tests share")]

#[path = "../../support/conformance.rs"]
pub(crate) mod conformance;
#[path = "../../support/cuts.rs"]
pub(crate) mod cuts;
#[path = "../../../crates/ppserver/src/config/tests/every_key.rs"]
pub(crate) mod every_key;
#[path = "../../../crates/ppserver/src/data/hello/written.rs"]
pub(crate) mod hellos;
#[path = "../../naive.rs"]
pub(crate) mod naive;
#[path = "../../support/round_trip.rs"]
pub(crate) mod round_trip;
#[path = "../../support/subject.rs"]
pub(crate) mod subject;

mod batches;
mod capi;
pub mod check;
mod layout;
mod routes;
pub mod seeds;
mod views;

use naive::{Input, Options};

/// Bytes in front of a header: flags, then the length limit of v2, big-endian.
pub const CHOICE_BYTES: usize = 3;

/// Splits an input into a receiver's options and what it receives; `None` if it is too short.
fn choose(data: &[u8]) -> Option<(Options, &[u8])> {
    let (&[flags, high, low], rest) = data.split_first_chunk::<CHOICE_BYTES>()?;
    let (v1, v2) =
        [(true, true), (true, true), (true, false), (false, true)][usize::from(flags & 3)];
    let is_set = |bit: u8| flags >> bit & 1 == 1;
    let options = Options {
        input: Input::Open,
        v1,
        v2,
        optional: is_set(2),
        // A zero flag is the default of `ppserver decode`.
        verify_crc: !is_set(3),
        require_crc: is_set(6),
        strict_tlv: is_set(4),
        reject_unspec: is_set(5),
        mixed_v1: is_set(7),
        max_v2_len: 65_535 - usize::from(u16::from_be_bytes([high, low])),
    };
    Some((options, rest))
}
