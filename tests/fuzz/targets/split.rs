//! Any input, cut anywhere, collected, ended early.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::check::split(data));
