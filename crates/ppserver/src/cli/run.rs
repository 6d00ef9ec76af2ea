//! `run`: the proxy, in the foreground.
//!
//! Turns a file or flags into a configuration and lets the server run it.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use crate::cli::{Exit, Failure, STDIN};
use crate::config::{
    Choice, CommonFlags, Config, Flags, LocalPolicy, LogFormat, LogLevel, Overrides, Report,
    Untrusted, Version, Versions,
};
use crate::control::error::ServerError;
use crate::control::limits;
use crate::control::prepare::{ConfigFile, Source, WaitForNames};
use crate::control::process::Server;
use crate::control::supervise::{Stdin, Supervisor};
use crate::telemetry::log;

const HELP: &str = "\
Either a file (docs/operations.md lists every key), or flags for one listener and one upstream. \
`--accept` needs `--trust`: a port that believes headers from anyone lets strangers forge addresses.

Examples:
  ppserver run -c ppserver.toml
  ppserver run --listen 0.0.0.0:443 --to 127.0.0.1:8080 --accept v1,v2 --trust 10.0.0.0/8 --send v2
  ppserver run --listen 127.0.0.1:8443 --to web.internal:443        # plain TCP, no headers

Variables:
  Each flag has one, PPSERVER_LISTEN for --listen; lists have commas between. A flag beats a variable, and one \
that is empty says nothing. -c goes with --admin, --access-log, --log-level, --log-format and --grace, which win over \
the file, and with --supervise and --wait-names; with --listen PPSERVER_CONFIG is ignored. In the file \
\"${NAME:-default}\" takes a variable of any name.

Signals:
  SIGTERM, SIGINT  drain: stop accepting (after `lame_duck`), wait for connections up to
                   `shutdown_grace`; again: stop
  SIGHUP           read the file again; a broken one changes nothing; open the access log anew
  SIGUSR1          print all counters
  SIGUSR2          hand over to the program that lies where this one was started from, then drain

Exit codes:
  0   drained or stopped by a signal
  1   a worker failed and was not replaced, or the access log could not be opened
  2   wrong arguments
  69  a port could not be bound, or a socket was not passed
  77  no permission for a port
  78  the configuration has errors: `ppserver check -c FILE` shows the same";

