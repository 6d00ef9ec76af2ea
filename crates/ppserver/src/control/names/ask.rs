//! Whom a name is asked of: /etc/hosts, then the servers of resolv.conf(5), one after the other.
//!
//! A server has a second for an answer, and is asked twice; then it is the next one's turn. One that says that there
//! is no such name is believed; one that fails is not. The names of a search list are tried in turn until one has an
//! address, of either family; a failure ends the search, so that a server which is down does not make a name mean
//! another one. Nothing is cached here: who asks keeps what it was told.
//! Invariant: whatever is answered, an address that leaves can be connected to.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, Resolver, TokioResolver};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout};

use super::srv::{self, Target};
use crate::config::single_host;
use crate::control::bounded;
use crate::core::pool::resolution::{ADDRS_MAX, Answer};

/// How long a server has for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Tries behind the first one.
const RETRIES: usize = 1;

/// How long a server has for everything that one question leads to: aliases of aliases, TCP.
const SERVER_MAX: Duration = Duration::from_secs(5);

/// Questions at a time.
const QUESTIONS_MAX: usize = 16;

/// resolv.conf(5) is read by everybody up to here.
const SERVERS_MAX: usize = 3;

/// Domains of a search list; Kubernetes allows as many.
const SEARCH_MAX: usize = 32;

/// How often the files of the system are looked at, while there are questions.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long they may take to be read.
const FILES_MAX: Duration = Duration::from_secs(10);

/// A list of hosts to be blocked may be long; beyond that it is none of ours.
const FILE_BYTES_MAX: u64 = 16 << 20;

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// Who asks.
#[derive(Debug)]
pub(super) struct Asker {
    system: Mutex<Option<(Arc<System>, Instant)>>,
    questions: Semaphore,
}

/// What came of a question for all addresses of a name.
#[derive(Debug)]
pub(super) struct Addrs {
    pub(super) v4: Answer,
    pub(super) v6: Answer,
    /// Why there is no address, or not of each family.
    pub(super) why: Option<String>,
    /// Addresses that are too many.
    pub(super) excess: usize,
}

/// What came of a question for SRV records.
#[derive(Debug)]
pub(super) enum Targets {
    /// These, for so long.
    Some(Vec<Target>, Duration),
    /// None, or nobody knows, with the reason.
    None(String),
    Failed(String),
}

/// What the files of the system say.
struct System {
    stamps: [Stamp; 2],
    servers: Vec<TokioResolver>,
    search: Vec<Name>,
    ndots: usize,
    hosts: Hosts,
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System").field("search", &self.search).finish_non_exhaustive()
    }
}

/// Another one is another file, or another text in it; `None` is no file.
type Stamp = Option<(u64, u64, i64, i64)>;

/// Why there are no records.
#[derive(Debug)]
enum Miss {
    None(&'static str),
    Failed(String),
}

impl Asker {
    pub(super) fn new() -> Self {
        Self { system: Mutex::new(None), questions: Semaphore::new(QUESTIONS_MAX) }
    }

    /// Asks for the addresses of a name.
    pub(super) async fn addrs(&self, host: &str) -> Addrs {
        let (system, name) = match self.system_and_name(host).await {
            Ok(both) => both,
            Err(why) => {
                return Addrs { v4: Answer::Failed, v6: Answer::Failed, why: Some(why), excess: 0 };
            }
        };
        let known = |kind| system.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let known = [known(RecordType::A), known(RecordType::AAAA)];
        if known.iter().any(Option::is_some) {
            return Addrs::of(known.map(|lookup| match lookup {
                Some(lookup) => Ok(soon_again(lookup.answers())),
                None => Err(Miss::None("no such address in /etc/hosts")),
            }));
        }
        let mut last =
            Addrs::of([Err(Miss::None("no such name")), Err(Miss::None("no such name"))]);
        for name in system.candidates(&name) {
            let v4 = self.ask(&system, &name, RecordType::A);
            let v6 = self.ask(&system, &name, RecordType::AAAA);
            let (v4, v6) = tokio::join!(v4, v6);
            last = Addrs::of([v4, v6]);
            if (&last.v4, &last.v6) != (&Answer::None, &Answer::None) {
                break;
            }
        }
        last
    }

