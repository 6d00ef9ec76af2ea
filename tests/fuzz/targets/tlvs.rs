//! The TLV walk and the typed views.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::check::tlvs(data));
