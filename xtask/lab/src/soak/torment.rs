//! `cargo xtask torment`: every kind of session, one kind at a time, through our server and others.
//!
//! For our server it is a check; of the others it only tells. Invariant: all of them get the same
//! sessions from the same seeds, and the configuration that serves them best at this job.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::{fs, io};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use ppload::Pattern;
use socket2::{Domain, Socket, Type};
use tools::programs;

use super::client::{self, Ports};
use super::faults::Faults;
use super::flapping::Flapping;
use super::plan::{KINDS, Kind, Plan};
use super::random;
use super::server::{File, Upstreams, text};
use super::upstream;
use crate::builds;
use crate::ports::{BACKEND, PROXY, PROXY_STATUS, addr, all_free};
use crate::process::{Process, output};

/// Torment proxies with every kind of odd session, one kind at a time
///
/// Ours must pass them all; of the others it only tells.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct TormentArgs {
    /// Sessions of each kind
    #[arg(long, value_name = "N", default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// Which proxy (repeatable) [default: all]
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<Target>,
    /// Write the table into docs/reliability.md
    #[arg(long)]
    report: bool,
    /// Instead: so many random sessions through ours, and what they leave behind
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "targets", "report"],
        value_parser = clap::value_parser!(u64).range(10..=10_000_000))]
    sessions: Option<u64>,
    /// What decides the random sessions
    #[arg(long, value_name = "S", default_value_t = 1, requires = "sessions")]
    seed: u64,
    /// Instead: what belongs into the gate, a few of each kind and 10,000 random ones through ours
    /// with its assertions on
    #[arg(long, exclusive = true)]
    gate: bool,
}

/// A proxy to torment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// Our own
    Ppserver,
    /// In TCP mode with splice
    Haproxy,
    /// Its stream module
    Nginx,
}

/// What became of one kind.
#[derive(Debug)]
struct Verdict {
    passed: u64,
    /// Of the first session that failed.
    why: Option<String>,
}

const REPORT: &str = "docs/reliability.md";
const BEGIN: &str = "<!-- torment: written by `cargo xtask torment --report` -->\n";
const END: &str = "<!-- torment: end -->\n";

/// Runs the sessions and prints the table.
///
/// # Errors
/// When a proxy is not there, or ours fails.
pub(crate) fn run(args: &TormentArgs) -> Result<()> {
    if args.gate {
        return check();
    }
    let ours = builds::shipped("ppserver")?;
    if let Some(sessions) = args.sessions {
        return random::run(&ours, sessions, args.seed);
    }
    let targets = match args.targets.as_slice() {
        [] => Target::value_variants(),
        some => some,
    };
    let columns = all_kinds(&ours, targets, args.seeds)?;
    let table = table(&columns, args.seeds);
    print!("{table}");
    if args.report {
        let text = fs::read_to_string(REPORT)?;
        let (before, rest) = text.split_once(BEGIN).context("the report has no place for it")?;
        let (_, after) = rest.split_once(END).context("the place has no end")?;
        fs::write(REPORT, format!("{before}{BEGIN}{table}{END}{after}"))?;
    }
    judge(&columns, args.seeds)
}

/// What belongs into the gate, through a server whose assertions are on: a few sessions of every
/// kind, and many random ones.
fn check() -> Result<()> {
    const OF_EACH_KIND: u64 = 5;
    const RANDOM: u64 = 10_000;
    const SEED: u64 = 1;
    let ours = builds::server_with_assertions()?;
    let columns = all_kinds(&ours, &[Target::Ppserver], OF_EACH_KIND)?;
    println!("{}", table(&columns, OF_EACH_KIND));
    judge(&columns, OF_EACH_KIND)?;
    random::run(&ours, RANDOM, SEED)
}

/// A proxy, its version, and what became of each kind.
type Column = (Target, String, Vec<Verdict>);

