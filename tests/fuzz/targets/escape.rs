//! What a sender wrote, as the terminal and the log show it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::check::escape(data));