/// Runs the proxy in the foreground
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The configuration file; `-` reads standard input, once
    #[arg(short = 'c', long = "config", value_name = "FILE", env = "PPSERVER_CONFIG")]
    config: Option<PathBuf>,
    /// Open a door for operators here: an address, the path of a socket, or one of each
    #[arg(long, value_name = "ADDR|PATH", value_delimiter = ',', env = "PPSERVER_ADMIN")]
    admin: Vec<String>,
    /// Listen here; may be repeated. Port 0 takes a free one, which the log tells
    #[arg(long, value_name = "ADDR", value_delimiter = ',', env = "PPSERVER_LISTEN")]
    listen: Vec<String>,
    /// Relay to this host:port; may be repeated, endpoints are taken in turn
    #[arg(long, value_name = "ADDR", value_delimiter = ',', env = "PPSERVER_TO")]
    to: Vec<String>,
    /// Take PROXY headers of these versions from trusted peers: v1, v2 or v1,v2
    #[arg(long, value_name = "VERSIONS", env = "PPSERVER_ACCEPT")]
    accept: Option<Versions>,
    /// Whose headers are believed: networks and addresses with commas between, or `any`
    #[arg(long, value_name = "CIDR,...", env = "PPSERVER_TRUST")]
    trust: Option<String>,
    /// A trusted peer may also speak without a header
    #[arg(long, env = "PPSERVER_OPTIONAL", value_parser = BoolishValueParser::new())]
    optional: bool,
    /// What becomes of a peer that is not trusted: a reset, or its bytes are payload
    #[arg(long, value_name = "WHAT", env = "PPSERVER_UNTRUSTED", value_parser = choice::<Untrusted>())]
    untrusted: Option<Untrusted>,
    /// What becomes of LOCAL connections, as health checks send them
    #[arg(long, value_name = "WHAT", env = "PPSERVER_LOCAL", value_parser = choice::<LocalPolicy>())]
    local: Option<LocalPolicy>,
    /// How long the whole header may take: 3s unless told otherwise
    #[arg(long, value_name = "DURATION", env = "PPSERVER_HEADER_TIMEOUT")]
    header_timeout: Option<String>,
    /// Hold the ports in a parent, which has another process serve at once when one is killed
    #[arg(long, env = "PPSERVER_SUPERVISE", value_parser = BoolishValueParser::new())]
    supervise: bool,
    /// Listen only once every upstream in use has an endpoint, however long its names take
    #[arg(long, env = "PPSERVER_WAIT_NAMES", value_parser = BoolishValueParser::new())]
    wait_names: bool,
    /// Send a header of this version to the upstream: v1 or v2
    #[arg(long, value_name = "VERSION", env = "PPSERVER_SEND")]
    send: Option<Version>,
    /// The TLVs that are passed on: `all`, or types with commas between (0xEA,0xEE)
    #[arg(long, value_name = "TYPES", env = "PPSERVER_TLV_PASS")]
    tlv_pass: Option<String>,
    /// Where the access log goes: stdout, stderr, file:PATH, or off
    #[arg(long, value_name = "OUTPUT", env = "PPSERVER_ACCESS_LOG")]
    access_log: Option<String>,
    /// The least severe line that is logged
    #[arg(long, value_name = "LEVEL", env = "PPSERVER_LOG_LEVEL", value_parser = choice::<LogLevel>())]
    log_level: Option<LogLevel>,
    /// How a line of the log looks; auto is text on a terminal, JSON otherwise
    #[arg(long, value_name = "FORMAT", env = "PPSERVER_LOG_FORMAT", value_parser = choice::<LogFormat>())]
    log_format: Option<LogFormat>,
    /// How long a drain waits before it resets what is left: 25s unless told otherwise
    #[arg(long, value_name = "DURATION", env = "PPSERVER_GRACE")]
    grace: Option<String>,
}

/// The flags that say what a file says otherwise, so that they do not go with one.
const INSTEAD_OF_A_FILE: [&str; 10] = [
    "listen",
    "to",
    "accept",
    "trust",
    "optional",
    "untrusted",
    "local",
    "header_timeout",
    "send",
    "tlv_pass",
];

/// A word of the file.
fn choice<T: Choice + Send + Sync>() -> impl TypedValueParser<Value = T> {
    let words = PossibleValuesParser::new(T::WORDS.iter().map(|(word, _)| *word));
    words.try_map(|word| {
        let found = T::WORDS.iter().find(|(known, _)| *known == word);
        found.map(|(_, value)| *value).ok_or("no such word")
    })
}

/// A variable that is empty says nothing, as where a template had nothing to put in.
pub(super) fn without_empty_variables(command: Command) -> Command {
    let command = command.mut_subcommands(without_empty_variables);
    command.mut_args(|arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        if value.is_some_and(|value| value.is_empty()) { arg.env(None::<&str>) } else { arg }
    })
}

/// Runs the command.
pub(super) fn run(args: Args, matches: &ArgMatches) -> Result<ExitCode, Failure> {
    let file = file(&args, matches)?;
    if file.is_none() && (args.listen.is_empty() || args.to.is_empty()) {
        let why = "give a configuration by -c FILE, or --listen ADDR and --to ADDR";
        return Err(Failure::usage(format!("{why}; `ppserver run --help` has examples")));
    }
    if args.supervise && !Supervisor::is_there() {
        let stdin = match &file {
            Some(path) if path.as_os_str() == STDIN => Stdin::Configuration,
            Some(_) | None => Stdin::Theirs,
        };
        let ended = Supervisor::new().and_then(|mut supervisor| supervisor.run(stdin));
        log::finish();
        return Ok(ended?.into());
    }
    let mut server = Server::new()?;
    let wait = if args.wait_names { WaitForNames::Always } else { WaitForNames::Briefly };
    let source = source(args, file).map_err(|report| Failure::report(&report, Exit::Usage))?;
    let served = server.start(source, wait).and_then(|running| match running {
        Some(running) => server.serve(running),
        None => Ok(()),
    });
    log::finish();
    served?;
    Ok(Exit::Ok.into())
}

