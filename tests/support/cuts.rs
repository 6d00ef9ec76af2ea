//! Every way to hand ppcore the same bytes, each held against the oracle.

use ppcore::{Collector, Decoded, Decoder};

use crate::naive::{self, Answer, Input, Options};
use crate::subject;

/// Demands the oracle's answer, but for the name of a broken v1 rule: one byte can break two of them.
#[track_caller]
pub(crate) fn assert_agreed(got: &Answer, expected: &Answer, story: impl FnOnce() -> String) {
    let nameless = |answer: &Answer| match answer {
        Answer::Error { version: version @ Some("1"), kind, offset } if kind.starts_with("v1_") => {
            Answer::Error { version: *version, kind: "v1_", offset: *offset }
        }
        Answer::Error { .. }
        | Answer::Ok(_)
        | Answer::Incomplete { .. }
        | Answer::Absent
        | Answer::NotProxy { .. } => answer.clone(),
    };
    if got != expected && nameless(got) != nameless(expected) {
        panic!("ppcore: {got:?}\noracle: {expected:?}\n{}", story());
    }
}

/// Feeds a decoder growing prefixes of `input`, and demands the oracle's answer to each.
pub(crate) fn check_prefixes(
    input: &[u8],
    options: &Options,
    prefixes: impl IntoIterator<Item = usize>,
) {
    let options = Options { input: Input::Open, ..*options };
    let mut decoder = Decoder::new(subject::options(&options));
    for n in prefixes {
        let received = &input[..n];
        let decoded = decoder.decode(received);
        let got = subject::answer(decoded, decoder.version(received), received);
        let expected = naive::decode(received, &options);
        assert_agreed(&got, &expected, || format!("after {n} bytes of {}", hex(input)));
    }
}

/// Reads as many bytes as the decoder asks for, no more, and demands that it ends as the oracle
/// says without having taken a byte of the payload.
pub(crate) fn check_need(input: &[u8], options: &Options) {
    let options = Options { input: Input::Open, ..*options };
    let mut decoder = Decoder::new(subject::options(&options));
    let mut n = 0;
    let decoded = loop {
        match decoder.decode(&input[..n]) {
            Ok(Decoded::Need(need)) if need <= input.len() - n => {
                assert_ne!(need, 0, "nothing is missing from {}", hex(input));
                n += need;
            }
            other => break other,
        }
    };
    let received = &input[..n];
    let got = subject::answer(decoded, decoder.version(received), received);
    let expected = naive::decode(received, &options);
    assert_agreed(&got, &expected, || format!("reading what is asked of {}", hex(input)));
    match (got, naive::decode(input, &options)) {
        (Answer::Ok(header), whole) => {
            assert_eq!(header.consumed, n, "payload was read of {}", hex(input));
            assert_eq!(whole, Answer::Ok(header));
        }
        (Answer::Incomplete { need, .. }, whole) => {
            let more = matches!(whole, Answer::Ok(_));
            assert!(!more, "asks for {need} bytes behind the header {}", hex(input));
        }
        (got, whole) => assert_agreed(&got, &whole, || hex(input)),
    }
}

/// Pushes `input` through a collector in chunks of the given sizes.
pub(crate) fn check_collector(
    input: &[u8],
    options: &Options,
    chunks: impl IntoIterator<Item = usize>,
) {
    let options = Options { input: Input::Open, ..*options };
    let mut collector =
        Box::new(Collector::<{ ppcore::V2_LEN_MAX }>::new(subject::options(&options)));
    let mut rest = input;
    let mut taken = 0;
    let mut chunks = chunks.into_iter();
    let decoded = loop {
        let (chunk, behind) = rest.split_at(chunks.next().unwrap_or(rest.len()).min(rest.len()));
        match collector.push(chunk) {
            Ok(collected) => {
                taken += collected.taken;
                let final_answer = !matches!(collected.decoded, Decoded::Need(_));
                if final_answer || behind.is_empty() {
                    break Ok(collected.decoded);
                }
                assert_eq!(collected.taken, chunk.len(), "bytes are lost of {}", hex(input));
            }
            Err(error) => break Err(error),
        }
        rest = behind;
    };
    // A collector has no word on the version; the decoder behind it is judged elsewhere.
    let expected = naive::decode(input, &options);
    let version = match &expected {
        Answer::Incomplete { version, .. } | Answer::Error { version, .. } => *version,
        Answer::Ok(_) | Answer::Absent | Answer::NotProxy { .. } => None,
    };
    let version = version.map(|name| match name {
        "1" => ppcore::Version::V1,
        _ => ppcore::Version::V2,
    });
    let got = subject::answer(decoded, version, collector.received());
    assert_agreed(&got, &expected, || format!("collecting {}", hex(input)));
    assert!(input.starts_with(collector.received()), "other bytes were kept of {}", hex(input));
    if let Answer::Ok(header) = got {
        assert_eq!(header.consumed, taken, "payload was taken of {}", hex(input));
    }
}

/// Ends the stream behind `input`, and sends it as a datagram.
pub(crate) fn check_ends(input: &[u8], options: &Options) {
    for end in [Input::Closed, Input::Datagram] {
        for optional in [false, true] {
            let options = Options { input: end, optional, ..*options };
            let got = subject::decode(input, &options);
            let expected = naive::decode(input, &options);
            assert_agreed(&got, &expected, || format!("{options:?} for {}", hex(input)));
        }
    }
}

/// As `ppserver decode --hex` takes it.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
