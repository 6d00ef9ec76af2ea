//! What this host is like: figures of /proc, as they are read.
//!
//! Judges nothing. Invariant: what cannot be read is `None`, never a guess.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use rustix::process::{Resource, getrlimit};

/// Processes that are looked at for whose a socket is.
const PROCESSES_MAX: usize = 65_536;

/// The figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// The hard limit of open files, to which `run` raises its own; `None` if there is none.
    pub(super) descriptors: Option<u64>,
    /// net.core.somaxconn.
    pub(super) somaxconn: Option<u64>,
    /// net.ipv4.ip_local_port_range, both ends included.
    pub(super) ports: Option<(u16, u16)>,
    /// net.ipv4.ip_local_reserved_ports.
    pub(super) reserved_ports: Vec<(u16, u16)>,
    /// net.ipv4.ip_unprivileged_port_start.
    pub(super) unprivileged: Option<u16>,
    /// fs.pipe-user-pages-soft; 0 is no limit.
    pub(super) pipe_pages: Option<u64>,
    /// fs.pipe-max-size, in bytes.
    pub(super) pipe_bytes: Option<u64>,
    /// net.ipv4.tcp_tw_reuse.
    pub(super) tw_reuse: Option<u64>,
    /// net.netfilter.nf_conntrack_count and _max; `None` where nothing is tracked.
    pub(super) conntrack: Option<(u64, u64)>,
    pub(super) has_ipv6: bool,
    /// Of resolv.conf(5).
    pub(super) name_servers: usize,
    /// What this process may, as capabilities(7) numbers it.
    pub(super) capabilities: u64,
}

impl Figures {
    /// Reads them.
    pub(super) fn read() -> Self {
        let number = |path: &str| number(&read(path)?);
        let sys = |name: &str| number(&format!("/proc/sys/{name}"));
        let conntrack = sys("net/netfilter/nf_conntrack_count");
        Self {
            descriptors: getrlimit(Resource::Nofile).maximum,
            somaxconn: sys("net/core/somaxconn"),
            ports: read("/proc/sys/net/ipv4/ip_local_port_range").and_then(|text| span(&text)),
            reserved_ports: read("/proc/sys/net/ipv4/ip_local_reserved_ports")
                .map(|text| spans(&text))
                .unwrap_or_default(),
            unprivileged: sys("net/ipv4/ip_unprivileged_port_start")
                .and_then(|port| u16::try_from(port).ok()),
            pipe_pages: sys("fs/pipe-user-pages-soft"),
            pipe_bytes: sys("fs/pipe-max-size"),
            tw_reuse: sys("net/ipv4/tcp_tw_reuse"),
            conntrack: conntrack.zip(sys("net/netfilter/nf_conntrack_max")),
            has_ipv6: sys("net/ipv6/conf/all/disable_ipv6") == Some(0),
            name_servers: read("/etc/resolv.conf").map_or(0, |text| name_servers(&text)),
            capabilities: read("/proc/self/status")
                .and_then(|text| capabilities(&text))
                .unwrap_or_default(),
        }
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// Two numbers and a tab.
fn span(text: &str) -> Option<(u16, u16)> {
    let (from, to) = text.trim().split_once(|c: char| c.is_ascii_whitespace())?;
    Some((from.parse().ok()?, to.trim_start().parse().ok()?))
}

/// `8080,9148-9150`.
fn spans(text: &str) -> Vec<(u16, u16)> {
    let span = |text: &str| {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        Some((from.parse().ok()?, to.parse().ok()?))
    };
    text.trim().split(',').filter_map(span).collect()
}

fn name_servers(resolv_conf: &str) -> usize {
    let words = resolv_conf.lines().map(|line| line.split_ascii_whitespace().next());
    words.filter(|word| *word == Some("nameserver")).count()
}

/// `CapEff:` of proc_pid_status(5), in hexadecimal.
fn capabilities(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Who listens at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) addr: SocketAddr,
    pub(super) transport: Transport,
    inode: u64,
    /// Unless its process is another's, or gone.
    pub(super) process: Option<Process>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Udp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// It names itself as it likes: escaped.
    pub(super) name: String,
    /// `nginx.service`, if it is one.
    pub(super) unit: Option<String>,
}

impl Holder {
    #[cfg(test)]
    pub(super) fn of(addr: SocketAddr, process: Option<Process>) -> Self {
        Self { addr, transport: Transport::Tcp, inode: 0, process }
    }
}

/// Everybody who listens in this network namespace, among `ports`.
pub(super) fn holders(ports: &[u16]) -> Vec<Holder> {
    const TABLES: [(&str, Transport); 4] = [
        ("/proc/net/tcp", Transport::Tcp),
        ("/proc/net/tcp6", Transport::Tcp),
        ("/proc/net/udp", Transport::Udp),
        ("/proc/net/udp6", Transport::Udp),
    ];
    let mut holders: Vec<_> = TABLES
        .iter()
        .flat_map(|(path, transport)| listeners(&read(path).unwrap_or_default(), *transport))
        .filter(|holder| ports.contains(&holder.addr.port()))
        .collect();
    if !holders.is_empty() {
        name(&mut holders);
    }
    holders
}

/// The listening sockets of a table of proc_pid_net(5).
fn listeners(table: &str, transport: Transport) -> Vec<Holder> {
    // A TCP socket that listens, and a UDP socket that is not connected.
    let state = match transport {
        Transport::Tcp => "0A",
        Transport::Udp => "07",
    };
    let holder = |line: &str| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let (addr, inode) = (address(fields.get(1)?)?, fields.get(9)?.parse().ok()?);
        let is_listening = fields.get(3) == Some(&state);
        is_listening.then_some(Holder { addr, transport, inode, process: None })
    };
    table.lines().skip(1).filter_map(holder).collect()
}

