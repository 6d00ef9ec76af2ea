//! `ppserver check`: says everything that is wrong with a configuration, and starts nothing.
//!
//! Findings about the file go to stderr, what was asked for (the verdict, the JSON object, the
//! effective configuration) to stdout. Invariant: exit 0 means that `run -c` would take the file.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;

use crate::cli::{STDIN, unless_gone};
use crate::config::{self, Colour, JsonFault, Loaded, Report, STDIN_NAME};
use crate::control::limits;
use crate::control::lookup::{self, Meaning};

/// The file can be used.
const EXIT_OK: u8 = 0;
/// It can, and a name in it stands for nothing.
const EXIT_UNRESOLVED: u8 = 1;
/// It cannot, or not be read: EX_CONFIG of sysexits(3), which units act on.
const EXIT_CONFIG: u8 = 78;

const HELP: &str = "\
Examples:
  ppserver check -c ppserver.toml
  ppserver check -c ppserver.toml --format json
  ppserver check -c ppserver.toml --effective > whole.toml
  ppserver check -c ppserver.toml --resolve

Exit codes:
  0   the file can be used; warnings may have been shown
  1   --resolve: a name among the endpoints stands for nothing, or nobody knows for what
  2   wrong arguments, or the answer cannot be written
  78  the file has errors, or cannot be read";

/// Checks a configuration file: every error at once, with its place and what to do
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The configuration file; `-` reads standard input
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Text for people, or one JSON object for programs
    #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
    pub(super) format: CheckFormat,
    /// Print the whole configuration with every default filled in
    #[arg(long)]
    pub(super) effective: bool,
    /// Say what the names among the endpoints stand for now; asks name servers and reads files
    #[arg(long, conflicts_with = "effective")]
    pub(super) resolve: bool,
}

impl Args {
    fn is_stdin(&self) -> bool {
        self.file.as_os_str() == STDIN
    }

    /// What the file is called.
    fn name(&self) -> &Path {
        if self.is_stdin() { Path::new(STDIN_NAME) } else { &self.file }
    }
}

/// How `check` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CheckFormat {
    /// Faults with carets on stderr, the verdict on stdout
    Text,
    /// One object on stdout
    Json,
}

/// Checks the file and answers with the exit code, also where the reader of the words has gone away.
///
/// # Errors
///
/// When `stdout` or `stderr` cannot be written to.
pub(super) fn run(
    args: &Args,
    colour: Colour,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> io::Result<u8> {
    let outcome = if args.is_stdin() {
        config::read_from(args.name(), Ok(io::stdin().lock()), limits::host())
    } else {
        config::load(args.name(), limits::host())
    };
    let names = match &outcome {
        Ok(Loaded { config, .. }) if args.resolve => Some(lookup::names(config)?),
        Ok(_) | Err(_) => None,
    };
    let told = match args.format {
        CheckFormat::Text => text(args, &outcome, colour, stdout, stderr).and_then(|()| {
            let mut names = names.iter().flatten();
            names.try_for_each(|meaning| said(meaning, stdout, stderr))
        }),
        CheckFormat::Json => json(args, &outcome, names.as_deref(), stdout),
    };
    unless_gone(told)?;
    let names = names.unwrap_or_default();
    let is_lacking = names.iter().any(|meaning| meaning.addrs.is_empty());
    Ok(match outcome {
        Err(_) => EXIT_CONFIG,
        Ok(_) if is_lacking => EXIT_UNRESOLVED,
        Ok(_) => EXIT_OK,
    })
}

/// Says what a name stands for, and on stderr why it does not.
fn said(meaning: &Meaning, stdout: &mut impl Write, stderr: &mut impl Write) -> io::Result<()> {
    let Meaning { upstream, name, addrs, why } = meaning;
    if !addrs.is_empty() {
        let addrs: Vec<_> = addrs.iter().map(ToString::to_string).collect();
        writeln!(stdout, "upstream `{upstream}`: {name} stands for {}", addrs.join(", "))?;
    }
    why.iter().try_for_each(|why| writeln!(stderr, "upstream `{upstream}`: {name}: {why}"))
}

fn text(
    args: &Args,
    outcome: &Result<Loaded, Report>,
    colour: Colour,
    stdout: &mut impl Write,
    stderr: &mut impl Write,
) -> io::Result<()> {
    let file = args.name().display();
    let (Ok(Loaded { warnings: report, .. }) | Err(report)) = outcome;
    write!(stderr, "{}", report.render(colour))?;
    match outcome {
        Ok(Loaded { config, .. }) if args.effective => write!(stdout, "{config}"),
        Ok(_) if report.is_empty() => writeln!(stdout, "{file}: ok"),
        Ok(_) => writeln!(stdout, "{file}: ok, {}", report.summary()),
        Err(_) => writeln!(stderr, "{file}: {}", report.summary()),
    }
}

/// The object of `--format json`.
#[derive(Serialize)]
struct Answer<'r> {
    file: String,
    ok: bool,
    errors: Vec<JsonFault<'r>>,
    warnings: Vec<JsonFault<'r>>,
    /// The TOML text, with `--effective` and no errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective: Option<String>,
    /// With `--resolve` and no errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<Vec<Name<'r>>>,
}

/// What a name stands for.
#[derive(Serialize)]
struct Name<'r> {
    upstream: &'r str,
    name: &'r str,
    addresses: &'r [SocketAddr],
    why: Option<&'r str>,
}

impl<'r> Name<'r> {
    fn of(meaning: &'r Meaning) -> Self {
        let Meaning { upstream, name, addrs, why } = meaning;
        Self { upstream, name, addresses: addrs, why: why.as_deref() }
    }
}

