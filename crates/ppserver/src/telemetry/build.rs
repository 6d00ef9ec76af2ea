//! Which program this is.

/// The version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from; `unknown` where that was not known.
pub const COMMIT: &str = env!("PPSERVER_COMMIT");
