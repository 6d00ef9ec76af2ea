//! The client of the project's origin: it sends the 28 bytes of a v2 header, from 10.1.1.1:1000 to
//! 20.2.2.2:2000, and then a payload.
//!
//! `cargo run -p ppnet --example client [ADDR]`

use std::error::Error;
use std::io::Write;

use ppnet::Greeting;

fn main() -> Result<(), Box<dyn Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9876".to_owned());
    let header = Greeting::v2("10.1.1.1:1000".parse()?, "20.2.2.2:2000".parse()?);
    let mut stream = ppnet::connect(addr, &header)?;
    stream.write_all(b"ping")?;
    Ok(())
}
