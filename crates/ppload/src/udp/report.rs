//! What a run of datagrams found, as text and as JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::host::real;
use crate::report::{Failures, Kept, Latency, doubts, each};

/// What the generator found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DatagramReport {
    /// From the first datagram to the last answer, or to the last datagram where nothing is answered.
    pub seconds: f64,
    /// Sockets that sent.
    pub flows: u64,
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Those that it did not, by why not.
    pub failed: Failures,
    /// Datagrams whose answer came, whole and in time; 0 where nothing is answered.
    pub answered: u64,
    /// Datagrams that had none, where all are to have one.
    pub lost: u64,
    /// Answers that came once more.
    pub doubled: u64,
    /// Answers that are not what was sent, by what is wrong.
    pub broken: Failures,
    /// Datagrams that nobody here has sent.
    pub foreign: u64,
    /// Payload, without headers.
    pub bytes_sent: u64,
    /// The generator's own CPU time, user and system.
    pub cpu_seconds: f64,
    /// From the meant moment of a datagram to its answer.
    pub latency: Latency,
    /// Open loop only.
    pub schedule: Option<Kept>,
    /// Why these figures speak of the generator and not of its target; empty when they do not.
    pub bottleneck: Vec<String>,
}

impl DatagramReport {
    /// Fills in why the figures may be the generator's own.
    pub(super) fn judge(&mut self) {
        self.bottleneck = doubts(self.sent, self.seconds, self.cpu_seconds, self.schedule);
    }

    /// All that is not as it should be.
    pub fn failures(&self) -> u64 {
        let [failed, broken] = [&self.failed, &self.broken].map(|map| map.values().sum::<u64>());
        failed + broken + self.lost + self.doubled + self.foreign
    }
}

impl fmt::Display for DatagramReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = if self.seconds > 0.0 { real(self.sent) / self.seconds } else { 0.0 };
        writeln!(
            f,
            "datagrams    {} sent on {} flows in {:.3} s: {rate:.0}/s",
            self.sent, self.flows, self.seconds
        )?;
        writeln!(
            f,
            "answers      {} right, {} lost, {} doubled, {} broken, {} foreign",
            self.answered,
            self.lost,
            self.doubled,
            self.broken.values().sum::<u64>(),
            self.foreign
        )?;
        for (name, count) in self.failed.iter().chain(&self.broken) {
            writeln!(f, "             {count} x {name}")?;
        }
        writeln!(f, "bytes        {} sent", self.bytes_sent)?;
        if self.answered > 0 {
            writeln!(f, "{}", self.latency)?;
        }
        if let Some(kept) = &self.schedule {
            writeln!(f, "{kept}")?;
        }
        writeln!(
            f,
            "own CPU      {:.3} s, {:.2} us a datagram",
            self.cpu_seconds,
            each(self.cpu_seconds, self.sent)
        )?;
        for reason in &self.bottleneck {
            writeln!(f, "BOTTLENECK   {reason}")?;
        }
        Ok(())
    }
}

/// What the sink counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatagramSinkReport {
    /// Datagrams that came whole, each behind the header that it should have.
    pub arrived: u64,
    /// Of those, the ones that asked and were answered.
    pub answered: u64,
    /// Answers that the kernel did not take, by why not.
    pub failed: Failures,
    /// Datagrams that came otherwise, by what is wrong.
    pub broken: Failures,
    /// Datagrams that no generator has sent.
    pub foreign: u64,
    /// Payload, without headers.
    pub bytes_received: u64,
    /// Receives: fewer than datagrams where those come together.
    pub receives: u64,
}

impl DatagramSinkReport {
    /// All that is not as it should be.
    pub fn failures(&self) -> u64 {
        let [failed, broken] = [&self.failed, &self.broken].map(|map| map.values().sum::<u64>());
        failed + broken + self.foreign
    }
}

impl fmt::Display for DatagramSinkReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "datagrams    {} arrived in {} receives, {} broken, {} foreign",
            self.arrived,
            self.receives,
            self.broken.values().sum::<u64>(),
            self.foreign
        )?;
        writeln!(f, "answers      {}", self.answered)?;
        for (name, count) in self.failed.iter().chain(&self.broken) {
            writeln!(f, "             {count} x {name}")?;
        }
        writeln!(f, "bytes        {} received", self.bytes_received)
    }
}
