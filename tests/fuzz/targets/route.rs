//! Conditions of routes, and TLVs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::check::route(data));
