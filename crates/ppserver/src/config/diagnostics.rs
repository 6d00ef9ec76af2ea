//! What is wrong with a configuration, and where: collected, placed, drawn.
//!
//! Not a judge: other modules find the faults and word them. Invariant: a report's text depends on
//! the configuration alone (no clock, no terminal width, no colour unless asked for), and the
//! positions of the drawn text and of the JSON object are the same.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

use super::codes::{Code, Severity};

/// A byte range of the configuration's text.
pub(super) type Span = Range<usize>;

/// Where something stands that may be at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In the file.
    Text(Span),
    /// Behind this flag.
    Flag(&'static str),
    /// It is missing, or holds by default.
    Nowhere,
}

impl From<Span> for Place {
    fn from(span: Span) -> Self {
        Self::Text(span)
    }
}

impl From<Option<Span>> for Place {
    fn from(span: Option<Span>) -> Self {
        span.map_or(Self::Nowhere, Self::Text)
    }
}

/// A longer line is cut around its caret, so that a report never depends on the terminal.
const REPORT_COLUMNS: usize = 140;

/// Faults that are kept; the others are counted. Nobody reads more, and a file that is no
/// configuration at all has one a line.
pub(super) const FAULTS_MAX: usize = 200;

/// One fault: what, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    code: Code,
    /// None for a fault of the command line.
    span: Option<Span>,
    message: String,
    help: Option<String>,
    /// The text to put in the span's place.
    suggestion: Option<String>,
    /// Where the thing stood first, for a duplicate.
    first: Option<Span>,
}

impl Diagnostic {
    /// What kind of fault it is.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What is wrong, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    pub(super) fn with_help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn with_suggestion(&mut self, suggestion: impl Into<String>) -> &mut Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    pub(super) fn with_first(&mut self, first: &Place) -> &mut Self {
        if let Place::Text(span) = first {
            self.first = Some(span.clone());
        }
        self
    }

    /// Adds the nearest of `names`, if one is near, in front of the help.
    pub(super) fn with_nearest<'n>(
        &mut self,
        found: &str,
        names: impl IntoIterator<Item = &'n str>,
        quote: Quote,
    ) -> &mut Self {
        if let Some(name) = nearest(found, names) {
            let (shown, question) = match quote {
                Quote::Bare => (name.to_owned(), format!("did you mean `{name}`?")),
                Quote::Double => (format!("\"{name}\""), format!("did you mean \"{name}\"?")),
            };
            self.help = Some(match self.help.take() {
                Some(help) => format!("{question} {help}"),
                None => question,
            });
            self.suggestion = Some(shown);
        }
        self
    }
}

/// How a name stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quote {
    /// As a key.
    Bare,
    /// As a string value.
    Double,
}

/// The name that differs least from `found`, by at most a third of its letters (at least one).
fn nearest<'n>(found: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let found = found.to_lowercase().replace('-', "_");
    let edits_max = (found.chars().count() / 3).max(1);
    names
        .into_iter()
        .map(|name| {
            let plain = name.to_lowercase().replace('-', "_");
            (strsim::damerau_levenshtein(&found, &plain), name)
        })
        .filter(|(edits, _)| *edits <= edits_max)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// The faults found so far, in the order of finding.
#[derive(Debug, Default)]
pub(super) struct Diagnostics {
    /// At most [`FAULTS_MAX`].
    list: Vec<Diagnostic>,
    /// The last fault beyond them, and how many there were.
    beyond: Option<(Diagnostic, usize)>,
}

impl Diagnostics {
    /// Adds a fault; the answer is for its help.
    pub(super) fn add(
        &mut self,
        code: Code,
        place: impl Into<Place>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        let message = message.into();
        let (span, message) = match place.into() {
            Place::Text(span) => (Some(span), message),
            Place::Flag(flag) => (None, format!("{flag}: {message}")),
            Place::Nowhere => (None, message),
        };
        let fault = Diagnostic { code, span, message, help: None, suggestion: None, first: None };
        if self.list.len() < FAULTS_MAX {
            self.list.push(fault);
            return self.list.last_mut().expect("one was pushed just now");
        }
        let count = self.beyond.take().map_or(1, |(_, count)| count + 1);
        &mut self.beyond.insert((fault, count)).0
    }

    /// Whether there is an error about what stands in this place.
    pub(super) fn has_error_at(&self, place: &Place) -> bool {
        let Place::Text(place) = place else { return false };
        let is_there = |span: &Span| place.contains(&span.start);
        self.list.iter().any(|fault| {
            fault.code.severity() == Severity::Error && fault.span.as_ref().is_some_and(is_there)
        })
    }

    /// How many there are, as far as they are kept.
    pub(super) fn count(&self) -> usize {
        self.list.len()
    }

    /// Keeps the faults that `is_kept` says by their places are no echoes of the first `told` ones.
    pub(super) fn retain_behind(&mut self, told: usize, is_kept: impl Fn(&Span) -> bool) {
        let mut nth = 0;
        self.list.retain(|fault| {
            nth += 1;
            nth <= told || fault.span.as_ref().is_none_or(&is_kept)
        });
    }

