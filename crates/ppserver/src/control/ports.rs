//! The ports that are ours: claims of addresses, and the listening sockets at each of them.
//!
//! They are held here and by workers, so that a queue outlives its worker. Whom to let in is decided
//! elsewhere. Invariant: binding changes nothing that is there, so a configuration that cannot have all its
//! ports leaves every one as it was; and what a service manager has passed is kept, since a reload or an upgrade may
//! ask for it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::Mode;
use socket2::{Socket, Type};

use super::error::ServerError;
use super::handover::{Name, Parcel};
use super::unix_socket::{self, File};
use crate::config::{Bind, Config, Listener, Protocol};
use crate::core::addr::{Addr, UnixName};
use crate::data;
use crate::data::orders::{Claim, Share};
use crate::data::sys::{self, ListenOptions, Sharing};

/// How often listen(2) is asked: two starts that meet in it may both be turned away (8 of 60,000 times on
/// Linux 6.18), since each is seen to listen before it is looked whether it may.
const LISTENS_MAX: usize = 8;

/// Where this process listens, in the order of the configuration.
#[derive(Debug, Default)]
pub(super) struct Ports {
    held: Vec<Port>,
    /// Claims of ports that workers may still be emptying.
    going: Vec<Arc<Claim>>,
    /// Left by another process, which serves them too; no worker has them yet.
    left: Vec<Port>,
    /// Passed by a service manager, whether a listener asks for them or not.
    lent: Vec<Lent>,
    /// Of our UNIX sockets, which go with them.
    files: Vec<File>,
}

/// The sockets of one name that a service manager has passed.
#[derive(Debug)]
struct Lent {
    name: String,
    sockets: Vec<(Addr, Arc<Socket>)>,
}

impl Lent {
    /// Returns where they listen, each address once.
    fn addrs(&self) -> Vec<Addr> {
        let mut addrs: Vec<_> = self.sockets.iter().map(|(addr, _)| *addr).collect();
        addrs.sort_unstable();
        addrs.dedup();
        addrs
    }

    /// Returns what listens at one of them.
    fn at(&self, addr: Addr) -> Vec<Arc<Socket>> {
        let sockets = self.sockets.iter().filter(|(at, _)| *at == addr);
        sockets.map(|(_, socket)| Arc::clone(socket)).collect()
    }
}

/// Where a listener listens.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The listener's name.
    pub(super) listener: String,
    pub(super) addr: Addr,
}

/// An address of a listener.
#[derive(Clone, Debug)]
struct Port {
    /// The listener's name.
    listener: String,
    /// What the configuration says.
    asked: Bind,
    claim: Arc<Claim>,
    /// What listens there.
    sockets: Vec<Arc<Socket>>,
}

impl Port {
    fn name(&self) -> Name {
        Name::Port { listener: self.listener.clone(), asked: self.asked.to_string() }
    }

    fn place(&self) -> Place {
        Place { listener: self.listener.clone(), addr: self.claim.addr }
    }
}

/// A place that a configuration asks for.
#[derive(Debug)]
struct Asked<'a> {
    /// Index of its listener in the configuration.
    index: usize,
    listener: &'a Listener,
    bind: &'a Bind,
    /// Port 0 lets the kernel choose.
    addr: Addr,
}

impl Asked<'_> {
    /// Whether the kernel chooses the port.
    fn is_any_port(&self) -> bool {
        self.addr.inet().is_some_and(|addr| addr.port() == 0)
    }

    /// Whether a port is what was asked for here before.
    fn stays(&self, port: &Port) -> bool {
        port.listener == self.listener.name
            && port.asked == *self.bind
            && port.claim.protocol == self.listener.protocol
            && (port.claim.addr == self.addr || self.is_any_port())
    }

    /// Whether a port of whichever listener is this place.
    fn moves(&self, port: &Port) -> bool {
        port.claim.is_at(self.addr, self.listener.protocol)
            && match self.bind {
                Bind::Addr(_) => !port.claim.is_lent,
                Bind::Inherited(_) => port.asked == *self.bind,
            }
    }
}

/// All ports of a configuration, those that are new among them bound.
#[derive(Debug)]
pub(super) struct Bound {
    ports: Vec<BoundPort>,
    /// Of UNIX sockets that are new among them.
    files: Vec<File>,
}

#[derive(Debug)]
struct BoundPort {
    port: Port,
    /// Index of its listener in the configuration.
    listener: usize,
    /// Whether no worker has it yet.
    is_new: bool,
}

