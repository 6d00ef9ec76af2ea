//! `conns`: the connections of a running server.

use std::process::ExitCode;

use serde_json::Value;

use super::table::{cell, table};
use super::{Admin, query};
use crate::cli::{Exit, Failure};

const HELP: &str = "\
The longest lived come first. Seconds are since it was accepted, and since a byte moved.

Examples:
  ppserver conns --client 203.0.113.0/24
  ppserver conns --listener edge --limit 20
  ppserver conns --json | jq '.connections[] | select(.idle_seconds > 60)'";

/// Lists the connections of a running server
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// Only those of clients in this network, as they were told by headers
    #[arg(long, value_name = "CIDR")]
    client: Option<String>,
    /// Only those of this listener
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Only those to this upstream
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// So many at most
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print the answer as it came
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

/// Runs the command.
pub(in crate::cli) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let path = query(
        "/api/v1/connections",
        &[
            ("client", args.client.clone()),
            ("listener", args.listener.clone()),
            ("upstream", args.upstream.clone()),
            ("limit", args.limit.map(|limit| limit.to_string())),
        ],
    );
    args.admin.print(&path, args.json, shown)?;
    Ok(Exit::Ok.into())
}

fn shown(value: &Value) -> String {
    const COLUMNS: [&str; 10] = [
        "id",
        "listener",
        "client",
        "peer",
        "endpoint",
        "bytes_in",
        "bytes_out",
        "age_seconds",
        "idle_seconds",
        "phase",
    ];
    const HEAD: [&str; 10] =
        ["ID", "LISTENER", "CLIENT", "PEER", "ENDPOINT", "IN", "OUT", "AGE", "IDLE", "PHASE"];
    let connections: Vec<_> = value["connections"].as_array().into_iter().flatten().collect();
    let cell = |connection: &Value, key: &str| match connection[key].as_f64() {
        Some(seconds) if key.ends_with("_seconds") => format!("{seconds:.1}"),
        Some(_) | None => cell(&connection[key]),
    };
    let row = |connection: &&Value| COLUMNS.iter().map(|key| cell(connection, key)).collect();
    let rows: Vec<Vec<String>> = connections.iter().map(row).collect();
    let total = value["total"].as_u64().unwrap_or_default();
    format!("{}{} of {total}\n", table(&HEAD, &rows), rows.len())
}
