//! Standard input, which can be read only once.
//!
//! Invariant: whoever has read it keeps it, and each program that it starts finds it anew, from its beginning.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};

use super::bounded;
use super::error::ServerError;
use crate::config;

/// How long it may take to come.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What was read.
#[derive(Clone, Debug)]
pub(super) struct Input(Arc<[u8]>);

impl Input {
    /// Reads it to its end, or to more than a configuration may have.
    ///
    /// # Errors
    /// When it does not come.
    pub(super) async fn read() -> Result<Self, ServerError> {
        let read = |_: &dyn Fn() -> bool| {
            let mut bytes = Vec::new();
            io::stdin().lock().take(config::FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let unread =
            |why| ServerError::Unread { file: Path::new(config::STDIN_NAME).to_owned(), why };
        match bounded::run("reader", TIMEOUT, read).await {
            Ok(Ok(bytes)) => Ok(Self(bytes.into())),
            Ok(Err(error)) => Err(unread(io::Error::to_string(&error))),
            Err(why) => Err(unread(why.to_string())),
        }
    }

    /// What it says.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns what can be somebody's standard input (memfd_create(2)).
    ///
    /// # Errors
    /// When descriptors or memory are used up.
    pub(super) fn again(&self) -> io::Result<OwnedFd> {
        let mut file = File::from(memfd_create(config::STDIN_NAME, MemfdFlags::CLOEXEC)?);
        file.write_all(&self.0)?;
        file.rewind()?;
        Ok(file.into())
    }
}