impl Bound {
    /// Those that were not there before.
    pub(super) fn new_places(&self) -> Vec<Place> {
        let new = self.ports.iter().filter(|bound| bound.is_new);
        new.map(|bound| bound.port.place()).collect()
    }

    /// What one of so many workers is told to have.
    pub(super) fn shares(&self, worker: usize, workers: usize) -> Vec<Share> {
        let share = |bound: &BoundPort| {
            let sockets = if bound.is_new { &bound.port.sockets[..] } else { &[] };
            Share {
                claim: Arc::clone(&bound.port.claim),
                listener: bound.listener,
                sockets: of_worker(sockets, worker, workers),
            }
        };
        self.ports.iter().map(share).collect()
    }
}

/// Returns those sockets of a port that are one worker's.
fn of_worker(sockets: &[Arc<Socket>], worker: usize, workers: usize) -> Vec<Arc<Socket>> {
    sockets.iter().skip(worker).step_by(workers).map(Arc::clone).collect()
}

impl Ports {
    /// Begins with what another process has left.
    ///
    /// # Errors
    /// When it is no socket with an address.
    pub(super) fn new(parcels: Vec<Parcel>) -> io::Result<Self> {
        let (mut left, mut lent): (Vec<Port>, Vec<Lent>) = <_>::default();
        for Parcel { name, sockets } in parcels {
            let (listener, asked) = match name {
                Name::Port { listener, asked } => (listener, asked),
                Name::Activated { name } => {
                    let sockets = sockets.into_iter().map(listening).collect::<io::Result<_>>()?;
                    lent.push(Lent { name, sockets });
                    continue;
                }
                Name::Door { .. } => continue,
            };
            // What this version does not know it does not serve.
            let Ok(asked) = asked.parse::<Bind>() else { continue };
            for socket in sockets {
                let (addr, socket) = listening(socket)?;
                let protocol = protocol_of(&socket)?;
                // A listener may ask for more than one port that the kernel chooses.
                let is_same = |port: &&mut Port| {
                    port.listener == listener && port.claim.is_at(addr, protocol)
                };
                if let Some(port) = left.iter_mut().find(is_same) {
                    port.sockets.push(socket);
                } else {
                    let claim = Arc::new(Claim { addr, protocol, is_lent: false });
                    let (listener, asked) = (listener.clone(), asked.clone());
                    left.push(Port { listener, asked, claim, sockets: vec![socket] });
                }
            }
        }
        Ok(Self { left, lent, ..Self::default() })
    }

    /// Returns duplicates of everything, to be handed over.
    ///
    /// # Errors
    /// When descriptors are used up.
    pub(super) fn parcels(&self) -> io::Result<Vec<Parcel>> {
        let port = |port: &Port| {
            let mut sockets: Vec<&Arc<Socket>> = Vec::new();
            for socket in &port.sockets {
                if !sockets.iter().any(|other| Arc::ptr_eq(other, socket)) {
                    sockets.push(socket);
                }
            }
            Ok(Parcel { name: port.name(), sockets: duplicates(sockets)? })
        };
        let lent = |Lent { name, sockets }: &Lent| {
            let name = Name::Activated { name: name.clone() };
            Ok(Parcel { name, sockets: duplicates(sockets.iter().map(|(_, socket)| socket))? })
        };
        let own = self.held.iter().filter(|port| !port.claim.is_lent);
        own.map(port).chain(self.lent.iter().map(lent)).collect()
    }

    /// Returns the claims of those that have one of these names.
    pub(super) fn claims(&self, names: &[Name]) -> Vec<Arc<Claim>> {
        let held = self.held.iter().filter(|port| names.contains(&port.name()));
        held.map(|port| Arc::clone(&port.claim)).collect()
    }

    /// Returns where it listens, in the order of the configuration.
    pub(super) fn places(&self) -> Vec<Place> {
        self.held.iter().map(Port::place).collect()
    }

