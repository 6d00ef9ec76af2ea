//! TOML values to plain ones, with their places: [`Section`] is a table whose keys have been
//! checked and whose values are read one by one.
//!
//! Knows no key by name. Invariant: every reader answers with a value even when it has reported a
//! fault (the default, or an empty one), so that reading goes on and all faults are found; a
//! configuration built from such values is never used, because its report has errors.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::codes::Code;
use super::diagnostics::{Diagnostics, Place, Quote, Span};
use super::keys::{self, TableKeys};
use super::units::{Misread, format_duration, format_size, parse_duration, parse_size};
use super::{Choice, Count, Toggle, foreign};

/// A value, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<T> At<T> {
    pub(super) fn new(value: T, place: impl Into<Place>) -> Self {
        Self { value, place: place.into() }
    }
}

/// What a table says, and which of its keys were written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Written<T> {
    pub(super) value: T,
    keys: Vec<Key>,
}

/// A key that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) place: Place,
    /// Where its value stands.
    pub(super) value: Place,
}

impl<T> Written<T> {
    pub(super) fn new(value: T, keys: Vec<Key>) -> Self {
        Self { value, keys }
    }

    /// The keys, in the order of the documentation.
    pub(super) fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// The key, if it was written.
    pub(super) fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Where the value of the key stands.
    pub(super) fn place_of(&self, name: &str) -> Place {
        self.key(name).map_or(Place::Nowhere, |key| key.value.clone())
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
    /// The top of the file; its keys are not checked yet.
    pub(super) fn top(table: &'a DeTable<'i>) -> Self {
        Self { keys: &keys::TOP, table: Some(table), span: None }
    }

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
            wrong_type(value, &expected, keys.example, faults);
        }
        let section = Self { keys, table, span };
        section.check_keys(faults);
        section
    }

    /// A table that is not there.
    pub(super) fn absent(keys: &'static TableKeys) -> Self {
        Self { keys, table: None, span: None }
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
            None => Self::absent(keys),
        }
    }

    /// Reports the keys the table should not have.
    pub(super) fn check_keys(self, faults: &mut Diagnostics) {
        let known = self.keys.known;
        for (key, _) in self.table.into_iter().flatten() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let title = self.keys.title();
            let fault = faults.add(
                Code::UnknownKey,
                key.span(),
                format!("unknown key `{name}` in {title}"),
            );
            if let Some(meaning) = foreign::meaning(name, self.keys.path) {
                fault.with_help(format!("here that is {meaning}"));
            } else if let Some(home) = keys::home_of(name, self.keys.path) {
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

    /// The table as it was read, with the known keys that are there.
    pub(super) fn written<T>(self, value: T) -> Written<T> {
        let find = |known: &&'static str| {
            let (key, value) = self.table?.get_key_value(*known)?;
            Some(Key { name: known, place: key.span().into(), value: value.span().into() })
        };
        Written::new(value, self.keys.known.iter().filter_map(find).collect())
    }

    /// The raw value.
    pub(super) fn get(self, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        debug_assert!(self.keys.known.contains(&key), "{key} is not listed");
        self.table?.get(key)
    }

    /// The entries of a table whose keys are names, in the order of the file.
    pub(super) fn entries(
        self,
        key: &str,
        example: &str,
        faults: &mut Diagnostics,
    ) -> Vec<(At<&'a str>, &'a Spanned<DeValue<'i>>)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(table) = value.get_ref().as_table() else {
            wrong_type(value, &format!("`{key}` is a table"), example, faults);
            return Vec::new();
        };
        let mut entries: Vec<_> = table
            .iter()
            .map(|(name, value)| (At::new(name.get_ref().as_ref(), name.span()), value))
            .collect();
        entries.sort_by_key(|(_, value)| value.span().start);
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

    /// One of a few words.
    pub(super) fn choice<T: Choice>(self, key: &str, default: T, faults: &mut Diagnostics) -> T {
        let words: Vec<_> = T::WORDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let example = format!("{key} = {}", words.join(" or "));
        let Some(text) = self.text(key, &example, faults) else { return default };
        word::<T>(&text, key, faults).unwrap_or(default)
    }

    /// The only word of this version; those of a later one (`file:` is all that begin so) are refused by name.
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
    pub(super) fn toggle<T: From<Toggle>>(
        self,
        key: &str,
        default: T,
        faults: &mut Diagnostics,
    ) -> T {
        let Some(value) = self.get(key) else { return default };
        match value.get_ref().as_bool() {
            Some(true) => Toggle::On.into(),
            Some(false) => Toggle::Off.into(),
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
        // 0 switches off, which is not what somebody writes the key for.
        let shown = if default == 0 { 10.min(*range.end()) } else { default };
        let example = format!("{key} = {shown}");
        element_number(value, key, &range, &example, faults).unwrap_or(default)
    }

    /// A whole number, or `"auto"`.
    pub(super) fn count(
        self,
        key: &str,
        range: RangeInclusive<usize>,
        default: Count,
        faults: &mut Diagnostics,
    ) -> Count {
        let Some(value) = self.get(key) else { return default };
        let example = format!("{key} = \"auto\" or {key} = {}", range.start());
        if value.get_ref().as_str() == Some("auto") {
            return Count::Auto;
        }
        element_number(value, key, &range, &example, faults).map_or(default, Count::Fixed)
    }

    /// A duration.
    pub(super) fn duration(
        self,
        key: &str,
        range: RangeInclusive<Duration>,
        default: Duration,
        faults: &mut Diagnostics,
    ) -> Duration {
        if let Some(value) = self.get(key).filter(|value| is_off(value)) {
            let longest = format_duration(*range.end());
            faults
                .add(Code::BadValue, value.span(), format!("`{key}` has no off"))
                .with_help(format!("the longest is {key} = \"{longest}\""));
            return default;
        }
        let shown = if default.is_zero() { Duration::from_secs(10) } else { default };
        let example = format!("{key} = \"{}\"", format_duration(shown.min(*range.end())));
        let Some(text) = self.text(key, &example, faults) else { return default };
        ranged(key, &text, parse_duration, range, format_duration, &example, faults)
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
        ranged(key, &text, parse_size, range, format_size, &example, faults).unwrap_or(default)
    }
}

/// A duration or a size within its range.
pub(super) fn ranged<T: PartialOrd + Copy>(
    key: &str,
    text: &At<&str>,
    parse: impl FnOnce(&str) -> Result<T, Misread>,
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
                .add(Code::BadValue, text.place.clone(), message)
                .with_help(format!("between \"{least}\" and \"{most}\""));
        }
        Err(misread) => unread(key, text, misread, example, faults),
    }
    None
}

