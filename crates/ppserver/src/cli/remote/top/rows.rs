//! The rows of each pane, out of the answers.
//!
//! Invariant: a row has a cell for each column of its pane.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, HashMap};

use super::answers::{Answers, Endpoint, Listener, Pool, Refusal, Text};
use super::model::{Model, Pane};
use super::units;

/// A column of a pane.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) kind: Kind,
}

/// What stands in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Words,
    Numbers,
}

const fn words(title: &'static str) -> Column {
    Column { title, kind: Kind::Words }
}

const fn numbers(title: &'static str) -> Column {
    Column { title, kind: Kind::Numbers }
}

const ENDPOINTS: [Column; 8] = [
    words("POOL"),
    words("ENDPOINT"),
    words("STATE"),
    numbers("FOR"),
    numbers("ACTIVE"),
    numbers("CONN/S"),
    numbers("FAIL/S"),
    words("WHY"),
];

const POOLS: [Column; 8] = [
    words("POOL"),
    numbers("UP"),
    numbers("OF"),
    numbers("ACTIVE"),
    numbers("CONN/S"),
    numbers("FAIL/S"),
    numbers("P50"),
    numbers("P99"),
];

const LISTENERS: [Column; 7] = [
    words("LISTENER"),
    words("BIND"),
    words("UPSTREAM"),
    numbers("ACTIVE"),
    numbers("ACC/S"),
    numbers("UP/S"),
    numbers("DOWN/S"),
];

const REFUSALS: [Column; 5] =
    [words("TIME"), words("LISTENER"), words("PEER"), words("REASON"), words("WHY")];

const CLOSED: [Column; 3] = [words("REASON"), numbers("TOTAL"), numbers("PER S")];

/// The columns of a pane.
pub(super) fn columns(pane: Pane) -> &'static [Column] {
    match pane {
        Pane::Endpoints => &ENDPOINTS,
        Pane::Pools => &POOLS,
        Pane::Listeners => &LISTENERS,
        Pane::Refusals => &REFUSALS,
        Pane::Closed => &CLOSED,
    }
}

/// What is listed in a pane.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) rows: Vec<Row>,
    /// How many there are, with those that do not go through the filter.
    pub(super) total: usize,
}

#[derive(Debug)]
pub(super) struct Row {
    /// What it is about: no two rows of a pane have the same, and it stays from look to look.
    pub(super) about: String,
    pub(super) cells: Vec<Cell>,
    pub(super) weight: Weight,
}

/// Whether a row is looked for at night.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Plain,
    Trouble,
}

#[derive(Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    /// What a number is sorted by.
    number: Option<f64>,
}

impl Cell {
    fn word(text: impl ToString) -> Self {
        Self { text: text.to_string(), number: None }
    }

    fn count(count: u64) -> Self {
        Self { text: units::count(count), number: Some(units::as_f64(count)) }
    }

    /// A number that may not be known.
    fn number(number: Option<f64>, shown: impl FnOnce(f64) -> String) -> Self {
        Self { text: number.map_or("-".to_owned(), shown), number }
    }

    fn rate(rate: Option<f64>) -> Self {
        Self::number(rate, units::rate)
    }

    fn bytes(rate: Option<f64>) -> Self {
        Self::number(rate, units::bytes)
    }

    fn latency(bounds: Option<(f64, f64)>) -> Self {
        Self { number: bounds.map(|(_, at_most)| at_most), text: latency(bounds) }
    }
}

/// Writes a latency that may not be known.
pub(super) fn latency(bounds: Option<(f64, f64)>) -> String {
    bounds.map_or("-".to_owned(), units::latency)
}

impl Table {
    /// Drops the rows that have these letters nowhere, in whatever case.
    pub(super) fn keep(&mut self, letters: &str) {
        let letters = letters.to_lowercase();
        let has = |cell: &Cell| cell.text.to_lowercase().contains(&letters);
        self.rows.retain(|row| row.cells.iter().any(has));
    }

    /// Sorts by a column: words from A, numbers from the largest, those that are not known last.
    pub(super) fn sort(&mut self, column: usize) {
        self.rows.sort_by(|one, other| {
            let (one, other) = (&one.cells[column], &other.cells[column]);
            match (one.number, other.number) {
                (Some(one), Some(other)) => other.total_cmp(&one),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => one.text.cmp(&other.text),
            }
        });
    }
}

/// Lists a pane.
pub(super) fn table(model: &Model, pane: Pane) -> Table {
    let rows = match pane {
        Pane::Endpoints => endpoints(model),
        Pane::Pools => pools(model),
        Pane::Listeners => listeners(model),
        Pane::Refusals => refusals(model),
        Pane::Closed => closed(model),
    };
    Table { total: rows.len(), rows }
}

/// Endpoints by pool and address.
type Endpoints<'a> = HashMap<(&'a str, &'a str), &'a Endpoint>;

fn each_endpoint(answers: &Answers) -> impl Iterator<Item = (&Pool, &Endpoint)> {
    answers
        .pools
        .iter()
        .flat_map(|pool| pool.endpoints.iter().map(move |endpoint| (pool, endpoint)))
}

pub(super) fn about_endpoint(pool: &Pool, endpoint: &Endpoint) -> String {
    format!("{} {}", pool.name, endpoint.address)
}

pub(super) fn about_refusal(refusal: &Refusal) -> String {
    format!("{} {}", refusal.time, refusal.peer)
}