fn json(
    args: &Args,
    outcome: &Result<Loaded, Report>,
    names: Option<&[Meaning]>,
    stdout: &mut impl Write,
) -> io::Result<()> {
    let (Ok(Loaded { warnings: report, .. }) | Err(report)) = outcome;
    let (errors, warnings) = report.to_json();
    let effective = outcome.as_ref().ok().filter(|_| args.effective);
    let answer = Answer {
        file: args.name().display().to_string(),
        ok: outcome.is_ok(),
        errors,
        warnings,
        effective: effective.map(|loaded| loaded.config.to_string()),
        names: names.map(|names| names.iter().map(Name::of).collect()),
    };
    serde_json::to_writer(&mut *stdout, &answer)?;
    writeln!(stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "config_version = 1\n[[listener]]\nname='a'\nbind=['127.0.0.1:1']\n\
                        upstream='u'\n[upstream.u]\nendpoints=['127.0.0.1:2']\n";

    /// Exit code, stdout and stderr of `check` on a file with this text.
    fn check(text: &str, format: CheckFormat, effective: bool) -> (u8, String, String) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("f.toml");
        std::fs::write(&file, text).unwrap();
        check_file(&file, format, effective)
    }

    fn check_file(file: &Path, format: CheckFormat, effective: bool) -> (u8, String, String) {
        let args = Args { file: file.to_owned(), format, effective, resolve: false };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let code = run(&args, Colour::Off, &mut stdout, &mut stderr).unwrap();
        (code, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    #[test]
    fn the_arguments_are_as_documented() {
        #[derive(Debug, clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: Args,
        }
        let parse = |line: &str| <Line as clap::Parser>::try_parse_from(line.split(' '));
        let args = parse("check -c f.toml --format json --effective").unwrap().args;
        assert_eq!((args.file.as_path(), args.format), (Path::new("f.toml"), CheckFormat::Json));
        assert!(args.effective);
        for bad in ["check", "check f.toml", "check -c f.toml --format xml"] {
            assert_eq!(parse(bad).unwrap_err().exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn a_good_file_is_ok() {
        let (code, stdout, stderr) = check(GOOD, CheckFormat::Text, false);
        assert_eq!((code, stderr.as_str()), (0, ""));
        assert!(stdout.ends_with("f.toml: ok\n"), "{stdout}");
    }

    /// Whoever read the words has gone away.
    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_exit_code_stays_where_nobody_reads_the_words() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("f.toml");
        for (text, expected) in [(GOOD, EXIT_OK), ("config_version = 1\n", EXIT_CONFIG)] {
            std::fs::write(&file, text).unwrap();
            for format in [CheckFormat::Text, CheckFormat::Json] {
                let args = Args { file: file.clone(), format, effective: false, resolve: false };
                let code = run(&args, Colour::Off, &mut Gone, &mut Gone).unwrap();
                assert_eq!(code, expected, "{format:?}: {text}");
            }
        }
    }

    #[test]
    fn warnings_are_shown_and_exit_0() {
        let text = format!("{GOOD}retries = 5\n");
        let (code, stdout, stderr) = check(&text, CheckFormat::Text, false);
        assert_eq!(code, 0);
        assert!(stdout.ends_with("f.toml: ok, 1 warning\n"), "{stdout}");
        assert!(stderr.contains("warning[no-effect]"), "{stderr}");
    }

    #[test]
    fn errors_are_shown_on_stderr_and_exit_78() {
        let (code, stdout, stderr) = check("x = 1\ny = 2\n", CheckFormat::Text, true);
        assert_eq!((code, stdout.as_str()), (78, ""));
        assert!(stderr.contains("f.toml:1:1\n") && stderr.contains("f.toml:2:1\n"), "{stderr}");
        assert!(stderr.ends_with("f.toml: 4 errors\n"), "{stderr}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named_and_exits_78() {
        let path = Path::new("/nonexistent/f.toml");
        let (code, stdout, stderr) = check_file(path, CheckFormat::Text, false);
        assert_eq!((code, stdout.as_str()), (78, ""));
        let expected = "cannot read `/nonexistent/f.toml`: No such file or directory";
        assert!(stderr.contains(expected), "{stderr}");
    }

    #[test]
    fn json_is_one_object_on_stdout() {
        let (code, stdout, stderr) = check("x = 1\n", CheckFormat::Json, false);
        assert_eq!((code, stderr.as_str()), (78, ""));
        let answer: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((&answer["ok"], &answer["warnings"]), (&false.into(), &serde_json::json!([])));
        let unknown = &answer["errors"]
            .as_array()
            .unwrap()
            .iter()
            .find(|error| error["code"] == "unknown-key");
        let unknown = unknown.unwrap();
        assert_eq!(
            (&unknown["line"], &unknown["column"], &unknown["end_column"]),
            (&1.into(), &1.into(), &2.into())
        );
        for key in ["message", "help", "suggestion"] {
            assert!(unknown.get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn the_effective_configuration_has_defaults_and_checks_clean() {
        let (code, stdout, stderr) = check(GOOD, CheckFormat::Text, true);
        assert_eq!((code, stderr.as_str()), (0, ""));
        assert!(stdout.contains("\nheader = \"3s\"\n"), "{stdout}");
        assert_eq!(check(&stdout, CheckFormat::Text, true), (0, stdout.clone(), String::new()));
        let (_, json, _) = check(GOOD, CheckFormat::Json, true);
        let answer: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(answer["effective"], stdout);
    }
}
