//! Configuration text: parsed, printed, parsed again.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::check::config(data));
