//! `upstreams`: the endpoints of a running server, and a word of an operator about one.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use serde_json::Value;

use super::table::{cell, table};
use super::{Admin, query};
use crate::cli::{Exit, Failure, answer};
use crate::core::addr::Addr;

/// How long a change may take.
const SET_TIME: Duration = Duration::from_secs(10);

/// Shows the endpoints of a running server, or sets one
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Print the answer as it came
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

#[derive(Debug, Subcommand)]
enum Command {
    Set(Set),
}

/// Sets the state or the weight of an endpoint, until the server ends
#[derive(Debug, clap::Args)]
struct Set {
    /// The upstream
    #[arg(value_name = "NAME")]
    upstream: String,
    /// The endpoint's address
    #[arg(value_name = "ADDR")]
    endpoint: Addr,
    /// What it is to be, whatever checks say; `auto` leaves it to them
    #[arg(long)]
    state: Option<State>,
    /// Its share beside the others
    #[arg(long, value_name = "N")]
    weight: Option<u32>,
    #[command(flatten)]
    admin: Admin,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Auto,
    Up,
    Down,
    Draining,
}

/// Runs the command.
pub(in crate::cli) fn run(args: &Args) -> Result<ExitCode, Failure> {
    match &args.command {
        Some(Command::Set(set)) => set_endpoint(set),
        None => {
            args.admin.print("/api/v1/upstreams", args.json, shown)?;
            Ok(Exit::Ok.into())
        }
    }
}

fn set_endpoint(set: &Set) -> Result<ExitCode, Failure> {
    if set.state.is_none() && set.weight.is_none() {
        return Err(Failure::usage("say what to set: --state or --weight"));
    }
    let state = set.state.and_then(|state| state.to_possible_value());
    let pairs = [
        ("state", state.map(|state| state.get_name().to_owned())),
        ("weight", set.weight.map(|weight| weight.to_string())),
    ];
    let path = format!(
        "/api/v1/upstreams/{}/endpoints/{}",
        super::escaped(&set.upstream),
        super::escaped(&set.endpoint.to_string())
    );
    let value = set.admin.post(&query(&path, &pairs), SET_TIME)?;
    let text = |key: &str| cell(&value[key]);
    let now = format!("{}, weight {}", text("state"), text("weight"));
    answer(format!("{} of {}: {now}\n", text("address"), text("upstream")).as_bytes())?;
    Ok(Exit::Ok.into())
}

/// The columns behind the pool's, and what stands there.
const COLUMNS: [(&str, &str); 9] = [
    ("ENDPOINT", "address"),
    ("NAME", "name"),
    ("STATE", "state"),
    ("WEIGHT", "weight"),
    ("ACTIVE", "active"),
    ("CONNECTS", "connects"),
    ("FAILURES", "failures"),
    ("SINCE", "since"),
    ("WHY", "why"),
];

fn shown(value: &Value) -> String {
    let mut rows = Vec::new();
    for pool in value["pools"].as_array().into_iter().flatten() {
        for endpoint in pool["endpoints"].as_array().into_iter().flatten() {
            let text = |key: &str| cell(&endpoint[key]);
            let name = pool["name"].as_str().unwrap_or_default().to_owned();
            let row = [name].into_iter().chain(COLUMNS.map(|(_, key)| text(key)));
            rows.push(row.collect());
        }
    }
    let head: Vec<_> = ["POOL"].into_iter().chain(COLUMNS.map(|(head, _)| head)).collect();
    table(&head, &rows)
}
