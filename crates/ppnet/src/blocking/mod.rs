//! The listener and the connector for blocking code, on `std::net`.
//!
//! No thread of its own: whoever is in [`Listener::accept`] moves every handshake on, by readiness.
//! When several threads are, one of them does and the others wait their turn. Invariant: a pending
//! connection is registered with `poll` for reading, and has told that it would block since or is among
//! `edges`. A callback's panic keeps it, since nothing is taken out of the state before its turn.

mod socket;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
#[cfg(windows)]
use std::os::windows::io::{AsSocket, BorrowedSocket};
#[cfg(unix)]
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};
use pptrust::{AsHeader, is_of_one_accept};

pub use self::socket::Socket;
use crate::incoming::{
    Address, BACKLOG_MAX, Config, Handshake, Opening, Places, READ_LEN, Reason, Refused, Stream,
    header_bytes,
};

const LISTENER: Token = Token(usize::MAX);
const STOP: Token = Token(usize::MAX - 1);

/// Edges taken in one turn; more come with the next.
const EVENTS_MAX: usize = 256;

/// Connections accepted in one turn, so that a burst does not hold up headers that are complete.
const ACCEPTS_MAX: usize = 64;

/// A listener whose connections have their header behind them.
///
/// It is shared between threads by reference, as [`TcpListener`] is. Headers are read while some
/// thread is in [`accept`](Self::accept); in between they wait in the kernel, and one that has arrived
/// there is read before its deadline is looked at.
///
/// ```no_run
/// use ppnet::{Incoming, Listener, Trust};
///
/// let listener = Listener::bind("0.0.0.0:8080", Trust::networks(["10.0.0.0/8"])?)?;
/// println!("listening on {}", listener.local_addr());
/// let first = listener.accept()?;
/// let rest: Incoming = listener.incoming(); // without end
/// // One that exists already, with options of its own:
/// let socket = std::net::TcpListener::bind("0.0.0.0:8443")?;
/// let other = Listener::new(socket, Trust::any())?;
/// let socket = other.into_inner()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `L` is the socket: a TCP one, or, by [`bind_unix`](Self::bind_unix), a UNIX one.
#[doc(alias = "header")]
#[doc(alias = "accept-proxy")]
pub struct Listener<L: Socket = TcpListener> {
    config: Config,
    socket: L::Listener,
    state: Mutex<State<L>>,
    local: L::Addr,
    /// Ends the wait of whoever is in `accept`.
    waker: Waker,
    is_stopped: AtomicBool,
}

struct State<L: Socket> {
    /// The listener may have more: it has not said `WouldBlock` since its last edge.
    may_accept: bool,
    poll: Poll,
    events: Events,
    /// Edges whose turn has not come.
    edges: VecDeque<Token>,
    places: Places,
    /// By place, which is the token. Places ascend and every handshake has the same time, so the first is
    /// due first.
    pending: BTreeMap<usize, Pending<L>>,
    ready: VecDeque<Stream<L::Stream, L::Addr>>,
}

struct Pending<L: Socket> {
    socket: L::Pending,
    peer: L::Addr,
    local: L::Addr,
    handshake: Handshake,
    deadline: Instant,
}

impl Listener {
    /// Binds to `addr` and takes connections on these terms: a [`Trust`](crate::Trust) alone, or a
    /// [`Config`].
    ///
    /// # Errors
    /// As [`TcpListener::bind`].
    pub fn bind(addr: impl ToSocketAddrs, config: impl Into<Config>) -> io::Result<Self> {
        Self::new(TcpListener::bind(addr)?, config)
    }
}

#[cfg(unix)]
impl Listener<UnixListener> {
    /// Binds a UNIX socket to `path`. Whom to believe is said by [`Trust::unix`](crate::Trust::unix): its peers are
    /// in no network.
    ///
    /// ```no_run
    /// use ppnet::{Listener, Policy, Trust};
    ///
    /// let listener = Listener::bind_unix("/run/app.sock", Trust::unix(Policy::Require))?;
    /// let stream = listener.accept()?;
    /// println!("{} calls", stream.peer_addr()); // 203.0.113.7:51820, or unix: of a LOCAL header
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`UnixListener::bind`]: also when the path exists, as it does behind a server that has ended.
    pub fn bind_unix(path: impl AsRef<Path>, config: impl Into<Config>) -> io::Result<Self> {
        Self::new(UnixListener::bind(path)?, config)
    }
}

