//! The sockets that the tokio listener listens on.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use ::tokio::io::{AsyncRead, AsyncWrite};
use ::tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use ::tokio::net::{UnixListener, UnixStream};

#[cfg(unix)]
use crate::incoming::Addr;
use crate::incoming::{Address, Canonical};

/// A listening socket of tokio: [`TcpListener`] or, on UNIX systems,
/// [`UnixListener`](::tokio::net::UnixListener).
///
/// ```
/// use tokio::io::AsyncWriteExt;
///
/// async fn greet<L: ppnet::tokio::Socket>(listener: &ppnet::tokio::Listener<L>) -> std::io::Result<()> {
///     let mut stream = listener.accept().await?;
///     println!("{} calls", stream.peer_addr());
///     stream.write_all(b"220 mx.example.org\r\n").await
/// }
/// ```
#[expect(private_bounds, reason = "no other type can be one")]
pub trait Socket:
    Pollable<<Self as Socket>::Stream, <Self as Socket>::Addr> + Unpin + Send + Sync + 'static
{
    /// Its connections.
    type Stream: AsyncRead + AsyncWrite + fmt::Debug + Unpin + Send + 'static;
    /// What their addresses are told in.
    type Addr: Address + Unpin;
}

/// A listening socket whose readiness the runtime tells.
pub(crate) trait Pollable<S, A>: Sized {
    /// The same without a runtime.
    type Std;

    /// Polls for a connection, with its peer.
    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<io::Result<(S, A)>>;
    /// The connection's own address.
    fn local(stream: &S) -> io::Result<A>;
    /// The address it is bound to.
    fn bound(&self) -> io::Result<A>;
    /// Takes it from the runtime, which may not have heard of all that wait.
    fn leave(self) -> io::Result<Self::Std>;
    /// Takes a connection that waits.
    fn take(listener: &Self::Std) -> io::Result<Taken<S, A>>;
}

/// A connection that was taken, which may fail to become one of the runtime; with its peer.
pub(crate) type Taken<S, A> = (io::Result<S>, A);

impl Socket for TcpListener {
    type Stream = TcpStream;
    type Addr = SocketAddr;
}

impl Pollable<TcpStream, SocketAddr> for TcpListener {
    type Std = std::net::TcpListener;

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        self.poll_accept(cx).map_ok(|(socket, peer)| (socket, peer.canonical()))
    }

    fn local(stream: &TcpStream) -> io::Result<SocketAddr> {
        stream.local_addr()
    }

    fn bound(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn leave(self) -> io::Result<Self::Std> {
        self.into_std()
    }

    fn take(listener: &Self::Std) -> io::Result<Taken<TcpStream, SocketAddr>> {
        let (socket, peer) = listener.accept()?;
        let socket = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket));
        Ok((socket, peer.canonical()))
    }
}

#[cfg(unix)]
impl Socket for UnixListener {
    type Stream = UnixStream;
    type Addr = Addr;
}

#[cfg(unix)]
impl Pollable<UnixStream, Addr> for UnixListener {
    type Std = std::os::unix::net::UnixListener;

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<io::Result<(UnixStream, Addr)>> {
        self.poll_accept(cx).map_ok(|(socket, peer)| (socket, peer.into()))
    }

    fn local(stream: &UnixStream) -> io::Result<Addr> {
        stream.local_addr().map(Addr::from)
    }

    fn bound(&self) -> io::Result<Addr> {
        self.local_addr().map(Addr::from)
    }

    fn leave(self) -> io::Result<Self::Std> {
        self.into_std()
    }

    fn take(listener: &Self::Std) -> io::Result<Taken<UnixStream, Addr>> {
        let (socket, peer) = listener.accept()?;
        let socket = socket.set_nonblocking(true).and_then(|()| UnixStream::from_std(socket));
        Ok((socket, peer.into()))
    }
}
