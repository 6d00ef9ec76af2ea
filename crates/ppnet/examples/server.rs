//! The server of the project's origin, a Go program on go-proxyproto, in Rust: it prints who calls
//! and whom they called, as the header says, and then the payload.
//!
//! `cargo run -p ppnet --example server [ADDR]`

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to a person")]
#![allow(
    clippy::disallowed_methods,
    reason = "a blocking server with no descriptor left can but wait"
)]

use std::error::Error;
use std::io::Read;
use std::thread;
use std::time::Duration;

use ppnet::{Listener, Trust};

fn main() -> Result<(), Box<dyn Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    let listener = Listener::bind(addr, Trust::networks(["127.0.0.0/8", "::1"])?)?;
    println!("listening {}", listener.local_addr());
    for stream in listener.incoming() {
        let mut stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                // Mostly for want of descriptors: connections that end give some back.
                eprintln!("cannot accept: {error}");
                thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        println!("local address: {}", stream.local_addr());
        println!("remote address: {}", stream.peer_addr());
        let mut payload = String::new();
        match stream.read_to_string(&mut payload) {
            Ok(_) => println!("payload: {payload:?}"),
            Err(error) => println!("{}: {error}", stream.peer_addr()),
        }
    }
    Ok(())
}
