//! What is told to operators: the log, the access log, the counters.

pub mod access_log;
mod addrs;
pub mod build;
pub mod cells;
pub mod exposition;
pub mod hex;
pub mod ledger;
pub mod log;
pub mod log_throttle;
pub mod refusals;
pub mod summary;
pub mod timestamp;
pub mod tlvs;
