//! A layer-4 proxy: PROXY protocol in, payload relayed, PROXY protocol out.
//!
//! ```text
//! main -> cli -> control -> data -> core -> ppcore
//!                   \---------\--> config, telemetry
//! ```
//!
//! For the program and its tests: no API, and nothing in here keeps its name.
#![doc(hidden)]

#[cfg(not(target_os = "linux"))]
compile_error!("ppserver runs on Linux only: it needs epoll and splice; ppcore runs anywhere");

pub mod cli;
pub mod config;
pub mod control;
pub mod core;
pub mod data;
pub mod telemetry;
