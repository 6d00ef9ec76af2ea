//! What the process has counted, as both forms of the log write it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::ledger::Totals;
use crate::core::close_reason::CloseReason;

/// What the process has counted, and what both logs have lost; displayed as lines for people.
#[derive(Debug, Serialize)]
pub struct Summary {
    active: u64,
    accepted: u64,
    /// By reason; every one is there, also at 0.
    closed: BTreeMap<&'static str, u64>,
    bytes_up: u64,
    bytes_down: u64,
    connect_failures: u64,
    accept_pauses: u64,
    pipes_missing: u64,
    access_lines_dropped: u64,
    log_lines_dropped: u64,
}

impl Summary {
    /// Says in words what was counted; so many lines of the log were lost.
    pub fn of(totals: &Totals, log_lines_dropped: u64) -> Self {
        let closed = |reason: &CloseReason| (reason.name(), totals.closed[reason.index()]);
        Self {
            active: totals.active,
            accepted: totals.accepted,
            closed: CloseReason::ALL.iter().map(closed).collect(),
            bytes_up: totals.bytes_up,
            bytes_down: totals.bytes_down,
            connect_failures: totals.connect_failures,
            accept_pauses: totals.accept_pauses,
            pipes_missing: totals.pipes_missing,
            access_lines_dropped: totals.access_lines_dropped,
            log_lines_dropped,
        }
    }
}

/// A line a group; of ends and of trouble only what there was.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trouble = [
            ("connect_failures", self.connect_failures),
            ("accept_pauses", self.accept_pauses),
            ("pipes_missing", self.pipes_missing),
            ("access_lines_dropped", self.access_lines_dropped),
            ("log_lines_dropped", self.log_lines_dropped),
        ];
        let nonzero = |counts: &[(&str, u64)]| {
            let counts = counts.iter().filter(|(_, count)| *count > 0);
            let words: Vec<_> = counts.map(|(name, count)| format!("{name} {count}")).collect();
            if words.is_empty() { "none".to_owned() } else { words.join(", ") }
        };
        let closed: Vec<_> = self.closed.iter().map(|(name, count)| (*name, *count)).collect();
        writeln!(f, "  connections  accepted {}, active {}", self.accepted, self.active)?;
        writeln!(f, "  closed       {}", nonzero(&closed))?;
        writeln!(f, "  payload      bytes_up {}, bytes_down {}", self.bytes_up, self.bytes_down)?;
        write!(f, "  trouble      {}", nonzero(&trouble))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_shown_what_there_was_and_machines_every_reason() {
        let mut totals =
            Totals { accepted: 5, active: 2, access_lines_dropped: 7, ..Totals::default() };
        totals.closed[CloseReason::Done.index()] = 2;
        totals.closed[CloseReason::Probe.index()] = 1;
        let summary = Summary::of(&totals, 0);
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
