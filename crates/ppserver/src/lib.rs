//! A layer-4 proxy: PROXY protocol in, payload relayed, PROXY protocol out.
//!
//! ```text
//! main -> cli -> server -> worker -> { session, sys, config, trust, upstream, early, metrics } -> ppcore
//! ```

#[cfg(not(target_os = "linux"))]
compile_error!("ppserver runs on Linux only: it needs epoll and splice; ppcore runs anywhere");

pub mod access_log;
pub mod cli;
pub mod config;
pub mod early;
pub mod log;
pub mod metrics;
pub mod server;
pub mod session;
pub mod sys;
pub mod trust;
pub mod upstream;
mod watch;
pub mod worker;
