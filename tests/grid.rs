//! Every pair of bytes 12 and 13 of a v2 header, with 300 lengths each: 19.7 million headers, twice.
//!
//! No build takes fewer: the gate's own profile has debug assertions on, so thinning by
//! `cfg!(debug_assertions)` would thin it there too.

#[expect(dead_code, reason = "the grid asks the oracle about open streams only")]
mod naive;
#[path = "support/subject.rs"]
mod subject;

use naive::{Answer, Input, Options};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// All lengths up to a little above the largest address block, and both sides of every border.
fn lengths() -> Vec<u16> {
    let borders = [287, 511, 512, 519, 1023, 1024, 2048, 4095, 4096, 4097, 4098, 4111, 8192];
    let far = [16_384, 32_767, 32_768, 36_864, 49_152, 65_279, 65_280, 65_534, 65_535];
    let lengths: Vec<u16> = (0..278).chain(borders).chain(far).collect();
    assert_eq!(lengths.len(), 300);
    lengths
}

#[test]
fn every_command_family_and_length_is_judged_as_the_oracle_judges_it() {
    // Empty TLVs of type 0, wherever the walk begins.
    let zeros = |_| 0;
    check(&Options::default(), zeros);
}

#[test]
fn every_command_family_and_length_is_judged_as_the_oracle_judges_it_under_strict_options() {
    // An address block that is no TLV, so that those of LOCAL are found behind it or not at all.
    let addresses_first = |at| if at < SIGNATURE.len() + 4 + 12 { 0xFF } else { 0 };
    let strict =
        Options { strict_tlv: true, reject_unspec: true, max_v2_len: 4_096, ..Options::default() };
    check(&strict, addresses_first);
}

/// Compares ppcore with the oracle on the whole grid; `body` gives the byte at each offset.
fn check(options: &Options, body: impl Fn(usize) -> u8) {
    assert_eq!(options.input, Input::Open);
    let lengths = lengths();
    let mut header: Vec<u8> = (0..16 + 65_535).map(body).collect();
    header[..12].copy_from_slice(SIGNATURE);
    let [mut judged, mut good] = [0_usize; 2];
    for command in 0..=255 {
        for family in 0..=255 {
            header[12..14].copy_from_slice(&[command, family]);
            for length in &lengths {
                header[14..16].copy_from_slice(&length.to_be_bytes());
                let header = &header[..16 + usize::from(*length)];
                let expected = naive::decode(header, options);
                let got = subject::decode(header, options);
                assert!(
                    got == expected,
                    "{:02x?}: ppcore says {got:?}, the oracle {expected:?}",
                    &header[..16]
                );
                judged += 1;
                good += usize::from(matches!(expected, Answer::Ok(_)));
            }
        }
    }
    assert_eq!(judged, 65_536 * lengths.len());
    // LOCAL alone is good with any family: 256 of the 65,536 pairs.
    assert!(good > 256 * lengths.len() / 2, "only {good} of them were good");
}
