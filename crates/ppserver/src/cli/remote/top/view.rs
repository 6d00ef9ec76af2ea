//! The screen, out of the model.
//!
//! ```text
//! state, version, rates, what to look at        6 rows
//! panes                                         1
//! rows of the pane that is shown                the rest
//! the marked row, explained                     so much of it as it takes
//! keys                                          1
//! ```
//!
//! Plain letters carry all of it: colour only repeats what a word or a sign says. Invariant: what is drawn is a
//! function of the model and the time.

use std::iter;
use std::time::Instant;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Paragraph, Row, StatefulWidget, Table, TableState, Widget, Wrap};

use super::answers::Answers;
use super::model::{Gone, Mode, Model, Pane};
use super::rows::{self, Kind, Weight};
use super::{detail, units};
use crate::config::Colour;

/// The smallest screen that has room for it.
const WIDTH_MIN: u16 = 72;
const HEIGHT_MIN: u16 = 14;

/// Rows that the list keeps beside an explanation.
const LIST_ROWS_MIN: u16 = 3;

/// Between two columns.
const GAP: u16 = 2;

const HELP: &str = "\
Tab, Shift-Tab    the next pane, the one before
Up Down, k j      mark a row; also PgUp PgDn Home End g G
Enter             explain the marked row, a refusal by its bytes
/                 show only rows with these letters; Esc shows all again
s                 sort by the next column: numbers from the largest
p                 pause: the figures stand still, until p again
q, Ctrl-C, Esc    quit; Esc first closes what is open

CONN/S, FAIL/S    connects to an endpoint a second, those that failed
ACC/S             connections accepted a second
UP/S, DOWN/S      payload to upstreams and to clients, a second
P50, P99          half, and 99 of 100 of the latest connects took this
!                 an endpoint that is not up, or that connects fail to";

/// Draws it.
pub(super) fn draw(model: &Model, now: Instant, colour: Colour, area: Rect, buf: &mut Buffer) {
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        let text = format!(
            "top needs {WIDTH_MIN} columns and {HEIGHT_MIN} rows; here are {} and {}. q quits",
            area.width, area.height
        );
        Paragraph::new(text).wrap(Wrap { trim: true }).render(area, buf);
        return;
    }
    let [head, panes, list, keys] = Layout::vertical([
        Constraint::Length(6),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    let theme = Theme { colour };
    head_lines(model, now, theme, head.width).render(head, buf);
    tabs(model).render(panes, buf);
    if model.mode == Mode::Help {
        Paragraph::new(HELP).render(list, buf);
    } else {
        pane(model, theme, list, buf);
    }
    keys_line(model).render(keys, buf);
}

/// What colour adds to words.
#[derive(Clone, Copy)]
struct Theme {
    colour: Colour,
}

impl Theme {
    fn of(self, colour: Color) -> Style {
        match self.colour {
            Colour::On => Style::new().fg(colour),
            Colour::Off => Style::new(),
        }
    }
}

fn head_lines(model: &Model, now: Instant, theme: Theme, width: u16) -> Text<'static> {
    let cut = |text: String| Line::from(cut(&text, width));
    let trouble = trouble(model);
    let look = match trouble.is_empty() {
        true => cut("all well   every endpoint is up, every worker turns".to_owned()),
        false => {
            cut(format!("look at    {}", trouble.join("; "))).style(theme.of(Color::Yellow)).bold()
        }
    };
    let figures = figures(model).into_iter().map(cut);
    let lines = iter::once(state_line(model, now, theme)).chain(figures).chain([look]);
    Text::from_iter(lines)
}

fn state_line(model: &Model, now: Instant, theme: Theme) -> Line<'static> {
    let status = &model.last.answers.status;
    let is_serving = status.state.as_str() == "serving" && model.gone.is_none();
    let state = match &model.gone {
        Some(_) => "NO ANSWER".to_owned(),
        None => status.state.as_str().to_uppercase(),
    };
    Line::from_iter([
        Span::from(state)
            .style(theme.of(if is_serving { Color::Green } else { Color::Red }))
            .bold(),
        Span::from(format!(" for {}, since {}", age(model, now), since(model))),
        Span::from(if model.is_paused { "   PAUSED" } else { "" }).bold(),
    ])
}

