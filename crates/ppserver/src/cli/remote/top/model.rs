//! What `top` knows and shows: answers and keys go in, the state that is drawn comes of them.
//!
//! It opens nothing and reads no clock. Invariant: rates are made of two looks at one process.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::answers::{Answers, Bucket, Text};
use super::rows::{self, Table};
use super::units::as_f64;

/// Looks over which latencies are told: a minute, unless told otherwise.
const LATENCY_LOOKS: usize = 60;

/// The longest filter.
const FILTER_CHARS_MAX: usize = 64;

/// Rows that a page moves by.
const PAGE: usize = 10;

/// A key, as far as it means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Tab,
    BackTab,
    Enter,
    Escape,
    Backspace,
    /// Ctrl-C.
    Interrupt,
    Char(char),
}

/// What comes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    Quit,
}

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Endpoints,
    Pools,
    Listeners,
    Refusals,
    Closed,
}

impl Pane {
    pub(super) const ALL: [Self; 5] =
        [Self::Endpoints, Self::Pools, Self::Listeners, Self::Refusals, Self::Closed];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Endpoints => "Endpoints",
            Self::Pools => "Pools",
            Self::Listeners => "Listeners",
            Self::Refusals => "Refusals",
            Self::Closed => "Closed",
        }
    }

    fn beside(self, step: usize) -> Self {
        let at = Self::ALL.iter().position(|pane| *pane == self).unwrap_or(0);
        Self::ALL[(at + step) % Self::ALL.len()]
    }
}

/// What keys have made of a pane.
#[derive(Debug, Default)]
struct Place {
    /// The row that is marked, by what it is about; the index is where it was last.
    marked: Option<String>,
    index: usize,
    /// The column that it is sorted by, instead of the order that it comes in.
    sort: Option<usize>,
}

/// What the keys go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    List,
    /// The marked row is explained.
    Detail,
    /// Letters go to the filter.
    Filter,
    Help,
}

/// How long connects took, by upstream.
type Connects = BTreeMap<Text, Vec<Bucket>>;

/// One look at the server.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) at: Instant,
    pub(super) answers: Answers,
}

/// That nobody answers any more.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) since: Instant,
    pub(super) why: Text,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) last: Look,
    before: Option<Look>,
    /// Of the looks before the last one, the newest last.
    connects: VecDeque<Connects>,
    pub(super) gone: Option<Gone>,
    pub(super) is_paused: bool,
    pub(super) pane: Pane,
    pub(super) mode: Mode,
    pub(super) filter: String,
    places: [Place; Pane::ALL.len()],
}

impl Model {
    pub(super) fn new(at: Instant, answers: Answers) -> Self {
        Self {
            last: Look { at, answers },
            before: None,
            connects: VecDeque::new(),
            gone: None,
            is_paused: false,
            pane: Pane::Endpoints,
            mode: Mode::List,
            filter: String::new(),
            places: Default::default(),
        }
    }

    /// The server has answered, or the reason why it has not.
    pub(super) fn handle_answers(&mut self, at: Instant, answers: Result<Answers, String>) {
        match answers {
            Err(why) => {
                let since = self.gone.as_ref().map_or(at, |gone| gone.since);
                self.gone = Some(Gone { since, why: Text::of(&why) });
            }
            Ok(answers) => {
                let was_gone = self.gone.take().is_some();
                let is_other = answers.process() != self.last.answers.process();
                if is_other {
                    self.before = None;
                    self.connects.clear();
                }
                if self.is_paused && !was_gone && !is_other {
                    return;
                }
                let old = std::mem::replace(&mut self.last, Look { at, answers });
                if !is_other {
                    self.connects.push_back(old.answers.connects());
                    if self.connects.len() > LATENCY_LOOKS {
                        self.connects.pop_front();
                    }
                    self.before = Some(old);
                }
            }
        }
    }

    /// A key was pressed.
    pub(super) fn handle_key(&mut self, key: Key) -> Next {
        if key == Key::Interrupt {
            return Next::Quit;
        }
        match self.mode {
            Mode::Filter => self.edit_filter(key),
            Mode::Help => self.mode = Mode::List,
            Mode::List | Mode::Detail => return self.handle_command(key),
        }
        Next::Stay
    }

