//! The process: binds ports, starts workers, and answers signals.
//!
//! Reads a changed configuration off the event loops; a bad one changes nothing. Holds no
//! connection. Invariant: every worker serves the same plan, and the ports never change while the
//! process lives.

use std::fmt;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use super::watch::{self, Event, Obituary, Watch};
use super::{names, ports};
use crate::config::{
    self, Accept, Colour, Config, Count, Host, Listener, SendHeader, Untrusted, Versions,
};
use crate::data::orders::{Claim, Line, Order, Plan, Reply, Setup, Share};
use crate::data::sys;
use crate::data::worker::{self, Worker};
use crate::data::{self, PipeLimits};
use crate::telemetry::access_log::{self, AccessLog};
use crate::telemetry::log;
use crate::telemetry::metrics::{self, Counters};

/// Why the server could not start, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A listener's address is not to be had.
    #[error("listener `{listener}`: cannot bind {addr}: {error}{}", bind_help(.error))]
    Bind {
        /// The listener's name.
        listener: String,
        /// The address.
        addr: SocketAddr,
        /// What bind(2) or listen(2) said.
        error: io::Error,
    },
    /// An endpoint's name has no address.
    #[error("{0}")]
    Resolve(io::Error),
    /// The system refused something else.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// A worker ended before it was told to.
    #[error("a worker ended: {0}")]
    Worker(String),
}

fn bind_help(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EADDRINUSE) => "; `ss -tanp` shows who holds the port",
        Some(libc::EACCES) => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        Some(libc::EADDRNOTAVAIL) => "; no interface of this host has that address",
        Some(_) | None => "",
    }
}

/// A system call that failed, for `map_err`.
fn system(what: &'static str) -> impl FnOnce(io::Error) -> ServerError {
    move |error| ServerError::System { what, error }
}

/// There is at most one pipe for so many descriptors that the process may have.
const DESCRIPTORS_PER_PIPE: usize = 16;
/// Fewer connections than this are hardly what somebody meant who gave no number.
const FEW_CONNECTIONS: usize = 256;

/// Where a server is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Serving,
    /// No more is accepted; what runs may go on until then.
    Draining {
        until: Instant,
    },
    /// What is left is being reset.
    Stopping,
}

/// Workers that serve.
pub struct Server {
    plan: Arc<Plan>,
    bound: Vec<SocketAddr>,
    /// The claim of each bound address, with the index of its listener.
    claims: Claims,
    access_log: Option<AccessLog>,
    connections_max: usize,
    pipes: PipeLimits,
    lines: Vec<Line>,
    threads: Vec<JoinHandle<()>>,
    counters: Arc<[Counters]>,
    access_writer: Option<access_log::Writer>,
    watch: Watch,
    /// The names of a reload, while they are being resolved: that may take long, and signals do not wait.
    resolving: Option<JoinHandle<io::Result<Plan>>>,
    /// Another reload is to follow.
    is_reload_due: bool,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("bound", &self.bound).finish_non_exhaustive()
    }
}

impl Server {
    /// Binds all ports and starts the workers; signals are answered from here on by
    /// [`run`](Self::run).
    ///
    /// # Errors
    /// See [`ServerError`]; the process is to end then, for some workers may serve already.
    pub fn start(config: Config) -> Result<Self, ServerError> {
        let plan = Arc::new(resolve(config).map_err(ServerError::Resolve)?);
        let watched = Watch::new(&[SIGTERM, SIGINT, SIGHUP, SIGUSR1]);
        let watch = watched.map_err(system("cannot watch signals"))?;
        let descriptors =
            sys::raise_descriptor_limit().map_err(system("cannot raise the descriptor limit"))?;
        let config = &plan.config;
        let workers = config.server.workers.or(host().cpus);
        let (connections_max, pipes) = limits(config, workers, descriptors);
        let (shares, claims) = bind_all(config, workers)?;
        let counters: Arc<[Counters]> = (0..workers).map(|_| Counters::default()).collect();
        let (access_log, access_writer) = if config.access_log.state.is_on() {
            let started = AccessLog::start(&config.access_log);
            let (log, writer) = started.map_err(system("cannot start the access log"))?;
            (Some(log), Some(writer))
        } else {
            (None, None)
        };
        let (mut lines, mut threads) = (Vec::new(), Vec::new());
        for index in 0..workers {
            let worker = Worker::new(index, Arc::clone(&counters));
            let (worker, line) = worker.map_err(system("cannot start a worker"))?;
            let thread = spawn(index, worker, watch.obituary());
            threads.push(thread.map_err(system("cannot start a thread"))?);
            lines.push(line);
        }
        let bound: Vec<SocketAddr> = claims.iter().map(|(claim, _)| claim.addr).collect();
        announce(config, &bound, workers, connections_max);
        let server = Self {
            plan,
            bound,
            claims,
            access_log,
            connections_max,
            pipes: pipes.share(workers),
            lines,
            threads,
            counters,
            access_writer,
            watch,
            resolving: None,
            is_reload_due: false,
        };
        server.follow(shares).map_err(system("a worker cannot listen"))?;
        Ok(server)
    }

