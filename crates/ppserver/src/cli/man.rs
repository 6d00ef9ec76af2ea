//! `man`: the manual pages, of the definition that parses the arguments.
//!
//! A page is what `--help` says in the order and under the headings of man-pages(7). Invariant: it holds nothing that
//! changes from build to build, as a date.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::{Cli, Exit, Failure, answer};

const HELP: &str = "\
Examples:
  ppserver man | man -l -                            # read ppserver(1)
  ppserver man --out /usr/local/share/man/man1       # install it and the page of each command

Exit codes:
  0  printed, or written
  1  a page cannot be written
  2  wrong arguments, or stdout cannot be written";

/// Behind the help of the whole program, for its page alone.
const OF_THE_PROGRAM: &str = "\
Exit codes:
  0   done; of `run`: drained or stopped by a signal
  1   what was looked at is bad, or nobody answers; of `run`: it failed while it ran
  2   wrong arguments, or an answer that cannot be written
  3   `decode`: the header is incomplete
  69  `run`: a port could not be bound
  77  `run`: no permission
  78  `run` and `check`: the configuration has errors

Variables:
  PPSERVER_CONFIG  the configuration of `run`
  PPSERVER_ADMIN   the doors that `run` opens, and that the commands which ask a running server knock at
  PPSERVER_*       each flag of `run`: ppserver-run(1)
  NO_COLOR         not empty: no colours

Files:
  /etc/ppserver/ppserver.toml  the configuration that the unit of systemd names
  /run/ppserver/admin.sock     the door of a running server that is asked unless another is named";

const EXAMPLES: &str = "EXAMPLES";
const SIGNALS: &str = "SIGNALS";

/// Prints the manual page, or writes those of all commands
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// Write ppserver.1 and a page for each command into this directory, and print their paths
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let of_memory = |error: io::Error| Failure::new(Exit::Failed, error);
    match &args.out {
        None => answer(&page(&program, None).map_err(of_memory)?)?,
        Some(dir) => {
            let unwritten = |path: &Path, error| {
                Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display()))
            };
            fs::create_dir_all(dir).map_err(|error| unwritten(dir, error))?;
            for (command, parent) in with_subcommands(&program, None) {
                let path = dir.join(format!("{}.1", name(command)));
                let page = page(command, parent).map_err(of_memory)?;
                fs::write(&path, page).map_err(|error| unwritten(&path, error))?;
                answer(format!("{}\n", path.display()).as_bytes())?;
            }
        }
    }
    Ok(Exit::Ok.into())
}

/// The command and those below it, each with the one above it.
fn with_subcommands<'a>(
    command: &'a Command,
    parent: Option<&'a Command>,
) -> Vec<(&'a Command, Option<&'a Command>)> {
    let below = command.get_subcommands().filter(|below| !below.is_hide_set());
    let below = below.flat_map(|below| with_subcommands(below, Some(command)));
    [(command, parent)].into_iter().chain(below).collect()
}

/// `ppserver-upstreams-set`.
fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

/// The page of a command.
fn page(command: &Command, parent: Option<&Command>) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let (text, mut sections) = sections(&help);
    if parent.is_none() {
        sections.extend(self::sections(OF_THE_PROGRAM).1);
        let of_run = command.find_subcommand("run").and_then(Command::get_after_help);
        let of_run = of_run.map(ToString::to_string).unwrap_or_default();
        let of_run = self::sections(&of_run).1;
        sections.extend(of_run.into_iter().filter(|section| section.title == SIGNALS));
    }
    // They come last in man-pages(7), and first in help.
    sections.sort_by_key(|section| section.title == EXAMPLES);

    let mut page = Vec::new();
    // An empty date has to stand there, or what follows it moves up.
    let version = env!("CARGO_PKG_VERSION");
    writeln!(page, r#".TH {} 1 "" "ppserver {version}" "ppserver manual""#, name(command))?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    let mut roff = Roff::new();
    for paragraph in text {
        roff.control("PP", []).text([roman(paragraph)]);
    }
    roff.to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut roff = Roff::new();
    for section in sections {
        section.write(&mut roff);
    }
    if let Some(parent) = parent {
        roff.control("SH", ["SEE ALSO"]).text([bold(name(parent)), roman("(1)")]);
    }
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// A heading of the help and the lines that are indented below it.
#[derive(Debug, PartialEq, Eq)]
struct Section {
    title: String,
    lines: Vec<String>,
}

impl Section {
    fn write(&self, roff: &mut Roff) {
        roff.control("SH", [self.title.as_str()]);
        if self.title == EXAMPLES {
            roff.control("EX", []);
            for line in &self.lines {
                roff.text([roman(line.as_str())]);
            }
            roff.control("EE", []);
            return;
        }
        for line in &self.lines {
            // `TERM  what it is`, and what goes on stands below it.
            match line.split_once("  ").filter(|(term, _)| !term.is_empty()) {
                Some((term, meaning)) => {
                    roff.control("TP", []).text([bold(term)]).text([roman(meaning.trim_start())]);
                }
                None => {
                    roff.text([roman(line.trim_start())]);
                }
            }
        }
    }
}

/// Takes a help apart: its paragraphs, and its sections.
fn sections(help: &str) -> (Vec<String>, Vec<Section>) {
    let mut text: Vec<String> = Vec::new();
    let mut sections: Vec<Section> = Vec::new();
    let mut is_new = true;
    for line in help.lines() {
        if line.is_empty() {
            is_new = true;
        } else if let Some(line) = line.strip_prefix("  ")
            && let Some(section) = sections.last_mut()
        {
            section.lines.push(line.to_owned());
        } else if let Some(title) = line.strip_suffix(':').filter(|_| is_new) {
            let title = match title {
                "Exit codes" => "EXIT STATUS".to_owned(),
                "Variables" => "ENVIRONMENT".to_owned(),
                title => title.to_uppercase(),
            };
            sections.push(Section { title, lines: Vec::new() });
        } else if let Some(paragraph) = text.last_mut().filter(|_| !is_new) {
            paragraph.push(' ');
            paragraph.push_str(line);
        } else {
            text.push(line.to_owned());
            is_new = false;
        }
    }
    (text, sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_taken_apart_into_paragraphs_and_sections() {
        let help =
            "One\nparagraph.\n\nExamples:\n  a  # b\n    c\n\nExit codes:\n  0  ok\n\nAnother.";
        let section = |title: &str, lines: &[&str]| Section {
            title: title.to_owned(),
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        };
        let (text, sections) = sections(help);
        assert_eq!(text, ["One paragraph.", "Another."]);
        assert_eq!(
            sections,
            [section(EXAMPLES, &["a  # b", "  c"]), section("EXIT STATUS", &["0  ok"])]
        );
    }

    #[test]
    fn the_page_of_the_program_has_the_sections_that_people_look_for() {
        let mut program = Cli::command();
        program.build();
        let page = String::from_utf8(page(&program, None).unwrap()).unwrap();
        let headings = page.lines().filter_map(|line| line.strip_prefix(".SH "));
        let headings: Vec<_> = headings.map(|heading| heading.trim_matches('"')).collect();
        assert_eq!(
            headings,
            [
                "NAME",
                "SYNOPSIS",
                "DESCRIPTION",
                "OPTIONS",
                "SUBCOMMANDS",
                "EXIT STATUS",
                "ENVIRONMENT",
                "FILES",
                SIGNALS,
                EXAMPLES
            ]
        );
    }
}
