//! All there is to know of the marked row, as lines of text.

use std::collections::BTreeMap;

use super::answers::{Answers, Datagrams, Endpoint, Listener, Refusal, Text};
use super::model::{Model, Pane};
use super::rows::{self, Row};
use super::units;
use crate::cli::decode::Dump;
use crate::cli::hex;

/// The column in which what is said begins.
const INDENT: usize = 11;

/// Explains a row of the pane that is shown, in lines of this width.
pub(super) fn lines(model: &Model, row: &Row, width: usize) -> Vec<String> {
    let answers = &model.last.answers;
    let text = match model.pane {
        Pane::Endpoints => endpoint(answers, &row.about),
        Pane::Pools | Pane::Closed => Some(labelled(model.pane, row)),
        Pane::Listeners => listener(answers, &row.about),
        Pane::Refusals => refusal(answers, &row.about),
    };
    text.unwrap_or_default().lines().flat_map(|line| wrapped(line, width)).collect()
}

/// Breaks a line between words, or in the middle of one that is too long.
fn wrapped(line: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest: Vec<char> = line.chars().collect();
    while rest.len() > width && width > 2 * INDENT {
        let space = rest[INDENT + 1..=width].iter().rposition(|c| *c == ' ');
        let at = space.map_or(width, |at| INDENT + 1 + at);
        let next = rest.split_off(at);
        lines.push(rest.into_iter().collect());
        let next = next.into_iter().skip_while(|c| *c == ' ');
        rest = " ".repeat(INDENT).chars().chain(next).collect();
    }
    lines.push(rest.into_iter().collect());
    lines
}

/// A row whose columns say all.
fn labelled(pane: Pane, row: &Row) -> String {
    let cells = rows::columns(pane).iter().zip(&row.cells);
    cells.map(|(column, cell)| line(&column.title.to_lowercase(), &cell.text)).collect()
}

fn line(label: &str, text: &str) -> String {
    let width = INDENT - 1;
    format!("{label:<width$} {text}\n")
}

fn endpoint(answers: &Answers, about: &str) -> Option<String> {
    let (pool, endpoint) = answers.pools.iter().find_map(|pool| {
        let is_it = |endpoint: &&Endpoint| rows::about_endpoint(pool, endpoint) == about;
        pool.endpoints.iter().find(is_it).map(|endpoint| (pool, endpoint))
    })?;
    let name =
        endpoint.name.as_ref().map_or(String::new(), |name| format!(", from the name {name}"));
    let set = if endpoint.is_set { ", as an operator said" } else { "" };
    let since = units::span(answers.status.since(endpoint.since));
    let check =
        endpoint.check_latency_seconds.map_or("none".to_owned(), |s| format!("{:.1} ms", s * 1e3));
    Some(
        [
            line("endpoint", &format!("{} of {}{name}", endpoint.address, pool.name)),
            line(
                "state",
                &format!("{} for {since}, since {}{set}", endpoint.state, endpoint.since),
            ),
            line("why", endpoint.why.as_ref().map_or("-", Text::as_str)),
            line("weight", &endpoint.weight.to_string()),
            line("active", &units::count(endpoint.active)),
            line(
                "connects",
                &format!(
                    "{}, {} failed",
                    units::count(endpoint.connects),
                    units::count(endpoint.failures)
                ),
            ),
            line("check", &check),
        ]
        .concat(),
    )
}

fn listener(answers: &Answers, about: &str) -> Option<String> {
    let is_it = |listener: &&Listener| listener.name.as_str() == about;
    let listener = answers.status.listeners.iter().find(is_it)?;
    let bytes = |count| units::bytes(units::as_f64(count));
    Some(
        [
            line("listener", &format!("{} at {}", listener.name, rows::joined(&listener.bind))),
            line("upstream", listener.upstream.as_str()),
            line(
                "active",
                &format!(
                    "{} of {} accepted",
                    units::count(listener.active),
                    units::count(listener.accepted)
                ),
            ),
            line(
                "payload",
                &format!("{} up, {} down", bytes(listener.bytes_up), bytes(listener.bytes_down)),
            ),
            line("closed", &counts(&listener.closed)),
            of_datagrams(&listener.datagrams),
        ]
        .concat(),
    )
}

/// Nothing where none has come.
fn of_datagrams(datagrams: &Datagrams) -> String {
    let Datagrams { flows, flows_begun, datagrams_up, datagrams_down, dropped } = datagrams;
    if datagrams_up + datagrams_down == 0 {
        return String::new();
    }
    let [flows, begun] = [*flows, *flows_begun].map(units::count);
    let [up, down] = [*datagrams_up, *datagrams_down].map(units::count);
    [
        line("flows", &format!("{flows} of {begun} begun")),
        line("datagrams", &format!("{up} up, {down} down")),
        line("dropped", &counts(dropped)),
    ]
    .concat()
}

fn counts(by_reason: &BTreeMap<Text, u64>) -> String {
    let counts = rows::present(by_reason);
    let counts: Vec<_> =
        counts.map(|(reason, count)| format!("{reason} {}", units::count(*count))).collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}

/// The bytes are shown as `decode` does.
fn refusal(answers: &Answers, about: &str) -> Option<String> {
    let is_it = |refusal: &&Refusal| rows::about_refusal(refusal) == about;
    let refusal = answers.refusals.iter().find(is_it)?;
    let error = refusal.error.as_ref().map_or(String::new(), |error| format!(" ({error})"));
    let bytes = hex::parse(refusal.bytes.as_str().as_bytes()).unwrap_or_default();
    let dump = match refusal.offset {
        _ if bytes.is_empty() => line("bytes", "none came"),
        None => {
            Dump { bytes: &bytes, at: bytes.len(), label: "nothing came behind it" }.to_string()
        }
        Some(at) if at > bytes.len() => {
            let label = format!("byte {at} is further on");
            Dump { bytes: &bytes, at: bytes.len(), label: &label }.to_string()
        }
        Some(at) => Dump { bytes: &bytes, at, label: &format!("byte {at}") }.to_string(),
    };
    Some(
        [
            line(
                "refused",
                &format!("{} at {}, by listener {}", refusal.peer, refusal.time, refusal.listener),
            ),
            line("reason", &format!("{}{error}", refusal.reason)),
            line("why", refusal.why.as_str()),
            dump,
        ]
        .concat(),
    )
}
