//! What came of an attempt to connect to an endpoint: one word for logs and counters.
//!
//! One that was given up before it came to anything, because its client had gone or the process stops, has
//! none.

use super::words::words;

words! {
    /// What came of an attempt to connect.
    ConnectResult {
        /// It stood, whatever became of it then.
        Ok, "ok";
        /// Nobody listens there.
        Refused, "refused";
        /// No answer came in time.
        Timeout, "timeout";
        /// Anything else: no route, no permission, nothing left to make a socket of.
        Error, "error";
        /// There was no port left to connect from, of the address that it was to come from.
        NoPort, "no_port";
        /// It met itself: nobody listens there, and both ends were our own socket.
        Itself, "self";
    }
}

impl ConnectResult {
    /// Returns how many attempts failed, of so many with each result.
    pub fn failures(counts: &[u64; Self::COUNT]) -> u64 {
        counts.iter().sum::<u64>() - counts[Self::Ok.index()]
    }
}