/// `0100007F:1F90`: each four bytes are a number in the machine's order.
fn address(text: &str) -> Option<SocketAddr> {
    let (addr, port) = text.split_once(':')?;
    let words = addr.as_bytes().chunks(8).map(|word| {
        let word = str::from_utf8(word).ok().filter(|word| word.len() == 8)?;
        Some(u32::from_str_radix(word, 16).ok()?.to_ne_bytes())
    });
    let words: Option<Vec<[u8; 4]>> = words.collect();
    let octets = words?.concat();
    let ip = match <[u8; 4]>::try_from(octets.as_slice()) {
        Ok(octets) => IpAddr::V4(Ipv4Addr::from(octets)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Finds whose the sockets are: those that a process has open.
fn name(holders: &mut [Holder]) {
    let Ok(processes) = fs::read_dir("/proc") else { return };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for pid in pids.take(PROCESSES_MAX) {
        let inodes = sockets(pid).unwrap_or_default();
        for holder in holders.iter_mut().filter(|holder| inodes.contains(&holder.inode)) {
            holder.process = Some(process(pid));
        }
    }
}

/// The inodes of the sockets that a process has open.
fn sockets(pid: u32) -> io::Result<Vec<u64>> {
    let inode =
        |target: &Path| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    Ok(targets.filter_map(|target| inode(&target)).collect())
}

fn process(pid: u32) -> Process {
    let comm = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = comm.trim_ascii_end().escape_ascii().to_string();
    let unit = read(&format!("/proc/{pid}/cgroup")).and_then(|text| unit(&text));
    Process { pid, name, unit }
}

/// `0::/system.slice/nginx.service`; those of a user are not asked of the system's manager. Who may make groups names
/// them as he likes: what is no name of a unit (systemd.unit(5)), or would be more than a word to a shell, is none.
fn unit(cgroup: &str) -> Option<String> {
    let is_of_unit = |c: char| c.is_ascii_alphanumeric() || ":-_.@".contains(c);
    let paths = cgroup.lines().filter_map(|line| line.rsplit(':').next());
    let units = paths.filter(|path| !path.contains("/user@"));
    units
        .filter_map(|path| path.rsplit('/').next())
        .find(|name| name.ends_with(".service") && name.chars().all(is_of_unit))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn figures_are_read_as_the_kernel_writes_them() {
        assert_eq!(span("32768\t60999\n"), Some((32768, 60999)));
        assert_eq!(spans("8080,9148-9150\n"), [(8080, 8080), (9148, 9150)]);
        assert!(spans("\n").is_empty());
        assert_eq!(name_servers("# nameserver 1.1.1.1\nnameserver 10.0.0.2\nsearch x\n"), 1);
        assert_eq!(capabilities("Name:\tx\nCapEff:\t0000000000000400\n"), Some(1 << 10));
        let cgroup = "0::/system.slice/nginx.service\n";
        assert_eq!(unit(cgroup).as_deref(), Some("nginx.service"));
        for nobodys in [
            "session-1.scope",
            "user@1000.service/app.slice/foot.scope",
            "user@1000.service/a.service",
        ] {
            assert_eq!(unit(&format!("0::/user.slice/user-1000.slice/{nobodys}\n")), None);
        }
    }

    #[test]
    fn what_others_name_themselves_is_nothing_to_a_terminal_or_a_shell() {
        for name in ["x;reboot;.service", "$(reboot).service", "\x1b[2J.service", "a b.service"] {
            assert_eq!(unit(&format!("0::/system.slice/a.service/{name}\n")), None, "{name:?}");
        }
        let script = "printf '\\033[2J\\377' > /proc/self/comm && read -r _";
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", script]).stdin(Stdio::piped()).spawn();
        let mut shell = shell.unwrap();
        let comm = format!("/proc/{}/comm", shell.id());
        let is_named = || fs::read(&comm).unwrap().ends_with(b"\xff\n");
        while !is_named() && shell.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        let named = process(shell.id()).name;
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert_eq!(named, "\\x1b[2J\\xff");
    }

    #[test]
    fn this_host_has_figures_and_this_process_is_found() {
        let figures = Figures::read();
        assert!(figures.somaxconn.is_some() && figures.ports.is_some(), "{figures:?}");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let holders = holders(&[addr.port()]);
        let ours = holders.iter().find(|holder| holder.addr == addr).unwrap();
        assert_eq!(ours.process.as_ref().map(|process| process.pid), Some(std::process::id()));
    }

    #[test]
    fn only_sockets_that_listen_are_taken_from_a_table() {
        let word = format!("{:08X}", u32::from_ne_bytes([127, 0, 0, 1]));
        let table = format!(
            "  sl  local_address rem_address   st ...\n   \
             0: {word}:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n   \
             1: {word}:1F91 {word}:1F90 01 00000000:00000000 00:00000000 00000000     0        0 4712 1\n"
        );
        let holders = listeners(&table, Transport::Tcp);
        let found: Vec<_> = holders.iter().map(|holder| (holder.addr, holder.inode)).collect();
        assert_eq!(found, [("127.0.0.1:8080".parse().unwrap(), 4711)]);
        assert_eq!(address(&format!("{}:0050", "0".repeat(32))), Some("[::]:80".parse().unwrap()));
        assert_eq!(address("7F:1"), None);
    }
}
