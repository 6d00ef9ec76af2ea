//! The control plane: everything off the data path, on the main thread. It starts and feeds the workers,
//! answers signals and reloads; it never touches a payload byte.
//!
//! ```text
//! process -> start ----------------> prepare -> names -> bounded
//!        \-> event_loop -> reload, refresh/  \--> data_plane -> workers, pools, counts, ports, access_logs, admin
//!            ^         \-> recovery, trials, checks                                      /
//!            \------------------- requests <--------------------------------------------/
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
mod data_plane;
pub mod error;
mod event_loop;
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
pub mod process;
mod reach;
mod recovery;
mod refresh;
mod reload;
mod requests;
mod routes;
pub mod running;
mod signals;
mod start;
pub mod supervise;
pub mod transparent;
mod trials;
mod unix_socket;
mod upgrade;
mod workers;

#[cfg(fuzzing)]
pub use admin::fuzzed;
