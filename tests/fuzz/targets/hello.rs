//! What a client says first, where a route goes by it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::check::hello(data));
