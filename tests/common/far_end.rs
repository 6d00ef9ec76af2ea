//! The scripted upstream: it records every byte of every connection and echoes it.
//!
//! It parses nothing, so what it holds is exactly what was on the wire, the PROXY header included.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::common::deadline::{Deadline, PATIENCE};

/// An echo server with a memory, on a free port of 127.0.0.1 unless told otherwise.
pub(crate) struct FarEnd {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

/// One connection, as it was seen here.
#[derive(Clone)]
pub(crate) struct Conversation {
    /// Every byte received, in order.
    pub(crate) received: Vec<u8>,
    /// How it ended; `None` while it is open.
    pub(crate) end: Option<End>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Reset,
}

#[derive(Default)]
struct Shared {
    conversations: Mutex<Vec<Conversation>>,
    changed: Condvar,
    stopping: AtomicBool,
}

impl FarEnd {
    /// Starts listening.
    pub(crate) fn start() -> FarEnd {
        FarEnd::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Starts listening at an address of a namespace of its own.
    pub(crate) fn at(addr: SocketAddr) -> FarEnd {
        let listener = TcpListener::bind(addr).expect("the port is free");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        FarEnd { addr, shared }
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many connections have been accepted so far.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.lock().len()
    }

    /// Waits until connection `index` (from 0, in the order of acceptance) has ended.
    #[track_caller]
    pub(crate) fn ended(&self, index: usize) -> Conversation {
        let deadline = Deadline::after(PATIENCE);
        let mut conversations = self.shared.lock();
        loop {
            if let Some(ended) = conversations.get(index).filter(|one| one.end.is_some()) {
                return ended.clone();
            }
            let left = deadline.left();
            if left.is_zero() {
                let seen: Vec<_> =
                    conversations.iter().map(|c| (c.received.len(), c.end)).collect();
                drop(conversations);
                panic!("connection {index} did not end; bytes and end of each: {seen:?}");
            }
            let waited = self.shared.changed.wait_timeout(conversations, left);
            conversations = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // Wakes the accepting thread, which then sees the flag; a failure leaves it to the exit.
        TcpStream::connect(self.addr).ok();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Conversation>> {
        self.conversations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, index: usize, change: impl FnOnce(&mut Conversation)) {
        change(&mut self.lock()[index]);
        self.changed.notify_all();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopping.load(Ordering::Acquire) {
            return;
        }
        let mut conversations = shared.lock();
        let index = conversations.len();
        conversations.push(Conversation { received: Vec::new(), end: None });
        drop(conversations);
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let end = echo(stream, |bytes| {
                shared.update(index, |one| one.received.extend_from_slice(bytes));
            });
            shared.update(index, |one| one.end = Some(end));
        });
    }
}

fn echo(mut stream: TcpStream, mut record: impl FnMut(&[u8])) -> End {
    let mut buf = vec![0; 64 * 1024];
    loop {
        let len = match stream.read(&mut buf) {
            Ok(0) => {
                stream.shutdown(Shutdown::Write).ok();
                return End::Fin;
            }
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return End::Reset,
        };
        record(&buf[..len]);
        if stream.write_all(&buf[..len]).is_err() {
            return End::Reset;
        }
    }
}
