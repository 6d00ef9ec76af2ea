//! TOML text to values with their places: the syntax errors of the whole file, and [`Section`],
//! a table whose keys have been checked and whose values are read one by one.
//!
//! Knows no key by name. Invariant: every reader answers with a value even when it has reported a
//! fault (the default, or an empty one), so that reading goes on and all faults are found; a
//! configuration built from such values is never used, because its report has errors.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostics::{Code, Diagnostics, Quote, Span};
use super::schema::{self, TableKeys};
use super::units::{format_duration, format_size, parse_duration, parse_size};
use super::{Choice, Count, Toggle};

/// A value, and where it stands if it came from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Option<Span>,
}

impl<T> At<T> {
    pub(super) fn new(value: T, span: impl Into<Option<Span>>) -> Self {
        Self { value, span: span.into() }
    }
}

/// Reads the file as TOML and hands its top to `read`; afterwards drops the faults that are only
/// echoes of a syntax error.
pub(super) fn document<R>(
    text: &str,
    faults: &mut Diagnostics,
    read: impl FnOnce(Section<'_, '_>, &mut Diagnostics) -> R,
) -> R {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut broken = Broken { text, spans: Vec::new(), swallowed: false };
    let table = table.into_inner();
    for array in unclosed_arrays(&table, text, &errors) {
        broken.swallowed = true;
        faults
            .add(Code::Syntax, array.start..array.start + 1, "this `[` is never closed")
            .with_help("end the list with `]`");
        broken.spans.push(array);
    }
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        // The first error of a line says it all; the parser finds more while it gets back in step.
        if !broken.is_on_same_line(&span) {
            faults
                .add(Code::Syntax, span.clone(), error.message())
                .with_help(syntax_help(text, &span));
            broken.spans.push(span);
        }
    }
    let top = Section { keys: &schema::TOP, table: Some(&table), span: None };
    let answer = read(top, faults);
    faults.retain(|code, span| !broken.echoes(code, span));
    answer
}

