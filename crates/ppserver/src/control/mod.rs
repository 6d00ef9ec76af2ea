//! The control plane: everything off the data path. It starts and feeds the workers, answers signals and
//! reloads; it never touches a payload byte.

mod local;
mod names;
pub mod server;
mod watch;
