//! What the tests with real processes and sockets share: `tests/interop` and `tests/e2e` both say
//! `#[path = "../common/mod.rs"] mod common;`.
//!
//! It is not a test framework: no macros, no configuration, and nothing that only one of the two
//! would use. Nothing here imports `ppcore` or `ppserver`, so a mistake made there cannot hide in
//! the check. Helpers panic with what they waited for; a test never goes on without it.
//!
//! The interop binary uses all of it and so finds what is dead; a binary that needs a part only
//! allows `dead_code` at its own `mod common`.

pub(crate) mod deadline;
pub(crate) mod far_end;
pub(crate) mod payload;
pub(crate) mod ppserver;
pub(crate) mod process;
pub(crate) mod socket;
pub(crate) mod wire;
