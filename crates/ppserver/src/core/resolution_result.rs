//! What came of a question for what a name or a file stands for: one word for counters.

use super::words::words;

words! {
    /// What came of a round of questions.
    ResolutionResult {
        /// It stands for something, and nobody failed to say so.
        Ok, "ok";
        /// It stands for nothing: no such name, or none with an address.
        Empty, "empty";
        /// Somebody failed: no answer in time, an error, or what cannot be used.
        Failed, "failed";
    }
}
