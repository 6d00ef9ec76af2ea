//! The connection as it really is: two sockets over loopback, with queues of two sizes.

use std::io::{self, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};

use mio::{Events, Poll};
use socket2::{Domain, SockRef, Socket, Type};

use super::{AWAIT_MAX, Answer, Call, Who};
use crate::core::session::Interest;
use crate::core::sim::socket::Errno;
use crate::data::conduit::{Conduit, Moved, Spares};
use crate::data::leg;
use crate::data::pipes::PipeLimits;
use crate::data::source::Source;
use crate::data::sys::{self, Follow};

/// The least TCP_MAXSEG (`TCP_MIN_MSS`): short sends fill segments. Timestamps take a part of it.
const SEGMENT_LEN_MIN: u32 = 88;
/// Who its events are for.
const SOURCE: Source = Source::Port(0);

/// How large the real queues are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queues {
    /// Nothing is ever full, nor cut.
    Roomy,
    /// The least there is (socket(7)): seven segments, however small; a pipe of one slot.
    Tight,
}

impl Queues {
    fn socket(self) -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if self == Self::Tight {
            socket.set_recv_buffer_size(1)?;
            socket.set_send_buffer_size(1)?;
        } else {
            socket.set_tcp_mss(SEGMENT_LEN_MIN)?;
        }
        Ok(socket)
    }

    fn pipe_bytes(self) -> usize {
        match self {
            Self::Roomy => 64 << 10,
            Self::Tight => 4096,
        }
    }
}

/// Where connections with such queues are made.
pub(super) struct Place {
    listener: TcpListener,
    pub(super) queues: Queues,
}

impl Place {
    pub(super) fn new(queues: Queues) -> io::Result<Self> {
        let socket = queues.socket()?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        socket.listen(1)?;
        Ok(Self { listener: socket.into(), queues })
    }
}

/// The connection as it really is.
pub(super) struct Real {
    proxy: Option<Socket>,
    peer: Option<TcpStream>,
    poll: Poll,
    events: Events,
    spares: Spares,
    pub(super) conduit: Conduit,
    /// What fills a segment, if no queue cuts it short.
    pub(super) segment_len: Option<usize>,
}

impl Real {
    pub(super) fn new(place: &Place) -> io::Result<Self> {
        let peer = place.queues.socket()?;
        peer.connect(&place.listener.local_addr()?.into())?;
        let peer = TcpStream::from(peer);
        let (proxy, _) = place.listener.accept()?;
        for socket in [&peer, &proxy] {
            socket.set_nonblocking(true)?;
            // A segment a send, as in the model.
            socket.set_nodelay(true)?;
        }
        peer.set_read_timeout(Some(AWAIT_MAX))?;
        let segment_len = SockRef::from(&proxy).tcp_mss()?;
        let segment_len = usize::try_from(segment_len).expect("it is short");
        let proxy = Socket::from(proxy);
        let poll = Poll::new()?;
        leg::register(&proxy, SOURCE, poll.registry())?;
        Ok(Self {
            proxy: Some(proxy),
            peer: Some(peer),
            poll,
            events: Events::with_capacity(8),
            spares: Spares::new(PipeLimits::new(place.queues.pipe_bytes(), 0, 1)),
            conduit: Conduit::Empty,
            segment_len: (place.queues == Queues::Roomy).then_some(segment_len),
        })
    }

    pub(super) fn perform(&mut self, call: Call, bytes: &[u8]) -> Answer {
        match call {
            Call::Send(Who::Proxy, _, follow) => counted(sys::send(self.proxy(), bytes, follow)),
            Call::Send(Who::Peer, _, follow) => counted(sys::send(self.peer(), bytes, follow)),
            Call::SendUrgent => counted(SockRef::from(self.peer()).send_out_of_band(b"!")),
            Call::Recv(who, len) => self.receive(who, len),
            Call::Await => {
                self.peer().set_nonblocking(false).expect("fcntl works");
                let answer = self.receive(Who::Peer, 64);
                self.peer().set_nonblocking(true).expect("fcntl works");
                let is_late = answer == Answer::Failed(Errno::Again);
                if is_late { Answer::Failed(Errno::TimedOut) } else { answer }
            }
            Call::Shutdown(who) => {
                let result = match who {
                    Who::Proxy => self.proxy().shutdown(Shutdown::Write),
                    Who::Peer => self.peer().shutdown(Shutdown::Write),
                };
                result.map_or_else(|error| Answer::Failed(errno(&error)), |()| Answer::Done)
            }
            Call::Close(who) => self.close(who),
            Call::Reset(Who::Proxy) => {
                sys::reset_on_close(self.proxy());
                self.close(Who::Proxy)
            }
            Call::Reset(Who::Peer) => {
                sys::reset_on_close(self.peer());
                self.close(Who::Peer)
            }
            Call::SpliceIn => {
                let socket = self.proxy.as_ref().expect("it is open");
                let moved = self.conduit.splice(socket, &mut self.spares, super::now());
                let Moved { result, .. } = moved.expect("the spares has a pipe");
                counted(result)
            }
            Call::SpliceOut => {
                let socket = self.proxy.as_ref().expect("it is open");
                counted(self.conduit.send(socket, Follow::Unknown, &mut self.spares))
            }
            Call::TakeError => {
                let pending = self.proxy().take_error().expect("getsockopt works");
                Answer::Pending(pending.map(|error| errno(&error)))
            }
            Call::Unsent => Answer::Count(sys::unsent(self.proxy()).expect("it is a socket")),
            Call::Watch(interest) => {
                let asked = match interest {
                    Interest::All => leg::ALL,
                    Interest::Room => leg::ROOM,
                };
                let watched =
                    sys::rewatch(self.poll.registry(), self.proxy(), SOURCE.token(), asked);
                watched.expect("epoll_ctl works");
                Answer::Done
            }
            Call::Poll(wait) => {
                self.poll.poll(&mut self.events, Some(wait)).expect("epoll_wait works");
                let mut events = self.events.iter();
                let event = events.next().map(crate::data::worker::readiness);
                assert!(events.next().is_none(), "one socket, one event");
                Answer::Event(event)
            }
        }
    }

    fn receive(&self, who: Who, len: usize) -> Answer {
        let mut buf = vec![0; len];
        let (mut proxy, mut peer) = (self.proxy.as_ref(), self.peer.as_ref());
        let source: Option<&mut dyn Read> = match who {
            Who::Proxy => proxy.as_mut().map(|stream| stream as _),
            Who::Peer => peer.as_mut().map(|stream| stream as _),
        };
        match source.expect("it is open").read(&mut buf) {
            Ok(count) => Answer::Bytes(buf[..count].to_vec()),
            Err(error) => Answer::Failed(errno(&error)),
        }
    }

    fn close(&mut self, who: Who) -> Answer {
        match who {
            Who::Proxy => self.proxy = None,
            Who::Peer => self.peer = None,
        }
        Answer::Done
    }

    fn proxy(&self) -> &Socket {
        self.proxy.as_ref().expect("it is open")
    }

    fn peer(&self) -> &TcpStream {
        self.peer.as_ref().expect("it is open")
    }
}

fn counted(result: io::Result<usize>) -> Answer {
    result.map_or_else(|error| Answer::Failed(errno(&error)), Answer::Count)
}

fn errno(error: &io::Error) -> Errno {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => Errno::Again,
        Some(libc::ECONNRESET) => Errno::ConnReset,
        Some(libc::EPIPE) => Errno::Pipe,
        Some(libc::ENOTCONN) => Errno::NotConn,
        other => panic!("the model knows no {other:?}: {error}"),
    }
}
