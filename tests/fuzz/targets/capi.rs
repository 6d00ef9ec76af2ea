//! The C ABI, its arguments beside pages that nobody may touch.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::check::capi(data));
