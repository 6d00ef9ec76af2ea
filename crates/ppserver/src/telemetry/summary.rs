//! What the process has counted, as both forms of the log write it.

use std::fmt;

use serde::Serialize;

use super::ledger::{Totals, by_reason};

/// What the process has counted, and what both logs have lost; displayed as lines for people.
#[derive(Debug, Serialize)]
pub struct Summary {
    #[serde(flatten)]
    totals: Totals,
    log_lines_dropped: u64,
}

impl Summary {
    /// Says in words what was counted; so many lines of the log were lost.
    pub const fn of(totals: Totals, log_lines_dropped: u64) -> Self {
        Self { totals, log_lines_dropped }
    }
}

/// A line a group; of ends and of trouble only what there was.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { totals, log_lines_dropped } = self;
        let trouble = [
            ("connect_failures", totals.connect_failures),
            ("accept_pauses", totals.accept_pauses),
            ("pipes_missing", totals.pipes_missing),
            ("access_lines_dropped", totals.access_lines_dropped),
            ("log_lines_dropped", *log_lines_dropped),
        ];
        let nonzero = |counts: &[(&str, u64)]| {
            let counts = counts.iter().filter(|(_, count)| *count > 0);
            let words: Vec<_> = counts.map(|(name, count)| format!("{name} {count}")).collect();
            if words.is_empty() { "none".to_owned() } else { words.join(", ") }
        };
        let closed: Vec<_> = by_reason(&totals.closed).into_iter().collect();
        writeln!(f, "  connections  accepted {}, active {}", totals.accepted, totals.active)?;
        writeln!(f, "  closed       {}", nonzero(&closed))?;
        let (up, down) = (totals.bytes_up, totals.bytes_down);
        writeln!(f, "  payload      bytes_up {up}, bytes_down {down}")?;
        write!(f, "  trouble      {}", nonzero(&trouble))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::close_reason::CloseReason;

    #[test]
    fn people_are_shown_what_there_was_and_machines_every_reason() {
        let mut totals =
            Totals { accepted: 5, active: 2, access_lines_dropped: 7, ..Totals::default() };
        totals.closed[CloseReason::Done.index()] = 2;
        totals.closed[CloseReason::Probe.index()] = 1;
        let summary = Summary::of(totals, 0);
        let value = serde_json::to_value(&summary).unwrap();
        assert_eq!(
            (&value["closed"]["probe"], &value["closed"]["overload"]),
            (&1.into(), &0.into())
        );
        assert_eq!(value["closed"].as_object().map(serde_json::Map::len), Some(CloseReason::COUNT));
        let text = "  connections  accepted 5, active 2\n  closed       done 2, probe 1\n  \
                    payload      bytes_up 0, bytes_down 0\n  trouble      access_lines_dropped 7";
        assert_eq!(summary.to_string(), text);
    }
}
