//! What holds for every input: ppcore answers as the oracle does, however the bytes are cut; and
//! what ppcore writes, the oracle reads back, for every size of the caller's slice.
//!
//! The cases come from a fixed seed, so a failure replays by running the test again. The
//! environment gives others: `PROPTEST_RNG_SEED=n`, and `PROPTEST_CASES=n` for more or fewer of them.

#[path = "support/cuts.rs"]
mod cuts;
mod naive;
#[path = "support/round_trip.rs"]
mod round_trip;
#[path = "support/subject.rs"]
mod subject;
#[path = "support/wild.rs"]
mod wild;

use std::collections::BTreeMap;
use std::env;
use std::sync::Mutex;

use naive::{Answer, Input, Options};
use ppcore::ErrorKind;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

/// The same in every build: see tests/grid.rs for why `cfg!(debug_assertions)` cannot tell the gate
/// from a debug build.
const WILD_CASES: u32 = 200_000;
const ROUND_TRIPS: u32 = 2_000;

/// So many, unless the environment asks for others.
fn cases(usual: u32) -> u32 {
    let is_asked = env::var_os("PROPTEST_CASES").is_some();
    if is_asked { ProptestConfig::default().cases } else { usual }
}

fn runner(usual: u32) -> TestRunner {
    let asked = ProptestConfig::default();
    let rng_seed = match asked.rng_seed {
        RngSeed::Random => RngSeed::Fixed(0x50_52_4F_58_59),
        fixed @ RngSeed::Fixed(_) => fixed,
    };
    let cases = cases(usual);
    TestRunner::new(ProptestConfig { cases, rng_seed, failure_persistence: None, ..asked })
}

#[test]
fn any_cut_of_any_input_is_answered_as_the_oracle_answers() {
    // What the cases were about: a rule that none of them broke has not been tested.
    let seen = Mutex::new(BTreeMap::<String, usize>::new());
    let checked = runner(WILD_CASES).run(&wild::case(), |case| {
        let wild::Case { input, options, cuts } = &case;
        cuts::check_prefixes(input, options, cuts.iter().copied());
        cuts::check_need(input, options);
        let chunks = cuts.iter().scan(0, |from, to| Some(to - std::mem::replace(from, *to)));
        cuts::check_collector(input, options, chunks);
        cuts::check_ends(input, options);
        let mut seen = seen.lock().expect("no test of this binary shares it");
        for input_kind in [Input::Open, Input::Closed] {
            let options = Options { input: input_kind, ..*options };
            *seen.entry(label(&naive::decode(input, &options))).or_default() += 1;
        }
        Ok(())
    });
    if let Err(broken) = checked {
        panic!("{broken}");
    }
    let seen = seen.into_inner().expect("the run is over");
    // In fewer cases a rare outcome may be missing.
    if cases(WILD_CASES) < WILD_CASES {
        return;
    }
    let outcomes = ["1 PROXY", "1 UNKNOWN", "2 PROXY", "2 LOCAL", "incomplete", "absent"];
    for outcome in ErrorKind::ALL.iter().map(|kind| kind.name()).chain(outcomes) {
        let times = seen.get(outcome).copied().unwrap_or(0);
        assert!(times >= 5, "only {times} cases were {outcome}: {seen:#?}");
    }
}

fn label(answer: &Answer) -> String {
    match answer {
        Answer::Ok(header) => format!("{} {}", header.version, header.command),
        Answer::Incomplete { .. } => "incomplete".to_owned(),
        Answer::Absent => "absent".to_owned(),
        Answer::NotProxy { .. } => "not_proxy".to_owned(),
        Answer::Error { kind, .. } => (*kind).to_owned(),
    }
}

#[test]
fn any_datagram_of_the_simple_proxy_protocol_is_answered_as_the_oracle_answers() {
    let byte = prop_oneof![Just(0_u8), Just(0xFF), any::<u8>()];
    let magic =
        prop_oneof![9 => Just(vec![0x56, 0xEC]), 1 => prop::collection::vec(any::<u8>(), 0..4)];
    let datagram = (magic, prop::collection::vec(byte, 0..60), any::<[bool; 2]>(), 0..60_usize);
    runner(ROUND_TRIPS)
        .run(&datagram, |(magic, rest, mapped, end)| {
            let mut datagram = [magic, rest].concat();
            for (at, _) in [2, 18].into_iter().zip(mapped).filter(|(_, mapped)| *mapped) {
                if let Some(prefix) = datagram.get_mut(at..at + 12) {
                    prefix.copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]);
                }
            }
            datagram.truncate(end);
            let options = Options { input: Input::Spp, ..Options::default() };
            let expected = naive::decode(&datagram, &options);
            prop_assert_eq!(subject::decode(&datagram, &options), expected);
            Ok(())
        })
        .unwrap();
}

#[test]
fn what_the_v1_encoder_writes_is_read_back_for_every_output_size() {
    runner(ROUND_TRIPS)
        .run(&round_trip::addresses(), |addresses| {
            round_trip::v1(&addresses);
            Ok(())
        })
        .unwrap();
}

#[test]
fn what_the_v2_encoder_writes_is_read_back_for_every_output_size() {
    runner(ROUND_TRIPS)
        .run(&(round_trip::start(), round_trip::pieces()), |(start, pieces)| {
            round_trip::v2(&start, &pieces);
            Ok(())
        })
        .unwrap();
}

#[test]
fn what_the_simple_proxy_protocol_encoder_writes_is_read_back_for_every_output_size() {
    runner(ROUND_TRIPS)
        .run(&round_trip::addresses(), |addresses| {
            round_trip::spp(&addresses);
            Ok(())
        })
        .unwrap();
}