    /// Asks for the SRV records of a name.
    pub(super) async fn targets(&self, service: &str) -> Targets {
        let (system, name) = match self.system_and_name(service).await {
            Ok(both) => both,
            Err(why) => return Targets::Failed(why),
        };
        let mut last = Targets::None("no such name".to_owned());
        for name in system.candidates(&name) {
            last = match self.ask(&system, &name, RecordType::SRV).await {
                Ok(records) => {
                    let targets = srv::usable(records.iter().filter_map(target).collect());
                    match targets.is_empty() {
                        false => Targets::Some(targets, ttl(&records)),
                        true => Targets::None("no target that can be used".to_owned()),
                    }
                }
                Err(Miss::None(why)) => Targets::None(why.to_owned()),
                Err(Miss::Failed(why)) => Targets::Failed(why),
            };
            if !matches!(last, Targets::None(_)) {
                break;
            }
        }
        last
    }

    async fn system_and_name(&self, name: &str) -> Result<(Arc<System>, Name), String> {
        let system = self.system().await?;
        let name = Name::from_ascii(name).map_err(|error| error.to_string())?;
        Ok((system, name))
    }

    /// Returns what the files of the system say, which are looked at now and then.
    async fn system(&self) -> Result<Arc<System>, String> {
        let mut held = self.system.lock().await;
        if let Some((system, looked)) = &*held
            && looked.elapsed() < LOOK_EVERY
        {
            return Ok(Arc::clone(system));
        }
        let old = held.as_ref().map(|(system, _)| Arc::clone(system));
        let read = bounded::run("resolver", FILES_MAX, move |_| System::read(old)).await;
        let system = read.unwrap_or_else(|why| Err(format!("{RESOLV_CONF}: {why}")))?;
        *held = Some((Arc::clone(&system), Instant::now()));
        Ok(system)
    }

    /// Asks one server after the other for records of a name.
    async fn ask(
        &self,
        system: &System,
        name: &Name,
        kind: RecordType,
    ) -> Result<Vec<Record>, Miss> {
        let _permit = self.questions.acquire().await;
        let mut why = "there is no name server".to_owned();
        for server in &system.servers {
            let Ok(answer) = timeout(SERVER_MAX, server.lookup(name.clone(), kind)).await else {
                why = "no answer in time".to_owned();
                continue;
            };
            match answer {
                Ok(lookup) => return Ok(lookup.answers().to_vec()),
                Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
                    let code = none.response_code;
                    if code == ResponseCode::NXDomain {
                        return Err(Miss::None("no such name"));
                    } else if code == ResponseCode::NoError {
                        return Err(Miss::None("no such record of the name"));
                    }
                    why = code.to_string();
                }
                Err(NetError::Timeout) => why = "no answer in time".to_owned(),
                Err(error) => why = error.to_string(),
            }
        }
        Err(Miss::Failed(why))
    }
}

impl Addrs {
    fn of(families: [Result<Vec<Record>, Miss>; 2]) -> Self {
        let (mut why, mut excess) = (None, 0);
        let [v4, v6] = families.map(|records| match records {
            Ok(records) => {
                let ttl = ttl(&records);
                let mut addrs: Vec<_> = records.iter().filter_map(addr).collect();
                addrs.sort_unstable();
                addrs.dedup();
                excess += addrs.len().saturating_sub(ADDRS_MAX);
                if addrs.is_empty() {
                    why = Some("no address that can be connected to".to_owned());
                    return Answer::None;
                }
                Answer::Addrs(addrs, ttl)
            }
            Err(Miss::None(text)) => {
                why.get_or_insert_with(|| text.to_owned());
                Answer::None
            }
            Err(Miss::Failed(text)) => {
                why = Some(text);
                Answer::Failed
            }
        });
        Self { v4, v6, why, excess }
    }
}