/// The file that counts: a flag beats a variable, and `--listen` the variable of a file.
fn file(args: &Args, matches: &ArgMatches) -> Result<Option<PathBuf>, Failure> {
    let is_given = |id: &str, sources: &[ValueSource]| {
        matches.value_source(id).is_some_and(|source| sources.contains(&source))
    };
    let (name, rivals) = if is_given("config", &[ValueSource::CommandLine]) {
        ("-c", &[ValueSource::CommandLine][..])
    } else if args.config.is_none() || !args.listen.is_empty() {
        return Ok(None);
    } else {
        ("PPSERVER_CONFIG", &[ValueSource::CommandLine, ValueSource::EnvVariable][..])
    };
    let mut rivals = INSTEAD_OF_A_FILE.into_iter().filter(|id| is_given(id, rivals));
    match rivals.next() {
        None => Ok(args.config.clone()),
        Some(id) => {
            let flag = id.replace('_', "-");
            let why = format!("--{flag} does not go with {name}: the file says it");
            Err(Failure::usage(format!("{why}; `ppserver run --help` has examples")))
        }
    }
}

fn source(args: Args, file: Option<PathBuf>) -> Result<Source, Report> {
    let common = CommonFlags {
        admin: args.admin,
        log_level: args.log_level,
        log_format: args.log_format,
        access_log: args.access_log,
        grace: args.grace,
    };
    if let Some(path) = file {
        let overrides = Overrides::new(&common)?;
        return Ok(match path.as_os_str() == STDIN {
            true => Source::Stdin(overrides),
            false => Source::File(ConfigFile { path, overrides }),
        });
    }
    let flags = Flags {
        listen: args.listen,
        to: args.to,
        accept: args.accept,
        trust: args.trust,
        optional: args.optional,
        untrusted: args.untrusted,
        local: args.local,
        header_timeout: args.header_timeout,
        send: args.send,
        tlv_pass: args.tlv_pass,
        common,
    };
    Ok(Source::Flags(Box::new(Config::from_flags(flags, limits::host())?)))
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        let exit = match &error {
            ServerError::Config(report) => return Self::report(report, Exit::BadConfig),
            ServerError::Unread { .. } => Exit::BadConfig,
            ServerError::NoSpoofing { error, .. }
                if error.kind() == io::ErrorKind::PermissionDenied =>
            {
                Exit::NoPermission
            }
            ServerError::Bind { error, .. } | ServerError::Door { error, .. }
                if error.kind() == io::ErrorKind::PermissionDenied =>
            {
                Exit::NoPermission
            }
            ServerError::Bind { .. }
            | ServerError::Door { .. }
            | ServerError::NotPassed { .. }
            | ServerError::Passed(_) => Exit::CannotBind,
            ServerError::AccessLog { .. }
            | ServerError::NoSpoofing { .. }
            | ServerError::NeedsRestart
            | ServerError::System { .. }
            | ServerError::Worker(_) => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use super::*;

    #[test]
    fn every_flag_has_a_variable_of_its_name() {
        let command = Args::augment_args(Command::new("run"));
        for arg in command.get_arguments() {
            let flag = arg.get_long().expect("each has a long name");
            let variable = format!("PPSERVER_{}", flag.to_uppercase().replace('-', "_"));
            assert_eq!(arg.get_env().and_then(|name| name.to_str()), Some(&*variable));
        }
    }

    #[test]
    fn what_stands_for_a_file_is_every_flag_that_does_not_go_with_one() {
        let command = Args::augment_args(Command::new("run"));
        let common = [
            "config",
            "admin",
            "access_log",
            "log_level",
            "log_format",
            "grace",
            "supervise",
            "wait_names",
        ];
        let others = command.get_arguments().map(|arg| arg.get_id().as_str());
        let others: Vec<_> = others.filter(|id| !common.contains(id)).collect();
        assert_eq!(others, INSTEAD_OF_A_FILE);
    }
}
