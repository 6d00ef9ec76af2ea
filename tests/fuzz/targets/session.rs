//! The session machine under the simulator's oracles.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::check::session(data));