impl<L: Socket> Listener<L> {
    /// Takes connections of `listener`, which becomes non-blocking with all its duplicates.
    ///
    /// # Errors
    /// When the system has no room for another poll (epoll, kqueue).
    pub fn new(listener: L, config: impl Into<Config>) -> io::Result<Self> {
        let (mut socket, local) = listener.open()?;
        let poll = Poll::new()?;
        poll.registry().register(&mut socket, LISTENER, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), STOP)?;
        let config = config.into();
        let state = State {
            may_accept: true,
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            edges: VecDeque::new(),
            places: Places::new(config.handshakes_max),
            pending: BTreeMap::new(),
            ready: VecDeque::new(),
        };
        let (state, is_stopped) = (Mutex::new(state), AtomicBool::new(false));
        Ok(Self { config, socket, state, local, waker, is_stopped })
    }

    /// Waits for the next connection that has completed its header. It is in blocking mode, without
    /// a deadline.
    ///
    /// Connections that are refused are not seen here: [`Config::on_refused`] hears of them.
    ///
    /// # Errors
    /// When the system cannot accept, mostly for want of descriptors. The listener stays good and
    /// loses nothing: ask again, after a pause. And when it is [stopped](Self::stop).
    pub fn accept(&self) -> io::Result<Stream<L::Stream, L::Addr>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.is_stopped() {
                return Err(io::Error::other("the listener is stopped"));
            }
            if let Some(stream) = state.ready.pop_front() {
                return Ok(stream);
            }
            state.turn(Some(&self.socket), &self.config)?;
        }
    }

    /// Ends the wait of all who are in [`accept`](Self::accept), with an error, and keeps others from it; what
    /// [`incoming`](Self::incoming) returned ends. Nothing is lost: [`drain`](Self::drain) hands out the rest.
    ///
    /// ```no_run
    /// # fn serve(listener: ppnet::Listener) -> std::io::Result<()> {
    /// std::thread::scope(|scope| {
    ///     let worker = scope.spawn(|| listener.incoming().for_each(drop));
    ///     listener.stop()?; // on a signal
    ///     worker.join().expect("it ends now");
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the system cannot wake whoever waits.
    pub fn stop(&self) -> io::Result<()> {
        self.is_stopped.store(true, Ordering::Release);
        self.waker.wake()
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire)
    }

    /// Returns an iterator over what [`accept`](Self::accept) returns, without end unless it is
    /// [stopped](Self::stop).
    pub fn incoming(&self) -> Incoming<'_, L> {
        Incoming { listener: self }
    }

    /// Stops listening, and hands out who is on the way: those that wait to be accepted, and those whose
    /// header is not complete and comes in time. It ends after [`Config::header_timeout`] at the latest.
    /// Dropping the listener drops them.
    ///
    /// ```no_run
    /// # fn stop(listener: ppnet::Listener) -> std::io::Result<()> {
    /// let rest: ppnet::Drain = listener.drain();
    /// for stream in rest {
    ///     println!("{} is the last but a few", stream?.peer_addr());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn drain(self) -> Drain<L> {
        let Self { config, socket, state, .. } = self;
        let mut state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.may_accept = true;
        if let Err(error) = state.accept(&socket, BACKLOG_MAX, &config) {
            config.cannot_accept(&error);
        }
        state.may_accept = false;
        Drain { config, state }
    }

    /// Returns the socket, in blocking mode again. Connections that have not been handed out are dropped.
    ///
    /// # Errors
    /// When its mode cannot be set.
    pub fn into_inner(self) -> io::Result<L> {
        let Self { mut socket, state, .. } = self;
        let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
        state.poll.registry().deregister(&mut socket)?;
        L::close(socket)
    }

    /// Returns the address it is bound to.
    pub fn local_addr(&self) -> L::Addr {
        self.local.clone()
    }
}