    /// Finds or binds the ports of a configuration for so many workers. What is there is kept, whatever else
    /// changes: a listener's address, and an address that has moved to another listener.
    ///
    /// # Errors
    /// When one of the new ones is not to be had; nothing is changed then, nor without an error.
    pub(super) fn bind(&self, config: &Config, workers: usize) -> Result<Bound, ServerError> {
        let options = data::listen_options(&config.tcp);
        let asked = self.asked(config)?;
        let kept = self.keep(&asked);
        let (mut ports, mut files) = (Vec::new(), Vec::new());
        for (Asked { index, listener, bind, addr }, kept) in asked.into_iter().zip(kept) {
            let is_new = !matches!(kept, Some((_, Whose::Ours)));
            let protocol = listener.protocol;
            let (claim, sockets) = match kept {
                Some((port, Whose::Ours)) => (Arc::clone(&port.claim), port.sockets.clone()),
                Some((port, Whose::Left)) => {
                    files.extend(file_of(&port.claim.addr).map(File::left));
                    let sockets = for_all(port, workers, &options);
                    (Arc::clone(&port.claim), sockets)
                }
                None => match bind {
                    Bind::Addr(addr) => {
                        let failed = |error| {
                            let listener = listener.name.clone();
                            ServerError::Bind { listener, addr: addr.to_string(), error }
                        };
                        let (sockets, addr) = match addr {
                            Addr::Inet(addr) => {
                                let sharing = self.sharing(*addr, protocol);
                                let bound =
                                    bind_shares(*addr, protocol, sharing, workers, &options);
                                bound.map(|(sockets, addr)| (sockets, addr.into()))
                            }
                            Addr::Unix(name) => {
                                let bound = bind_unix(*name, listener.unix_mode, &options);
                                bound.map(|(socket, file)| {
                                    files.extend(file);
                                    (vec![socket], *addr)
                                })
                            }
                        }
                        .map_err(failed)?;
                        let sockets = sockets.into_iter().map(Arc::new).collect();
                        let claim = Claim { addr, protocol, is_lent: false };
                        (Arc::new(claim), shared(sockets, workers))
                    }
                    Bind::Inherited(name) => {
                        let sockets = self.lent(name).map_or(Vec::new(), |lent| lent.at(addr));
                        let claim = Claim { addr, protocol, is_lent: true };
                        (Arc::new(claim), shared(sockets, workers))
                    }
                },
            };
            let (listener, asked) = (listener.name.clone(), bind.clone());
            let port = Port { listener, asked, claim, sockets };
            ports.push(BoundPort { port, listener: index, is_new });
        }
        Ok(Bound { ports, files })
    }

    /// Goes on with what was bound.
    pub(super) fn adopt(&mut self, bound: Bound) {
        // What nobody asks for any more whoever left it closes, with what is queued there.
        self.left.clear();
        let held = bound.ports.into_iter().map(|bound| bound.port).collect();
        let old = std::mem::replace(&mut self.held, held);
        let stays =
            |claim: &Arc<Claim>| self.held.iter().any(|port| Arc::ptr_eq(&port.claim, claim));
        let own = old.into_iter().map(|port| port.claim).filter(|claim| !claim.is_lent);
        let gone = own.filter(|claim| !stays(claim));
        self.going.extend(gone);
        self.going.retain(is_held);
        self.files.extend(bound.files);
        let held = &self.held;
        self.files.retain(|file| held.iter().any(|port| is_file_of(file, port)));
    }

    /// Returns the names of what was passed, and nobody asks for.
    pub(super) fn idle(&self) -> impl Iterator<Item = &str> {
        let is_idle = |lent: &&Lent| {
            let is_it =
                |port: &Port| matches!(&port.asked, Bind::Inherited(name) if *name == lent.name);
            !self.held.iter().any(is_it)
        };
        self.lent.iter().filter(is_idle).map(|lent| &*lent.name)
    }

    /// What a worker of so many is told to have that takes the place of one that has ended; by the listeners'
    /// names in a configuration.
    pub(super) fn shares_again(
        &self,
        config: &Config,
        worker: usize,
        workers: usize,
    ) -> Vec<Share> {
        self.shares(config, |port| of_worker(&port.sockets, worker, workers))
    }

    /// What every worker is told to go on with, by the listeners' names in a configuration.
    pub(super) fn shares_kept(&self, config: &Config) -> Vec<Share> {
        self.shares(config, |_| Vec::new())
    }

    fn shares(&self, config: &Config, sockets: impl Fn(&Port) -> Vec<Arc<Socket>>) -> Vec<Share> {
        let index = |port: &Port| {
            config.listeners.iter().position(|listener| listener.name == port.listener)
        };
        let of_listeners = self.held.iter().filter_map(|port| Some((port, index(port)?)));
        let share = |(port, listener): (&Port, usize)| Share {
            claim: Arc::clone(&port.claim),
            listener,
            sockets: sockets(port),
        };
        of_listeners.map(share).collect()
    }

