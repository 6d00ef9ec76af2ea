//! What came of a check of an endpoint: one word for counters.
//!
//! One that was given up, because the endpoint is checked no more or the process stops, has none.

use super::words::words;

words! {
    /// What came of a check.
    CheckResult {
        /// It stood, and was answered as it should be.
        Ok, "ok";
        /// Nobody listens there.
        Refused, "refused";
        /// It was not over in time.
        Timeout, "timeout";
        /// What was said was answered with a reset, as by a server that takes no header, or not this one.
        Reset, "reset";
        /// It was answered otherwise, or closed.
        Unexpected, "unexpected";
        /// Anything else: no route, no permission, nothing left to make a socket of.
        Error, "error";
        /// It met itself: nobody listens there, and both ends were our own socket.
        Itself, "self";
    }
}
