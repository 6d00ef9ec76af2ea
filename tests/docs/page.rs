//! Pages of documentation, taken apart: blocks of code, the commands in them, and what stands below a command.

use std::fs;
use std::path::{Path, PathBuf};

/// A page that people read first, or one of docs/.
pub(crate) struct Page {
    /// From the repository's root.
    pub(crate) name: String,
    text: String,
}

/// A fenced block of code.
pub(crate) struct Block<'a> {
    /// What stands behind the fence.
    pub(crate) language: &'a str,
    pub(crate) text: &'a str,
    /// That of its first line, from 1.
    line: usize,
}

/// A command of a session.
pub(crate) struct Exchange<'a> {
    pub(crate) command: &'a str,
    pub(crate) line: usize,
    /// What it writes, without blanks at the ends of lines.
    pub(crate) shown: Vec<&'a str>,
}

/// The words behind the name of a program.
pub(crate) struct Words {
    pub(crate) words: Vec<String>,
    pub(crate) line: usize,
}

impl Page {
    /// The pages at the root that are for users, and all of docs/; recipes have tests of their own.
    pub(crate) fn all() -> Vec<Page> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut names = vec!["README.md".to_owned(), "README.ja.md".to_owned()];
        for entry in fs::read_dir(root.join("docs")).expect("docs are there") {
            let path = PathBuf::from("docs").join(entry.expect("it can be read").file_name());
            if path.extension().is_some_and(|extension| extension == "md") {
                names.push(path.to_string_lossy().into_owned());
            }
        }
        names.sort();
        let page = |name: String| {
            let text =
                fs::read_to_string(root.join(&name)).unwrap_or_else(|e| panic!("{name}: {e}"));
            Page { name, text }
        };
        names.into_iter().map(page).collect()
    }

    pub(crate) fn blocks(&self) -> Vec<Block<'_>> {
        blocks(&self.text)
    }
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut begun: Option<(&str, usize, usize)> = None;
    let mut at = 0;
    for (line, number) in text.split_inclusive('\n').zip(1..) {
        let end = at + line.len();
        if let Some(language) = line.trim().strip_prefix("```") {
            match begun.take() {
                None => begun = Some((language, end, number + 1)),
                Some((language, from, line)) => {
                    blocks.push(Block { language, text: &text[from..at], line });
                }
            }
        }
        at = end;
    }
    blocks
}

impl<'a> Block<'a> {
    /// The commands of a session, each behind `$ `.
    pub(crate) fn exchanges(&self) -> Vec<Exchange<'a>> {
        let mut exchanges: Vec<Exchange<'a>> = Vec::new();
        for (text, line) in self.text.lines().zip(self.line..) {
            if let Some(command) = text.strip_prefix("$ ") {
                exchanges.push(Exchange { command, line, shown: Vec::new() });
            } else if let Some(last) = exchanges.last_mut() {
                last.shown.push(text.trim_end());
            }
        }
        for exchange in &mut exchanges {
            while exchange.shown.last().is_some_and(|line| line.is_empty()) {
                exchange.shown.pop();
            }
        }
        exchanges
    }

    /// The commands that name `program`, wherever they stand in a line, of a session those behind `$ `; a variable of
    /// ppserver's in front of one is its flag. A synopsis, with its brackets, is no command.
    pub(crate) fn commands_of(&self, program: &str) -> Vec<Words> {
        let mut found = Vec::new();
        if ["toml", "rust", "rust,no_run", "go", "json", "text"].contains(&self.language) {
            return found;
        }
        let prompt = if self.text.lines().any(|line| line.starts_with("$ ")) { "$ " } else { "" };
        for (text, line) in self.text.lines().zip(self.line..) {
            let Some(text) = text.strip_prefix(prompt).filter(|text| !text.contains('[')) else {
                continue;
            };
            let words = shlex::split(text).unwrap_or_default();
            for command in words.split(|word| word.starts_with(['|', '&', ';', '>', '<'])) {
                let mut words = command.iter();
                let mut flags = Vec::new();
                let name = words.by_ref().find(|word| match word.strip_prefix("PPSERVER_") {
                    Some(variable) => {
                        flags.extend(flag(variable));
                        false
                    }
                    None => true,
                });
                if name.is_some_and(|name| name == program) {
                    found.push(Words { words: words.cloned().chain(flags).collect(), line });
                }
            }
        }
        found
    }
}

/// `LISTEN=:443` as `--listen=:443`.
fn flag(variable: &str) -> Option<String> {
    let (name, value) = variable.split_once('=')?;
    Some(format!("--{}={value}", name.to_lowercase().replace('_', "-")))
}

#[test]
fn a_page_is_taken_apart_into_blocks_commands_and_what_they_write() {
    let text = "a\n```console\n$ one | two\nx  \n\n$ three\n```\n\n```\nPPSERVER_TO=b:1 ppserver run --trust 'c d' > e # f\n```\n";
    let blocks = blocks(text);
    assert_eq!(blocks.iter().map(|block| block.language).collect::<Vec<_>>(), ["console", ""]);
    let exchanges = blocks[0].exchanges();
    let parts = exchanges.iter().map(|part| (part.command, part.line, part.shown.join("/")));
    assert_eq!(
        parts.collect::<Vec<_>>(),
        [("one | two", 3, "x".to_owned()), ("three", 6, String::new())]
    );
    let commands = blocks[1].commands_of("ppserver");
    assert_eq!(
        (commands[0].line, commands[0].words.join("/")),
        (10, "run/--trust/c d/--to=b:1".to_owned())
    );
}
