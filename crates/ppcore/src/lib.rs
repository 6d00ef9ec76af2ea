//! The PROXY protocol, decoded from any cut of the stream and encoded into a caller's slice.
#![no_std]
#![forbid(unsafe_code)]
