//! `run`: the proxy, in the foreground.
//!
//! Turns a file or flags into a configuration and lets the server run it.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::{Exit, Failure};
use crate::config::{Config, Flags, Loaded, Presence, Report, Version, Versions};
use crate::control::error::ServerError;
use crate::control::limits;
use crate::control::prepare::Source;
use crate::control::server::Server;
use crate::telemetry::log;

const HELP: &str = "\
Either a file (docs/operations.md lists every key), or flags for one listener and one upstream.
`--accept` needs `--trust`: a port that believes headers from anyone lets strangers forge addresses.

Examples:
  ppserver run -c ppserver.toml
  ppserver run --listen 0.0.0.0:443 --to 127.0.0.1:8080 --accept v1,v2 --trust 10.0.0.0/8 --send v2
  ppserver run --listen 127.0.0.1:8443 --to web.internal:443        # plain TCP, no headers

Signals:
  SIGTERM, SIGINT  drain: stop accepting, wait for connections up to `shutdown_grace`; again: stop
  SIGHUP           read the file again; a broken one changes nothing; open the access log anew
  SIGUSR1          print all counters

Exit codes:
  0   drained or stopped by a signal
  1   a worker failed, an endpoint's name could not be resolved, or the access log not be opened
  2   wrong arguments
  69  a port could not be bound
  77  no permission for a port
  78  the configuration has errors: `ppserver check -c FILE` shows the same";

/// Runs the proxy in the foreground
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The configuration file
    #[arg(short = 'c', long = "config", value_name = "FILE", conflicts_with_all = [
        "listen", "to", "accept", "trust", "optional", "send",
    ])]
    file: Option<PathBuf>,
    /// Listen here; may be repeated. Port 0 takes a free one, which the log tells
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Relay to this host:port; may be repeated, endpoints are taken in turn
    #[arg(long, value_name = "ADDR")]
    to: Vec<String>,
    /// Take PROXY headers of these versions from trusted peers: v1, v2 or v1,v2
    #[arg(long, value_name = "VERSIONS")]
    accept: Option<Versions>,
    /// Whose headers are believed: networks and addresses with commas between, or `any`
    #[arg(long, value_name = "CIDR,...")]
    trust: Option<String>,
    /// A trusted peer may also speak without a header
    #[arg(long)]
    optional: bool,
    /// Send a header of this version to the upstream: v1 or v2
    #[arg(long, value_name = "VERSION")]
    send: Option<Version>,
}

/// Runs the command.
pub(super) fn run(args: Args) -> Result<ExitCode, Failure> {
    if args.file.is_none() && (args.listen.is_empty() || args.to.is_empty()) {
        let why = "give a configuration by -c FILE, or --listen ADDR and --to ADDR";
        return Err(Failure::usage(format!("{why}; `ppserver run --help` has examples")));
    }
    let mut server = Server::new()?;
    let source = match args.file {
        Some(file) => Source::File(file),
        None => {
            let loaded =
                from_flags(args).map_err(|report| Failure::report(&report, Exit::Usage))?;
            Source::Flags(Box::new(loaded))
        }
    };
    let served = server.start(source).and_then(|running| match running {
        Some(running) => server.serve(running),
        None => Ok(()),
    });
    log::finish();
    served?;
    Ok(Exit::Ok.into())
}

fn from_flags(args: Args) -> Result<Loaded, Report> {
    let flags = Flags {
        listen: args.listen,
        to: args.to,
        accept: args.accept,
        trust: args.trust,
        presence: if args.optional { Presence::Optional } else { Presence::Required },
        send: args.send,
    };
    Config::from_flags(flags, limits::host())
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        let exit = match &error {
            ServerError::Config(report) => return Self::report(report, Exit::BadConfig),
            ServerError::Unread { .. } => Exit::BadConfig,
            ServerError::Bind { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                Exit::NoPermission
            }
            ServerError::Bind { .. } => Exit::CannotBind,
            ServerError::AccessLog { .. }
            | ServerError::Resolve(_)
            | ServerError::System { .. }
            | ServerError::Worker(_) => Exit::Failed,
        };
        Self::new(exit, error)
    }
}
