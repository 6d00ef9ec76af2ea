//! The server itself with a door to its figures, and clients that come and go.

use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::common::deadline::PATIENCE;
use crate::common::far_end::FarEnd;
use crate::common::ppserver::Ppserver;
use crate::common::process::Stream;

const HEADER: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 51820 443\r\n";

pub(crate) struct Running {
    server: Ppserver,
    door: SocketAddr,
    come_and_gone: Cell<u64>,
    _far_end: FarEnd,
}

impl Running {
    /// Starts one in front of an echo.
    #[track_caller]
    pub(crate) fn start() -> Running {
        let far_end = FarEnd::start();
        let mut server = Ppserver::with_config(&format!(
            "config_version = 1\nadmin.listen = '127.0.0.1:0'\n[[listener]]\nname = 'edge'\n\
             bind = ['127.0.0.1:0']\nupstream = 'far'\n[listener.proxy_protocol]\naccept = 'require'\n\
             trust = ['127.0.0.1']\n[upstream.far]\nendpoints = ['{}']\n",
            far_end.addr()
        ));
        let door = server.proc().wait_for_line(Stream::Stderr, "the door", |line| {
            let record: Value = serde_json::from_str(line).ok()?;
            record["admin"].as_str()?.parse().ok()
        });
        Running { server, door, come_and_gone: Cell::new(0), _far_end: far_end }
    }

    /// Where it is scraped.
    pub(crate) fn door(&self) -> SocketAddr {
        self.door
    }

    /// A client that has been served and stays.
    #[track_caller]
    pub(crate) fn open(&self) -> TcpStream {
        let mut client = self.connect(HEADER);
        client.write_all(b"x").expect("it is taken");
        client.read_exact(&mut [0]).expect("it comes back");
        client
    }

    /// A client that is served and leaves.
    #[track_caller]
    pub(crate) fn come_and_go(&self) {
        let mut client = self.open();
        client.shutdown(std::net::Shutdown::Write).expect("it is connected");
        let ended = client.read(&mut [0]);
        assert_eq!(ended.expect("it ends well"), 0);
        self.come_and_gone.set(self.come_and_gone.get() + 1);
    }

    /// How many of these there were.
    pub(crate) fn come_and_gone(&self) -> u64 {
        self.come_and_gone.get()
    }

    /// A client without a header.
    #[track_caller]
    pub(crate) fn be_refused(&self) {
        let mut client = self.connect(b"GET / HTTP/1.1\r\n\r\n");
        let error = client.read(&mut [0]).expect_err("it is reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    fn connect(&self, bytes: &[u8]) -> TcpStream {
        let mut client = TcpStream::connect(self.server.addr()).expect("it listens");
        client.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        client.write_all(bytes).expect("it is taken");
        client
    }
}
