//! What a client tells the upstream to do, in the first bytes of its payload.
//!
//! ```text
//! script (1) | payload up (8) | payload down (8) | stall in ms (2)     big-endian
//! ```
//!
//! The payload follows.

use std::time::Duration;

/// Bytes of an order.
pub(super) const ORDER_BYTES: usize = 19;
/// What the upstream sends last in [`Script::Exchange`], once it has all of the client's payload.
pub(super) const COMPLETE: &[u8; 8] = b"complete";

/// How the upstream behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    /// Sends while it reads; once it has seen the client's FIN, [`COMPLETE`] and its own.
    Exchange,
    /// The same, but it reads a little at a time, as long as its stall.
    SlowExchange,
    /// Sends everything and its FIN, and then reads to the client's.
    EndFirst,
    /// Sends everything, reads everything, and resets.
    Reset,
    /// Waits for a reset.
    Silence,
}

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) script: Script,
    pub(super) up: u64,
    pub(super) down: u64,
    /// Before the upstream begins to read the payload, or while it does.
    pub(super) stall: Duration,
}

impl Order {
    pub(super) fn bytes(self) -> [u8; ORDER_BYTES] {
        let mut bytes = [0; ORDER_BYTES];
        bytes[0] = match self.script {
            Script::Exchange => b'E',
            Script::SlowExchange => b'L',
            Script::EndFirst => b'F',
            Script::Reset => b'R',
            Script::Silence => b'S',
        };
        bytes[1..9].copy_from_slice(&self.up.to_be_bytes());
        bytes[9..17].copy_from_slice(&self.down.to_be_bytes());
        let stall = u16::try_from(self.stall.as_millis()).unwrap_or(u16::MAX);
        bytes[17..].copy_from_slice(&stall.to_be_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8; ORDER_BYTES]) -> Option<Self> {
        let script = match bytes[0] {
            b'E' => Script::Exchange,
            b'L' => Script::SlowExchange,
            b'F' => Script::EndFirst,
            b'R' => Script::Reset,
            b'S' => Script::Silence,
            _ => return None,
        };
        let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let stall = u16::from_be_bytes([bytes[17], bytes[18]]);
        let stall = Duration::from_millis(stall.into());
        Some(Self { script, up: number(1), down: number(9), stall })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_arrives_as_it_was_given() {
        let scripts = [Script::Exchange, Script::SlowExchange, Script::EndFirst, Script::Reset];
        for script in scripts.into_iter().chain([Script::Silence]) {
            let order = Order { script, up: 7, down: 1 << 40, stall: Duration::from_millis(299) };
            assert_eq!(Order::parse(&order.bytes()), Some(order));
        }
        assert_eq!(Order::parse(&[0; ORDER_BYTES]), None);
    }
}
