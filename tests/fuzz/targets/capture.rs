//! Files of packets, and text that is pasted.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::check::capture(data));