impl System {
    /// Reads the files, unless they are what they were. Blocks.
    fn read(old: Option<Arc<Self>>) -> Result<Arc<Self>, String> {
        let stamps = [RESOLV_CONF, HOSTS].map(stamp);
        if let Some(old) = old.filter(|old| old.stamps == stamps) {
            return Ok(old);
        }
        let text = |path| read(path).map_err(|error| format!("{path}: {error}"));
        let system = Self::of(stamps, text(RESOLV_CONF)?, &text(HOSTS)?);
        system.map(Arc::new).map_err(|error| format!("{RESOLV_CONF}: {error}"))
    }

    fn of(stamps: [Stamp; 2], mut conf: Vec<u8>, hosts: &[u8]) -> Result<Self, NetError> {
        if !conf.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"nameserver")) {
            // As resolv.conf(5) has it.
            conf.extend_from_slice(b"\nnameserver 127.0.0.1\n");
        }
        let (config, options) = parse_resolv_conf(&conf)?;
        let (domain, mut search, servers) = config.into_parts();
        if search.is_empty() {
            search.extend(domain);
        }
        search.truncate(SEARCH_MAX);
        let server = |server: NameServerConfig| {
            let config = ResolverConfig::from_name_servers(vec![server]);
            let mut builder =
                Resolver::builder_with_config(config, TokioRuntimeProvider::default());
            let asked = builder.options_mut();
            (asked.timeout, asked.attempts) = (ANSWER_MAX, RETRIES);
            asked.edns0 = options.edns0;
            asked.cache_size = 0;
            asked.use_hosts_file = ResolveHosts::Never;
            builder.build()
        };
        let servers =
            servers.into_iter().take(SERVERS_MAX).map(server).collect::<Result<_, _>>()?;
        let mut known = Hosts::default();
        // A line that cannot be read is passed over, and ends nothing.
        known.read_hosts_conf(String::from_utf8_lossy(hosts).as_bytes())?;
        Ok(Self { stamps, servers, search, ndots: options.ndots, hosts: known })
    }

    /// Returns what a name may mean, in the order in which it is tried.
    fn candidates(&self, name: &Name) -> Vec<Name> {
        let mut absolute = name.clone();
        absolute.set_fqdn(true);
        if name.is_fqdn() {
            return vec![absolute];
        }
        let searched = self.search.iter().filter_map(|domain| {
            let mut name = name.clone().append_domain(domain).ok()?;
            name.set_fqdn(true);
            Some(name)
        });
        let dots = usize::from(name.num_labels()).saturating_sub(1);
        if dots >= self.ndots || name.is_localhost() {
            std::iter::once(absolute).chain(searched).collect()
        } else {
            searched.chain([absolute]).collect()
        }
    }
}

fn stamp(path: &str) -> Stamp {
    let meta = fs::metadata(path).ok()?;
    Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
}

/// A file that is not there is empty.
fn read(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map(|_| bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(bytes),
        Err(error) => Err(error),
    }
}

/// What a file says counts until it is looked at again.
fn soon_again(records: &[Record]) -> Vec<Record> {
    let soon = |record: &Record| Record::from_rdata(record.name.clone(), 0, record.data.clone());
    records.iter().map(soon).collect()
}

/// How long all of them count, aliases on the way among them.
fn ttl(records: &[Record]) -> Duration {
    let least = records.iter().map(|record| record.ttl).min().unwrap_or_default();
    Duration::from_secs(least.into())
}

/// The address of a record, if something can be connected to there.
fn addr(record: &Record) -> Option<IpAddr> {
    let ip = record.data.ip_addr()?;
    if let IpAddr::V6(ip) = ip
        && ip.is_unicast_link_local()
    {
        // On which link is not said.
        return None;
    }
    single_host(SocketAddr::new(ip, 1)).ok().map(|addr| addr.ip())
}

