//! The ports that are ours: one listening socket a worker at each address.
//!
//! Whom to let in is decided elsewhere.

use std::io;
use std::net::SocketAddr;

use socket2::Socket;

use crate::data::sys::{self, ListenOptions, Sharing};

/// How often listen(2) is asked: two starts that meet in it may both be turned away (8 of 60,000 times on
/// Linux 6.18), since each is seen to listen before it is looked whether it may.
const LISTENS_MAX: usize = 8;

/// Binds an address once for each worker: the kernel spreads connections over the sockets. Returns them with
/// the address, whose port the kernel may have chosen.
///
/// # Errors
/// EADDRINUSE when anybody else listens there, also with SO_REUSEPORT; what else bind(2) knows.
pub(super) fn bind_shares(
    addr: SocketAddr,
    workers: usize,
    options: &ListenOptions,
) -> io::Result<(Vec<Socket>, SocketAddr)> {
    let claim = claim(addr, options)?;
    let local = claim.local_addr()?.as_socket();
    let addr = local.ok_or_else(|| io::Error::other("the socket has no address"))?;
    claim.set_reuse_port(true)?;
    let mut shares = vec![claim];
    for _ in 1..workers {
        let share = sys::bind(addr, Sharing::Port)?;
        sys::listen(&share, options)?;
        shares.push(share);
    }
    Ok((shares, addr))
}

/// Listens alone. Beside another process that shares the port, ours would get a part of the connections in
/// silence: without SO_REUSEPORT the kernel tells, and who listens without it keeps others out, until it
/// lets them share.
fn claim(addr: SocketAddr, options: &ListenOptions) -> io::Result<Socket> {
    let socket = sys::bind(addr, Sharing::Exclusive)?;
    for _ in 1..LISTENS_MAX {
        match sys::listen(&socket, options) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            result => return result.map(|()| socket),
        }
    }
    sys::listen(&socket, options).map(|()| socket)
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

    #[test]
    fn every_share_gets_connections_and_nobody_else_gets_the_port() {
        const CONNECTIONS: usize = 200;
        let (shares, addr) = bind_shares((Ipv4Addr::LOCALHOST, 0).into(), 3, &options()).unwrap();
        let error = bind_shares(addr, 1, &options()).unwrap_err();
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
        let (_, addr) = bind_shares((Ipv4Addr::LOCALHOST, 0).into(), 1, &options()).unwrap();
        let barrier = Barrier::new(STARTS);
        for round in 0..ROUNDS {
            // Whoever fails has failed before the others' sockets go.
            let bind = || {
                barrier.wait();
                let bound = bind_shares(addr, 4, &options());
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
}