fn all_kinds(ours: &Path, targets: &[Target], seeds: u64) -> Result<Vec<Column>> {
    let pattern = Arc::new(Pattern::new());
    let mut columns = Vec::new();
    for target in targets {
        let (version, verdicts) = torment(*target, ours, seeds, &pattern)?;
        columns.push((*target, version, verdicts));
    }
    Ok(columns)
}

/// Ours must pass everything.
fn judge(columns: &[Column], seeds: u64) -> Result<()> {
    let ours = columns.iter().filter(|(target, ..)| *target == Target::Ppserver);
    let failed = ours.flat_map(|(.., verdicts)| verdicts).filter(|it| it.passed < seeds);
    match failed.count() {
        0 => Ok(()),
        count => bail!("our server fails {count} kinds"),
    }
}

fn torment(
    target: Target,
    ours: &Path,
    seeds: u64,
    pattern: &Arc<Pattern>,
) -> Result<(String, Vec<Verdict>)> {
    all_free()?;
    let faults = Arc::new(Faults::default());
    let flapping = Flapping::start(pattern, &faults)?;
    let dead = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    dead.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    let upstreams = Upstreams {
        live: upstream::start(pattern, &faults)?,
        dead: dead.local_addr()?.as_socket().context("a bound socket has an address")?,
        flapping: flapping.addr,
    };
    let ports = Ports { edge: addr(PROXY), dead: addr(PROXY_STATUS), flapping: addr(BACKEND) };
    let dir = tempfile::tempdir()?;
    let (program, version, words) = target.prepare(ours, dir.path(), upstreams, ports)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut process = Process::start("the proxy", &program, &words)?;
    for port in [PROXY, PROXY_STATUS, BACKEND] {
        process.wait_for_port(port)?;
    }
    let mut verdicts = Vec::new();
    for (kind, _) in KINDS {
        eprintln!("   {target:?}: {kind:?}");
        let run = |plan: &Plan| {
            let closings = flapping.closings();
            client::run(plan, ports, pattern).or_else(|error| {
                if flapping.excuses(&error, closings) { Ok(()) } else { Err(error) }
            })
        };
        let verdict = one_kind(kind, seeds, run, &faults);
        verdicts.push(verdict);
    }
    process.stop()?;
    Ok((version, verdicts))
}

/// All sessions of a kind, at once.
fn one_kind(
    kind: Kind,
    seeds: u64,
    run: impl Fn(&Plan) -> io::Result<()> + Sync,
    faults: &Faults,
) -> Verdict {
    let count = |(lost, other)| lost + other;
    let (seen, noted) = (faults.words().len(), count(faults.counts()));
    let results: Vec<_> = thread::scope(|scope| {
        let sessions: Vec<_> = (0..seeds)
            .map(|seed| {
                let run = &run;
                scope.spawn(move || run(&Plan::of_kind(kind, seed)))
            })
            .collect();
        sessions.into_iter().map(|it| it.join().expect("a session does not panic")).collect()
    });
    let failed: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    // What the upstream noted belongs to one of these sessions.
    let upstream = faults.words().split_off(seen);
    let noted = count(faults.counts()) - noted;
    let bad = u64::try_from(failed.len()).unwrap_or(seeds).max(noted).min(seeds);
    // The words of one of the upstream's begin with its order.
    let upstream = upstream.first().map(|words| words.rsplit(": ").next().unwrap_or(words));
    let why = failed.first().map(ToString::to_string).or_else(|| upstream.map(str::to_owned));
    Verdict { passed: seeds - bad, why }
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Ppserver => "ppserver",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
        }
    }

    /// Its program, its version, and the words that start it on these ports.
    fn prepare(
        self,
        ours: &Path,
        dir: &Path,
        upstreams: Upstreams,
        ports: Ports,
    ) -> Result<(PathBuf, String, Vec<String>)> {
        let path = |name: &str| dir.join(name).display().to_string();
        let (program, file, config, word, words) = match self {
            Self::Ppserver => {
                let file = path("ppserver.toml");
                let words = vec!["run".to_owned(), "-c".to_owned(), file.clone()];
                let binds = [ports.edge, ports.dead, ports.flapping].map(|addr| addr.to_string());
                (ours.to_owned(), file, text(upstreams, &binds, File::Good(0)), "--version", words)
            }
            Self::Haproxy => {
                let file = path("haproxy.cfg");
                let words = vec!["-db".to_owned(), "-f".to_owned(), file.clone()];
                let program = programs::find("haproxy").context("apt-get install -y haproxy")?;
                (program, file, haproxy(upstreams, ports), "-v", words)
            }
            Self::Nginx => {
                let file = path("nginx.conf");
                let words = ["-e", "stderr", "-c", &file].map(str::to_owned).to_vec();
                let install = "apt-get install -y nginx libnginx-mod-stream";
                let program = programs::find("nginx").context(install)?;
                (program, file, nginx(dir, upstreams, ports), "-v", words)
            }
        };
        fs::write(&file, config)?;
        let version = output(&program, &[word])?.lines().next().unwrap_or_default().to_owned();
        Ok((program, version, words))
    }
}

