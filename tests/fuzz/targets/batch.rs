//! Batches of datagrams that strangers send, aggregates among them, through header, flows and bundles.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::check::batch(data));
