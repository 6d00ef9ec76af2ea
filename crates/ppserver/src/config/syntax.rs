//! The text as TOML: every syntax error of it, once, and what can still be judged beside them.
//!
//! Knows no key. Invariant: a syntax error is reported once a line, and no other fault is reported
//! that may be there only because of it, or of a variable that is not set.

use toml::de::{DeTable, DeValue};

use super::codes::Code;
use super::diagnostics::{Diagnostics, FAULTS_MAX, Span};
use super::foreign;
use super::parse::Section;
use super::variables::{self, Lookup};

/// Each is a reading of the whole file; behind so many nothing else is looked at.
const LONE_KEYS_MAX: usize = 20;

/// Reads the file as TOML and hands its top to `read`; afterwards drops the faults that are only
/// echoes of a syntax error.
pub(super) fn document<R>(
    text: &str,
    lookup: Lookup,
    faults: &mut Diagnostics,
    read: impl FnOnce(Section<'_, '_>, &mut Diagnostics) -> R,
) -> R {
    let (readable, mut errors) = without_lone_keys(text);
    let (table, rest) = DeTable::parse_recoverable(&readable);
    errors.extend(rest);
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    let mut broken = Broken { text, spans: Vec::new(), swallowed: false };
    let mut table = table.into_inner();
    let last = errors.last().and_then(toml::de::Error::span).map(|span| span.start);
    for array in last.map_or(Vec::new(), |last| unclosed_arrays(&table, text, last)) {
        broken.swallowed = true;
        faults
            .add(Code::Syntax, array.start..array.start + 1, "this `[` is never closed")
            .with_help("end the list with `]`");
        broken.spans.push(array);
    }
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        // The first error of a line says it all; the parser finds more while it gets back in step.
        if broken.spans.len() > FAULTS_MAX {
            break;
        }
        if !broken.is_on_same_line(&span) {
            faults
                .add(Code::Syntax, span.clone(), error.message())
                .with_help(syntax_help(text, &span));
            broken.spans.push(span);
        }
    }
    let unset = variables::expand(&mut table, text, lookup, faults);
    let told = faults.count();
    let answer = read(Section::top(&table), faults);
    faults.retain_behind(told, |span| !unset.iter().any(|string| string.contains(&span.start)));
    faults.retain(|code, span| !broken.echoes(code, span));
    answer
}

