//! What a start and a reload do before anything changes: read the file, open the access log, resolve names.
//!
//! All of it may block, and is bounded. Invariant: nothing that runs is touched.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::bounded;
use super::error::ServerError;
use super::input::{self, Input};
use super::{limits, names};
use crate::config::{self, Config, Loaded, Output, Overrides, Report};
use crate::core::pool::endpoint::Member;
use crate::telemetry::access_log::{self, Opened};
use crate::telemetry::log;

/// How long a file may take to be read or opened: a FIFO waits for its other end, a disk may hang.
const FILE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long all names may take. glibc asks each of three servers twice, for 5 s, unless resolv.conf(5) says
/// otherwise.
const NAMES_TIMEOUT: Duration = Duration::from_secs(60);

/// Where a configuration comes from.
#[derive(Debug)]
pub enum Source {
    /// From a file, which is read at the start and at each reload.
    File(ConfigFile),
    /// From standard input, which is read once; with what wins over it.
    Stdin(Overrides),
    /// From flags, for good.
    Flags(Box<Loaded>),
}

/// A file, and what wins over it.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// Flags that go with it.
    pub overrides: Overrides,
}

/// Everything that is needed to follow a configuration.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) config: Config,
    /// The members of each upstream, by its index in the configuration.
    pub(super) members: Vec<Vec<Member>>,
    /// Where the access log is to go, if it goes there no more than before.
    pub(super) opened: Option<Opened>,
}

/// Reads a configuration.
///
/// # Errors
/// When it has errors, or does not come.
pub(super) async fn read(file: &ConfigFile) -> Result<Loaded, ServerError> {
    let path = file.path.clone();
    let read = move |is_wanted: &dyn Fn() -> bool| {
        let opened = File::open(&path);
        // Of two readers of a FIFO each gets a part: one that nobody waits for takes nothing.
        let opened = if is_wanted() { opened } else { Err(io::ErrorKind::TimedOut.into()) };
        config::read_from(&path, opened, limits::host())
    };
    match bounded::run("reader", FILE_TIMEOUT, read).await {
        Ok(loaded) => overridden(loaded, &file.overrides),
        Err(why) => Err(ServerError::Unread { file: file.path.clone(), why: why.to_string() }),
    }
}

/// Takes a configuration from what standard input said.
///
/// # Errors
/// When it has errors.
pub(super) fn parse(input: &Input, overrides: &Overrides) -> Result<Loaded, ServerError> {
    let loaded = config::read_from(Path::new(input::NAME), Ok(input.bytes()), limits::host());
    overridden(loaded, overrides)
}

fn overridden(
    loaded: Result<Loaded, Report>,
    overrides: &Overrides,
) -> Result<Loaded, ServerError> {
    let mut loaded = loaded.map_err(|report| ServerError::Config(Box::new(report)))?;
    overrides.apply(&mut loaded.config);
    Ok(loaded)
}

/// Opens the access log, unless it goes to `current` already, and resolves the names of all endpoints.
///
/// # Errors
/// When one of them is not to be had.
pub(super) async fn prepare(
    config: Config,
    current: Option<&Output>,
) -> Result<Prepared, ServerError> {
    let config::AccessLog { state, output, .. } = &config.access_log;
    let opened = if state.is_on() && current != Some(output) {
        Some(open(output.clone()).await?)
    } else {
        None
    };
    let resolve = move |_: &dyn Fn() -> bool| resolve(config);
    let resolved = bounded::run("resolver", NAMES_TIMEOUT, resolve).await;
    let resolved = resolved.unwrap_or_else(|why| {
        Err(io::Error::other(format!("cannot resolve the names of endpoints: {why}")))
    });
    let (config, members, warnings) = resolved.map_err(ServerError::Resolve)?;
    log::warnings(&warnings);
    Ok(Prepared { config, members, opened })
}

/// Resolves names; of the addresses behind them some may lead back to a listener, which is a warning. Blocks.
fn resolve(config: Config) -> io::Result<(Config, Vec<Vec<Member>>, Report)> {
    let members = config.upstreams.iter().map(names::resolve).collect::<io::Result<Vec<_>>>()?;
    let addrs = |members: &Vec<Member>| members.iter().map(|member| member.addr).collect();
    let addrs: Vec<_> = members.iter().map(addrs).collect();
    let warnings = config::own_listeners(&config, &addrs, limits::host());
    Ok((config, members, warnings))
}

async fn open(output: Output) -> Result<Opened, ServerError> {
    let name = match &output {
        Output::Stdout => "stdout".to_owned(),
        Output::Stderr => "stderr".to_owned(),
        Output::File(path) => path.display().to_string(),
    };
    let open = move |_: &dyn Fn() -> bool| access_log::open(&output);
    let opened = bounded::run("opener", FILE_TIMEOUT, open).await;
    let opened = opened.unwrap_or_else(|why| Err(io::Error::other(why)));
    opened.map_err(|error| ServerError::AccessLog { output: name, error })
}
