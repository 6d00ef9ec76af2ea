//! A ledger in which something happens at each scrape, and a door to it.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use ppserver::config::{Host, from_bytes};
use ppserver::core::close_reason::CloseReason;
use ppserver::core::connect_result::ConnectResult;
use ppserver::core::pool::Pool;
use ppserver::core::pool::balance::Balance;
use ppserver::core::pool::endpoint::{Endpoint, Member};
use ppserver::telemetry::cells::Cells;
use ppserver::telemetry::exposition::{Format, render};
use ppserver::telemetry::ledger::Ledger;

const FILE: &str = "config_version = 1\n[[listener]]\nname = 'edge'\nbind = ['127.0.0.1:1']\n\
    upstream = 'web'\n[upstream.web]\nendpoints = ['127.0.0.1:2', '127.0.0.1:3']\n";

pub(crate) struct Scraped {
    ledger: Ledger,
    cells: Cells,
}

impl Scraped {
    pub(crate) fn new() -> Scraped {
        let loaded = from_bytes("f".into(), FILE.as_bytes(), Host::default());
        let config = loaded.expect("it has no error").config;
        let addrs = ["127.0.0.1:2", "127.0.0.1:3"].map(|addr| addr.parse().expect("an address"));
        let endpoints = addrs.map(|addr| Endpoint::new(Member::at(addr), 1)).to_vec();
        let balance = Balance::RoundRobin;
        let pools = [Pool { endpoints, attempts_max: 1, failures_max: 0, balance }];
        let ledger = Ledger::new(1);
        ledger.follow(&config, &pools);
        let cells = ledger.cells(0, &config, &pools);
        Scraped { ledger, cells }
    }

    /// What a scrape shows.
    pub(crate) fn text(&self, format: Format) -> String {
        let (listener, pool) = (&self.cells.listeners[0], &self.cells.upstreams[0]);
        for reason in CloseReason::ALL {
            listener.open();
            listener.close(*reason);
        }
        listener.open();
        listener.bytes_up.add(100);
        pool.upstream.connect_duration.observe(Duration::from_millis(3));
        for result in ConnectResult::ALL {
            pool.endpoints[0].connect(*result);
        }
        render(&self.ledger, 0, format)
    }

    /// Answers every request until the process ends.
    pub(crate) fn serve(self) -> SocketAddr {
        let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let addr = door.local_addr().expect("it is bound");
        thread::spawn(move || {
            for client in door.incoming().flatten() {
                self.answer(&client);
            }
        });
        addr
    }

    fn answer(&self, mut client: &TcpStream) {
        let lines = BufReader::new(client).lines().map_while(Result::ok);
        let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
        let accept = head.iter().find_map(|line| line.strip_prefix("Accept: ")).unwrap_or_default();
        let format = Format::accepted(accept);
        let (kind, body) = (format.content_type(), self.text(format));
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        );
        // Who has gone asks again.
        let _ = client.write_all(&[head, body].concat().into_bytes());
    }
}
