//! What a start and a reload do before anything changes: read the file, open the access log, begin to follow names.
//!
//! All of it may block, and is bounded; but for names that are waited for, where somebody said so.
//! Invariant: nothing that runs is touched.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::error::ServerError;
use super::input::Input;
use super::names::{Followed, Member, Names};
use super::{bounded, limits};
use crate::config::{self, Config, LeadsBack, Loaded, Output, Overrides, Report};
use crate::telemetry::access_log::{self, Opened};
use crate::telemetry::log;

/// How long a file may take to be read or opened: a FIFO waits for its other end, a disk may hang.
const FILE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long is waited for names that nothing is known of; they are followed on.
const NAMES_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the tables of this host's addresses may take to be read.
const ADDRS_TIMEOUT: Duration = Duration::from_secs(10);

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
    pub(super) resolved: Resolved,
    /// Where the access log is to go, if it goes there no more than before.
    pub(super) opened: Option<Opened>,
}

/// The names of a configuration, and what they stand for.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) followed: Arc<Followed>,
    /// The endpoints of each upstream, by its index.
    pub(super) members: Arc<[Vec<Member>]>,
    /// Those that lead back to a listener, by the index of the upstream: this has been told.
    told: Arc<BTreeSet<(usize, SocketAddr)>>,
}

impl Resolved {
    /// Begins with what names stand for now.
    pub(super) fn of(followed: Followed) -> Self {
        let members = followed.members().into();
        Self { followed: Arc::new(followed), members, told: Arc::default() }
    }
}

/// Whether a start waits until every pool has an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitForNames {
    /// Not for long: clients of a pool without one are reset.
    Briefly,
    /// Until each that is used has one.
    Always,
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
    let loaded =
        config::read_from(Path::new(config::STDIN_NAME), Ok(input.bytes()), limits::host());
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

/// Opens the access log, unless it goes to `current` already, and follows the names of all endpoints.
///
/// # Errors
/// When the access log is not to be had.
pub(super) async fn prepare(
    config: Config,
    current: Option<&Output>,
    names: &Names,
    wait: WaitForNames,
) -> Result<Prepared, ServerError> {
    let config::AccessLog { state, output, .. } = &config.access_log;
    let opened = if state.is_on() && current != Some(output) {
        Some(open(output.clone()).await?)
    } else {
        None
    };
    let followed = names.follow(&config);
    if timeout(NAMES_TIMEOUT, followed.settled()).await.is_err() {
        for name in followed.unsettled() {
            tracing::warn!(name, "no answer within 2 s, asked on");
        }
    }
    if wait == WaitForNames::Always {
        for listener in &config.listeners {
            followed.found(listener.upstream).await;
        }
    }
    let resolved = resolve(&config, Resolved::of(followed)).await;
    Ok(Prepared { config, resolved, opened })
}

/// Finds out what names stand for now. What leads back to a listener is told once; it is left out where nobody else
/// can be there.
pub(super) async fn resolve(config: &Config, resolved: Resolved) -> Resolved {
    let Resolved { followed, told, .. } = resolved;
    let mut members = followed.members();
    let addrs = addrs(&members);
    let of_config = config.clone();
    let find =
        move |_: &dyn Fn() -> bool| config::own_listeners(&of_config, &addrs, limits::host());
    let found = bounded::run("resolver", ADDRS_TIMEOUT, find).await.unwrap_or_else(|why| {
        tracing::warn!(%why, "whether names lead back to a listener is not known");
        Vec::new()
    });
    let key = |one: &LeadsBack| (one.upstream, one.addr);
    log::warnings(&LeadsBack::warnings(found.iter().filter(|one| !told.contains(&key(one)))));
    for LeadsBack { upstream, addr, .. } in found.iter().filter(|one| one.is_certain) {
        members[*upstream].retain(|member| member.addr().inet() != Some(*addr));
    }
    let told = Arc::new(found.iter().map(key).collect());
    Resolved { followed, members: members.into(), told }
}

fn addrs(members: &[Vec<Member>]) -> Vec<Vec<SocketAddr>> {
    let inet = |members: &Vec<Member>| members.iter().filter_map(|it| it.addr().inet()).collect();
    members.iter().map(inet).collect()
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