    /// Keeps the faults that `is_kept` says are not echoes of others.
    pub(super) fn retain(&mut self, is_kept: impl Fn(Code, Option<&Span>) -> bool) {
        self.list.retain(|fault| is_kept(fault.code, fault.span.as_ref()));
    }

    /// Closes the list: faults in the order of the text, those without a place last.
    pub(super) fn into_report(mut self, source: Option<Source>) -> Report {
        if let Some(source) = &source {
            for fault in &mut self.list {
                fault.span = fault.span.take().map(|span| source.clip(span));
                fault.first = fault.first.take().map(|span| source.clip(span));
            }
        }
        let place = |fault: &Diagnostic| fault.span.as_ref().map_or(usize::MAX, |span| span.start);
        self.list.sort_by_key(place);
        self.list.dedup();
        if let Some((_, count)) = self.beyond {
            self.list.push(Diagnostic {
                code: Code::More,
                span: None,
                message: format!("{count} more faults are not shown"),
                help: Some("mend these first".to_owned()),
                suggestion: None,
                first: None,
            });
        }
        Report { source, list: self.list }
    }
}

/// A named text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// What to call it, as the user did.
    pub(super) name: String,
    /// The whole text.
    pub(super) text: String,
}

/// Where a fault stands, for people: lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    line: usize,
    column: usize,
    end_column: usize,
}

impl Source {
    /// Brings a span onto one line and onto character boundaries; the end of the file is the end of
    /// its last line.
    fn clip(&self, span: Span) -> Span {
        let text = self.text.as_str();
        let mut start = span.start.min(text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        if start == text.len() {
            start = text.trim_end_matches(['\n', '\r']).len();
        }
        let line_end = text[start..].find(['\n', '\r']).map_or(text.len(), |at| start + at);
        let mut end = span.end.min(text.len());
        while !text.is_char_boundary(end) {
            end += 1;
        }
        start..end.clamp(start, line_end.max(start))
    }

    fn position(&self, span: &Span) -> Position {
        let before = &self.text[..span.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = self.text[line_start..span.start].chars().count() + 1;
        Position {
            line: before.matches('\n').count() + 1,
            column,
            end_column: column + self.text[span.clone()].chars().count(),
        }
    }
}

/// Whether a drawn report carries terminal escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Off,
    /// For a terminal.
    On,
}

impl Colour {
    /// Colour for a terminal, unless NO_COLOR asks for none.
    pub fn of(stream: &impl IsTerminal) -> Self {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if stream.is_terminal() && !is_unwanted { Self::On } else { Self::Off }
    }
}

/// Every fault of one configuration, in the order of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    source: Option<Source>,
    list: Vec<Diagnostic>,
}

impl Report {
    /// The faults that stop the configuration from being used.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter().filter(|fault| fault.code.severity() == Severity::Error)
    }

    /// The faults somebody should look at.
    pub fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter().filter(|fault| fault.code.severity() == Severity::Warning)
    }

    /// Whether there are errors.
    pub fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// `2 errors, 1 warning`, or nothing when there is nothing to count.
    pub fn summary(&self) -> String {
        let counts = [("error", self.errors().count()), ("warning", self.warnings().count())];
        let mut text = String::new();
        for (noun, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            let comma = if text.is_empty() { "" } else { ", " };
            let plural = if count == 1 { "" } else { "s" };
            write!(text, "{comma}{count} {noun}{plural}").expect("a String takes everything");
        }
        text
    }

    /// Draws every fault with its line and a caret; an empty line ends each.
    pub fn render(&self, colour: Colour) -> String {
        let renderer = match colour {
            Colour::Off => Renderer::plain(),
            Colour::On => Renderer::styled(),
        };
        let renderer = renderer.term_width(REPORT_COLUMNS);
        let mut text = String::new();
        for fault in &self.list {
            text.push_str(&self.draw(fault, &renderer));
            text.push_str("\n\n");
        }
        text
    }

    /// The faults as they go into `check`'s JSON object: `(errors, warnings)`.
    pub fn to_json(&self) -> (Vec<JsonFault<'_>>, Vec<JsonFault<'_>>) {
        let errors = self.errors().map(|fault| self.json_fault(fault)).collect();
        let warnings = self.warnings().map(|fault| self.json_fault(fault)).collect();
        (errors, warnings)
    }

    fn draw(&self, fault: &Diagnostic, renderer: &Renderer) -> String {
        let level = match fault.code.severity() {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let title = level.primary_title(fault.message.as_str()).id(fault.code.as_str());
        let snippet = self.source.as_ref().zip(fault.span.as_ref()).map(|(source, span)| {
            let caret = AnnotationKind::Primary.span(span.clone());
            let first = fault
                .first
                .iter()
                .map(|first| AnnotationKind::Context.span(first.clone()).label("first used here"));
            Snippet::source(source.text.as_str())
                .path(source.name.as_str())
                .annotation(caret)
                .annotations(first)
        });
        match (snippet, fault.help.as_deref()) {
            (Some(snippet), Some(help)) => {
                renderer.render(&[title.element(snippet).element(Level::HELP.message(help))])
            }
            (Some(snippet), None) => renderer.render(&[title.element(snippet)]),
            // A help of its own: beside a place that is not there its bars would stand alone.
            (None, Some(help)) => {
                let title = renderer.render(&[Group::with_title(title)]);
                let help = Group::with_title(Level::HELP.primary_title(help));
                format!("{title}\n{}", renderer.render(&[help]))
            }
            (None, None) => renderer.render(&[Group::with_title(title)]),
        }
    }

    fn json_fault<'r>(&'r self, fault: &'r Diagnostic) -> JsonFault<'r> {
        let source = self.source.as_ref();
        let position = source.zip(fault.span.as_ref()).map(|(source, span)| source.position(span));
        JsonFault {
            line: position.map(|position| position.line),
            column: position.map(|position| position.column),
            end_column: position.map(|position| position.end_column),
            code: fault.code,
            message: &fault.message,
            help: fault.help.as_deref(),
            suggestion: fault.suggestion.as_deref(),
        }
    }
}