    /// Sets the options of every socket and the mode of its file, which may have been another process's, and is ours to
    /// remove from now on.
    pub(super) fn set_options(&mut self, config: &Config) {
        let options = data::listen_options(&config.tcp);
        for file in &mut self.files {
            file.own();
            let port = self.held.iter().find(|port| is_file_of(file, port));
            let listener = port.and_then(|port| {
                config.listeners.iter().find(|listener| listener.name == port.listener)
            });
            if let Some(listener) = listener
                && let Err(error) = file.set_mode(Mode::from_raw_mode(listener.unix_mode))
            {
                let path = file.path().display();
                tracing::warn!(%error, %path, "the file of a UNIX socket refused its mode");
            }
        }
        for port in self.held.iter().filter(|port| port.claim.protocol == Protocol::Tcp) {
            for socket in &port.sockets {
                if let Err(error) = sys::listen(socket, &options) {
                    let addr = port.claim.addr;
                    tracing::warn!(%error, %addr, "a listening socket refused an option");
                }
            }
        }
    }

    /// Holds on to nothing: the last worker to close a socket closes it. The files of UNIX sockets go at once, so that
    /// nobody comes to a queue that is about to close.
    pub(super) fn let_go(&mut self) {
        *self = Self::default();
    }

    /// Leaves the files of those that have one of these names to the process that serves them.
    pub(super) fn leave_files(&mut self, names: &[Name]) {
        let (held, files) = (&self.held, std::mem::take(&mut self.files));
        let is_left = |file: &File| {
            held.iter().any(|port| is_file_of(file, port) && names.contains(&port.name()))
        };
        let (left, ours) = files.into_iter().partition(is_left);
        self.files = ours;
        <Vec<File>>::into_iter(left).for_each(File::leave);
    }

    /// Lists the places that a configuration asks for, each with its listener.
    ///
    /// # Errors
    /// When a name is of no socket that was passed.
    fn asked<'a>(&self, config: &'a Config) -> Result<Vec<Asked<'a>>, ServerError> {
        let mut asked = Vec::new();
        for (index, listener) in config.listeners.iter().enumerate() {
            for bind in &listener.bind {
                let addrs = match bind {
                    Bind::Addr(addr) => vec![*addr],
                    Bind::Inherited(name) => {
                        let lent = self.lent(name).ok_or_else(|| ServerError::NotPassed {
                            listener: listener.name.clone(),
                            name: name.clone(),
                            passed: self.lent.iter().map(|lent| lent.name.clone()).collect(),
                        })?;
                        lent.addrs()
                    }
                };
                asked.extend(addrs.into_iter().map(|addr| Asked { index, listener, bind, addr }));
            }
        }
        Ok(asked)
    }

    fn lent(&self, name: &str) -> Option<&Lent> {
        self.lent.iter().find(|lent| lent.name == name)
    }

    /// Finds for each place that is asked for the port that serves it.
    fn keep(&self, asked: &[Asked<'_>]) -> Vec<Option<(&Port, Whose)>> {
        let ours = self.held.iter().map(|port| (port, Whose::Ours));
        let mut free: Vec<_> =
            ours.chain(self.left.iter().map(|port| (port, Whose::Left))).collect();
        let mut kept: Vec<Option<(&Port, Whose)>> = asked.iter().map(|_| None).collect();
        // First what stays where it is, so that what moves takes nobody's place.
        for is_same in [Asked::stays, Asked::moves] {
            for (asked, kept) in asked.iter().zip(&mut kept) {
                if kept.is_none()
                    && let Some(at) = free.iter().position(|(port, _)| is_same(asked, port))
                {
                    *kept = Some(free.remove(at));
                }
            }
        }
        kept
    }

    /// Says how an address is to be bound: alone, unless it overlaps one of ours, which claims it for us. One that is
    /// lent is somebody else's.
    fn sharing(&self, addr: SocketAddr, protocol: Protocol) -> Sharing {
        let held = self.held.iter().chain(&self.left).map(|port| &port.claim);
        let mut claims = held.chain(self.going.iter().filter(|claim| is_held(claim)));
        let is_ours = |claim: &Arc<Claim>| !claim.is_lent && claim.protocol == protocol;
        let overlaps =
            |claim: &Arc<Claim>| claim.addr.inet().is_some_and(|held| overlap(held, addr));
        match claims.any(|claim| is_ours(claim) && overlaps(claim)) {
            true => Sharing::Port,
            false => Sharing::Exclusive,
        }
    }
}

