//! A client that stays: one connection through the server, a step at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use socket2::SockRef;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::End;

/// A header of a client far away.
pub(crate) const HEADER: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\n";

/// A connection whose far end echoes.
pub(crate) struct Session {
    stream: TcpStream,
}

impl Session {
    /// Connects from 127.0.0.1 and says nothing.
    #[track_caller]
    pub(crate) fn connect(to: SocketAddr) -> Session {
        Session::try_connect(to).unwrap_or_else(|| panic!("{to} resets at once"))
    }

    /// As `connect`; `None` when the reset is there before `connect` returns, as happens to one
    /// that is refused at once.
    #[track_caller]
    fn try_connect(to: SocketAddr) -> Option<Session> {
        let stream = match TcpStream::connect_timeout(&to, PATIENCE) {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("connecting to {to}: {error}"),
        };
        stream.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("the timeout is not zero");
        Some(Session { stream })
    }

    /// Connects, sends a header, and sees a byte go to the far end and back.
    #[track_caller]
    pub(crate) fn open(to: SocketAddr) -> Session {
        let mut session = Session::connect(to);
        session.send(HEADER);
        session.echo(b"x");
        session
    }

    /// As `open`, where a reset is an answer.
    #[track_caller]
    pub(crate) fn try_open(to: SocketAddr) -> Option<Session> {
        let mut session = Session::try_connect(to)?;
        let mut byte = [0];
        let echoed = session
            .stream
            .write_all(&[HEADER, b"x"].concat())
            .and_then(|()| session.stream.read_exact(&mut byte));
        match echoed {
            Ok(()) => Some(session),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("neither served nor reset: {error}"),
        }
    }

    /// Its own address.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.stream.local_addr().expect("it is connected")
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the connection stands");
    }

    /// Sends bytes and waits until they are back.
    #[track_caller]
    pub(crate) fn echo(&mut self, bytes: &[u8]) {
        self.send(bytes);
        self.receive(bytes);
    }

    /// Waits until bytes are back that were sent before.
    #[track_caller]
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        let mut back = vec![0; bytes.len()];
        self.stream.read_exact(&mut back).expect("the far end echoes");
        assert_eq!(back, bytes);
    }

    /// Sends a FIN; the other direction stays.
    #[track_caller]
    pub(crate) fn finish(&mut self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection stands");
    }

    /// As `finish`, where a reset may have come before.
    #[track_caller]
    pub(crate) fn try_finish(&mut self) {
        match self.stream.shutdown(Shutdown::Write) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotConnected => {}
            Err(error) => panic!("neither finished nor reset: {error}"),
        }
    }

    /// Ends with a reset.
    pub(crate) fn reset(self) {
        let linger = SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
        linger.expect("SO_LINGER can be set");
    }

    /// Reads to the end.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => (bytes, End::Fin),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => (bytes, End::Reset),
            Err(error) => panic!("neither FIN nor reset after {} bytes: {error}", bytes.len()),
        }
    }

    /// Waits for a reset; whatever comes before it is read.
    #[track_caller]
    pub(crate) fn assert_reset(mut self) {
        assert_eq!(self.rest().1, End::Reset);
    }
}

/// Waits until nobody listens there any more.
#[track_caller]
pub(crate) fn wait_until_refused(to: SocketAddr) {
    let refused = poll_for(PATIENCE, || {
        let error = TcpStream::connect(to).err()?;
        (error.kind() == ErrorKind::ConnectionRefused).then_some(())
    });
    refused.unwrap_or_else(|| panic!("{to} still takes connections"));
}
