//! The control plane: everything off the data path. It starts and feeds the workers, answers signals and
//! reloads; it never touches a payload byte.

mod names;
mod ports;
pub mod server;
mod watch;
