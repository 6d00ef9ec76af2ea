//! A door of the control plane as people write it on a command line: an address, or the path of a socket.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// `127.0.0.1:9464`, `unix:/run/ppserver/admin.sock` or `/run/ppserver/admin.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// `host:port`; who listens there takes numbers only.
    Address(String),
    /// A path.
    Socket(PathBuf),
}

/// As it can be written.
impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(addr) => addr.fmt(f),
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why a text is no door.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoorError {
    /// Neither a port nor a slash.
    #[error(
        "an address has a port (127.0.0.1:9464), and a path a slash (/run/ppserver/admin.sock)"
    )]
    Unclear,
    /// Nothing behind `unix:`.
    #[error("the path is missing")]
    NoPath,
}

impl FromStr for Door {
    type Err = DoorError;

    fn from_str(text: &str) -> Result<Self, DoorError> {
        let path = text.strip_prefix("unix:").or_else(|| text.contains('/').then_some(text));
        let has_port =
            |text: &str| text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        match path {
            Some("") => Err(DoorError::NoPath),
            Some(path) => Ok(Self::Socket(PathBuf::from(path))),
            None if has_port(text) => Ok(Self::Address(text.to_owned())),
            None => Err(DoorError::Unclear),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_an_address_or_a_path() {
        for (text, expected) in [
            ("127.0.0.1:9464", Door::Address("127.0.0.1:9464".to_owned())),
            ("proxy.internal:9464", Door::Address("proxy.internal:9464".to_owned())),
            ("[::1]:9464", Door::Address("[::1]:9464".to_owned())),
            ("unix:/run/a.sock", Door::Socket("/run/a.sock".into())),
            ("unix:a.sock", Door::Socket("a.sock".into())),
            ("/run/a.sock", Door::Socket("/run/a.sock".into())),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for (text, error) in [
            ("", DoorError::Unclear),
            ("localhost", DoorError::Unclear),
            ("host:http", DoorError::Unclear),
            ("unix:", DoorError::NoPath),
        ] {
            assert_eq!(text.parse::<Door>(), Err(error), "{text}");
        }
    }
}
