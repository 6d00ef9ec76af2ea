//! Encoded headers, read back by the oracle for every output size.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::check::round_trip(data));