/// What to write instead, where it can be guessed.
fn syntax_help(text: &str, span: &Span) -> String {
    let found = text.get(span.clone()).unwrap_or_default();
    let before = text.get(..span.start).unwrap_or_default();
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

/// The outermost arrays that run to the end of the file because their `]` is missing; what stands
/// in them is the rest of the file, and the parser's errors about it would be noise.
fn unclosed_arrays(table: &DeTable<'_>, text: &str, errors: &[toml::de::Error]) -> Vec<Span> {
    let is_blank = |rest: &str| {
        rest.lines().all(|line| line.trim_start().is_empty() || line.trim_start().starts_with('#'))
    };
    let is_unclosed = |span: &Span| {
        let is_past = |error: &toml::de::Error| error.span().is_some_and(|e| e.start >= span.end);
        errors.iter().any(is_past) && is_blank(text.get(span.end..).unwrap_or_default())
    };
    let mut found = Vec::new();
    for value in table.values() {
        match value.get_ref() {
            DeValue::Array(array) => {
                if text[value.span()].starts_with("[[") {
                    for element in array.iter().filter_map(|element| element.get_ref().as_table()) {
                        found.append(&mut unclosed_arrays(element, text, errors));
                    }
                } else if is_unclosed(&value.span()) {
                    found.push(value.span());
                }
            }
            DeValue::Table(inner) => found.append(&mut unclosed_arrays(inner, text, errors)),
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
        let Some(span) = span else { return false };
        if code != Code::Syntax && self.is_under_broken_header(span) {
            return true;
        }
        match code {
            Code::Syntax => false,
            Code::MissingKey => self.swallowed || is_in_broken_table(span),
            Code::UnknownUpstream | Code::UnusedUpstream => is_header_lost(),
            Code::Unreadable
            | Code::UnknownKey
            | Code::NotSupported
            | Code::WrongType
            | Code::BadValue
            | Code::Duplicate
            | Code::NoEffect
            | Code::HostBits
            | Code::ShortHeaderTimeout
            | Code::OpenTrust
            | Code::FewDescriptors
            | Code::OwnListener => self.is_on_same_line(span),
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

/// A table of the file, or its absence, which reads as all defaults.
#[derive(Clone, Copy)]
pub(super) struct Section<'a, 'i> {
    keys: &'static TableKeys,
    table: Option<&'a DeTable<'i>>,
    /// The header; copied apart because a range is not `Copy`.
    span: Option<(usize, usize)>,
}

impl<'a, 'i> Section<'a, 'i> {
    /// Takes `value` as a table with these keys; reports those it should not have.
    pub(super) fn open(
        keys: &'static TableKeys,
        value: &'a Spanned<DeValue<'i>>,
        faults: &mut Diagnostics,
    ) -> Self {
        let span = Some((value.span().start, value.span().end));
        let table = value.get_ref().as_table();
        if table.is_none() {
            let expected = format!("{} is a table", keys.title());
            wrong_type(value, &expected, "give it a header of its own", faults);
        }
        let section = Self { keys, table, span };
        section.check_keys(faults);
        section
    }

    /// The table under `key`, or its absence.
    pub(super) fn section(
        self,
        key: &str,
        keys: &'static TableKeys,
        faults: &mut Diagnostics,
    ) -> Self {
        match self.get(key) {
            Some(value) => Self::open(keys, value, faults),
            None => Self { keys, table: None, span: None },
        }
    }

    /// Reports the keys the table should not have.
    pub(super) fn check_keys(self, faults: &mut Diagnostics) {
        let TableKeys { known, later, .. } = *self.keys;
        for (key, _) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            if later.contains(&name) {
                faults
                    .add(
                        Code::NotSupported,
                        key.span(),
                        format!("`{name}` is not supported by this version"),
                    )
                    .with_help("remove it, or use a version that has it");
                continue;
            }
            let title = self.keys.title();
            let fault = faults.add(
                Code::UnknownKey,
                key.span(),
                format!("unknown key `{name}` in {title}"),
            );
            if let Some(home) = schema::homes_of(name).next() {
                fault.with_help(format!("`{name}` belongs in {}", home.title()));
            } else {
                fault.with_help(format!("{title} has {}", known.join(", ")));
                fault.with_nearest(name, known.iter().copied(), Quote::Bare);
            }
        }
    }

    /// The header of the table, if it is there.
    pub(super) fn span(self) -> Option<Span> {
        self.span.map(|(start, end)| start..end)
    }

    /// Whether the table has the key.
    pub(super) fn has(self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Whether the table is there and the key is not.
    pub(super) fn is_lacking(self, key: &str) -> bool {
        self.table.is_some() && !self.has(key)
    }

    /// The known keys that are there, and where.
    pub(super) fn present(self) -> impl Iterator<Item = (&'static str, Option<Span>)> {
        self.keys
            .known
            .iter()
            .filter(move |key| self.has(key))
            .map(move |key| (*key, self.key_span(key)))
    }

    /// Where the key itself stands.
    pub(super) fn key_span(self, key: &str) -> Option<Span> {
        self.table?.iter().find(|(name, _)| name.get_ref() == key).map(|(name, _)| name.span())
    }

    /// The raw value.
    pub(super) fn get(self, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        debug_assert!(self.keys.known.contains(&key), "{key} is not in the schema");
        self.table?.get(key)
    }

    /// The entries of a table whose keys are names, in the order of the file.
    pub(super) fn entries(
        self,
        key: &str,
        faults: &mut Diagnostics,
    ) -> Vec<(At<&'a str>, &'a Spanned<DeValue<'i>>)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(table) = value.get_ref().as_table() else {
            wrong_type(value, &format!("`{key}` is a table"), &format!("[{key}.NAME]"), faults);
            return Vec::new();
        };
        let mut entries: Vec<_> = table
            .iter()
            .map(|(name, value)| (At::new(name.get_ref().as_ref(), name.span()), value))
            .collect();
        entries.sort_by_key(|(name, _)| name.span.as_ref().map(|span| span.start));
        entries
    }

    /// The elements of a list; `None` if it is absent or no list.
    pub(super) fn list(
        self,
        key: &str,
        example: &str,
        faults: &mut Diagnostics,
    ) -> Option<&'a [Spanned<DeValue<'i>>]> {
        let value = self.get(key)?;
        let list = value.get_ref().as_array();
        if list.is_none() {
            wrong_type(value, &format!("`{key}` is a list"), example, faults);
        }
        list.map(|list| list.as_ref())
    }

    /// A string; `None` if it is absent or no string.
    pub(super) fn text(
        self,
        key: &str,
        example: &str,
        faults: &mut Diagnostics,
    ) -> Option<At<&'a str>> {
        element_text(self.get(key)?, key, example, faults)
    }

    /// One of a few words; those of a later version (`file:` is all that begin so) are refused by
    /// name.
    pub(super) fn choice<T: Choice>(
        self,
        key: &str,
        default: T,
        later: &[&str],
        faults: &mut Diagnostics,
    ) -> T {
        let example = format!("{key} = \"{}\"", default.word());
        let Some(text) = self.text(key, &example, faults) else { return default };
        word::<T>(&text, key, later, faults).unwrap_or(default)
    }

    /// The only word of this version, and those of a later one.
    pub(super) fn only_word(
        self,
        key: &str,
        only: &'static str,
        later: &[&str],
        faults: &mut Diagnostics,
    ) {
        let example = format!("{key} = \"{only}\"");
        let Some(text) = self.text(key, &example, faults) else { return };
        if text.value != only {
            bad_word(&text, key, &[only], later, faults);
        }
    }

    /// `true` or `false`.
    pub(super) fn toggle(self, key: &str, default: Toggle, faults: &mut Diagnostics) -> Toggle {
        let Some(value) = self.get(key) else { return default };
        match value.get_ref().as_bool() {
            Some(true) => Toggle::On,
            Some(false) => Toggle::Off,
            None => {
                let expected = format!("`{key}` is true or false");
                wrong_type(value, &expected, &format!("{key} = true"), faults);
                default
            }
        }
    }

    /// A whole number.
    pub(super) fn number(
        self,
        key: &str,
        range: RangeInclusive<usize>,
        default: usize,
        faults: &mut Diagnostics,
    ) -> usize {
        let Some(value) = self.get(key) else { return default };
        let example = format!("{key} = {default}");
        element_number(value, key, &range, &example, faults).unwrap_or(default)
    }

    /// A whole number, or `"auto"`.
    pub(super) fn count(
        self,
        key: &str,
        range: RangeInclusive<usize>,
        faults: &mut Diagnostics,
    ) -> Count {
        let Some(value) = self.get(key) else { return Count::Auto };
        let example = format!("{key} = \"auto\" or {key} = {}", range.start());
        if value.get_ref().as_str() == Some("auto") {
            return Count::Auto;
        }
        element_number(value, key, &range, &example, faults).map_or(Count::Auto, Count::Fixed)
    }

    /// A duration.
    pub(super) fn duration(
        self,
        key: &str,
        range: RangeInclusive<Duration>,
        default: Duration,
        faults: &mut Diagnostics,
    ) -> Duration {
        let example = format!("{key} = \"{}\"", format_duration(default));
        let Some(text) = self.text(key, &example, faults) else { return default };
        self.ranged(key, &text, parse_duration, range, format_duration, &example, faults)
            .unwrap_or(default)
    }

    /// A number of bytes.
    pub(super) fn size(
        self,
        key: &str,
        range: RangeInclusive<usize>,
        default: usize,
        faults: &mut Diagnostics,
    ) -> usize {
        let example = format!("{key} = \"{}\"", format_size(default));
        let Some(text) = self.text(key, &example, faults) else { return default };
        self.ranged(key, &text, parse_size, range, format_size, &example, faults).unwrap_or(default)
    }

    #[expect(clippy::too_many_arguments, reason = "what durations and sizes have in common")]
    fn ranged<T: PartialOrd + Copy>(
        self,
        key: &str,
        text: &At<&str>,
        parse: impl FnOnce(&str) -> Result<T, String>,
        range: RangeInclusive<T>,
        format: impl Fn(T) -> String,
        example: &str,
        faults: &mut Diagnostics,
    ) -> Option<T> {
        match parse(text.value) {
            Ok(value) if range.contains(&value) => return Some(value),
            Ok(_) => {
                let (least, most) = (format(*range.start()), format(*range.end()));
                let message = format!("`{key}` is out of range");
                faults
                    .add(Code::BadValue, text.span.clone(), message)
                    .with_help(format!("between \"{least}\" and \"{most}\""));
            }
            Err(why) => {
                let message = format!("`{key}` cannot be read: {why}");
                faults
                    .add(Code::BadValue, text.span.clone(), message)
                    .with_help(format!("for example {example}"));
            }
        }
        None
    }
}

/// A string that is the value of `key` or stands in its list.
pub(super) fn element_text<'a>(
    value: &'a Spanned<DeValue<'_>>,
    key: &str,
    example: &str,
    faults: &mut Diagnostics,
) -> Option<At<&'a str>> {
    let text = value.get_ref().as_str();
    if text.is_none() {
        wrong_type(value, &format!("`{key}` takes a string"), example, faults);
    }
    Some(At::new(text?, value.span()))
}

