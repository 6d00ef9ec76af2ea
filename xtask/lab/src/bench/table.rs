//! The table of a case: each figure, each contender, the range of its rounds, our ratio to it.

use std::fmt::Write as _;

use super::rig::Sample;
use super::statistics::{Summary, ratios};

/// Samples of one case with one driver.
#[derive(Debug)]
pub(super) struct Series {
    /// For file names.
    pub(super) name: String,
    /// For people.
    pub(super) title: String,
    pub(super) samples: Vec<Sample>,
}

impl Series {
    /// Contenders in the order of their first sample; ourselves come first.
    pub(super) fn contenders(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        for sample in &self.samples {
            if !names.contains(&sample.contender) {
                names.push(sample.contender);
            }
        }
        names
    }

    /// Names of figures, in the order of their first appearance.
    fn metrics(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for metric in self.samples.iter().flat_map(|sample| &sample.metrics) {
            if !names.contains(&metric.name.as_str()) {
                names.push(&metric.name);
            }
        }
        names
    }

    /// A figure of a contender by round; `None` where the round does not count.
    pub(super) fn values(&self, contender: &str, metric: &str) -> Vec<Option<f64>> {
        let rounds = self.samples.iter().map(|sample| sample.round).max().unwrap_or(0);
        let mut values = vec![None; rounds];
        for sample in &self.samples {
            if sample.contender == contender
                && sample.faults.is_empty()
                && let Some(found) = sample.metrics.iter().find(|found| found.name == metric)
            {
                values[sample.round - 1] = Some(found.value);
            }
        }
        values
    }

    /// Median and range of a figure of a contender.
    pub(super) fn summary(&self, contender: &str, metric: &str) -> Option<Summary> {
        Summary::of(self.values(contender, metric).into_iter().flatten())
    }

    /// The table as text.
    pub(super) fn render(&self) -> String {
        let mut text = format!("\n== {}\n", self.title);
        let contenders = self.contenders();
        let width = self.metrics().iter().map(|name| name.len()).max().unwrap_or(0);
        let _ = writeln!(
            text,
            "{:<width$}  {:<10}{:>12}{:>12}{:>12}{:>7}   {} / it (median, range)",
            "",
            "",
            "median",
            "min",
            "max",
            "runs",
            contenders.first().copied().unwrap_or_default()
        );
        for metric in self.metrics() {
            for (index, contender) in contenders.iter().enumerate() {
                let name = if index == 0 { metric } else { "" };
                let _ = write!(text, "{name:<width$}  {contender:<10}");
                match self.summary(contender, metric) {
                    None => {
                        let _ = write!(text, "{:>12}", "-");
                    }
                    Some(Summary { median, min, max, count }) => {
                        let (median, min, max) = (number(median), number(min), number(max));
                        let _ = write!(text, "{median:>12}{min:>12}{max:>12}{count:>7}");
                    }
                }
                if index > 0
                    && let Some(ratio) =
                        ratios(&self.values(contenders[0], metric), &self.values(contender, metric))
                {
                    let Summary { median, min, max, .. } = ratio;
                    let _ = write!(text, "   {median:.3} ({min:.3}..{max:.3})");
                }
                text.push('\n');
            }
        }
        text.push_str(&self.remarks());
        text
    }

    /// Runs that do not count, and what else should be known.
    fn remarks(&self) -> String {
        let mut text = String::new();
        for sample in &self.samples {
            for fault in &sample.faults {
                let Sample { contender, round, .. } = sample;
                let _ = writeln!(text, "DOES NOT COUNT: {contender}, round {round}: {fault}");
            }
        }
        let mut notes: Vec<&str> = Vec::new();
        for note in self.samples.iter().flat_map(|sample| &sample.notes) {
            if !notes.contains(&note.as_str()) {
                notes.push(note);
            }
        }
        for note in notes {
            let _ = writeln!(text, "note: {note} ({})", self.places(note).join(", "));
        }
        text
    }

