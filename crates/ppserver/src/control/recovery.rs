//! Workers that fail while the server serves: another one goes on in the place of each.
//!
//! The ports' sockets stay open meanwhile, and who waits in their queues is served. Invariant: one that fails
//! again and again is replaced every [`PAUSE`] at most.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::data_plane::Service;
use super::error::ServerError;
use super::moment;

/// Between two replacements of one worker: short, since clients wait, and long enough not to be all that the
/// process does.
const PAUSE: Duration = Duration::from_millis(50);

/// Who is to be replaced, and who has been.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    due: Vec<(usize, Instant)>,
    /// When each was replaced last.
    replaced: Vec<(usize, Instant)>,
    /// Those that do not serve yet.
    following: JoinSet<Result<(), ServerError>>,
}

/// What there is to do.
#[derive(Debug)]
pub(super) enum Step {
    /// A worker is to be replaced.
    Due(usize),
    /// One that has been serves, or why it does not.
    Followed(Result<(), ServerError>),
}

impl Recovery {
    /// Whether somebody is to be replaced.
    pub(super) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// A worker has failed.
    pub(super) fn handle_failed(&mut self, worker: usize) {
        let last = self.replaced.iter().find(|(other, _)| *other == worker);
        let at = last.map_or_else(Instant::now, |(_, at)| *at + PAUSE);
        self.due.push((worker, at));
    }

    /// Waits for what is to be done; for ever, if there is nothing.
    pub(super) async fn next(&mut self) -> Step {
        let next = self.due.iter().enumerate().min_by_key(|(_, (_, at))| *at);
        let next = next.map(|(index, (_, at))| (index, *at));
        tokio::select! {
            () = moment::reached(next.map(|(_, at)| at)) => {
                let (index, _) = next.expect("it has been waited for");
                Step::Due(self.due.swap_remove(index).0)
            }
            Some(followed) = self.following.join_next() => {
                Step::Followed(followed.unwrap_or_else(|error| Err(ServerError::Worker(error.to_string()))))
            }
        }
    }

    /// Has another worker go on.
    ///
    /// # Errors
    /// When the system gives no thread, or no epoll instance.
    pub(super) fn replace(
        &mut self,
        worker: usize,
        service: &mut Service,
    ) -> Result<(), ServerError> {
        self.replaced.retain(|(other, _)| *other != worker);
        self.replaced.push((worker, Instant::now()));
        self.following.spawn(service.replace(worker)?.all());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
    use std::thread;

    use tokio::runtime::Builder;

    use super::*;
    use crate::config::{Host, from_bytes};
    use crate::control::names::Names;
    use crate::control::prepare::{Prepared, Resolved};
    use crate::control::workers::End;

    const WORKERS: usize = 2;
    const SESSIONS: usize = 32;

    /// A service in front of a server that sends everything back, and where it listens.
    async fn service() -> (Service, SocketAddr) {
        let upstream = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let endpoint = upstream.local_addr().unwrap();
        thread::spawn(move || {
            for socket in upstream.incoming() {
                thread::spawn(move || {
                    let socket = socket.unwrap();
                    io::copy(&mut &socket, &mut &socket)
                });
            }
        });
        let text = format!(
            "config_version = 1\n[[listener]]\nname = 'a'\nbind = ['127.0.0.1:0']\nupstream = 'u'\n\
             [upstream.u]\nendpoints = ['{endpoint}']\n"
        );
        let loaded = from_bytes("f".into(), text.as_bytes(), Host::default());
        let config = loaded.unwrap().config;
        let mut service = Service::new(WORKERS, 1024, Vec::new()).unwrap();
        let resolved = Resolved::of(Names::new().follow(&config));
        let (_, replies) = service.follow(Prepared { config, resolved, opened: None }).unwrap();
        replies.all().await.unwrap();
        let addr = service.ports.places()[0].addr.inet().unwrap();
        (service, addr)
    }

    fn is_served(mut session: &TcpStream) -> bool {
        let mut byte = [0];
        session.write_all(b"x").and_then(|()| session.read_exact(&mut byte)).is_ok()
    }

    /// Sessions that have been spread over the workers, and how many the first has.
    fn sessions(service: &Service, addr: SocketAddr) -> (Vec<TcpStream>, u64) {
        let sessions: Vec<_> = (0..SESSIONS).map(|_| TcpStream::connect(addr).unwrap()).collect();
        assert!(sessions.iter().all(is_served));
        let first = service.ledger.workers()[0].active();
        assert!(0 < first && first < SESSIONS as u64, "{first}");
        (sessions, first)
    }

    #[test]
    fn a_worker_that_panics_is_replaced_and_who_waits_for_it_is_served_and_the_others_never_notice()
    {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut service, addr) = service().await;
            let mut recovery = Recovery::default();
            for failures in 1..=3 {
                let (running, lost) = sessions(&service, addr);
                service.fail(0);
                let End { worker, how } = service.workers.next_end().await;
                assert_eq!((worker, how), (0, Err("it panicked".to_owned())));
                let unharmed = running.iter().filter(|session| is_served(session)).count() as u64;
                assert_eq!(unharmed, SESSIONS as u64 - lost);
                // The kernel gives some of them to the worker that is no more.
                let waiting: Vec<_> =
                    (0..SESSIONS).map(|_| TcpStream::connect(addr).unwrap()).collect();
                service.handle_failed(worker);
                recovery.handle_failed(worker);
                assert!(matches!(recovery.next().await, Step::Due(0)));
                recovery.replace(worker, &mut service).unwrap();
                assert!(matches!(recovery.next().await, Step::Followed(Ok(()))), "{failures}");
                assert!(!recovery.is_due());
                assert!(waiting.iter().all(is_served), "{failures}");
                drop((running, waiting));
            }
        });
    }
}