/// A whole number that is the value of `key` or stands in its list.
pub(super) fn element_number(
    value: &Spanned<DeValue<'_>>,
    key: &str,
    range: &RangeInclusive<usize>,
    example: &str,
    faults: &mut Diagnostics,
) -> Option<usize> {
    let Some(integer) = value.get_ref().as_integer() else {
        wrong_type(value, &format!("`{key}` takes a number"), example, faults);
        return None;
    };
    // A number that does not fit is as much out of range as any other.
    let number = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
    let number = number.and_then(|number| usize::try_from(number).ok());
    let number = number.filter(|number| range.contains(number));
    if number.is_none() {
        let help = format!("between {} and {}", range.start(), range.end());
        faults
            .add(Code::BadValue, value.span(), format!("`{key}` is out of range"))
            .with_help(help);
    }
    number
}

/// The value a word stands for.
pub(super) fn word<T: Choice>(
    text: &At<&str>,
    key: &str,
    later: &[&str],
    faults: &mut Diagnostics,
) -> Option<T> {
    let found = T::WORDS.iter().find(|(word, _)| *word == text.value);
    if found.is_none() {
        let words: Vec<_> = T::WORDS.iter().map(|(word, _)| *word).collect();
        bad_word(text, key, &words, later, faults);
    }
    found.map(|(_, value)| *value)
}

fn bad_word(text: &At<&str>, key: &str, words: &[&str], later: &[&str], faults: &mut Diagnostics) {
    let shown = text.value;
    let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    let help = match quoted.as_slice() {
        [only] => format!("this version has {only} only"),
        [] | [_, _, ..] => format!("one of {}", quoted.join(", ")),
    };
    if later.iter().any(|word| shown == *word || word.ends_with(':') && shown.starts_with(word)) {
        let message = format!("`{key} = \"{shown}\"` is not supported by this version");
        faults.add(Code::NotSupported, text.span.clone(), message).with_help(help);
    } else {
        let message = format!("`{key}` cannot be \"{shown}\"");
        faults.add(Code::BadValue, text.span.clone(), message).with_help(help).with_nearest(
            shown,
            words.iter().copied(),
            Quote::Double,
        );
    }
}

/// Says what a value is and what it should be.
pub(super) fn wrong_type(
    value: &Spanned<DeValue<'_>>,
    expected: &str,
    example: &str,
    faults: &mut Diagnostics,
) {
    let found = match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    faults
        .add(Code::WrongType, value.span(), format!("{expected}, and this is {found}"))
        .with_help(format!("for example {example}"));
}
