//! `doctor`: what of this host would hurt a proxy, and the line that mends it.
//!
//! `host` reads, `judge` judges. Invariant: it changes nothing, and binds no port.

mod host;
mod judge;

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use self::host::Figures;
use self::judge::{Finding, Level};
use crate::cli::{Exit, Failure, answer};
use crate::config::{self, Bind, Config};
use crate::control::{limits, lookup, transparent};

const HELP: &str = "\
Looks at limits and settings of the kernel, and with -c FILE at what this configuration asks for: who holds its ports,
whether its names stand for anything, whether answers to `source = \"client\"` come back. Changes nothing. Run it as
the user, and with the limits, that the server is to have.

Examples:
  ppserver doctor
  ppserver doctor -c ppserver.toml

Exit codes:
  0   nothing would fail; warnings may have been shown
  1   something would
  2   wrong arguments, or stdout cannot be written
  78  the configuration has errors: `ppserver check -c FILE` shows the same";

/// Says what of this host would hurt, with the lines that mend it
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// What is to run here
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let loaded = match &args.config {
        Some(file) => Some(
            config::load(file, limits::host())
                .map_err(|report| Failure::report(&report, Exit::BadConfig))?,
        ),
        None => None,
    };
    let config = loaded.as_ref().map(|loaded| &loaded.config);
    let figures = Figures::read();
    let mut findings = judge::figures(&figures, config);
    if let Some(config) = config {
        findings.extend(judge::binds(&figures, config, &host::holders(&bound(config))));
        findings.extend(names(config)?);
        findings.extend(routes(config));
    }
    let told = if args.json { object(&findings) } else { text(&findings) };
    answer(told.as_bytes())?;
    let fails = findings.iter().any(|finding| finding.level == Level::Fail);
    Ok(if fails { Exit::Failed } else { Exit::Ok }.into())
}

/// The ports that are to be bound.
fn bound(config: &Config) -> Vec<u16> {
    let binds = config.listeners.iter().flat_map(|listener| &listener.bind).filter_map(Bind::inet);
    binds.chain(config.admin.listen).map(|addr| addr.port()).collect()
}

/// What the names among the endpoints stand for.
fn names(config: &Config) -> Result<Vec<Finding>, Failure> {
    let asked = lookup::names(config).map_err(|error| Failure::new(Exit::Failed, error))?;
    let finding = |it: &lookup::Meaning| {
        let what = "names";
        match (it.addrs.as_slice(), &it.why) {
            ([], why) => {
                let why = why.as_deref().unwrap_or("it stands for nothing");
                let text = format!("{} of `{}`: {why}", it.name, it.upstream);
                let mend = format!("ppserver check -c FILE --resolve    # asks again: {}", it.name);
                Finding::fail(what, text, &[&mend])
            }
            (addrs, _) => {
                let text = format!("{} of `{}` stands for {}", it.name, it.upstream, addrs.len());
                Finding::ok(what, text)
            }
        }
    };
    Ok(asked.iter().map(finding).collect())
}

/// Whether connections may come from clients, and answers come back.
fn routes(config: &Config) -> Vec<Finding> {
    let what = "source";
    let lacking = transparent::lacking(config).into_iter().map(|lacking| {
        let mend: Vec<_> = lacking.mend.iter().map(String::as_str).collect();
        Finding::fail(what, lacking.text, &mend)
    });
    lacking.collect()
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { level, what, text: said, mend } in findings {
        text += &format!("{:<5} {what:<13} {said}\n", word(*level));
        for line in mend {
            text += &format!("        {line}\n");
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    text + &format!("{} would fail, {} warnings\n", count(Level::Fail), count(Level::Warn))
}

fn object(findings: &[Finding]) -> String {
    let shown = |it: &Finding| json!({ "level": word(it.level), "what": it.what, "text": it.text, "mend": it.mend });
    let ok = findings.iter().all(|finding| finding.level != Level::Fail);
    format!("{}\n", json!({ "ok": ok, "findings": findings.iter().map(shown).collect::<Vec<_>>() }))
}

const fn word(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Warn => "warn",
        Level::Fail => "FAIL",
    }
}
