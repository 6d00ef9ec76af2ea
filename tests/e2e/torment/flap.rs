//! An upstream that comes and goes: it serves, refuses, or takes connections only to reset them, in
//! an order that a seed decides.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::{Calm, wait_until_idle};
use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::payload;
use crate::common::ppserver::assert_balanced;
use crate::common::socket::{Client, ReservedPort};
use crate::life::server::{Server, file};
use crate::life::session::HEADER;

const TURNS: usize = 120;
const SEED: u64 = 1;

fn echo(mut stream: TcpStream) {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("a whole request comes");
    stream.write_all(&bytes).expect("the client takes its answer");
    stream.shutdown(Shutdown::Write).expect("the connection stands");
}

fn reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER can be set");
}

/// Takes the port once nobody listens there: a child that another test has just forked holds the last
/// listener until its exec.
fn bind(addr: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("there are descriptors");
    socket.set_reuse_address(true).expect("it shares the port with who keeps it");
    poll_for(PATIENCE, || socket.bind(&addr.into()).ok()).expect("the port is kept for it");
    socket
}

#[test]
fn an_upstream_that_flaps_costs_the_connections_it_drops_and_no_other() {
    let port = ReservedPort::new();
    let server = Server::start(&file(&["server.workers = 2"], port.addr()));
    let calm = Calm::of(server.pid());
    let (mut done, mut refused, mut broken) = (0, 0, 0);
    for (turn, die) in payload::random(SEED, TURNS).into_iter().enumerate() {
        let request = payload::random(u64::from(die), 100 * turn);
        let whole = [HEADER, &request].concat();
        let ask = || Client::connect(server.addr().ip(), server.addr()).exchange(&whole);
        let socket = bind(port.addr());
        if die % 3 == 0 {
            refused += 1;
            ask().assert_reset();
            continue;
        }
        socket.listen(1).expect("nobody else listens");
        let listener = TcpListener::from(socket);
        thread::scope(|scope| {
            let is_good = die % 3 == 1;
            scope.spawn(move || {
                let (stream, _) = listener.accept().expect("the server connects");
                if is_good { echo(stream) } else { reset(&stream) }
            });
            if is_good {
                done += 1;
                payload::assert_same(&ask().complete(), &request);
            } else {
                broken += 1;
                ask().assert_reset();
            }
        });
    }
    let counters = wait_until_idle(&server);
    assert_balanced(&counters);
    let closed = &counters["closed"];
    assert_eq!(closed["done"], done, "{counters}");
    assert_eq!(closed["connect_failed"], refused, "{counters}");
    assert_eq!(closed["upstream_reset"], broken, "{counters}");
    calm.assert_back("an upstream that flaps");
}
