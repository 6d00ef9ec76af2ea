//! The names of connections: what the access log and the admin doors call one by.
//!
//! ```text
//! | worker, 8 bits | a sequence, 56 bits, that begins at the start's unix time in microseconds |
//! ```
//!
//! Invariant: none is given twice, also not by the next process: less than a connection a microsecond is
//! accepted by a worker.

use std::fmt;
use std::time::Duration;

/// Bits of the sequence: enough for the microseconds until the year 4253.
const SEQUENCE_BITS: u32 = 56;

/// The name of a connection, 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// Returns it as a number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns its digits, as it is written.
    pub fn digits(self) -> [u8; 16] {
        let mut number = self.0;
        let mut digits = [0; 16];
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789abcdef"[usize::try_from(number % 16).expect("it is below 16")];
            number /= 16;
        }
        digits
    }

    /// Reads one as it is written.
    pub fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| is_id).map(Self)
    }

    /// Returns the index of the worker that gave it.
    pub fn worker(self) -> usize {
        usize::try_from(self.0 >> SEQUENCE_BITS).expect("it has 8 bits")
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The names that a worker gives.
#[derive(Debug)]
pub struct ConnectionIds {
    worker: u64,
    sequence: u64,
}

impl ConnectionIds {
    /// Those of the worker with this index, which begins at this time.
    pub fn new(worker: usize, unix_time: Duration) -> Self {
        // Less than 256 of them are ever started.
        let worker = u64::try_from(worker & 0xFF).unwrap_or_default() << SEQUENCE_BITS;
        let micros = u64::try_from(unix_time.as_micros()).unwrap_or_default();
        Self { worker, sequence: micros }
    }

    /// Names one more connection.
    pub fn name_next(&mut self) -> ConnectionId {
        self.sequence = (self.sequence + 1) & ((1 << SEQUENCE_BITS) - 1);
        ConnectionId(self.worker | self.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_worker_and_sorts_by_age_over_restarts() {
        let start = Duration::from_micros(0x0006_40FE_D123_4567);
        let mut ids = ConnectionIds::new(255, start);
        let first = ids.name_next();
        assert_eq!(first.to_string(), "ff0640fed1234568");
        assert_eq!(first.digits(), *b"ff0640fed1234568");
        assert_eq!(first.get(), 0xFF06_40FE_D123_4568);
        assert_eq!((first.worker(), ConnectionId::parse(&first.to_string())), (255, Some(first)));
        for text in ["", "1", "+f0640fed1234568", "ff0640fed12345680"] {
            assert_eq!(ConnectionId::parse(text), None);
        }
        assert!(ids.name_next().get() > first.get());
        let mut later = ConnectionIds::new(255, start + Duration::from_secs(1));
        assert!(later.name_next().get() > ids.name_next().get());
        assert_eq!(
            ConnectionIds::new(0, Duration::ZERO).name_next().to_string(),
            "0000000000000001"
        );
    }

    #[test]
    fn a_sequence_at_its_end_stays_within_its_worker() {
        let mut ids = ConnectionIds::new(1, Duration::from_micros((1 << SEQUENCE_BITS) - 1));
        assert_eq!(ids.name_next().to_string(), "0100000000000000");
    }
}