/// One fault for programs. Lines and columns count from 1, columns in characters; `end_column` is
/// the first one behind; all three are null where there is no text to point at.
#[derive(Debug, Clone, Serialize)]
pub struct JsonFault<'r> {
    pub(crate) line: Option<usize>,
    pub(crate) column: Option<usize>,
    end_column: Option<usize>,
    pub(crate) code: Code,
    pub(crate) message: &'r str,
    pub(crate) help: Option<&'r str>,
    suggestion: Option<&'r str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str, span: Span) -> Report {
        let mut faults = Diagnostics::default();
        faults.add(Code::BadValue, span, "no good").with_help("do better");
        faults.into_report(Some(Source { name: "f.toml".into(), text: text.into() }))
    }

    #[test]
    fn a_fault_is_drawn_with_file_line_column_caret_and_help() {
        let drawn = report("a = 1\nbb = 22\n", 11..13).render(Colour::Off);
        let expected = "\
error[bad-value]: no good
 --> f.toml:2:6
  |
2 | bb = 22
  |      ^^
  |
  = help: do better

";
        assert_eq!(drawn, expected);
    }

    #[test]
    fn drawn_and_json_positions_agree_on_every_span_of_an_awkward_text() {
        let text = "\u{feff}a = \"é→\"\r\n\tb\u{1b} = 'x'\n\n# ü\n[t]\nk=1";
        for start in 0..=text.len() + 1 {
            for end in start..=text.len() + 1 {
                let report = report(text, start..end);
                let (errors, _) = report.to_json();
                let place = (errors[0].line.unwrap(), errors[0].column.unwrap());
                let drawn = report.render(Colour::Off);
                let expected = format!("--> f.toml:{}:{}\n", place.0, place.1);
                assert!(drawn.contains(&expected), "{start}..{end}: {expected}{drawn}");
            }
        }
    }

    #[test]
    fn a_report_without_colour_holds_no_escape_even_if_the_file_does() {
        let report = report("a\u{1b}[31m = 1\n", 0..2);
        assert!(!report.render(Colour::Off).contains('\u{1b}'));
        assert!(report.render(Colour::On).contains('\u{1b}'));
    }

    #[test]
    fn a_fault_without_a_place_is_one_line_and_its_help() {
        let mut faults = Diagnostics::default();
        faults
            .add(Code::MissingKey, Place::Nowhere, "--trust is missing")
            .with_help("name the networks");
        let drawn = faults.into_report(None).render(Colour::Off);
        assert_eq!(drawn, "error[missing-key]: --trust is missing\nhelp: name the networks\n\n");
    }

    #[test]
    fn faults_beyond_the_limit_are_counted_and_an_error() {
        let mut faults = Diagnostics::default();
        for _ in 0..FAULTS_MAX + 3 {
            let count = faults.list.len();
            faults.add(Code::NoEffect, Place::Nowhere, count.to_string()).with_help("for each");
        }
        let report = faults.into_report(None);
        assert!(report.has_errors());
        assert_eq!(report.list.len(), FAULTS_MAX + 1);
        assert_eq!(report.list[FAULTS_MAX].message, "3 more faults are not shown");
    }

    #[test]
    fn the_nearest_name_is_near() {
        let names = ["workers", "max_connections", "shutdown_grace"];
        assert_eq!(nearest("worker", names), Some("workers"));
        assert_eq!(nearest("Max-Connectoins", names), Some("max_connections"));
        assert_eq!(nearest("color", names), None);
        assert_eq!(nearest("v3", ["v1", "v2"]), Some("v1"));
    }
}
