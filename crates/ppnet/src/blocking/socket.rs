//! The sockets that the blocking listener listens on, and what `mio` makes of them.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};

use mio::event::Source;

#[cfg(unix)]
use crate::incoming::Addr;
use crate::incoming::{Address, Canonical};

/// A listening socket of std: [`TcpListener`] or, on UNIX systems,
/// [`UnixListener`](std::os::unix::net::UnixListener).
///
/// ```
/// use std::io::{Read, Write};
///
/// fn echo<L: ppnet::Socket>(listener: &ppnet::Listener<L>) -> std::io::Result<()> {
///     let mut stream = listener.accept()?;
///     let mut said = [0; 64];
///     let len = stream.read(&mut said)?;
///     println!("{} speaks", stream.peer_addr());
///     stream.write_all(&said[..len])
/// }
/// ```
#[expect(private_bounds, reason = "no other type can be one")]
pub trait Socket: Pollable<<Self as Socket>::Stream, <Self as Socket>::Addr> {
    /// Its connections.
    type Stream: Read + Write + fmt::Debug + Send + 'static;
    /// What their addresses are told in.
    type Addr: Address;
}

/// A listening socket `L` as `mio` has it: readiness is told of it and its connections.
pub(crate) trait Pollable<S, A>: Sized {
    type Listener: Source;
    type Pending: Source + Read;

    /// Makes it non-blocking, and says where it listens.
    fn open(self) -> io::Result<(Self::Listener, A)>;
    /// Makes it blocking again.
    fn close(listener: Self::Listener) -> io::Result<Self>;
    /// Takes a connection, with its peer.
    fn accept(listener: &Self::Listener) -> io::Result<(Self::Pending, A)>;
    /// The connection's own address.
    fn local(pending: &Self::Pending) -> io::Result<A>;
    /// The connection as one that blocks.
    fn settle(pending: Self::Pending) -> io::Result<S>;
}

impl Socket for TcpListener {
    type Stream = TcpStream;
    type Addr = SocketAddr;
}

impl Pollable<TcpStream, SocketAddr> for TcpListener {
    type Listener = mio::net::TcpListener;
    type Pending = mio::net::TcpStream;

    fn open(self) -> io::Result<(Self::Listener, SocketAddr)> {
        let local = self.local_addr()?;
        self.set_nonblocking(true)?;
        Ok((Self::Listener::from_std(self), local))
    }

    fn close(listener: Self::Listener) -> io::Result<Self> {
        let listener = Self::from(listener);
        listener.set_nonblocking(false)?;
        Ok(listener)
    }

    fn accept(listener: &Self::Listener) -> io::Result<(Self::Pending, SocketAddr)> {
        listener.accept().map(|(socket, peer)| (socket, peer.canonical()))
    }

    fn local(pending: &Self::Pending) -> io::Result<SocketAddr> {
        pending.local_addr()
    }

    fn settle(pending: Self::Pending) -> io::Result<TcpStream> {
        let socket = TcpStream::from(pending);
        socket.set_nonblocking(false)?;
        Ok(socket)
    }
}

#[cfg(unix)]
impl Socket for UnixListener {
    type Stream = UnixStream;
    type Addr = Addr;
}

#[cfg(unix)]
impl Pollable<UnixStream, Addr> for UnixListener {
    type Listener = mio::net::UnixListener;
    type Pending = mio::net::UnixStream;

    fn open(self) -> io::Result<(Self::Listener, Addr)> {
        let local = self.local_addr()?;
        self.set_nonblocking(true)?;
        Ok((Self::Listener::from_std(self), local.into()))
    }

    fn close(listener: Self::Listener) -> io::Result<Self> {
        let listener = Self::from(listener);
        listener.set_nonblocking(false)?;
        Ok(listener)
    }

    fn accept(listener: &Self::Listener) -> io::Result<(Self::Pending, Addr)> {
        listener.accept().map(|(socket, peer)| (socket, peer.into()))
    }

    fn local(pending: &Self::Pending) -> io::Result<Addr> {
        pending.local_addr().map(Addr::from)
    }

    fn settle(pending: Self::Pending) -> io::Result<UnixStream> {
        let socket = UnixStream::from(pending);
        socket.set_nonblocking(false)?;
        Ok(socket)
    }
}
