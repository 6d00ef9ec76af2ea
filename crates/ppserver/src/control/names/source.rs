//! What is followed: a name, the SRV records of one, or a file.

use std::fmt;
use std::path::PathBuf;

/// What stands for endpoints that may become others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// The addresses of a name.
    Host(String),
    /// Its SRV records, and the addresses of their targets.
    Srv(String),
    /// The lines of a file.
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) | Self::Srv(name) => f.write_str(name),
            Self::File(path) => path.display().fmt(f),
        }
    }
}