fn target(record: &Record) -> Option<Target> {
    let RData::SRV(srv) = &record.data else { return None };
    Some(Target {
        priority: srv.priority,
        host: srv.target.to_lowercase().to_ascii(),
        port: srv.port,
        weight: srv.weight,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(conf: &str, hosts: &str) -> System {
        System::of([None; 2], conf.into(), hosts.as_bytes()).unwrap()
    }

    fn candidates(conf: &str, name: &str) -> Vec<String> {
        let system = system(conf, "");
        let name = Name::from_ascii(name).unwrap();
        system.candidates(&name).iter().map(Name::to_ascii).collect()
    }

    #[test]
    fn a_name_is_searched_for_as_resolv_conf_says() {
        const CONF: &str = "nameserver 192.0.2.1\nsearch a.internal b.internal\noptions ndots:2\n";
        assert_eq!(candidates(CONF, "web"), ["web.a.internal.", "web.b.internal.", "web."]);
        let dotted = ["web.x.a.internal.", "web.x.b.internal.", "web.x."];
        assert_eq!(candidates(CONF, "web.x"), dotted);
        let many = ["web.x.y.", "web.x.y.a.internal.", "web.x.y.b.internal."];
        assert_eq!(candidates(CONF, "web.x.y"), many);
        assert_eq!(candidates(CONF, "web."), ["web."]);
        assert_eq!(candidates(CONF, "localhost")[0], "localhost.");
        assert_eq!(candidates("domain c.internal\n", "web"), ["web.c.internal.", "web."]);
    }

    #[test]
    fn without_a_server_it_is_the_one_of_this_host_and_of_many_the_first_three() {
        assert_eq!(system("", "").servers.len(), 1);
        let many: String = (1..9).map(|last| format!("nameserver 192.0.2.{last}\n")).collect();
        assert_eq!(system(&many, "").servers.len(), SERVERS_MAX);
    }

    #[test]
    fn nothing_is_connected_to_that_is_no_host() {
        let record = |data| Record::from_rdata(Name::root(), 60, data);
        let v4 = |text: &str| addr(&record(RData::A(text.parse().unwrap())));
        let v6 = |text: &str| addr(&record(RData::AAAA(text.parse().unwrap())));
        assert_eq!(v4("192.0.2.1"), Some([192, 0, 2, 1].into()));
        assert_eq!(v6("::ffff:192.0.2.1"), Some([192, 0, 2, 1].into()));
        assert_eq!(v6("2001:db8::1"), "2001:db8::1".parse().ok());
        for text in ["0.0.0.0", "255.255.255.255", "224.0.0.1"] {
            assert_eq!(v4(text), None, "{text}");
        }
        for text in ["::", "ff02::1", "fe80::1", "::ffff:0.0.0.0"] {
            assert_eq!(v6(text), None, "{text}");
        }
    }

    #[test]
    fn an_answer_says_what_is_there_for_how_long_and_what_is_too_much() {
        let records = |count: u32| -> Vec<Record> {
            let data = |at: u32| RData::A(std::net::Ipv4Addr::from_bits(0x0A00_0000 + at).into());
            (0..count).map(|at| Record::from_rdata(Name::root(), 60 + at, data(at))).collect()
        };
        let addrs = Addrs::of([Ok(records(200)), Err(Miss::None("no such record"))]);
        assert_eq!((addrs.excess, addrs.why.as_deref()), (200 - ADDRS_MAX, Some("no such record")));
        assert!(
            matches!(&addrs.v4, Answer::Addrs(all, ttl) if all.len() == 200 && ttl.as_secs() == 60)
        );
        assert_eq!(addrs.v6, Answer::None);
        let failed = Addrs::of([Err(Miss::None("none")), Err(Miss::Failed("mute".to_owned()))]);
        assert_eq!((failed.why.as_deref(), failed.v6), (Some("mute"), Answer::Failed));
    }
}
