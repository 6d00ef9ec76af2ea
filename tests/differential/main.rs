//! Every Rust decoder of the field on the same bytes, and where it disagrees with ours.
//!
//! Not a proof that we are right: [`allowed`] says of each kind of disagreement whom the
//! specification favours. Invariant: a disagreement that is not in the table fails, and so does a
//! line of the table that was never seen, so the table is what these versions do.
//!
//! The inputs are the vectors and 200,000 mutations of them, the same in every run.

mod allowed;
mod mutation;
mod peers;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::panic;

use ppcore::{Decoded, Decoder, Options};
use serde::Deserialize;

use mutation::Mutations;

/// Inputs that are made from the vectors.
const MUTATIONS: usize = 200_000;
const SEED: u64 = 20_260_726;

/// What a decoder makes of the first bytes of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Header {
        /// Bytes of the header; not every decoder tells.
        len: Option<usize>,
        source: Option<SocketAddr>,
        destination: Option<SocketAddr>,
    },
    /// More bytes may make it one.
    Incomplete,
    /// It is none; ours says why.
    Refused(&'static str),
    Panicked,
}

#[derive(Deserialize)]
struct Vector {
    hex: String,
}

/// The inputs of all vectors.
fn vectors() -> Vec<Vec<u8>> {
    let text = include_str!("../vectors/proxy-protocol.json");
    let vectors: Vec<Vector> = serde_json::from_str(text).expect("the vectors are JSON");
    let byte = |pair: &[u8]| {
        let digits = std::str::from_utf8(pair).expect("hex is ASCII");
        u8::from_str_radix(digits, 16).expect("two hex digits")
    };
    let bytes = |vector: &Vector| vector.hex.as_bytes().chunks(2).map(byte).collect();
    vectors.iter().map(bytes).collect()
}

fn ours(received: &[u8]) -> Verdict {
    match Decoder::new(Options::new()).decode(received) {
        Ok(Decoded::Header(header)) => Verdict::Header {
            len: Some(header.len()),
            source: header.source(),
            destination: header.destination(),
        },
        Ok(Decoded::Need(_)) => Verdict::Incomplete,
        Ok(Decoded::Absent) => unreachable!("a header is required"),
        Err(error) => Verdict::Refused(error.kind().name()),
    }
}

/// How `theirs` differs from `ours`, in the words of the table.
fn disagreement(ours: Verdict, theirs: Verdict) -> Option<String> {
    use Verdict::{Header, Incomplete, Panicked, Refused};
    Some(match (ours, theirs) {
        (_, Panicked) => "panics".to_owned(),
        (Refused(_), Refused(_)) | (Incomplete, Incomplete) => return None,
        (Refused(kind), Header { .. }) => format!("accepts {kind}"),
        (Refused(kind), Incomplete) => format!("waits on {kind}"),
        (Incomplete, Header { .. }) => "accepts incomplete".to_owned(),
        (Incomplete, Refused(_)) => "refuses incomplete".to_owned(),
        (Header { .. }, Refused(_)) => "refuses header".to_owned(),
        (Header { .. }, Incomplete) => "waits on header".to_owned(),
        (
            Header { len, source, destination },
            Header { len: their_len, source: s, destination: d },
        ) => {
            if (source, destination) != (s, d) {
                "other addresses".to_owned()
            } else if their_len.is_some() && len != their_len {
                "other length".to_owned()
            } else {
                return None;
            }
        }
        (Panicked, _) => {
            unreachable!("ours is not run under catch_unwind: its panic fails the test")
        }
    })
}

/// How often a disagreement was seen, and the first input that shows it.
struct Seen {
    count: usize,
    example: Vec<u8>,
}

#[test]
fn every_disagreement_is_in_the_table_and_every_line_of_the_table_is_seen() {
    let vectors = vectors();
    let mutations = Mutations::new(&vectors, SEED).take(MUTATIONS);
    let mut seen: BTreeMap<(&str, &str, String), Seen> = BTreeMap::new();

    // Peers that panic do so by the thousand.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    for input in vectors.iter().cloned().chain(mutations) {
        let want = ours(&input);
        for peer in peers::ALL {
            let got = panic::catch_unwind(|| (peer.decode)(&input)).unwrap_or(Verdict::Panicked);
            if let Some(what) = disagreement(want, got) {
                let version = if input.first() == Some(&b'\r') { "v2" } else { "v1" };
                let place = seen.entry((peer.name, version, what));
                place.or_insert_with(|| Seen { count: 0, example: input.clone() }).count += 1;
            }
        }
    }
    panic::set_hook(hook);

    let mut problems = String::new();
    for ((peer, version, what), Seen { count, example }) in &seen {
        let shown = example.escape_ascii();
        match allowed::find(peer, version, what) {
            Some(row) => {
                println!("{peer:<22}{version:<4}{what:<28}{count:>7}  favours {}", row.favours);
            }
            None => {
                let _ =
                    writeln!(problems, "not in the table: {peer} {version} {what}: \"{shown}\"");
            }
        }
    }
    for row in allowed::ALLOWED {
        for what in row.what {
            if !seen.contains_key(&(row.peer, row.version, (*what).to_owned())) {
                let (peer, version) = (row.peer, row.version);
                let _ = writeln!(problems, "never seen: {peer} {version} {what}");
            }
        }
    }
    assert!(problems.is_empty(), "the table is not what was seen:\n{problems}");
}
