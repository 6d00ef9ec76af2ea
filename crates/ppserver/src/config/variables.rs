//! `${NAME}` and `${NAME:-default}` in the strings of a file: the environment stands in their place before
//! anything is read. `$$` is a dollar, and so is one with neither behind it.
//!
//! As in a shell, the default stands for a variable that is not set or empty; without one an empty variable is
//! empty, and one that is not set is a fault. Invariant: what a variable or a default holds is text, and is
//! not looked at again.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::codes::Code;
use super::diagnostics::{Diagnostics, Span};

/// Looks a variable up; `None` if it is not set.
pub(super) type Lookup = fn(&str) -> Option<String>;

/// Puts variables in their places, everywhere in `table`, which was read from `text`. Returns the places of the
/// strings in which one is missing: what else is found there means nothing.
pub(super) fn expand(
    table: &mut DeTable<'_>,
    text: &str,
    lookup: Lookup,
    faults: &mut Diagnostics,
) -> Vec<Span> {
    let mut expander = Expander { text, lookup, faults, broken: Vec::new() };
    table.iter_mut().for_each(|(_, value)| expander.value(value));
    expander.broken
}

/// A `${...}` that cannot be replaced.
struct Misfit<'v> {
    /// From the `$` on.
    reference: &'v str,
    code: Code,
    message: String,
    help: &'static str,
}

struct Expander<'t, 'f> {
    text: &'t str,
    lookup: Lookup,
    faults: &'f mut Diagnostics,
    broken: Vec<Span>,
}

impl Expander<'_, '_> {
    fn value(&mut self, value: &mut Spanned<DeValue<'_>>) {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(string) => self.string(string, span),
            DeValue::Array(array) => array.iter_mut().for_each(|value| self.value(value)),
            DeValue::Table(table) => table.iter_mut().for_each(|(_, value)| self.value(value)),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }

    fn string(&mut self, string: &mut Cow<'_, str>, span: Span) {
        if !string.contains('$') {
            return;
        }
        let (expanded, misfits) = expanded(string, self.lookup);
        for Misfit { reference, code, message, help } in &misfits {
            let place = self.place_of(reference, &span);
            self.faults.add(*code, place, message).with_help(*help);
        }
        if misfits.is_empty() {
            *string = Cow::Owned(expanded);
        } else {
            self.broken.push(span);
        }
    }

    /// Where a part of a string stands; all of the string, if it is written otherwise there.
    fn place_of(&self, reference: &str, string: &Span) -> Span {
        let raw = self.text.get(string.clone()).unwrap_or_default();
        let at = raw.find(reference).map(|at| string.start + at);
        at.map_or_else(|| string.clone(), |at| at..at + reference.len())
    }
}

/// The text with variables in their places, and what could not be put there.
fn expanded(text: &str, lookup: Lookup) -> (String, Vec<Misfit<'_>>) {
    let (mut expanded, mut misfits) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        expanded.push_str(before);
        let from_dollar = &rest[before.len()..];
        rest = behind;
        if let Some(behind) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = behind;
        } else if let Some(inside) = rest.strip_prefix('{') {
            let (inside, behind) = inside.split_once('}').unwrap_or((inside, ""));
            let reference = &from_dollar[..from_dollar.len() - behind.len()];
            match replacement(reference, inside, lookup) {
                Ok(value) => expanded.push_str(&value),
                Err(misfit) => misfits.push(misfit),
            }
            rest = behind;
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    (expanded, misfits)
}

fn replacement<'v>(
    reference: &'v str,
    inside: &'v str,
    lookup: Lookup,
) -> Result<Cow<'v, str>, Misfit<'v>> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !reference.ends_with('}') || !is_name(name) {
        let message = format!("`{reference}` names no variable");
        let help = "${NAME}, or ${NAME:-default}; $$ is a dollar";
        return Err(Misfit { reference, code: Code::BadValue, message, help });
    }
    match (lookup(name), default) {
        (Some(value), None) => Ok(value.into()),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value.into()),
        (_, Some(default)) => Ok(default.into()),
        (None, None) => {
            let message = format!("the variable `{name}` is not set");
            let help = "set it, or say what stands in its place: ${NAME:-default}";
            Err(Misfit { reference, code: Code::UnsetVariable, message, help })
        }
    }
}

/// As a shell has them.
fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("web".to_owned()),
            "EMPTY" => Some(String::new()),
            "ODD" => Some("${HOST}$$".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_stand_in_their_places() {
        for (text, expected) in [
            ("${HOST}:80", "web:80"),
            ("a${HOST}${HOST}b", "awebwebb"),
            ("${NONE:-10.0.0.7}:${NONE:-80}", "10.0.0.7:80"),
            ("${HOST:-other}", "web"),
            ("${EMPTY:-other}", "other"),
            ("<${EMPTY}>", "<>"),
            ("${NONE:-}", ""),
            ("${NONE:-a:-b}", "a:-b"),
            ("${ODD}", "${HOST}$$"),
            ("$$", "$"),
            ("$${HOST}", "${HOST}"),
            ("$$${HOST}", "$web"),
            ("a$b $", "a$b $"),
            ("é${HOST}é", "éwebé"),
        ] {
            let (text, misfits) = expanded(text, lookup);
            assert_eq!((&*text, misfits.len()), (expected, 0));
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_told_by_its_reference() {
        for (text, expected) in [
            ("x${NONE}y", vec![("${NONE}", Code::UnsetVariable)]),
            ("${", vec![("${", Code::BadValue)]),
            ("é${HOST", vec![("${HOST", Code::BadValue)]),
            ("${}", vec![("${}", Code::BadValue)]),
            ("${1A}", vec![("${1A}", Code::BadValue)]),
            ("${A-B}", vec![("${A-B}", Code::BadValue)]),
            ("${A}${HOST}${:-b}", vec![("${A}", Code::UnsetVariable), ("${:-b}", Code::BadValue)]),
        ] {
            let (_, misfits) = expanded(text, lookup);
            let found: Vec<_> = misfits.iter().map(|one| (one.reference, one.code)).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