/// Reports a text that cannot be read.
pub(super) fn unread(
    key: &str,
    text: &At<&str>,
    misread: Misread,
    example: &str,
    faults: &mut Diagnostics,
) {
    let Misread { why, meant } = misread;
    let message = format!("`{key}` cannot be read: {why}");
    let fault = faults.add(Code::BadValue, text.place.clone(), message);
    match meant {
        Some(meant) => fault
            .with_help(format!("did you mean \"{meant}\"?"))
            .with_suggestion(format!("\"{meant}\"")),
        None => fault.with_help(format!("for example {example}")),
    };
}

/// A string that is the value of `key` or stands in its list.
pub(super) fn element_text<'a>(
    value: &'a Spanned<DeValue<'_>>,
    key: &str,
    example: &str,
    faults: &mut Diagnostics,
) -> Option<At<&'a str>> {
    let Some(text) = value.get_ref().as_str() else {
        wrong_type(value, &format!("`{key}` takes a string"), example, faults);
        return None;
    };
    Some(At::new(text, value.span()))
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
pub(super) fn word<T: Choice>(text: &At<&str>, key: &str, faults: &mut Diagnostics) -> Option<T> {
    let found = T::WORDS.iter().find(|(word, _)| *word == text.value);
    if found.is_none() {
        let words: Vec<_> = T::WORDS.iter().map(|(word, _)| *word).collect();
        bad_word(text, key, &words, &[], faults);
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
        faults.add(Code::NotSupported, text.place.clone(), message).with_help(help);
    } else {
        let message = format!("`{key}` cannot be \"{shown}\"");
        faults.add(Code::BadValue, text.place.clone(), message).with_help(help).with_nearest(
            shown,
            words.iter().copied(),
            Quote::Double,
        );
    }
}

/// Whether a value is meant to switch something off, which is for the caller to know.
pub(super) fn is_off(value: &Spanned<DeValue<'_>>) -> bool {
    const OFF: [&str; 6] = ["off", "never", "none", "no", "infinite", "disabled"];
    let is_word = |text: &str| OFF.iter().any(|word| text.eq_ignore_ascii_case(word));
    value.get_ref().as_bool() == Some(false) || value.get_ref().as_str().is_some_and(is_word)
}

/// Whether a value is meant to switch something on.
pub(super) fn is_on(value: &Spanned<DeValue<'_>>) -> bool {
    const ON: [&str; 3] = ["on", "yes", "true"];
    let is_word = |text: &str| ON.iter().any(|word| text.eq_ignore_ascii_case(word));
    value.get_ref().as_bool() == Some(true) || value.get_ref().as_str().is_some_and(is_word)
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