/// Who has a port's sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// Our workers.
    Ours,
    /// Another process, which has left them to us too.
    Left,
}

/// Returns at least one socket for each worker at a port that was left: more are bound beside, or, where that cannot
/// be, workers share.
fn for_all(port: &Port, workers: usize, options: &ListenOptions) -> Vec<Arc<Socket>> {
    let mut sockets = port.sockets.clone();
    while sockets.len() < workers
        && let Some(addr) = port.claim.addr.inet()
        && let Ok(socket) = share(addr, port.claim.protocol, options)
    {
        sockets.push(Arc::new(socket));
    }
    shared(sockets, workers)
}

/// Returns at least one socket for each worker: where there are fewer, workers share.
fn shared(mut sockets: Vec<Arc<Socket>>, workers: usize) -> Vec<Arc<Socket>> {
    let again: Vec<_> = sockets.iter().cycle().take(workers).skip(sockets.len()).cloned().collect();
    sockets.extend(again);
    sockets
}

/// Takes what listens, with its address.
fn listening(socket: OwnedFd) -> io::Result<(Addr, Arc<Socket>)> {
    let socket = Socket::from(socket);
    socket.set_nonblocking(true)?;
    Ok((sys::listening_at(&socket)?, Arc::new(socket)))
}

fn protocol_of(socket: &Socket) -> io::Result<Protocol> {
    Ok(if socket.r#type()? == Type::DGRAM { Protocol::Udp } else { Protocol::Tcp })
}

fn duplicates<'a>(sockets: impl IntoIterator<Item = &'a Arc<Socket>>) -> io::Result<Vec<OwnedFd>> {
    sockets.into_iter().map(|socket| socket.as_fd().try_clone_to_owned()).collect()
}

/// Whether a worker still has a socket at it.
fn is_held(claim: &Arc<Claim>) -> bool {
    Arc::strong_count(claim) > 1
}

/// Whether a socket at one of them keeps others from the other (ip(7)): IPv6 sockets are v6-only.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_wild = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (is_wild || one.ip() == other.ip())
}

/// Binds an address once for each worker: the kernel spreads connections over the sockets. Returns them with
/// the address, whose port the kernel may have chosen.
///
/// # Errors
/// EADDRINUSE when anybody else listens there, also with SO_REUSEPORT; what else bind(2) knows.
fn bind_shares(
    addr: SocketAddr,
    protocol: Protocol,
    sharing: Sharing,
    workers: usize,
    options: &ListenOptions,
) -> io::Result<(Vec<Socket>, SocketAddr)> {
    let first = match sharing {
        Sharing::Exclusive => claim(addr, protocol, options)?,
        Sharing::Port => share(addr, protocol, options)?,
    };
    let addr = sys::local_addr(&first)?;
    let mut shares = vec![first];
    for _ in 1..workers {
        shares.push(share(addr, protocol, options)?);
    }
    Ok((shares, addr))
}

/// Listens at a UNIX socket, whose queue all workers share: there is no SO_REUSEPORT for them that would spread clients
/// (unix(7)).
fn bind_unix(
    name: UnixName,
    mode: u32,
    options: &ListenOptions,
) -> io::Result<(Socket, Option<File>)> {
    let mode = Mode::from_raw_mode(mode);
    if name.abstract_name().is_some() {
        let socket = sys::bind_unix(&sys::sock_addr(&Addr::Unix(name))?, mode)?;
        sys::listen(&socket, options)?;
        return Ok((socket, None));
    }
    let (socket, file) = unix_socket::bind(Path::new(name.as_str()), mode, options.backlog)?;
    Ok((socket, Some(file)))
}

/// Returns the path of a UNIX socket that has a file.
fn file_of(addr: &Addr) -> Option<&Path> {
    match addr {
        Addr::Unix(name) if name.abstract_name().is_none() => Some(Path::new(name.as_str())),
        Addr::Unix(_) | Addr::Inet(_) => None,
    }
}

/// Whether a file is that of a port which is ours.
fn is_file_of(file: &File, port: &Port) -> bool {
    !port.claim.is_lent && file_of(&port.claim.addr) == Some(file.path())
}

