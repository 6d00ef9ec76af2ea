//! `reload`, `drain` and `upgrade`: what changes a running server.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::{Admin, query};
use crate::cli::{Exit, Failure, answer};

/// Longer than any bound of the server: names alone may take a minute.
const CHANGE_TIME: Duration = Duration::from_secs(120);

const RELOAD_HELP: &str = "\
Returns when every worker follows, and says what changed. A configuration with errors changes nothing: they are \
all printed, and the exit code is 1. Connections that run keep what they were told.";

/// Has a running server read its configuration again
#[derive(Debug, clap::Args)]
#[command(after_help = RELOAD_HELP)]
pub(in crate::cli) struct Reload {
    #[command(flatten)]
    admin: Admin,
}

/// Runs the command.
pub(in crate::cli) fn reload(args: &Reload) -> Result<ExitCode, Failure> {
    let value = args.admin.post("/api/v1/reload", CHANGE_TIME)?;
    let changes = value["changes"].as_array().into_iter().flatten();
    let mut text: String =
        changes.map(|change| format!("{}\n", change.as_str().unwrap_or_default())).collect();
    if text.is_empty() {
        text.push_str("nothing changed\n");
    }
    answer(text.as_bytes())?;
    Ok(Exit::Ok.into())
}

const DRAIN_HELP: &str = "\
The same as SIGTERM: the ports close, connections go on for up to `shutdown_grace`, and the server ends with the \
last of them. Returns when the ports are closed.";

/// Has a running server accept no more, and end with its last connection
#[derive(Debug, clap::Args)]
#[command(after_help = DRAIN_HELP)]
pub(in crate::cli) struct Drain {
    #[command(flatten)]
    admin: Admin,
}

/// Runs the command.
pub(in crate::cli) fn drain(args: &Drain) -> Result<ExitCode, Failure> {
    let value = args.admin.post("/api/v1/drain", CHANGE_TIME)?;
    let (active, grace) = (&value["active"], &value["grace_seconds"]);
    let text = format!("draining: {active} active, for up to {grace} s\n");
    answer(text.as_bytes())?;
    Ok(Exit::Ok.into())
}

const UPGRADE_HELP: &str = "\
The new program gets the listening sockets themselves, so nobody is refused; the old one drains. One that does not \
start changes nothing, and what it said is printed.";

/// Has a running server hand over to another program
#[derive(Debug, clap::Args)]
#[command(after_help = UPGRADE_HELP)]
pub(in crate::cli) struct Upgrade {
    /// The program; the path that the server was started by, if not given
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    #[command(flatten)]
    admin: Admin,
}

/// Runs the command.
pub(in crate::cli) fn upgrade(args: &Upgrade) -> Result<ExitCode, Failure> {
    let binary = args.binary.as_deref().map(|path| path.to_string_lossy().into_owned());
    let value = args.admin.post(&query("/api/v1/upgrade", &[("binary", binary)]), CHANGE_TIME)?;
    let (pid, generation) = (&value["pid"], &value["generation"]);
    let text = format!("process {pid} has taken over, generation {generation}\n");
    answer(text.as_bytes())?;
    Ok(Exit::Ok.into())
}