fn haproxy(upstreams: Upstreams, ports: Ports) -> String {
    let mut text = "defaults\n\tmode tcp\n\toption splice-auto\n\ttimeout connect 2s\n\
                    \ttimeout client 5s\n\ttimeout server 5s\n\ttimeout client-fin 5s\n\
                    \ttimeout server-fin 5s\n\tretries 0\n"
        .to_owned();
    for (name, bind, endpoints) in [
        ("edge", ports.edge, &[upstreams.live][..]),
        ("dead", ports.dead, &[upstreams.dead]),
        ("flapping", ports.flapping, &[upstreams.flapping, upstreams.live]),
    ] {
        let _ = write!(
            text,
            "listen {name}\n\tbind {bind} accept-proxy\n\
             \ttcp-request connection reject if !{{ src 127.0.0.1 }}\n"
        );
        if endpoints.len() > 1 {
            text += "\tretries 1\n\toption redispatch 1\n";
        }
        for (number, to) in endpoints.iter().enumerate() {
            let _ = writeln!(text, "\tserver far{number} {to} send-proxy-v2");
        }
    }
    text
}

fn nginx(dir: &Path, upstreams: Upstreams, ports: Ports) -> String {
    let dir = dir.display();
    let mut text = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off;\n\
         master_process off;\npid {dir}/pid;\nerror_log /dev/null;\nevents {{}}\nstream {{\n\
         proxy_connect_timeout 2s;\nproxy_timeout 5s;\nproxy_protocol_timeout 2s;\n\
         proxy_half_close on;\nproxy_protocol on;\nallow 127.0.0.1;\ndeny all;\n"
    );
    for (bind, to) in [(ports.edge, upstreams.live), (ports.dead, upstreams.dead)] {
        let _ = writeln!(text, "server {{ listen {bind} proxy_protocol; proxy_pass {to}; }}");
    }
    let (bind, [first, second]) = (ports.flapping, [upstreams.flapping, upstreams.live]);
    let _ = writeln!(
        text,
        "upstream either {{ server {first} max_fails=0; server {second} max_fails=0; }}\n\
         server {{ listen {bind} proxy_protocol; proxy_pass either; }}"
    );
    text + "}\n"
}

fn table(columns: &[Column], seeds: u64) -> String {
    let mut text = format!("{seeds} sessions of each kind, all at once:");
    for (_, version, _) in columns {
        let _ = write!(text, " {version};");
    }
    text.pop();
    text += ".\n\n| kind |";
    for (target, ..) in columns {
        let _ = write!(text, " {} |", target.name());
    }
    text += "\n|---|";
    text += &"---|".repeat(columns.len());
    for (at, (kind, _)) in KINDS.iter().enumerate() {
        let _ = write!(text, "\n| {kind:?} |");
        for (.., verdicts) in columns {
            let Verdict { passed, why } = &verdicts[at];
            match why {
                None => text += " all |",
                Some(why) => {
                    let _ = write!(text, " {passed}: {why} |");
                }
            }
        }
    }
    text + "\n"
}
