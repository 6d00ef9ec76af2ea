//! Datagrams: v1 and v2 headers, and Simple Proxy Protocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::check::datagram(data));
