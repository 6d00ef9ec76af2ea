//! The commands in the documents: each `cargo xtask` in a block of code is one that this program reads.
//!
//! What is behind `bench`, `soak` and `torment` the lab reads, and not this. Commands of ppserver are tested in
//! `tests/docs`.

use clap::CommandFactory;

use super::Violation;
use super::source::{Source, has_extension};
use crate::Arguments;

/// Checks every Markdown file.
pub(super) fn check(sources: &[Source]) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| has_extension(&source.path, "md")) {
        let mut is_code = false;
        for (line, number) in source.text.lines().zip(1..) {
            if line.trim_start().starts_with("```") {
                is_code = !is_code;
            } else if let (true, Some(why)) = (is_code, obstacle(line)) {
                found.push(Violation::new(&source.path, number, why));
            }
        }
    }
    found
}

/// Why a line cannot be typed as it stands; none where it is no such command.
fn obstacle(line: &str) -> Option<String> {
    let (_, command) = line.split_once("cargo xtask ")?;
    // A comment, or the end of a name in a picture of files.
    let command = command.split(['#', '`']).next().unwrap_or_default();
    // A word of capitals, as `N`, stands for one of the reader's own.
    let is_blank = |word: &str| word.chars().all(|c| c.is_ascii_uppercase());
    let words: Vec<&str> = command.split_whitespace().collect();
    if words.iter().any(|word| is_blank(word)) {
        return None;
    }
    let words = std::iter::once("cargo xtask").chain(words);
    let error = Arguments::command().try_get_matches_from(words).err()?;
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    Some(format!("`cargo xtask {}`: {first}", command.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        check(&[Source::new("a.md", text)]).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn commands_that_are_read_are_clean_and_so_is_what_is_no_command() {
        let good = "cargo xtask nonsense\n```sh\ncargo xtask tidy   # all\ncargo xtask sim --seeds N\n\
            cargo xtask bench short --rounds 7\n$ cargo xtask test --step fmt\ncargo test\n\
            xtask/  the gate: `cargo xtask test`; more\n```\n";
        assert_eq!(lines(good), [0; 0]);
    }

    #[test]
    fn a_command_that_is_none_is_found_with_its_line() {
        for bad in ["nonsense", "test --steps fmt", "sim --seed x"] {
            assert_eq!(lines(&format!("```\ncargo xtask {bad}\n```\n")), [2], "{bad}");
        }
    }
}