    /// Has each worker follow the plan, and waits until it does; each has one of `shares`.
    fn follow(&self, shares: Vec<Vec<Share>>) -> io::Result<()> {
        let (outcomes, replies) = channel();
        for (line, ports) in self.lines.iter().zip(shares) {
            let setup = Setup {
                plan: Arc::clone(&self.plan),
                ports,
                access_log: self.access_log.clone(),
                connections_max: self.connections_max,
                pipes: self.pipes,
            };
            let outcomes = outcomes.clone();
            // Whoever waited may have gone, at the first error.
            let reply = Reply::new(move |outcome| drop(outcomes.send(outcome)));
            line.send(Order::Follow(Box::new(setup), reply));
        }
        drop(outcomes);
        replies.iter().collect()
    }

    /// Returns the addresses that are listened on, in the order of the configuration.
    pub fn bound(&self) -> &[SocketAddr] {
        &self.bound
    }

    /// Serves until a signal ends it: SIGTERM and SIGINT drain, a second one stops, SIGHUP reloads
    /// `file`, SIGUSR1 prints the counters.
    ///
    /// # Errors
    /// [`ServerError::Worker`] when a worker ended by itself.
    pub fn run(mut self, file: Option<PathBuf>) -> Result<(), ServerError> {
        let mut serving = self.threads.len();
        let mut course = Course::Serving;
        let mut outcome = Ok(());
        while serving > 0 {
            let until = match course {
                Course::Draining { until } => Some(until),
                Course::Serving | Course::Stopping => None,
            };
            let event = self.watch.next(until).map_err(system("cannot wait for signals"))?;
            match event {
                Some(Event::Ended(result)) => {
                    serving -= 1;
                    if let Err(error) = result {
                        tracing::error!(error, "a worker ended");
                        outcome = Err(ServerError::Worker(error));
                        course = Course::Stopping;
                        self.order(|| Order::Stop);
                    }
                }
                Some(Event::Signal(SIGHUP)) => self.reload(file.as_deref()),
                Some(Event::Resolved) => self.finish_reload(file.as_deref()),
                Some(Event::Signal(SIGUSR1)) => self.print_counters(),
                Some(Event::Signal(signal)) if course == Course::Serving => {
                    course = Course::Draining { until: self.drain(signal) };
                }
                Some(Event::Signal(_)) if course == Course::Stopping => {}
                Some(Event::Signal(_)) | None => {
                    let active = metrics::active(&self.counters);
                    tracing::warn!(active, "stopping: what is left is reset");
                    self.order(|| Order::Stop);
                    course = Course::Stopping;
                }
            }
        }
        for thread in self.threads.drain(..) {
            // A panic has been reported as the worker's end.
            let _ = thread.join();
        }
        self.access_log = None;
        if let Some(writer) = &mut self.access_writer {
            writer.finish();
        }
        self.print_counters();
        outcome
    }

    /// Begins a drain and returns when it is to be over.
    fn drain(&self, signal: i32) -> Instant {
        let grace = self.plan.config.server.shutdown_grace;
        let active = metrics::active(&self.counters);
        let again = signal == SIGINT && io::stderr().is_terminal();
        let hint = if again { "; again to stop now" } else { "" };
        tracing::info!(active, ?grace, "draining{hint}");
        self.order(|| Order::Drain);
        watch::now() + grace
    }

