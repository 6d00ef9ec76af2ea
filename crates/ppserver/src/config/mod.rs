//! What the server is told to do: the vocabulary (`types`, `upstream`, `udp`), and the two ways in, a file and flags.
//!
//! Not a place for behaviour: no socket is opened and no name resolved here, and only `load`
//! touches the file system. Invariant: a [`Config`] that exists is whole and consistent (names and
//! bind addresses are unique, each listener's upstream exists, whoever accepts headers says whom it
//! trusts), and its printed form reads back as the same value.
//!
//! ```text
//! file --load--> text --syntax, variables, parse--> sections --read--> draft --validate--> Config --print
//!                                                flags -----^            \----> Report
//! ```
//!
//! A key: its name in `keys`, its type and range in `read`, its default in `defaults`, its words in `choice`.
//! What goes together is judged in `validate` if it cannot be used, and in `lint` if it may not be meant.
//! Addresses are read in `address`; the words of other proxies stand in `foreign`.

mod address;
mod choice;
mod codes;
mod defaults;
mod diagnostics;
mod door;
mod flags;
mod foreign;
mod keys;
mod lint;
mod load;
mod logged_tlv;
mod overrides;
mod parse;
mod print;
mod read;
mod syntax;
#[cfg(test)]
mod tests;
mod types;
mod udp;
mod units;
mod upstream;
mod validate;
mod variables;

pub use address::{AddressError, Bind, Endpoint, single_host};
pub use choice::Choice;
pub use codes::{Code, Severity};
pub use diagnostics::{Colour, Diagnostic, JsonFault, Report};
pub use door::{Door, DoorError};
pub use flags::Flags;
pub use lint::{
    CHECKS_MAX, DESCRIPTORS_PER_PIPE, DOOR_CONNECTIONS_MAX, LeadsBack, checks_at_once,
    descriptors_reserved, open_trust, own_listeners,
};
pub use load::{FILE_BYTES_MAX, Host, Loaded, STDIN_NAME, from_bytes, load, read_from};
pub use logged_tlv::LoggedTlv;
pub use overrides::{CommonFlags, Overrides};
pub use types::*;
pub use udp::{Datagrams, DontFragment, Protocol, Udp};
pub use units::parse_tlv_type;
pub use upstream::*;