/// Who it is, and what it does.
fn figures(model: &Model) -> [String; 4] {
    let Answers { status, .. } = &model.last.answers;
    let rate = |count: fn(&Answers) -> u64| model.server_rate(count);
    let per_second = |count| shown(rate(count), units::rate);
    let bytes = |count| shown(rate(count), units::bytes);
    let latency = |part| rows::latency(model.connect_latency(None, part));
    [
        format!(
            "ppserver {} ({}), process {}, generation {}, {}",
            status.version,
            status.commit,
            status.pid,
            status.generation,
            counted(status.workers, "worker")
        ),
        format!(
            "clients    {} of {} at most, {}/s accepted, {}/s closed",
            units::count(status.active),
            units::count(status.connections_max),
            per_second(|answers| answers.status.accepted),
            per_second(|answers| answers.status.closed.values().sum()),
        ),
        format!(
            "payload    {}/s up, {}/s down",
            bytes(|answers| answers.status.bytes_up),
            bytes(|answers| answers.status.bytes_down),
        ),
        format!(
            "connects   {}/s, {}/s failed, p50 {}, p99 {}",
            per_second(|answers| answers.endpoints(|endpoint| endpoint.connects)),
            per_second(|answers| answers.endpoints(|endpoint| endpoint.failures)),
            latency(0.5),
            latency(0.99),
        ),
    ]
}

fn age(model: &Model, now: Instant) -> String {
    units::span(match &model.gone {
        Some(Gone { since, .. }) => now.saturating_duration_since(*since),
        None => model.last.answers.status.uptime(),
    })
}

/// By the server's clock.
fn since(model: &Model) -> String {
    let status = &model.last.answers.status;
    match &model.gone {
        Some(_) => format!("{}; this is what it said then", status.time()),
        None => status.started.to_string(),
    }
}

/// What somebody who was woken by it wants to know first.
fn trouble(model: &Model) -> Vec<String> {
    let answers = &model.last.answers;
    if let Some(Gone { why, .. }) = &model.gone {
        return vec![why.to_string()];
    }
    let mut words = Vec::new();
    if answers.status.state.as_str() == "draining" {
        words.push("it accepts nobody, and ends with its last client".to_owned());
    }
    words.extend(answers.still.iter().map(ToString::to_string));
    let down = answers.endpoints(|endpoint| u64::from(!endpoint.is_up()));
    let all = answers.endpoints(|_| 1);
    if down > 0 {
        words.push(format!("{down} of {} not up", counted(all, "endpoint")));
    }
    let failures = model.server_rate(|answers| answers.endpoints(|endpoint| endpoint.failures));
    if let Some(rate) = failures.filter(|rate| *rate > 0.0) {
        words.push(format!("{} connects fail a second", units::rate(rate)));
    }
    let pauses = model.server_rate(|answers| answers.status.accept_pauses);
    if pauses.is_some_and(|rate| rate > 0.0) {
        words.push("accepting pauses, the system has run out of something".to_owned());
    }
    let dropped = model.server_rate(|answers| answers.status.log_lines_dropped);
    if dropped.is_some_and(|rate| rate > 0.0) {
        words.push("nobody reads the log, lines are dropped".to_owned());
    }
    let span = model.before().map(|before| before.status.time());
    let new =
        answers.refusals.iter().take_while(|refusal| span.is_some_and(|span| refusal.time > span));
    if let Some(refusal) = new.last().and(answers.refusals.first()) {
        words.push(format!("{} is refused: {}", refusal.peer, refusal.reason));
    }
    words
}

fn counted(count: u64, what: &str) -> String {
    format!("{} {what}{}", units::count(count), if count == 1 { "" } else { "s" })
}

fn shown(rate: Option<f64>, show: fn(f64) -> String) -> String {
    rate.map_or("-".to_owned(), show)
}

/// The panes, the one that is shown in brackets.
fn tabs(model: &Model) -> Line<'static> {
    let tab = |pane: &Pane| {
        let count = rows::table(model, *pane).total;
        let title =
            format!("{} {}", pane.title(), units::count(u64::try_from(count).unwrap_or(u64::MAX)));
        if *pane == model.pane {
            Span::from(format!("[{title}]")).reversed()
        } else {
            Span::from(format!(" {title} "))
        }
    };
    let spans = Pane::ALL.iter().map(tab);
    Line::from_iter(spans.flat_map(|tab| [tab, Span::from(" ")]))
}

