//! What came of an attempt to connect to an endpoint: one word for logs and counters.
//!
//! One that was given up before it came to anything, because its client had gone or the process stops, has
//! none.

macro_rules! connect_results {
    ($($(#[$doc:meta])* $result:ident, $name:literal;)*) => {
        /// What came of an attempt to connect.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ConnectResult {
            $($(#[$doc])* $result,)*
        }

        impl ConnectResult {
            /// All results, in the order of their counters.
            pub const ALL: &[Self] = &[$(Self::$result,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Returns the name used in counters.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$result => $name,)* }
            }

            /// Returns the index of the counter.
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

connect_results! {
    /// It stood, whatever became of it then.
    Ok, "ok";
    /// Nobody listens there.
    Refused, "refused";
    /// No answer came in time.
    Timeout, "timeout";
    /// Anything else: no route, no permission, nothing left to make a socket of.
    Error, "error";
    /// It met itself: nobody listens there, and both ends were our own socket.
    Itself, "self";
}
