//! The ledger as scrapers read it: OpenMetrics, or the text form that Prometheus had before.
//!
//! Every series is there from its first moment on, also at 0: what begins with 1 has no rate. A label is a name from
//! the configuration, an endpoint's address, or a word of ours, never what a peer sent: their number is bounded.
//! Invariant: a rendering is of one moment, and balances as the ledger does.

mod families;
mod process;
#[cfg(test)]
mod tests;

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

use super::ledger::Ledger;
use families::Families;

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text form of Prometheus, version 0.0.4.
    Prometheus,
}

impl Format {
    /// Chooses by an `Accept` header: OpenMetrics, unless plain text is asked for and preferred.
    pub fn accepted(accept: &str) -> Self {
        let weight = |wanted: &str| accept.split(',').find_map(|range| weight(range, wanted));
        let plain = weight("text/plain");
        if plain > weight("application/openmetrics-text") {
            Self::Prometheus
        } else {
            Self::OpenMetrics
        }
    }

    /// Returns what a reader is told.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
        }
    }
}

/// Returns the weight of a media range, in thousandths (RFC 9110 12.4.2), if it is of this type and acceptable.
fn weight(range: &str, wanted: &str) -> Option<u16> {
    let mut parts = range.split(';').map(str::trim);
    parts.next().filter(|kind| kind.eq_ignore_ascii_case(wanted))?;
    let weight = match parts.find_map(|part| part.strip_prefix("q=")) {
        Some(weight) if weight.starts_with('0') => {
            let digits = weight.strip_prefix("0.").unwrap_or("0");
            format!("{digits:0<3}").get(..3)?.parse().ok()?
        }
        Some(_) | None => 1000,
    };
    (weight > 0).then_some(weight)
}

/// Writes all that is known; so many lines of the log were lost.
pub fn render(ledger: &Ledger, log_lines_dropped: u64, format: Format) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families::of(ledger, log_lines_dropped)));
    let mut text = String::new();
    let written = match format {
        Format::OpenMetrics => text::encode(&mut text, &registry),
        Format::Prometheus => prometheus_text::encode(&mut text, &registry),
    };
    written.expect("a string takes everything");
    text
}
