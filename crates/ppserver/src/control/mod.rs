//! The control plane: everything off the data path, on the main thread. It starts and feeds the workers,
//! answers signals and reloads; it never touches a payload byte.
//!
//! ```text
//! server -> start ------------> prepare -> names -> bounded
//!       \-> serve -> reload, refresh/  \--> service -> workers, pools, counts, ports, access_logs, admin
//!           ^    \-> recovery, trials, checks                                   /
//!           \-------------- requests <-----------------------------------------/
//! ```
//!
//! An async runtime of one thread, since all it does is wait. Invariant: nothing blocks that thread. What may
//! block runs on a thread of its own, and is waited for with a bound.

mod access_logs;
mod activation;
mod admin;
mod announce;
mod board;
mod bounded;
mod changes;
mod checks;
pub mod client;
mod counts;
pub mod error;
mod handover;
mod input;
mod jitter;
pub mod limits;
mod local;
pub mod lookup;
mod moment;
mod names;
mod notify;
mod pools;
mod ports;
pub mod prepare;
mod privileges;
mod reach;
mod recovery;
mod refresh;
mod reload;
mod requests;
mod routes;
pub mod running;
mod serve;
pub mod server;
mod service;
mod signals;
mod start;
pub mod supervise;
mod transparent;
mod trials;
mod unix_socket;
mod upgrade;
mod workers;

#[cfg(fuzzing)]
pub use admin::fuzzed;