impl<L: Socket> fmt::Debug for Listener<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("local", &self.local)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Connections as they come; made by [`Listener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a, L: Socket = TcpListener> {
    listener: &'a Listener<L>,
}

impl<L: Socket> Iterator for Incoming<'_, L> {
    type Item = io::Result<Stream<L::Stream, L::Addr>>;

    fn next(&mut self) -> Option<Self::Item> {
        let accepted = self.listener.accept();
        if accepted.is_err() && self.listener.is_stopped() { None } else { Some(accepted) }
    }
}

/// To set options, with `socket2` or the like. Accepting from it directly would take connections whose headers
/// nobody reads.
#[cfg(unix)]
impl<L: Socket<Listener: AsFd>> AsFd for Listener<L> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// To set options, as on UNIX.
#[cfg(windows)]
impl<L: Socket<Listener: AsSocket>> AsSocket for Listener<L> {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        self.socket.as_socket()
    }
}

/// The last connections of a listener that has stopped listening, as they complete their headers; made by
/// [`Listener::drain`]. An error is that of waiting, and no connection's.
pub struct Drain<L: Socket = TcpListener> {
    config: Config,
    state: State<L>,
}

impl<L: Socket> Iterator for Drain<L> {
    type Item = io::Result<Stream<L::Stream, L::Addr>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(stream) = self.state.ready.pop_front() {
                return Some(Ok(stream));
            }
            if self.state.pending.is_empty() {
                return None;
            }
            if let Err(error) = self.state.turn(None, &self.config) {
                return Some(Err(error));
            }
        }
    }
}

impl<L: Socket> fmt::Debug for Drain<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<L: Socket> State<L> {
    /// Waits for an edge, moves on what it names, drops who is late, and accepts, unless it drains.
    fn turn(&mut self, listener: Option<&L::Listener>, config: &Config) -> io::Result<()> {
        let patience = self.patience();
        match self.poll.poll(&mut self.events, patience) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        self.edges.extend(self.events.iter().map(mio::event::Event::token));
        while let Some(token) = self.edges.pop_front() {
            match token {
                LISTENER => self.may_accept = true,
                // Whoever waited looks whether it is stopped.
                STOP => {}
                Token(place) => self.advance(place, config),
            }
        }
        self.expire(now(), config);
        let accepted = match listener {
            Some(listener) => self.accept(listener, ACCEPTS_MAX, config),
            None => Ok(()),
        };
        // What is ready goes first: the error comes again, a connection does not.
        if self.ready.is_empty() { accepted } else { Ok(()) }
    }

    /// How long to wait for an edge: until the first deadline, or not at all while there is something
    /// to do.
    fn patience(&self) -> Option<Duration> {
        if self.may_accept || !self.edges.is_empty() {
            return Some(Duration::ZERO);
        }
        let (_, first) = self.pending.first_key_value()?;
        Some(first.deadline.saturating_duration_since(now()))
    }

    fn accept(
        &mut self,
        listener: &L::Listener,
        count_max: usize,
        config: &Config,
    ) -> io::Result<()> {
        for _ in 0..count_max {
            if !self.may_accept {
                break;
            }
            match L::accept(listener) {
                Ok((socket, peer)) => self.begin(socket, peer, config),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.may_accept = false,
                Err(error) if is_of_one_accept(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn begin(&mut self, socket: L::Pending, peer: L::Addr, config: &Config) {
        let begun = L::local(&socket)
            .map_err(Refused::from)
            .and_then(|local| Ok((Handshake::begin(config, &peer, &local)?, local)));
        match begun {
            Ok((Some(handshake), local)) => {
                let deadline = now() + config.header_timeout;
                let mut pending = Pending { socket, peer, local, handshake, deadline };
                // Most balancers' headers are there already: registering can wait.
                match pending.read() {
                    Ok(None) => self.register(pending, config),
                    read => self.finish(pending, read, config),
                }
            }
            Ok((None, local)) => match L::settle(socket) {
                Ok(socket) => {
                    self.ready.push_back(Stream::new(socket, Opening::default(), peer, local));
                }
                Err(error) => config.refused(peer, error.into()),
            },
            Err(refused) => config.refused(peer, refused),
        }
    }

    fn register(&mut self, mut pending: Pending<L>, config: &Config) {
        let (place, shed) = self.places.take(&pending.peer);
        let token = Token(place);
        if let Err(error) =
            self.poll.registry().register(&mut pending.socket, token, Interest::READABLE)
        {
            self.places.leave(place);
            return config.refused(pending.peer, error.into());
        }
        self.pending.insert(place, pending);
        if let Some(shed) = shed {
            self.let_go(shed, |handshake| Err(handshake.refuse(Reason::Shed)), config);
        }
    }

    fn advance(&mut self, place: usize, config: &Config) {
        // Gone, if its time has passed or its place was needed.
        let Some(pending) = self.pending.get_mut(&place) else { return };
        match pending.read() {
            Ok(None) => {}
            read => self.leave(place, read, config),
        }
    }

    /// Its time is up, or its place is needed; its edge may not have come yet.
    fn let_go(
        &mut self,
        place: usize,
        judge: fn(&mut Handshake) -> Result<Opening, Refused>,
        config: &Config,
    ) {
        let Some(pending) = self.pending.get_mut(&place) else { return };
        let read = match pending.read() {
            Ok(None) => judge(&mut pending.handshake).map(Some),
            read => read,
        };
        self.leave(place, read, config);
    }

    /// A handshake that was waited for is over.
    fn leave(&mut self, place: usize, read: Result<Option<Opening>, Refused>, config: &Config) {
        self.places.leave(place);
        let Some(mut pending) = self.pending.remove(&place) else { return };
        // Errors only if it is not registered, which it is.
        let _ = self.poll.registry().deregister(&mut pending.socket);
        self.finish(pending, read, config);
    }

    /// A handshake is over, and the socket is registered nowhere.
    fn finish(
        &mut self,
        pending: Pending<L>,
        read: Result<Option<Opening>, Refused>,
        config: &Config,
    ) {
        let Pending { socket, peer, local, .. } = pending;
        match read.and_then(|opening| Ok((L::settle(socket)?, opening.unwrap_or_default()))) {
            Ok((socket, opening)) => {
                self.ready.push_back(Stream::new(socket, opening, peer, local));
            }
            Err(refused) => config.refused(peer, refused),
        }
    }

    fn expire(&mut self, now: Instant, config: &Config) {
        while let Some((&place, first)) = self.pending.first_key_value() {
            if first.deadline > now {
                break;
            }
            self.let_go(place, Handshake::time_out, config);
        }
    }
}

impl<L: Socket> Pending<L> {
    /// Reads until the header is complete or the socket would block: `None`.
    fn read(&mut self) -> Result<Option<Opening>, Refused> {
        loop {
            match read(&mut self.socket, &mut self.handshake) {
                Ok(Ok(None)) => {}
                Ok(opening) => return opening,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(self.handshake.refuse(error)),
            }
        }
    }
}

impl<A> Stream<TcpStream, A> {
    /// Divides the connection into a half to read from, which keeps leftovers and addresses, and a
    /// second handle of the socket to write to.
    ///
    /// ```no_run
    /// # fn echo(stream: ppnet::Stream<std::net::TcpStream>) -> std::io::Result<()> {
    /// let (mut reader, mut writer) = stream.into_split()?;
    /// std::io::copy(&mut reader, &mut writer)?;
    /// writer.shutdown(std::net::Shutdown::Write)
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`TcpStream::try_clone`].
    pub fn into_split(self) -> io::Result<(Self, TcpStream)> {
        let writer = self.get_ref().try_clone()?;
        Ok((self, writer))
    }
}

