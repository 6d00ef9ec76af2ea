//! Why a server does not start, or does not go on.

use std::io;
use std::path::PathBuf;

use crate::config::{Colour, Report};
use crate::core::addr;

/// Why the server could not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration has errors.
    #[error("{}", .0.render(Colour::Off))]
    Config(Box<Report>),
    /// The configuration does not come.
    #[error("cannot read `{}`: {why}", .file.display())]
    Unread {
        /// Where it should come from.
        file: PathBuf,
        /// In words.
        why: String,
    },
    /// The access log cannot be opened.
    #[error("cannot open the access log `{output}`: {error}")]
    AccessLog {
        /// Where it should go to.
        output: String,
        /// What the system said.
        error: io::Error,
    },
    /// A listener's address is not to be had.
    #[error("listener `{listener}`: cannot bind {addr}: {error}{}", bind_help(.addr, .error))]
    Bind {
        /// The listener's name.
        listener: String,
        /// The address.
        addr: String,
        /// What bind(2) or listen(2) said.
        error: io::Error,
    },
    /// A listener's socket was not passed.
    #[error(
        "listener `{listener}`: no socket named `{name}` was passed{}; \
         a .socket unit of the service passes one with FileDescriptorName={name}",
        those_passed(.passed)
    )]
    NotPassed {
        /// The listener's name.
        listener: String,
        /// What it asks for.
        name: String,
        /// The names of those that were.
        passed: Vec<String>,
    },
    /// What was passed cannot be served.
    #[error("what the service manager has passed: {0}")]
    Passed(io::Error),
    /// A door of the admin interface is not to be had.
    #[error("[admin]: cannot bind {place}: {error}{}", bind_help(.place, .error))]
    Door {
        /// Where it should be.
        place: String,
        /// What bind(2) or listen(2) said.
        error: io::Error,
    },
    /// Connections cannot come from addresses of clients.
    #[error(
        "upstream `{upstream}`: source = \"client\" needs CAP_NET_RAW ({error}): \
         `setcap cap_net_bind_service,cap_net_raw+ep PATH`, or in the unit \
         AmbientCapabilities=CAP_NET_BIND_SERVICE CAP_NET_RAW; a process that began without such an upstream \
         has given it up, and a restart is needed"
    )]
    NoSpoofing {
        /// The upstream's name.
        upstream: String,
        /// What setsockopt(2) said.
        error: io::Error,
    },
    /// A configuration that only another process can follow.
    #[error("a restart is needed to change server.workers")]
    NeedsRestart,
    /// The system refused something else.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// A worker ended before it was told to.
    #[error("a worker ended: {0}")]
    Worker(String),
}

fn those_passed(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        ", nor any other".to_owned()
    } else {
        format!(", only {}", names.join(", "))
    }
}

fn bind_help(place: &str, error: &io::Error) -> &'static str {
    if place.starts_with(addr::UNIX) {
        return match error.raw_os_error() {
            Some(libc::EADDRINUSE) => "; `ss -xlp` shows who listens there",
            Some(libc::ENOENT) => "; its directory is not there",
            Some(libc::EACCES) => "; its directory must be ours to write",
            Some(_) | None => "",
        };
    }
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => "; `ss -tanp` shows who holds the port",
        Some(libc::EACCES) => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        Some(libc::EADDRNOTAVAIL) => "; no interface of this host has that address",
        Some(_) | None => "",
    }
}

/// A system call that failed, for `map_err`.
pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> ServerError {
    move |error| ServerError::System { what, error }
}