    fn order(&self, order: impl Fn() -> Order) {
        self.lines.iter().for_each(|line| line.send(order()));
    }

    /// Begins a reload: reads the file and has its names resolved.
    fn reload(&mut self, file: Option<&Path>) {
        if let Some(writer) = &self.access_writer {
            writer.reopen();
        }
        let Some(file) = file else {
            tracing::warn!("SIGHUP: nothing to reload, the server was started with flags only");
            return;
        };
        if self.resolving.is_some() {
            self.is_reload_due = true;
            return;
        }
        let refused = |why: &str| refuse_reload(file, why);
        let loaded = match config::load(file, host()) {
            Ok(loaded) => loaded,
            Err(report) => return refused(&report.render(Colour::Off)),
        };
        let restart = self.plan.config.needs_restart(&loaded.config);
        if !restart.is_empty() {
            return refused(&format!("a restart is needed to change {}", restart.join(", ")));
        }
        log::warnings(&loaded.warnings);
        let obituary = self.watch.tell_at_end(Event::Resolved);
        let resolver = std::thread::Builder::new().name("resolver".to_owned()).spawn(move || {
            let _obituary = obituary;
            resolve(loaded.config)
        });
        match resolver {
            Ok(thread) => self.resolving = Some(thread),
            Err(error) => refused(&error.to_string()),
        }
    }

    /// Ends a reload whose names are resolved, or are not to be had.
    fn finish_reload(&mut self, file: Option<&Path>) {
        let (Some(thread), Some(file)) = (self.resolving.take(), file) else { return };
        let resolved = thread.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")));
        match resolved {
            Ok(plan) => {
                self.plan = Arc::new(plan);
                let kept = |(claim, listener): &(Arc<Claim>, usize)| Share {
                    claim: Arc::clone(claim),
                    listener: *listener,
                    socket: None,
                };
                let kept = || self.claims.iter().map(kept).collect();
                if let Err(error) = self.follow(self.lines.iter().map(|_| kept()).collect()) {
                    tracing::error!(%error, "a worker cannot follow");
                }
                tracing::info!(file = %file.display(), "reloaded, for new connections");
                warn_of_open_trust(&self.plan.config, &self.bound);
            }
            Err(error) => refuse_reload(file, &error.to_string()),
        }
        if std::mem::take(&mut self.is_reload_due) {
            self.reload(Some(file));
        }
    }

    /// Prints one JSON line, whatever the format of the log.
    fn print_counters(&self) {
        let refused = self.access_writer.as_ref().map_or(0, access_log::Writer::lines_lost);
        let mut line = metrics::summary(&self.counters, refused);
        line["log_lines_dropped"] = log::lines_dropped().into();
        let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
        line["timestamp"] = time.into();
        line["level"] = "INFO".into();
        line["message"] = "counters".into();
        log::write_line(&line.to_string());
    }
}

/// What this machine allows, for the configuration's lints: `run` raises the soft limit to the hard
/// one.
pub fn host() -> Host {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    Host { descriptors_max: limit.maximum, cpus }
}

fn refuse_reload(file: &Path, why: &str) {
    tracing::error!(file = %file.display(), why, "reload refused, the old configuration stays");
}

/// Resolves the names of all endpoints. Blocks.
fn resolve(config: Config) -> io::Result<Plan> {
    let endpoints = config.upstreams.iter().map(names::resolve).collect::<io::Result<_>>()?;
    Ok(Plan { config, endpoints })
}

/// Returns how many connections and pipes there may be.
fn limits(config: &Config, workers: usize, descriptors: usize) -> (usize, PipeLimits) {
    let addresses = config.listeners.iter().map(|listener| listener.bind.len()).sum();
    let reserved = config::descriptors_reserved(workers, addresses);
    let pairs = descriptors.saturating_sub(reserved) / 2;
    let splice = &config.splice;
    // Connections that are asked for go before pipes that are not.
    let room = pairs.saturating_sub(config.server.max_connections.or(0));
    let pipes_max = splice.max_pipes.or(room).min(descriptors / DESCRIPTORS_PER_PIPE);
    let (pipes, possible) = worker::limits(pairs, splice.pipe_bytes, pipes_max);
    match config.server.max_connections {
        Count::Auto => {
            if possible < FEW_CONNECTIONS {
                tracing::warn!(
                    possible,
                    descriptors,
                    "the descriptor limit leaves room for few connections: raise it (LimitNOFILE=, ulimit -n)"
                );
            }
            (possible, pipes)
        }
        Count::Fixed(wanted) => {
            if wanted > possible {
                tracing::warn!(
                    wanted,
                    possible,
                    descriptors,
                    "max_connections is lowered to what the descriptor limit allows"
                );
            }
            (wanted.min(possible), pipes)
        }
    }
}

