//! Whether bytes are copied or spliced: decided here and nowhere else, by what `flow` knows of its source.

use super::action::Method;

/// When bytes are spliced rather than copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Splicing {
    /// While a direction is bulky: once a read filled its buffer, until the source is quiet.
    Auto,
    /// Whenever no urgent byte forbids it.
    Always,
    /// Never.
    Off,
}

impl Splicing {
    /// Returns how the next fill is to be done, in a direction that is bulky or not, and where it may be spliced or
    /// not.
    pub(super) const fn method(self, is_bulky: bool, is_allowed: bool) -> Method {
        let is_wanted = match self {
            Self::Auto => is_bulky,
            Self::Always => true,
            Self::Off => false,
        };
        if is_wanted && is_allowed { Method::Splice } else { Method::Copy }
    }
}
