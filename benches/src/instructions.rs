//! Runs one case so many times: `instructions CASE TIMES`.
//!
//! Not a measurement: `cargo xtask test --step instructions` runs it under callgrind, twice for each
//! case, and takes the difference. That leaves out what starting a program costs, and needs
//! no marks that an optimiser could move. What the same calls answer to the same input, the benches check,
//! each of which the gate runs once. Invariant: a call of a case costs the same every time.
#![expect(clippy::print_stdout, reason = "its list of cases is its output")]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use benches::{input, ours, script};
use ppcore::{Addresses, Crc32cPolicy, Options, encode::EncodeError};

/// A case by the name it has in `limits.toml`.
struct Case {
    name: &'static str,
    run: fn(&mut Subject),
}

/// What the cases work on, made before anything is counted.
struct Subject {
    addresses: Addresses,
    out: [u8; 256],
    now: Instant,
}

const CASES: &[Case] = &[
    Case { name: "decode-v1-tcp4", run: |_| decode(input::V1_TCP4.bytes) },
    Case { name: "decode-v1-tcp6", run: |_| decode(input::V1_TCP6.bytes) },
    Case {
        name: "decode-v1-tcp6-dribbled",
        run: |_| keep(&ours::decode_dribbled(black_box(input::V1_TCP6.bytes))),
    },
    Case { name: "decode-v2-tcp4", run: |_| decode(input::V2_TCP4.bytes) },
    Case { name: "decode-v2-tcp6", run: |_| decode(input::V2_TCP6.bytes) },
    Case { name: "decode-v2-ssl-walk", run: |_| walk(input::V2_SSL.bytes, Options::new()) },
    Case {
        name: "decode-v2-ssl-walk-unverified",
        run: |_| walk(input::V2_SSL.bytes, Options::new().crc32c(Crc32cPolicy::Ignore)),
    },
    Case { name: "decode-v2-ssl-crc-walk", run: |_| walk(input::V2_SSL_CRC.bytes, Options::new()) },
    Case { name: "encode-v1", run: |subject| encode(subject, ours::encode_v1) },
    Case { name: "encode-v2", run: |subject| encode(subject, ours::encode_v2) },
    Case { name: "encode-v2-ssl-crc", run: |subject| encode(subject, ours::encode_v2_ssl_crc) },
    Case {
        name: "session-short",
        run: |subject| keep(&script::play(black_box(&script::SHORT), subject.now)),
    },
];

/// Makes the optimiser believe that somebody reads `value`; by reference, so that nothing is copied
/// for the sake of the measurement.
fn keep<T>(value: &T) {
    black_box(value);
}

fn walk(received: &[u8], options: Options) {
    keep(&ours::decode_and_walk(black_box(received), options));
}

fn decode(received: &[u8]) {
    keep(&ours::decode(black_box(received)));
}

fn encode(subject: &mut Subject, write: fn(&mut [u8], &Addresses) -> Result<usize, EncodeError>) {
    keep(&write(black_box(&mut subject.out), black_box(&subject.addresses)));
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        for case in CASES {
            println!("{}", case.name);
        }
        return ExitCode::SUCCESS;
    };
    let case = CASES.iter().find(|case| case.name == name);
    let times = arguments.next().and_then(|times| times.parse::<u32>().ok());
    let (Some(case), Some(times)) = (case, times) else {
        eprintln!("usage: instructions [CASE TIMES]; without arguments it lists the cases");
        return ExitCode::FAILURE;
    };
    let (source, destination) = input::V2_TCP4.answer();
    #[expect(clippy::disallowed_methods, reason = "the script's one moment; it never moves on")]
    let now = Instant::now();
    let mut subject =
        Subject { addresses: Addresses::pair(source, destination), out: [0; 256], now };
    for _ in 0..times {
        (case.run)(&mut subject);
    }
    ExitCode::SUCCESS
}
