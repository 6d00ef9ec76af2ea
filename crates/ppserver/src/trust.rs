//! Who may set client addresses: the networks whose peers are believed, by their name in the file.

pub use pptrust::{Peers as Trust, Shortest, is_public};