    fn handle_command(&mut self, key: Key) -> Next {
        match key {
            Key::Char('q') => return Next::Quit,
            Key::Escape if self.mode == Mode::Detail => self.mode = Mode::List,
            Key::Escape if !self.filter.is_empty() => self.filter.clear(),
            Key::Escape => return Next::Quit,
            Key::Up | Key::Char('k') => self.step(|at| at.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.step(|at| at + 1),
            Key::PageUp => self.step(|at| at.saturating_sub(PAGE)),
            Key::PageDown => self.step(|at| at + PAGE),
            Key::Home | Key::Char('g') => self.step(|_| 0),
            Key::End | Key::Char('G') => self.step(|_| usize::MAX),
            Key::Tab => self.pane = self.pane.beside(1),
            Key::BackTab => self.pane = self.pane.beside(Pane::ALL.len() - 1),
            Key::Enter if self.mode == Mode::Detail => self.mode = Mode::List,
            Key::Enter => self.mode = Mode::Detail,
            Key::Char('/') => self.mode = Mode::Filter,
            Key::Char('s') => self.sort(),
            Key::Char('p') => self.is_paused = !self.is_paused,
            Key::Char('?') => self.mode = Mode::Help,
            Key::Backspace | Key::Char(_) | Key::Interrupt => {}
        }
        Next::Stay
    }

    fn edit_filter(&mut self, key: Key) {
        match key {
            Key::Enter => self.mode = Mode::List,
            Key::Escape => {
                self.filter.clear();
                self.mode = Mode::List;
            }
            Key::Backspace => {
                self.filter.pop();
            }
            Key::Char(c) if self.filter.chars().count() < FILTER_CHARS_MAX => self.filter.push(c),
            Key::Up => self.step(|at| at.saturating_sub(1)),
            Key::Down => self.step(|at| at + 1),
            Key::Char(_)
            | Key::PageUp
            | Key::PageDown
            | Key::Home
            | Key::End
            | Key::Tab
            | Key::BackTab
            | Key::Interrupt => {}
        }
    }

    /// Marks another row.
    fn step(&mut self, to: impl Fn(usize) -> usize) {
        let table = self.table();
        let at = to(self.marked(&table).unwrap_or(0)).min(table.rows.len().saturating_sub(1));
        let marked = table.rows.get(at).map(|row| row.about.clone());
        *self.place_mut() = Place { marked, index: at, sort: self.place().sort };
    }

    /// Sorts by the next column, and behind the last one not at all.
    fn sort(&mut self) {
        let columns = rows::columns(self.pane).len();
        let place = self.place_mut();
        place.sort = match place.sort {
            None => Some(0),
            Some(at) if at + 1 < columns => Some(at + 1),
            Some(_) => None,
        };
    }

    fn place(&self) -> &Place {
        &self.places[self.pane as usize]
    }

    fn place_mut(&mut self) -> &mut Place {
        &mut self.places[self.pane as usize]
    }

    /// The rows of the pane that go through the filter, in their order.
    pub(super) fn table(&self) -> Table {
        let mut table = rows::table(self, self.pane);
        table.keep(&self.filter);
        if let Some(column) = self.place().sort {
            table.sort(column);
        }
        table
    }

    /// Where the marked row is among these; one that has gone is replaced by who is in its place.
    pub(super) fn marked(&self, table: &Table) -> Option<usize> {
        let Place { marked, index, .. } = self.place();
        let of_about = |about: &String| table.rows.iter().position(|row| row.about == *about);
        let last = table.rows.len().checked_sub(1)?;
        Some(marked.as_ref().and_then(of_about).unwrap_or(*index).min(last))
    }

    /// The column that the pane is sorted by.
    pub(super) fn sorted_by(&self) -> Option<&'static str> {
        self.place().sort.map(|column| rows::columns(self.pane)[column].title)
    }

    /// The look before the last one.
    pub(super) fn before(&self) -> Option<&Answers> {
        self.before.as_ref().map(|look| &look.answers)
    }

    /// How often something happened in a second; `None` before the second look.
    pub(super) fn rate(&self, now: u64, before: Option<u64>) -> Option<f64> {
        let span = self.last.at.saturating_duration_since(self.before.as_ref()?.at);
        let count = as_f64(now.saturating_sub(before?));
        (span > Duration::ZERO).then(|| count / span.as_secs_f64())
    }

    /// How often something of the whole server happened in a second.
    pub(super) fn server_rate(&self, count: impl Fn(&Answers) -> u64) -> Option<f64> {
        self.rate(count(&self.last.answers), self.before().map(count))
    }

    /// Between which bounds the given part of the latest connects stayed: those of one upstream, or of all.
    pub(super) fn connect_latency(&self, upstream: Option<&str>, part: f64) -> Option<(f64, f64)> {
        let mut buckets = summed(&self.last.answers.connects(), upstream);
        if let Some(before) = self.connects.front() {
            let before = summed(before, upstream);
            let counts = buckets.iter_mut().zip(before);
            counts.for_each(|((_, count), (_, before))| *count = count.saturating_sub(before));
        }
        let total: u64 = buckets.iter().map(|(_, count)| count).sum();
        let mut so_far = 0;
        let at = buckets.iter().position(|(_, count)| {
            so_far += count;
            total > 0 && as_f64(so_far) >= part * as_f64(total)
        })?;
        let above = at.checked_sub(1).map_or(0.0, |at| buckets[at].0);
        Some((above, buckets[at].0))
    }
}

impl Answers {
    fn connects(&self) -> Connects {
        let pools = self.pools.iter();
        pools.map(|pool| (pool.name.clone(), pool.connect_buckets.clone())).collect()
    }

    /// What tells one process from the next.
    fn process(&self) -> (u32, String) {
        (self.status.pid, self.status.started.to_string())
    }
}

/// The bounds and counts of one upstream, or of all together.
fn summed(connects: &Connects, upstream: Option<&str>) -> Vec<(f64, u64)> {
    let mut sum: Vec<(f64, u64)> = Vec::new();
    let is_meant = |name: &Text| upstream.is_none_or(|upstream| upstream == name.as_str());
    for (_, buckets) in connects.iter().filter(|(name, _)| is_meant(name)) {
        if sum.is_empty() {
            sum = buckets.iter().map(|bucket| (bucket.bound(), 0)).collect();
        }
        sum.iter_mut().zip(buckets).for_each(|(sum, bucket)| sum.1 += bucket.count);
    }
    sum
}