/// Those that are not up, or that connects fail to, come first.
fn endpoints(model: &Model) -> Vec<Row> {
    let answers = &model.last.answers;
    let before = model.before().into_iter().flat_map(each_endpoint);
    let before: Endpoints<'_> = before
        .map(|(pool, endpoint)| ((pool.name.as_str(), endpoint.address.as_str()), endpoint))
        .collect();
    let row = |(pool, endpoint): (&Pool, &Endpoint)| {
        let key = (pool.name.as_str(), endpoint.address.as_str());
        let before = before.get(&key);
        let rate = |count: fn(&Endpoint) -> u64| {
            model.rate(count(endpoint), before.map(|before| count(before)))
        };
        let failures = rate(|endpoint| endpoint.failures);
        let is_well = endpoint.is_up() && failures.is_none_or(|rate| rate == 0.0);
        let since = answers.status.since(endpoint.since);
        let state = if endpoint.is_set {
            format!("{} (set)", endpoint.state)
        } else {
            endpoint.state.to_string()
        };
        Row {
            about: about_endpoint(pool, endpoint),
            weight: if is_well { Weight::Plain } else { Weight::Trouble },
            cells: vec![
                Cell::word(&pool.name),
                Cell::word(&endpoint.address),
                Cell::word(state),
                Cell::number(Some(since.as_secs_f64()), |_| units::span(since)),
                Cell::count(endpoint.active),
                Cell::rate(rate(|endpoint| endpoint.connects)),
                Cell::rate(failures),
                Cell::word(endpoint.why.as_ref().map_or("", Text::as_str)),
            ],
        }
    };
    let mut rows: Vec<_> = each_endpoint(answers).map(row).collect();
    rows.sort_by_key(|row| row.weight == Weight::Plain);
    rows
}

fn pools(model: &Model) -> Vec<Row> {
    let before = model.before().into_iter().flat_map(|answers| &answers.pools);
    let before: HashMap<&str, &Pool> = before.map(|pool| (pool.name.as_str(), pool)).collect();
    let row = |pool: &Pool| {
        let name = pool.name.as_str();
        let before = before.get(name);
        let rate = |count: fn(&Endpoint) -> u64| {
            Cell::rate(model.rate(pool.sum(count), before.map(|before| before.sum(count))))
        };
        let up = pool.sum(|endpoint| u64::from(endpoint.is_up()));
        let of = pool.sum(|_| 1);
        Row {
            about: name.to_owned(),
            weight: if up == of { Weight::Plain } else { Weight::Trouble },
            cells: vec![
                Cell::word(name),
                Cell::count(up),
                Cell::count(of),
                Cell::count(pool.sum(|endpoint| endpoint.active)),
                rate(|endpoint| endpoint.connects),
                rate(|endpoint| endpoint.failures),
                Cell::latency(model.connect_latency(Some(name), 0.5)),
                Cell::latency(model.connect_latency(Some(name), 0.99)),
            ],
        }
    };
    model.last.answers.pools.iter().map(row).collect()
}

fn listeners(model: &Model) -> Vec<Row> {
    let before = model.before().into_iter().flat_map(|answers| &answers.status.listeners);
    let before: HashMap<&str, &Listener> =
        before.map(|listener| (listener.name.as_str(), listener)).collect();
    let row = |listener: &Listener| {
        let name = listener.name.as_str();
        let before = before.get(name);
        let rate = |count: fn(&Listener) -> u64| {
            model.rate(count(listener), before.map(|before| count(before)))
        };
        Row {
            about: name.to_owned(),
            weight: Weight::Plain,
            cells: vec![
                Cell::word(name),
                Cell::word(joined(&listener.bind)),
                Cell::word(&listener.upstream),
                // It has either.
                Cell::count(listener.active + listener.datagrams.flows),
                Cell::rate(rate(|listener| listener.accepted + listener.datagrams.flows_begun)),
                Cell::bytes(rate(|listener| listener.bytes_up)),
                Cell::bytes(rate(|listener| listener.bytes_down)),
            ],
        }
    };
    model.last.answers.status.listeners.iter().map(row).collect()
}

/// Writes addresses side by side.
pub(super) fn joined(addresses: &[Text]) -> String {
    addresses.iter().map(Text::as_str).collect::<Vec<_>>().join(",")
}

fn refusals(model: &Model) -> Vec<Row> {
    let row = |refusal: &Refusal| Row {
        about: about_refusal(refusal),
        weight: Weight::Plain,
        cells: vec![
            Cell::word(refusal.time.clock()),
            Cell::word(&refusal.listener),
            Cell::word(&refusal.peer),
            Cell::word(&refusal.reason),
            Cell::word(&refusal.why),
        ],
    };
    model.last.answers.refusals.iter().map(row).collect()
}

fn closed(model: &Model) -> Vec<Row> {
    let now = &model.last.answers.status.closed;
    let row = |(reason, count): (&Text, &u64)| {
        // One that there was not yet is not told.
        let before =
            |answers: &Answers| answers.status.closed.get(reason).copied().unwrap_or_default();
        Row {
            about: reason.to_string(),
            weight: Weight::Plain,
            cells: vec![
                Cell::word(reason),
                Cell::count(*count),
                Cell::rate(model.rate(*count, model.before().map(before))),
            ],
        }
    };
    let mut counts: Vec<_> = present(now).collect();
    counts.sort_by_key(|(_, count)| Reverse(**count));
    counts.into_iter().map(row).collect()
}

/// Those that there were.
pub(super) fn present(closed: &BTreeMap<Text, u64>) -> impl Iterator<Item = (&Text, &u64)> {
    closed.iter().filter(|(_, count)| **count > 0)
}