#[cfg(unix)]
impl<A> Stream<UnixStream, A> {
    /// Divides the connection, as one of TCP is divided.
    ///
    /// # Errors
    /// As [`UnixStream::try_clone`].
    pub fn into_split(self) -> io::Result<(Self, UnixStream)> {
        let writer = self.get_ref().try_clone()?;
        Ok((self, writer))
    }
}

/// Reads the header from any reader: a socket that a listener of your own accepted, a UNIX socket, or the inside
/// of a TLS connection. `peer` and `local` are its addresses without a header, [`SocketAddr`](std::net::SocketAddr)s
/// or [`Addr`](crate::Addr)s; the policy is that for them.
///
/// The time is looked at between reads, and a read that itself takes for ever is not ended: give the socket a
/// read timeout of [`Config::header_timeout`], whose error is taken for the end of the time.
///
/// ```
/// use std::net::SocketAddr;
/// use ppnet::{Config, Trust};
///
/// let socket = &b"PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\nhello"[..];
/// let peer: SocketAddr = "10.0.0.2:1".parse()?;
/// let local = "10.0.0.1:443".parse()?;
/// let config = Config::new(Trust::networks(["10.0.0.0/8"])?);
/// let stream = ppnet::handshake(socket, peer, local, &config)?;
/// assert_eq!(stream.peer_addr(), "203.0.113.7:51820".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When the policy, the header or the time says so. [`Config::on_refused`] is not told.
pub fn handshake<S: Read, A: Address>(
    mut stream: S,
    peer: A,
    local: A,
    config: &Config,
) -> Result<Stream<S, A>, Refused> {
    let Some(mut handshake) = Handshake::begin(config, &peer, &local)? else {
        return Ok(Stream::new(stream, Opening::default(), peer, local));
    };
    let deadline = now() + config.header_timeout;
    loop {
        let opening = match read(&mut stream, &mut handshake) {
            Ok(Ok(None)) if now() < deadline => None,
            Ok(Ok(None)) => Some(handshake.time_out()?),
            Ok(opening) => opening?,
            Err(error) if is_timeout(&error) => Some(handshake.time_out()?),
            Err(error) => return Err(handshake.refuse(error)),
        };
        if let Some(opening) = opening {
            return Ok(Stream::new(stream, opening, peer, local));
        }
    }
}