/// Listens beside others of ours.
fn share(addr: SocketAddr, protocol: Protocol, options: &ListenOptions) -> io::Result<Socket> {
    if protocol == Protocol::Udp {
        return sys::datagrams::bind(addr, Sharing::Port);
    }
    let socket = sys::bind(addr, Sharing::Port)?;
    sys::listen(&socket, options)?;
    Ok(socket)
}

/// Listens alone, and lets others of ours share from then on. Beside another process that shares the port,
/// ours would get a part of the connections in silence: without SO_REUSEPORT the kernel tells, and who
/// listens without it keeps others out. Of datagrams binding alone says it.
fn claim(addr: SocketAddr, protocol: Protocol, options: &ListenOptions) -> io::Result<Socket> {
    if protocol == Protocol::Udp {
        let socket = sys::datagrams::bind(addr, Sharing::Exclusive)?;
        socket.set_reuse_port(true)?;
        return Ok(socket);
    }
    let socket = sys::bind(addr, Sharing::Exclusive)?;
    let mut listening = sys::listen(&socket, options);
    for _ in 1..LISTENS_MAX {
        match listening {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                listening = sys::listen(&socket, options);
            }
            Ok(()) | Err(_) => break,
        }
    }
    listening?;
    socket.set_reuse_port(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};
    use std::sync::Barrier;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::data::sys::Keepalive;

    fn options() -> ListenOptions {
        let [idle, interval] = [60, 15].map(Duration::from_secs);
        let keepalive = Keepalive { idle, interval, count: 4 };
        ListenOptions { nodelay: true, keepalive, defer_accept: false, backlog: 16 }
    }

    fn free() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    #[test]
    fn every_share_gets_connections_and_nobody_else_gets_the_port() {
        const CONNECTIONS: usize = 200;
        let (shares, addr) =
            bind_shares(free(), Protocol::Tcp, Sharing::Exclusive, 3, &options()).unwrap();
        let error =
            bind_shares(addr, Protocol::Tcp, Sharing::Exclusive, 1, &options()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
        let mut accepted = [0; 3];
        for _ in 0..CONNECTIONS {
            let _client = TcpStream::connect(addr).unwrap();
            let by = shares.iter().position(|share| share.accept().is_ok());
            accepted[by.expect("one of them has it")] += 1;
        }
        assert!(accepted.iter().all(|count| *count > 0), "{accepted:?}");
    }

    #[test]
    fn of_those_who_want_a_port_at_once_one_gets_it() {
        const ROUNDS: usize = 1000;
        const STARTS: usize = 3;
        let (_, addr) =
            bind_shares(free(), Protocol::Tcp, Sharing::Exclusive, 1, &options()).unwrap();
        let barrier = Barrier::new(STARTS);
        for round in 0..ROUNDS {
            // Whoever fails has failed before the others' sockets go.
            let bind = || {
                barrier.wait();
                let bound = bind_shares(addr, Protocol::Tcp, Sharing::Exclusive, 4, &options());
                barrier.wait();
                bound.map(|_| ()).map_err(|error| error.kind())
            };
            let bound = thread::scope(|scope| {
                let starts = [(); STARTS].map(|()| scope.spawn(bind));
                starts.map(|start| start.join().unwrap())
            });
            let mut failed = bound.iter().filter_map(|bound| bound.err());
            assert!(failed.all(|kind| kind == io::ErrorKind::AddrInUse), "{round}: {bound:?}");
            let won = bound.iter().filter(|bound| bound.is_ok());
            assert_eq!(won.count(), 1, "round {round}");
        }
    }

    #[test]
    fn every_share_gets_datagrams_and_nobody_else_gets_the_port() {
        let udp = Protocol::Udp;
        let (shares, addr) = bind_shares(free(), udp, Sharing::Exclusive, 3, &options()).unwrap();
        let error = bind_shares(addr, udp, Sharing::Exclusive, 1, &options()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
        let mut received = [0; 3];
        for _ in 0..200 {
            let client = std::net::UdpSocket::bind(free()).unwrap();
            client.send_to(b"x", addr).unwrap();
            let mut buf = [std::mem::MaybeUninit::uninit(); 1];
            let by = shares.iter().position(|share| share.recv(&mut buf).is_ok());
            received[by.expect("one of them has it")] += 1;
        }
        assert!(received.iter().all(|count| *count > 0), "{received:?}");
    }
}
