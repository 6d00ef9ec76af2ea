//! The doors of `[admin]`, and the commands that ask there.

mod answers;
mod commands;
mod doors;
mod hostile;
mod still;
mod top;
mod upgrade;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

pub(crate) use answers::assert_is;

use crate::life::server::{Server, file, wait_for};
use crate::support::http::Door;

/// Nobody connects to it.
const ENDPOINT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

/// The text of a file with doors at `listen` and in `dir`.
fn text(listen: &str, dir: &Path) -> String {
    with_doors(listen, dir, ENDPOINT, &[])
}

/// The same, with further settings, in front of `to`.
fn with_doors(listen: &str, dir: &Path, to: SocketAddr, settings: &[&str]) -> String {
    let socket = dir.join("admin.sock");
    let doors = format!("admin = {{ listen = '{listen}', socket = '{}' }}", socket.display());
    file(&[&[&*doors, "server.workers = 1"], settings].concat(), to)
}

/// A server with both doors, which are there as long as the directory.
struct Open {
    server: Server,
    tcp: Door,
    unix: Door,
    dir: TempDir,
}

impl Open {
    /// In front of nobody.
    #[track_caller]
    fn start(listen: &str) -> Open {
        Open::start_with(listen, ENDPOINT, &[])
    }

    #[track_caller]
    fn start_with(listen: &str, to: SocketAddr, settings: &[&str]) -> Open {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let server = Server::start(&with_doors(listen, dir.path(), to, settings));
        let opened = wait_for(&server.proc, "admin door opens", 0);
        let addr = opened["admin"].as_str().and_then(|addr| addr.parse().ok());
        let unix = Door::Unix(dir.path().join("admin.sock"));
        Open { server, tcp: Door::Tcp(addr.expect("it is an address")), unix, dir }
    }
}

/// What is wrong, each in words.
fn messages(errors: &Value) -> Vec<&str> {
    let errors = errors["errors"].as_array().expect("a list");
    errors.iter().map(|error| error["message"].as_str().expect("a text")).collect()
}
