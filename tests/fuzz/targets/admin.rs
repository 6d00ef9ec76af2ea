//! What strangers send to the doors of the control plane.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::check::admin(data));