/// What is listened on, each with the index of its listener.
type Claims = Vec<(Arc<Claim>, usize)>;

/// Binds every address once for each worker; returns the shares of each, and the claims with the index of
/// their listener.
fn bind_all(config: &Config, workers: usize) -> Result<(Vec<Vec<Share>>, Claims), ServerError> {
    let options = data::listen_options(&config.tcp);
    let mut shares: Vec<Vec<Share>> = (0..workers).map(|_| Vec::new()).collect();
    let mut claims = Vec::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        for &addr in &listener.bind {
            let failed = |error| ServerError::Bind { listener: listener.name.clone(), addr, error };
            let (sockets, addr) = ports::bind_shares(addr, workers, &options).map_err(failed)?;
            let claim = Arc::new(Claim { addr });
            for (socket, shares) in sockets.into_iter().zip(&mut shares) {
                let claim = Arc::clone(&claim);
                shares.push(Share { claim, listener: index, socket: Some(socket) });
            }
            claims.push((claim, index));
        }
    }
    Ok((shares, claims))
}

/// Says on one line a listener what it does, and aloud when it believes everybody.
fn announce(config: &Config, bound: &[SocketAddr], workers: usize, connections_max: usize) {
    for (listener, bind) in ports(config, bound) {
        let upstream = &config.upstreams[listener.upstream];
        let send = match upstream.send {
            SendHeader::Off => "off",
            SendHeader::V1 { .. } => "v1",
            SendHeader::V2 { .. } => "v2",
        };
        let name = &listener.name;
        let (accept, trust, untrusted) = terms(&listener.accept);
        tracing::info!(
            listener = name,
            %bind,
            accept,
            trust,
            untrusted,
            upstream = upstream.name,
            endpoints = upstream.endpoints.len(),
            send,
            workers,
            connections_max,
            "listening"
        );
    }
    warn_of_open_trust(config, bound);
}

/// Pairs each bound address with its listener.
fn ports<'a>(
    config: &'a Config,
    bound: &'a [SocketAddr],
) -> impl Iterator<Item = (&'a Listener, &'a SocketAddr)> {
    let listeners = config.listeners.iter();
    listeners.flat_map(|listener| listener.bind.iter().map(move |_| listener)).zip(bound)
}

fn warn_of_open_trust(config: &Config, bound: &[SocketAddr]) {
    for (listener, bind) in ports(config, bound) {
        if let Accept::Headers(policy) = &listener.accept
            && policy.trust.is_everybody()
        {
            tracing::warn!(
                listener = listener.name,
                %bind,
                trust = %policy.trust,
                "whoever reaches this port can claim any client address"
            );
        }
    }
}

/// Says how a listener treats its peers.
fn terms(accept: &Accept) -> (String, String, &'static str) {
    let Accept::Headers(policy) = accept else {
        return ("off".to_owned(), "nobody".to_owned(), "plain");
    };
    let presence = match policy.presence {
        config::Presence::Required => "require",
        config::Presence::Optional => "optional",
    };
    let versions = match policy.versions {
        Versions::V1 => "v1",
        Versions::V2 => "v2",
        Versions::Both => "v1,v2",
    };
    let untrusted = match policy.untrusted {
        Untrusted::Reject => "reject",
        Untrusted::Plain => "plain",
    };
    let header_max = policy.header_bytes_max;
    let accept = format!("{presence} {versions} up to {header_max} B");
    (accept, policy.trust.to_string(), untrusted)
}

fn spawn(index: usize, worker: Worker, obituary: Obituary) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || obituary.close(worker.run().map_err(|error| error.to_string())))
}
