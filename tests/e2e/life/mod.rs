//! The life of the process: start, configuration, signals, limits, logs.
//!
//! A file a part of that life; `server`, `session` and `procfs` are what the tests use, here and in
//! `torment`.

pub(crate) mod procfs;
pub(crate) mod server;
pub(crate) mod session;

mod access_log;
mod activation;
mod check;
mod counters;
mod demo;
mod doctor;
mod drain;
mod environment;
mod host;
mod idle;
mod init;
mod limits;
mod listeners;
mod logs;
mod notify;
mod refused_starts;
mod reload;
mod signals;
mod start;
pub(crate) mod supervise;
pub(crate) mod upgrade;
