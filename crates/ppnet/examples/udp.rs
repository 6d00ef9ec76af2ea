//! UDP behind a balancer that puts the header into the first datagram of a flow alone, or into each: every datagram is
//! answered with who sent it.
//!
//! `cargo run -p ppnet --example udp -- first|each [ADDR]`

#![allow(clippy::print_stdout, reason = "an example talks to a person")]
#![allow(clippy::disallowed_methods, reason = "a loop of its own has nobody to ask for the time")]

use std::error::Error;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use ppnet::datagram::{self, Flows};
use ppnet::{Config, Trust};

/// As many as a balancer has ports for us.
const FLOWS_MAX: usize = 65_536;

/// Longer than the balancer remembers a flow: what comes first behind that may say who the client is.
const SILENCE_MAX: Duration = Duration::from_secs(120);

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let is_in_each = match args.next().as_deref() {
        Some("each") => true,
        Some("first") => false,
        _ => return Err("usage: udp first|each [ADDR]".into()),
    };
    let socket = UdpSocket::bind(args.next().unwrap_or_else(|| "127.0.0.1:5353".to_owned()))?;
    println!("listening {}", socket.local_addr()?);
    let config = Config::new(Trust::networks(["127.0.0.0/8", "::1"])?);
    let mut flows = Flows::new(FLOWS_MAX, SILENCE_MAX);
    let mut buf = [0; 65_535];
    loop {
        let (len, peer) = socket.recv_from(&mut buf)?;
        let received = &buf[..len];
        let read = if is_in_each {
            datagram::read_v2(&config, peer, received)
        } else {
            datagram::read_v2_in_flow(&config, &mut flows, peer, received, Instant::now())
        };
        match read {
            Ok(read) => {
                let said = read.payload().escape_ascii();
                socket.send_to(format!("{} says {said}", read.peer_addr()).as_bytes(), peer)?;
            }
            Err(refused) => eprintln!("{peer} refused: {refused}"),
        }
    }
}
