//! Load for a proxy over loopback, and the server behind it: `ppload load` and `ppload sink`.
//!
//! Not a benchmark: it drives one target and says what came of it; who runs it decides what to compare.
//! Invariant: a run is bounded in count, time and connections, reaches only this machine, and
//! accounts for every connection it started.
//!
//! The program is the interface. What is public here besides is what those need who run it and read
//! its report, or speak to either end themselves.

mod args;
mod client;
mod generator;
pub mod host;
mod pattern;
mod report;
mod schedule;
mod sink;
mod timer;
mod udp;
mod wire;

use std::io::{self, Write};
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};

pub use self::args::{LoadArgs, SinkArgs};
pub use self::pattern::{Check, Pattern};
pub use self::report::{Connections, Failures, Kept, Latency, Report, SinkReport};
pub use self::udp::{DatagramReport, DatagramSinkReport, Framing};
pub use self::wire::{After, Found, Header, Request, find_header};

use self::generator::Generator;
use self::sink::Sink;

/// The line on stderr that `load idle` and `load keepalive` print once all connections stand, with
/// their number behind it. `keepalive` lets them rest for a moment then, before its clock starts.
pub const HOLDING: &str = "holding ";
/// The line on stderr that `sink` prints first, with its address behind it.
pub const LISTENING: &str = "listening ";

/// Runs the generator and prints its report.
///
/// # Errors
/// When it cannot run, or when its own counts do not add up.
pub fn load(args: &LoadArgs) -> Result<()> {
    args.validate().unwrap_or_else(|error| error.exit());
    host::raise_descriptor_limit().context("raising the limit of descriptors")?;
    let stop = host::interrupt()?;
    if let Some(kind) = args.datagrams() {
        let report = udp::Generator::new(args, kind)?.run(&stop)?;
        print(args.json, &report)?;
        let good = if kind == udp::Kind::Bulk { report.sent } else { report.answered };
        if good == 0 {
            bail!(
                "not one datagram {}",
                if report.sent == 0 { "was sent" } else { "was answered" }
            );
        }
        return Ok(());
    }
    let report = drive(args, &stop, |count| say(&format!("{HOLDING}{count}")))?;
    print(args.json, &report)?;
    report.check().map_err(anyhow::Error::msg)?;
    if report.exchanges == 0 {
        bail!("not one exchange was completed");
    }
    Ok(())
}

/// Runs the sink and prints its counts.
///
/// # Errors
/// When it cannot run, or when its own counts do not add up.
pub fn sink(args: &SinkArgs) -> Result<()> {
    host::raise_descriptor_limit().context("raising the limit of descriptors")?;
    let stop = host::interrupt()?;
    if let Some(framing) = args.udp {
        let sink = udp::Sink::bind(args, framing)?;
        say(&format!("{LISTENING}{}", sink.addr()));
        return print(args.json, &sink.run(&stop)?);
    }
    let sink = Sink::bind(args)?;
    say(&format!("{LISTENING}{}", sink.addr()));
    let report = sink.run(&stop)?;
    print(args.json, &report)?;
    report.check().map_err(anyhow::Error::msg)
}

fn drive(args: &LoadArgs, stop: &AtomicBool, held: impl Fn(usize)) -> Result<Report> {
    Generator::new(args)?.run(stop, held)
}

/// Prints a line for a program that waits for it.
fn say(line: &str) {
    // A reader that has gone misses nothing it wants.
    let _ = writeln!(io::stderr(), "{line}");
}

fn print<T: serde::Serialize + std::fmt::Display>(json: bool, report: &T) -> Result<()> {
    let text = if json { serde_json::to_string(report)? + "\n" } else { report.to_string() };
    match io::stdout().write_all(text.as_bytes()) {
        // A reader that has gone away (`| head`) is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("writing the report")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
