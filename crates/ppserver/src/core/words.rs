//! Words of ours that are counted: the type, its names and the order of its counters follow from one list.

/// Makes a type of words, each with the name it has in logs and counters.
macro_rules! words {
    ($(#[$doc:meta])* $kind:ident { $($(#[$word_doc:meta])* $word:ident, $name:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $kind {
            $($(#[$word_doc])* $word,)*
        }

        impl $kind {
            /// All of them, in the order of their counters.
            pub const ALL: &[Self] = &[$(Self::$word,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Returns the name used in logs and counters.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$word => $name,)* }
            }

            /// Returns the index of the counter.
            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

pub(crate) use words;