/// Reads once, and says what has come of it; `None` as long as more is needed.
fn read(
    stream: &mut impl Read,
    handshake: &mut Handshake,
) -> io::Result<Result<Option<Opening>, Refused>> {
    let mut buf = [0; READ_LEN];
    match stream.read(&mut buf) {
        Ok(0) => Ok(handshake.end()),
        Ok(len) => Ok(handshake.push(buf.get(..len).unwrap_or_default())),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Ok(None)),
        Err(error) => Err(error),
    }
}

/// What a read says when the socket's own timeout is over: which of the two depends on the system.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Connects to `addr` and sends `header` at once: a [`Greeting`](crate::Greeting), a
/// [`Received`](crate::Received) one, or the bytes of one.
///
/// Sets TCP_NODELAY: with Nagle's algorithm the first payload would wait until the header is
/// acknowledged.
///
/// ```no_run
/// use ppnet::Greeting;
///
/// let header = Greeting::v2("203.0.113.7:51820".parse()?, "192.0.2.1:443".parse()?);
/// let stream = ppnet::connect("127.0.0.1:8080", &header)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`TcpStream::connect`], and when the header cannot be written
/// ([`InvalidInput`](io::ErrorKind::InvalidInput)) or sent.
#[doc(alias = "dial")]
pub fn connect<H: AsHeader + ?Sized>(
    addr: impl ToSocketAddrs,
    header: &H,
) -> io::Result<TcpStream> {
    let header = header_bytes(header)?;
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.write_all(&header)?;
    Ok(stream)
}

/// Connects to the UNIX socket at `path` and sends `header` at once, as [`connect`].
///
/// ```no_run
/// use ppnet::Greeting;
///
/// let header = Greeting::v2("203.0.113.7:51820".parse()?, "192.0.2.1:443".parse()?);
/// let stream = ppnet::connect_unix("/run/app.sock", &header)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`UnixStream::connect`], and as for [`connect`].
#[cfg(unix)]
pub fn connect_unix<H: AsHeader + ?Sized>(
    path: impl AsRef<Path>,
    header: &H,
) -> io::Result<UnixStream> {
    let header = header_bytes(header)?;
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(&header)?;
    Ok(stream)
}

#[expect(clippy::disallowed_methods, reason = "a blocking listener has nobody to ask for the time")]
fn now() -> Instant {
    Instant::now()
}
