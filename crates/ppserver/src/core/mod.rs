//! What decides: pure, without a socket, a clock or a thread, and simulated together.
//!
//! `session/` is one connection, `udp/` the datagrams of one listener, `schedule` and `timers` who works when,
//! `accept_queue` one listening socket, `pool` one upstream's endpoints, `connect_result` what an attempt at one came to,
//! `resolution_result` what a question for them did, `early` what was learned of trying before an event, `intent` what a
//! connection wants, `limits` whether it is one too many, `route` where it goes, `connection_id` what it is called, `addr`
//! where it comes from and goes to, `words` how what is counted is named.

pub mod accept_queue;
pub mod addr;
pub mod check_result;
pub mod close_reason;
pub mod connect_result;
pub mod connection_id;
pub mod early;
pub mod intent;
pub mod limits;
pub mod pool;
pub mod resolution_result;
pub mod route;
pub mod schedule;
pub mod session;
#[cfg(test)]
pub(crate) mod sim;
#[cfg(all(fuzzing, not(test)))]
#[allow(dead_code, unused_imports, reason = "fuzzing runs worlds, replays and counts nothing")]
#[allow(clippy::print_stdout, reason = "it is test code, which may")]
mod sim;
pub mod timers;
pub mod udp;
pub(crate) mod words;

#[cfg(fuzzing)]
pub use sim::simulate;
