//! The two mistakes that are made with every key: its name is misspelt, or its value is of a kind that it never has.

use std::iter;

use serde_json::Value;

use super::check;
use crate::config::keys::{TABLES, TableKeys};

/// What the least file says in a table.
fn least(path: &str) -> &'static [&'static str] {
    match path {
        "" => &["config_version = 1"],
        "listener" => &["name = 'a'", "bind = ['127.0.0.1:1']", "upstream = 'u'"],
        "upstream.NAME" => &["endpoints = ['127.0.0.1:2']"],
        _ => &[],
    }
}

/// How a table begins.
fn header(path: &str) -> String {
    const LISTS: [&str; 4] = [
        "listener",
        "listener.route",
        "upstream.NAME.endpoints",
        "upstream.NAME.proxy_protocol.tlv_set",
    ];
    let name = path.replace("NAME", "u");
    if LISTS.contains(&path) { format!("[[{name}]]") } else { format!("[{name}]") }
}

/// Whether one path is that of a table within another's key.
fn is_below(path: &str, table: &TableKeys, key: &str) -> bool {
    let of_key =
        if table.path.is_empty() { key.to_owned() } else { format!("{}.{key}", table.path) };
    path == of_key || path.starts_with(&format!("{of_key}."))
}

/// The least file that has a table, with `line` for what it says of `key`; and the number of that line.
fn file(table: &TableKeys, key: &str, line: &str) -> (String, usize) {
    let mut lines = Vec::new();
    let above = TABLES.into_iter().filter(|it| table.path.starts_with(&format!("{}.", it.path)));
    let base = TABLES.into_iter().filter(|it| matches!(it.path, "" | "listener" | "upstream.NAME"));
    let mut tables: Vec<&TableKeys> = base.chain(above).chain([table]).collect();
    tables.sort_by_key(|it| it.path);
    tables.dedup_by_key(|it| it.path);
    let mut at = 0;
    for it in tables.iter().filter(|it| !is_below(it.path, table, key)) {
        if !it.path.is_empty() {
            lines.push(header(it.path));
        }
        // Not what stands in a table of its own, nor what is said otherwise.
        let is_said = |said: &&&str| {
            let (name, _) = said.split_once(' ').unwrap();
            let is_table = tables.iter().any(|below| is_below(below.path, it, name));
            !is_table && (it.path != table.path || name != key)
        };
        lines.extend(least(it.path).iter().filter(is_said).map(|said| (*said).to_owned()));
        if it.path == table.path {
            lines.push(line.to_owned());
            at = lines.len();
        }
    }
    (lines.join("\n") + "\n", at)
}

/// The errors on a line of a file.
fn errors(text: &str, line: usize) -> Vec<Value> {
    let Err(report) = check(text) else { return Vec::new() };
    let errors = serde_json::to_value(report.to_json().0).unwrap();
    errors.as_array().unwrap().iter().filter(|error| error["line"] == line).cloned().collect()
}

fn all() -> impl Iterator<Item = (&'static TableKeys, &'static str)> {
    TABLES.into_iter().flat_map(|table| iter::repeat(table).zip(table.known.iter().copied()))
}

#[test]
fn a_key_that_is_misspelt_is_told_the_nearest_in_its_table() {
    for (table, key) in all() {
        let misspelt = format!("{key}x");
        let (text, line) = file(table, &misspelt, &format!("{misspelt} = 1"));
        let found = errors(&text, line);
        let fault = found.iter().find(|fault| fault["code"] == "unknown-key");
        let help = fault.and_then(|fault| fault["help"].as_str()).unwrap_or_default();
        assert!(help.starts_with(&format!("did you mean `{key}`?")), "{text}{found:?}");
    }
}

#[test]
fn a_value_of_another_kind_is_told_an_example_that_is_right() {
    for (table, key) in all() {
        let (text, line) = file(table, key, &format!("{key} = 1979-05-27"));
        let found = errors(&text, line);
        let fault = found.iter().find(|fault| fault["code"] == "wrong-type");
        let help = fault.and_then(|fault| fault["help"].as_str()).unwrap_or_default();
        let example =
            help.strip_prefix("for example ").unwrap_or_else(|| panic!("{text}{found:?}"));
        let (example, _) = example.split_once(" or ").unwrap_or((example, ""));
        let line = if example.starts_with(&format!("{key} = ")) {
            example.to_owned()
        } else if example.contains("header") {
            // It stands in the least file.
            continue;
        } else {
            format!("{key} = {{ {} }}", example.replace(" and ", ", "))
        };
        let (text, line) = file(table, key, &line);
        let mut found = errors(&text, line);
        found.retain(|fault| fault["code"] != "unknown-upstream");
        assert!(found.is_empty(), "{text}{found:?}");
    }
}
