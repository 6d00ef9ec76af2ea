//! The commands that ask a running server: `status`, `top`, `conns`, `upstreams`, `reload`, `drain`, `upgrade`,
//! `healthcheck`.
//!
//! Each asks one door and shows the answer. Invariant: what fails says where it asked, and what to do.

pub(super) mod change;
pub(super) mod conns;
pub(super) mod healthcheck;
pub(super) mod status;
mod table;
pub(super) mod top;
pub(super) mod upstreams;

use std::time::Duration;

use serde_json::Value;

use super::Failure;
use crate::cli::{Exit, answer};
use crate::config::Door;
use crate::control::client::{self, Answer, ClientError, Verb};

/// Where a package puts the socket.
const SOCKET: &str = "/run/ppserver/admin.sock";

/// How long an answer may take that only reads.
const READ_TIME: Duration = Duration::from_secs(10);

/// What every one of these commands takes.
#[derive(Debug, clap::Args)]
pub(super) struct Admin {
    /// The door of the server: its address, or the path of its socket, which alone takes changes
    #[arg(
        long,
        value_name = "ADDR|PATH",
        env = "PPSERVER_ADMIN",
        value_delimiter = ',',
        default_value = SOCKET
    )]
    admin: Vec<Door>,
}

impl Admin {
    /// The door to ask: of several, as the variable of the server may name them, the one that takes everything.
    fn door(&self) -> &Door {
        let is_socket = |door: &&Door| matches!(door, Door::Socket(_));
        let door = self.admin.iter().find(is_socket).or(self.admin.first());
        door.expect("there is a default")
    }

    /// Asks for what is, and prints it: as it came, or as people read it.
    fn print(
        &self,
        path: &str,
        is_json: bool,
        shown: impl FnOnce(&Value) -> String,
    ) -> Result<(), Failure> {
        let value = self.ask(Verb::Get, path, READ_TIME)?;
        let text = if is_json { format!("{value}\n") } else { shown(&value) };
        answer(text.as_bytes())
    }

    fn post(&self, path: &str, time: Duration) -> Result<Value, Failure> {
        self.ask(Verb::Post, path, time)
    }

    /// Asks, and takes whatever answer comes.
    fn exchange(&self, verb: Verb, path: &str, time: Duration) -> Result<Answer, Failure> {
        let door = self.door();
        client::ask(door, verb, path, time).map_err(|error| unreachable(door, &error))
    }

    /// Asks, and takes nothing but a good answer.
    fn ask(&self, verb: Verb, path: &str, time: Duration) -> Result<Value, Failure> {
        let door = self.door();
        let answer = self.exchange(verb, path, time)?;
        let value: Option<Value> = serde_json::from_slice(&answer.body).ok();
        match (answer.status, value) {
            (200, Some(value)) => Ok(value),
            (status, Some(value)) if value["errors"].is_array() => {
                Err(Failure { exit: Exit::Failed.into(), message: refused(status, &value) })
            }
            (status, _) => {
                let why = format!("{door} answers {status}, and not as ppserver does");
                Err(Failure::new(Exit::Failed, why))
            }
        }
    }
}

/// Writes every error of a refusal.
fn refused(status: u16, value: &Value) -> String {
    let errors = value["errors"].as_array().into_iter().flatten();
    let lines = errors.map(|error| {
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        let place = match (error["line"].as_u64(), error["column"].as_u64()) {
            (Some(line), Some(column)) => format!("{line}:{column}: "),
            _ => String::new(),
        };
        let help = match text("help") {
            help if help.is_empty() => String::new(),
            help => format!("\n  help: {help}"),
        };
        format!("error: {place}{}{help}", text("message"))
    });
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() { format!("error: the server answers {status}") } else { lines.join("\n") }
}

/// Says what to do where nobody answers.
fn unreachable(door: &Door, error: &ClientError) -> Failure {
    let os_error = match error {
        ClientError::Connect(error) => error.raw_os_error(),
        ClientError::Http(_) | ClientError::Path(_) | ClientError::Late(_) | ClientError::Long => {
            None
        }
    };
    let help = match (door, os_error) {
        (Door::Socket(_), Some(libc::ENOENT)) => {
            "\n  help: `admin.socket` in the configuration says where it is; name it by --admin PATH"
        }
        (Door::Socket(_), Some(libc::ECONNREFUSED)) => {
            "\n  help: its server has ended; start it again"
        }
        (Door::Socket(_), Some(libc::EACCES)) => {
            "\n  help: the socket is its server's user's: run this as that user, or as root"
        }
        (Door::Address(_), Some(libc::ECONNREFUSED)) => {
            "\n  help: `admin.listen` in the configuration says where it is; name it by --admin ADDR"
        }
        (Door::Socket(_) | Door::Address(_), Some(_) | None) => "",
    };
    Failure::new(Exit::Failed, format!("no answer from {door}: {error}{help}"))
}

/// Writes a value as a query has it.
fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// A query of those that are there.
fn query(path: &str, pairs: &[(&str, Option<String>)]) -> String {
    let pairs = pairs
        .iter()
        .filter_map(|(key, value)| value.as_ref().map(|value| format!("{key}={}", escaped(value))));
    let pairs: Vec<_> = pairs.collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_holds_what_is_there_and_escapes_it() {
        let pairs = [("client", Some("fd00::/8".to_owned())), ("limit", None)];
        assert_eq!(query("/x", &pairs), "/x?client=fd00%3A%3A%2F8");
        assert_eq!(query("/x", &pairs[1..]), "/x");
    }
}