    /// Whose runs have a note: a contender whose runs all have it, or which of them.
    fn places(&self, note: &str) -> Vec<String> {
        let mut places = Vec::new();
        for contender in self.contenders() {
            let of_it = self.samples.iter().filter(|sample| sample.contender == contender);
            let (with, without): (Vec<&Sample>, Vec<&Sample>) =
                of_it.partition(|sample| sample.notes.iter().any(|known| known == note));
            let rounds: Vec<String> = with.iter().map(|sample| sample.round.to_string()).collect();
            match (with.is_empty(), without.is_empty()) {
                (true, _) => {}
                (false, true) => places.push(contender.to_owned()),
                (false, false) => places.push(format!("{contender} {}", rounds.join("+"))),
            }
        }
        places
    }
}

/// Four digits or so, whatever the size.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rig::Metric;
    use super::*;

    fn sample(contender: &'static str, round: usize, value: f64) -> Sample {
        let metrics = vec![Metric::new("proxy CPU us/connection", value)];
        Sample {
            contender,
            version: String::new(),
            round,
            metrics,
            faults: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn series(samples: Vec<Sample>) -> Series {
        Series { name: "short".to_owned(), title: "short connections".to_owned(), samples }
    }

    #[test]
    fn the_table_has_median_range_and_the_ratio_of_the_pairs() {
        let text = series(vec![
            sample("ppserver", 1, 60.0),
            sample("haproxy", 1, 80.0),
            sample("ppserver", 2, 70.0),
            sample("haproxy", 2, 70.0),
        ])
        .render();
        let row = text.lines().find(|line| line.contains("haproxy")).unwrap();
        let words: Vec<&str> = row.split_ascii_whitespace().collect();
        assert_eq!(words, ["haproxy", "75.0", "70.0", "80.0", "2", "0.875", "(0.750..1.000)"]);
    }

    #[test]
    fn a_run_with_a_fault_is_shown_and_does_not_count() {
        let mut bad = sample("haproxy", 2, 1.0);
        bad.faults.push("the proxy saw 50 connections".to_owned());
        let series = series(vec![sample("ppserver", 1, 60.0), sample("haproxy", 1, 80.0), bad]);
        let summary = series.summary("haproxy", "proxy CPU us/connection").unwrap();
        assert_eq!((summary.median, summary.count), (80.0, 1));
        let text = series.render();
        assert!(text.contains("DOES NOT COUNT: haproxy, round 2: the proxy saw 50"), "{text}");
    }

    #[test]
    fn a_run_that_came_to_nothing_leaves_medians_and_pairs_alone() {
        let mut failed = sample("haproxy", 1, 0.0);
        failed.metrics.clear();
        failed.faults.push("haproxy died".to_owned());
        let (ours, theirs) = (sample("ppserver", 1, 10.0), sample("haproxy", 2, 80.0));
        let series = series(vec![ours, failed, sample("ppserver", 2, 60.0), theirs]);
        let text = series.render();
        let row = text.lines().find(|line| line.contains("80.0")).unwrap();
        let words: Vec<&str> = row.split_ascii_whitespace().collect();
        assert_eq!(words, ["haproxy", "80.0", "80.0", "80.0", "1", "0.750", "(0.750..0.750)"]);
        assert!(text.contains("DOES NOT COUNT: haproxy, round 1: haproxy died"), "{text}");
    }

    #[test]
    fn a_note_stands_once_with_whose_runs_it_is_about() {
        let noted = |contender, round| {
            let mut sample = sample(contender, round, 1.0);
            sample.notes.push("a full core".to_owned());
            sample
        };
        let some = [noted("haproxy", 1), sample("haproxy", 2, 1.0), noted("haproxy", 3)];
        let mut samples = vec![noted("ppserver", 1), noted("ppserver", 2), sample("nginx", 1, 1.0)];
        samples.extend(some);
        let text = series(samples).render();
        assert!(text.ends_with("\nnote: a full core (ppserver, haproxy 1+3)\n"), "{text}");
    }

    #[test]
    fn numbers_keep_about_four_digits() {
        for (value, text) in
            [(12345.6, "12346"), (78.94, "78.9"), (1.234, "1.23"), (0.4567, "0.457"), (0.0, "0.00")]
        {
            assert_eq!(number(value), text);
        }
    }
}