/// The list, and below it the explanation of a row, if it is asked for.
fn pane(model: &Model, theme: Theme, area: Rect, buf: &mut Buffer) {
    let table = model.table();
    let marked = model.marked(&table);
    let row = marked.and_then(|at| table.rows.get(at)).filter(|_| model.mode == Mode::Detail);
    let lines =
        row.map(|row| detail::lines(model, row, usize::from(area.width))).unwrap_or_default();
    let room = area.height.saturating_sub(LIST_ROWS_MIN);
    let height =
        if row.is_some() { u16::try_from(lines.len() + 1).unwrap_or(room).min(room) } else { 0 };
    let [above, rule, below] = Layout::vertical([
        Constraint::Min(0),
        Constraint::Length(height.min(1)),
        Constraint::Length(height.saturating_sub(1)),
    ])
    .areas(area);
    list(model, &table, marked, theme, above, buf);
    Line::from("-".repeat(usize::from(rule.width))).render(rule, buf);
    Text::from_iter(lines).render(below, buf);
}

/// The rows, the marked one behind `>`; those that are looked for begin with `!`.
fn list(
    model: &Model,
    table: &rows::Table,
    marked: Option<usize>,
    theme: Theme,
    area: Rect,
    buf: &mut Buffer,
) {
    let columns = rows::columns(model.pane);
    let widths = widths(columns, table, area.width.saturating_sub(MARKS));
    let cell = |text: &str, at: usize| {
        let line = Line::from(cut(text, widths[at]));
        Cell::from(match columns[at].kind {
            Kind::Words => line,
            Kind::Numbers => line.right_aligned(),
        })
    };
    let row = |row: &rows::Row| {
        let (sign, style) = match row.weight {
            Weight::Plain => (" ", Style::new()),
            Weight::Trouble => ("!", theme.of(Color::Red)),
        };
        let cells = row.cells.iter().enumerate().map(|(at, shown)| cell(&shown.text, at));
        Row::new(iter::once(Cell::from(sign)).chain(cells)).style(style)
    };
    let titles = columns.iter().enumerate().map(|(at, column)| cell(column.title, at));
    let head = Row::new(iter::once(Cell::from("")).chain(titles)).bold();
    let sizes = iter::once(1).chain(widths.iter().copied());
    let list = Table::new(table.rows.iter().map(row), sizes.map(Constraint::Length))
        .header(head)
        .column_spacing(GAP)
        .highlight_symbol(">")
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    StatefulWidget::render(list, area, buf, &mut TableState::new().with_selected(marked));
    if table.rows.is_empty() {
        let below = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
        Line::from(if table.total == 0 { "  none" } else { "  none with these letters" })
            .render(below, buf);
    }
}

/// The marks in front of a row: of the marked one, and the sign with the gap behind it.
const MARKS: u16 = 2 + GAP;

/// So wide that all fits, if it can; then the widest one gives way.
fn widths(columns: &[rows::Column], table: &rows::Table, room: u16) -> Vec<u16> {
    let width = |text: &str| u16::try_from(Span::from(text).width()).unwrap_or(u16::MAX);
    let widest =
        |at: usize| table.rows.iter().map(|row| width(&row.cells[at].text)).max().unwrap_or(0);
    let columns = columns.iter().enumerate();
    let mut widths: Vec<u16> =
        columns.map(|(at, column)| width(column.title).max(widest(at).min(room))).collect();
    let gaps = GAP * u16::try_from(widths.len().saturating_sub(1)).unwrap_or(0);
    let room = usize::from(room.saturating_sub(gaps));
    loop {
        let sum: usize = widths.iter().copied().map(usize::from).sum();
        match widths.iter_mut().max() {
            Some(widest) if sum > room && *widest > 1 => *widest -= 1,
            Some(_) | None => return widths,
        }
    }
}

/// Cuts what does not fit, which is told.
fn cut(text: &str, width: u16) -> String {
    let width = usize::from(width);
    if Span::from(text).width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if Span::from(&*kept).width() + 1 > width {
            kept.pop();
            break;
        }
    }
    kept + "\u{2026}"
}

fn keys_line(model: &Model) -> Line<'static> {
    let sorted = model.sorted_by().map_or(String::new(), |column| format!("   by {column}"));
    let filter = match model.filter.as_str() {
        "" => String::new(),
        letters => format!("   only `{letters}`"),
    };
    Line::from(match model.mode {
        Mode::Filter => format!("/{}_   Enter keeps it, Esc shows all again", model.filter),
        Mode::Help => "any key goes back".to_owned(),
        Mode::List | Mode::Detail => {
            format!(
                "q quit  ? help  Tab pane  Enter explain  / filter  s sort  p pause{sorted}{filter}"
            )
        }
    })
}
