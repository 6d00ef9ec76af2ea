//! `status`: what a running server says of itself.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::Admin;
use super::table::{cell, table};
use crate::cli::{Exit, Failure, answer};

/// How often `--watch` asks.
const WATCH_TIME: Duration = Duration::from_secs(2);

const HELP: &str = "\
Examples:
  ppserver status
  ppserver status --admin 127.0.0.1:9464 --watch
  ppserver status --json | jq .closed";

/// Shows what a running server does
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// Show it again every 2 s, until Ctrl-C
    #[arg(long)]
    watch: bool,
    /// Print the answer as it came, an object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: Admin,
}

/// Runs the command.
#[expect(clippy::disallowed_methods, reason = "it has nothing else to do until the next look")]
pub(in crate::cli) fn run(args: &Args) -> Result<ExitCode, Failure> {
    loop {
        args.admin.print("/api/v1/status", args.json, shown)?;
        if !args.watch {
            return Ok(Exit::Ok.into());
        }
        thread::sleep(WATCH_TIME);
        if !args.json {
            answer(b"\n")?;
        }
    }
}

fn shown(status: &Value) -> String {
    let text = |key: &str| cell(&status[key]);
    let config = status["config"].as_str().unwrap_or("flags");
    let uptime = status["uptime_seconds"].as_f64().unwrap_or_default().max(0.0);
    let uptime =
        humantime::format_duration(Duration::from_secs(Duration::from_secs_f64(uptime).as_secs()));
    let head = format!(
        "ppserver {} ({}), process {}, generation {}: {} for {uptime}\n\
         workers      {}, configuration from {}\n\
         connections  {} active of {} at most, {} accepted\n\
         flows        {} of datagrams\n\
         payload      {} B up, {} B down\n\
         closed       {}\n",
        text("version"),
        text("commit"),
        text("pid"),
        text("generation"),
        text("state"),
        text("workers"),
        config,
        text("active"),
        text("connections_max"),
        text("accepted"),
        text("flows"),
        text("bytes_up"),
        text("bytes_down"),
        counts(&status["closed"]),
    );
    let rows = |key: &str, columns: &[&str]| -> Vec<Vec<String>> {
        let items = status[key].as_array().into_iter().flatten();
        items.map(|item| columns.iter().map(|column| cell(&item[*column])).collect()).collect()
    };
    let listeners = rows(
        "listeners",
        &["name", "bind", "upstream", "active", "accepted", "bytes_up", "bytes_down"],
    );
    let pools =
        rows("pools", &["name", "endpoints_up", "endpoints", "active", "connects", "failures"]);
    let listeners =
        table(&["LISTENER", "BIND", "UPSTREAM", "ACTIVE", "ACCEPTED", "UP", "DOWN"], &listeners);
    let datagrams = datagrams(status);
    let pools = table(&["POOL", "UP", "OF", "ACTIVE", "CONNECTS", "FAILURES"], &pools);
    format!("{head}\n{listeners}\n{datagrams}{pools}")
}

/// Shows the listeners that datagrams have come to.
fn datagrams(status: &Value) -> String {
    let rows = status["listeners"].as_array().into_iter().flatten().filter(|listener| {
        let came = |key: &str| listener[key].as_u64().is_some_and(|count| count > 0);
        came("datagrams_up") || came("datagrams_down")
    });
    let row = |listener: &Value| {
        let counters = ["name", "flows", "flows_begun", "datagrams_up", "datagrams_down"];
        let cells = counters.iter().map(|key| cell(&listener[*key]));
        cells.chain([counts(&listener["dropped"])]).collect()
    };
    let rows: Vec<Vec<String>> = rows.map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let table = table(&["DATAGRAMS", "FLOWS", "BEGUN", "UP", "DOWN", "DROPPED"], &rows);
    format!("{table}\n")
}

/// Names what there was, and how often.
fn counts(counts: &Value) -> String {
    let counts = counts.as_object().into_iter().flatten();
    let counts = counts.filter(|(_, count)| count.as_u64().is_some_and(|count| count > 0));
    let words: Vec<_> = counts.map(|(name, count)| format!("{name} {count}")).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}