/// Blanks the lines that are keys without a value, and answers with the errors about them: behind such a line
/// the parser reads nothing.
fn without_lone_keys(text: &str) -> (String, Vec<toml::de::Error>) {
    let mut readable = text.to_owned();
    let mut errors = Vec::new();
    while errors.len() < LONE_KEYS_MAX {
        let (_, found) = DeTable::parse_recoverable(&readable);
        let is_lone_key =
            |error: &toml::de::Error| error.message().starts_with("key with no value");
        let Some(error) = found.into_iter().find(is_lone_key) else { break };
        let Some(span) = error.span() else { break };
        let start = readable[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
        let len = readable[start..].lines().next().unwrap_or_default().len();
        readable.replace_range(start..start + len, &" ".repeat(len));
        errors.push(error);
    }
    (readable, errors)
}

/// What to write instead, where it can be guessed.
fn syntax_help(text: &str, span: &Span) -> String {
    let found = text.get(span.clone()).unwrap_or_default();
    let before = text.get(..span.start).unwrap_or_default();
    if let Some(meaning) = foreign_meaning(text, span) {
        return format!("here that is {meaning}");
    }
    match found.to_lowercase().as_str() {
        "yes" | "on" | "true" => "write true".to_owned(),
        "no" | "off" | "false" => "write false".to_owned(),
        _ if !found.is_empty() && before.trim_end_matches([' ', '\t']).ends_with('=') => {
            "text stands in quotes: \"...\"".to_owned()
        }
        _ => "a line is [table], [[table]] or key = value; a key stands once in its table; \
              text in quotes, lists in [ ]"
            .to_owned(),
    }
}

/// What says the same as a line that is written as other proxies have them, words without `=`.
fn foreign_meaning(text: &str, span: &Span) -> Option<String> {
    let start = text[..span.start].rfind('\n').map_or(0, |newline| newline + 1);
    let line = text[start..].lines().next().unwrap_or_default();
    let meanings = foreign::meanings(line);
    (!meanings.is_empty() && !line.contains('=')).then(|| meanings.join("; "))
}

/// The outermost arrays that run to the end of the file because their `]` is missing; what stands
/// in them is the rest of the file, and the parser's errors about it would be noise. The parser
/// misses the `]` behind the array, so the last error stands there.
fn unclosed_arrays(table: &DeTable<'_>, text: &str, last_error: usize) -> Vec<Span> {
    let is_blank = |rest: &str| {
        rest.lines().all(|line| line.trim_start().is_empty() || line.trim_start().starts_with('#'))
    };
    let is_unclosed =
        |span: &Span| last_error >= span.end && is_blank(text.get(span.end..).unwrap_or_default());
    let mut found = Vec::new();
    for value in table.values() {
        match value.get_ref() {
            DeValue::Array(array) => {
                if text[value.span()].starts_with("[[") {
                    for element in array.iter().filter_map(|element| element.get_ref().as_table()) {
                        found.append(&mut unclosed_arrays(element, text, last_error));
                    }
                } else if is_unclosed(&value.span()) {
                    found.push(value.span());
                }
            }
            DeValue::Table(inner) => found.append(&mut unclosed_arrays(inner, text, last_error)),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }
    found
}

/// The places of the syntax errors, and what cannot be judged because of them.
struct Broken<'t> {
    text: &'t str,
    spans: Vec<Span>,
    /// An unclosed array has taken in whatever tables came behind it.
    swallowed: bool,
}

impl Broken<'_> {
    /// Whether a fault may be there only because a syntax error hid something.
    fn echoes(&self, code: Code, span: Option<&Span>) -> bool {
        if self.spans.is_empty() {
            return false;
        }
        let is_header_lost = || {
            let is_header = |span: &Span| self.line_of(span).trim_start().starts_with('[');
            self.swallowed || self.spans.iter().any(is_header)
        };
        let is_in_broken_table = |span: &Span| {
            let (start, end) = self.table_around(span);
            self.spans.iter().any(|broken| (start..=end).contains(&broken.start))
        };
        // A table that stands nowhere.
        let Some(span) = span else { return code == Code::MissingKey && is_header_lost() };
        if code != Code::Syntax && self.is_under_broken_header(span) {
            return true;
        }
        if code == Code::Syntax {
            false
        } else if code == Code::MissingKey {
            self.swallowed || is_in_broken_table(span)
        } else if matches!(code, Code::UnknownUpstream | Code::UnusedUpstream) {
            is_header_lost()
        } else {
            self.is_on_same_line(span)
        }
    }

    /// Whether what stands here was read as part of the table above, since the header is broken.
    fn is_under_broken_header(&self, span: &Span) -> bool {
        let (header, _) = self.table_around(span);
        self.text[header..].trim_start().starts_with('[') && self.is_on_same_line(&(header..header))
    }

    fn is_on_same_line(&self, span: &Span) -> bool {
        let line = self.line_start(span.start);
        self.spans.iter().any(|broken| {
            let last = broken.end.max(broken.start);
            (self.line_start(broken.start)..=self.line_start(last)).contains(&line)
        })
    }

    fn line_start(&self, at: usize) -> usize {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1)
    }

    fn line_of(&self, span: &Span) -> &str {
        self.text[self.line_start(span.start)..].lines().next().unwrap_or_default()
    }

    /// From the header above `span` to the header below it.
    fn table_around(&self, span: &Span) -> (usize, usize) {
        let mut start = 0;
        let mut at = 0;
        for line in self.text.split_inclusive('\n') {
            if line.trim_start().starts_with('[') {
                if at > span.start {
                    return (start, at);
                }
                start = at;
            }
            at += line.len();
        }
        (start, self.text.len())
    }
}
