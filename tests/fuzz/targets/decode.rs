//! Any input, whole, against the naive oracle.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::check::decode(data));
