//! The way between two processes: words and the sockets that come with them, over a pair of UNIX sockets.
//!
//! SOCK_SEQPACKET keeps words apart, and tells the end of the other process. Invariant: a descriptor that
//! arrives is closed on exec, and owned by whoever received its word.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::Parcel;
use super::words::Word;

/// Sockets that come with one word: the kernel takes 253 (unix(7)).
const SOCKETS_MAX: usize = 128;
/// The longest word, and far longer than any: the words of a failure are cut to fit.
const WORD_BYTES_MAX: usize = 64 * 1024;

/// One end: no stream, but waited for alike.
#[derive(Debug)]
pub(in crate::control) struct Channel(UnixStream);

impl Channel {
    /// Opens a way, and returns the other end too.
    ///
    /// # Errors
    /// When descriptors are used up.
    pub(super) fn open() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self::of(ours)?, theirs))
    }

    /// Takes an end that does not block.
    ///
    /// # Errors
    /// When it is not one.
    pub(super) fn of(end: OwnedFd) -> io::Result<Self> {
        UnixStream::from_std(end.into()).map(Self)
    }

    /// Says a word, and gives these sockets with it.
    ///
    /// # Errors
    /// EPIPE when the other process has gone.
    pub(in crate::control) async fn send(
        &self,
        word: &Word,
        sockets: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let text = serde_json::to_vec(word)?;
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
        loop {
            self.0.writable().await?;
            let sent = self.0.try_io(Interest::WRITABLE, || {
                let mut control = SendAncillaryBuffer::new(&mut room);
                if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                let text = [IoSlice::new(&text)];
                Ok(sendmsg(&self.0, &text, &mut control, SendFlags::NOSIGNAL)?)
            });
            match sent {
                // It was not ready after all.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent.map(drop),
            }
        }
    }

    /// Gives these sockets, each with its name.
    ///
    /// # Errors
    /// EPIPE when the other process has gone.
    pub(super) async fn send_parcels(&self, parcels: &[Parcel]) -> io::Result<()> {
        for Parcel { name, sockets } in parcels {
            let word = Word::Sockets(name.clone());
            let sockets: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
            for sockets in sockets.chunks(SOCKETS_MAX) {
                self.send(&word, sockets).await?;
            }
        }
        Ok(())
    }

    /// Waits for a word; `None` when the other process has gone.
    ///
    /// # Errors
    /// When what comes is no word.
    pub(in crate::control) async fn receive(&self) -> io::Result<Option<(Word, Vec<OwnedFd>)>> {
        let mut text = vec![0; WORD_BYTES_MAX];
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
        loop {
            self.0.readable().await?;
            let mut control = RecvAncillaryBuffer::new(&mut room);
            let received = self.0.try_io(Interest::READABLE, || {
                let mut text = [IoSliceMut::new(&mut text)];
                Ok(recvmsg(&self.0, &mut text, &mut control, RecvFlags::CMSG_CLOEXEC)?)
            });
            let received = match received {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                // It went without having read everything.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            };
            if received.bytes == 0 {
                return Ok(None);
            }
            if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
                return Err(io::Error::other("a word of the handover is cut short"));
            }
            let sockets = control.drain().filter_map(|message| {
                if let RecvAncillaryMessage::ScmRights(sockets) = message {
                    Some(sockets)
                } else {
                    None
                }
            });
            let sockets = sockets.flatten().collect();
            return Ok(Some((serde_json::from_slice(&text[..received.bytes])?, sockets)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use tokio::runtime::Builder;

    use super::super::Name;
    use super::*;

    #[test]
    fn sockets_arrive_with_their_word_and_the_end_is_told() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (ours, theirs) = Channel::open().unwrap();
            let theirs = Channel::of(theirs).unwrap();
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = Word::Sockets(Name::Door { asked: "b".to_owned() });
            ours.send(&port, &[listener.as_fd(); SOCKETS_MAX]).await.unwrap();
            ours.send(&Word::Complete, &[]).await.unwrap();
            let (word, sockets) = theirs.receive().await.unwrap().unwrap();
            assert_eq!((word, sockets.len()), (port, SOCKETS_MAX));
            let taken = TcpListener::from(sockets.into_iter().next().unwrap());
            assert_eq!(taken.local_addr().unwrap(), listener.local_addr().unwrap());
            let (word, sockets) = theirs.receive().await.unwrap().unwrap();
            assert_eq!((word, sockets.len()), (Word::Complete, 0));
            drop(ours);
            assert!(theirs.receive().await.unwrap().is_none());
            let gone = theirs.send(&Word::Ready, &[]).await.unwrap_err();
            assert_eq!(gone.kind(), io::ErrorKind::BrokenPipe);
        });
    }
}
