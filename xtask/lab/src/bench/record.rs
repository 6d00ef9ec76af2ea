//! Results in files: a row for each figure of each run, appended, with all that made it.
//!
//! Runs that do not count are recorded too, with their faults; one that failed has a row without a
//! figure. Invariant: a row can be understood alone, years later, on another machine.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use tools::machine::cpu_models;

use super::table::Series;
use crate::process::output;

const COLUMNS: &str =
    "date,commit,case,contender,version,round,figure,value,faults,cpu,cores,kernel,rustc,wrk,notes";

/// Where and when a bench ran, and on what.
#[derive(Clone, Debug)]
pub(super) struct Circumstances {
    date: String,
    commit: String,
    cpu: String,
    cores: String,
    kernel: String,
    rustc: String,
    wrk: String,
}

impl Circumstances {
    /// Looks around.
    ///
    /// # Errors
    /// When git or rustc cannot be run.
    pub(super) fn look(wrk: &Path) -> Result<Self> {
        let git = |words: &[&str]| output(Path::new("git"), words);
        let mut commit = git(&["rev-parse", "--short=12", "HEAD"])?.trim().to_owned();
        // What a case before this one has recorded and drawn changes nothing that is measured.
        let others = [":/", ":/!benches/record", ":/!docs/plots"];
        let status = ["status", "--porcelain", "--untracked-files=no", "--"];
        if !git(&[&status[..], &others[..]].concat())?.trim().is_empty() {
            commit.push_str("-dirty");
        }
        let models = cpu_models()?;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let wrk = output(wrk, &["-v"])?;
        Ok(Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            commit,
            cpu: models.first().cloned().unwrap_or_else(|| "unknown".to_owned()),
            cores: models.len().to_string(),
            kernel: kernel.trim().to_owned(),
            rustc: output(Path::new("rustc"), &["-V"])?.trim().to_owned(),
            wrk: wrk
                .lines()
                .next()
                .unwrap_or_default()
                .split(" Copyright")
                .next()
                .unwrap_or_default()
                .to_owned(),
        })
    }

    /// In a line, below a picture.
    pub(super) fn footer(&self) -> String {
        let Self { date, commit, cpu, cores, kernel, .. } = self;
        format!("{cpu}, {cores} cores, Linux {kernel}; {commit}; {date}")
    }
}

/// Appends a series to `DIR/NAME.csv`.
///
/// # Errors
/// When the file cannot be written, or holds other columns.
pub(super) fn append(dir: &Path, series: &Series, circumstances: &Circumstances) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let path = dir.join(format!("{}.csv", series.name));
    let mut text = String::new();
    match fs::read_to_string(&path) {
        Ok(held) => {
            let columns = held.lines().next();
            ensure!(columns == Some(COLUMNS), "{} holds other columns", path.display());
        }
        Err(error) if error.kind() == ErrorKind::NotFound => text = format!("{COLUMNS}\n"),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    }
    text.push_str(&rows(series, circumstances));
    let shown = path.display();
    let file = OpenOptions::new().append(true).create(true).open(&path);
    let mut file = file.with_context(|| format!("opening {shown}"))?;
    file.write_all(text.as_bytes()).with_context(|| format!("writing {shown}"))
}

fn rows(series: &Series, around: &Circumstances) -> String {
    let mut text = String::new();
    for sample in &series.samples {
        let figures = sample.metrics.iter();
        let mut figures: Vec<(&str, String)> =
            figures.map(|metric| (metric.name.trim(), format!("{:.6}", metric.value))).collect();
        if figures.is_empty() {
            figures.push(("", String::new()));
        }
        for (figure, value) in &figures {
            let round = sample.round.to_string();
            let [faults, notes] = [&sample.faults, &sample.notes].map(|words| words.join("; "));
            let fields = [
                &around.date,
                &around.commit,
                &series.name,
                sample.contender,
                &sample.version,
                &round,
                figure,
                value,
                &faults,
                &around.cpu,
                &around.cores,
                &around.kernel,
                &around.rustc,
                &around.wrk,
                &notes,
            ];
            let _ = writeln!(text, "{}", fields.map(quoted).join(","));
        }
    }
    text
}

/// A field as RFC 4180 has it, on one line.
fn quoted(field: &str) -> String {
    let field = field.trim();
    if field.contains([',', '"', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\"").replace('\n', " "))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::rig::{Metric, Sample};
    use super::*;

    #[test]
    fn rows_are_appended_below_one_line_of_names() {
        let dir = tempfile::tempdir().unwrap();
        let around = Circumstances {
            date: "2026-01-02T03:04:05Z".to_owned(),
            commit: "abc".to_owned(),
            cpu: "a, b".to_owned(),
            cores: "2".to_owned(),
            kernel: "6.1".to_owned(),
            rustc: "rustc 1".to_owned(),
            wrk: "wrk 4".to_owned(),
        };
        let sample = Sample {
            contender: "ppserver",
            version: "ppserver 1".to_owned(),
            round: 1,
            metrics: vec![Metric::new("proxy CPU us/connection", 70.5)],
            faults: vec!["it said \"no\"".to_owned()],
            notes: vec!["a busy machine".to_owned()],
        };
        let mut series = Series {
            name: "short".to_owned(),
            title: String::new(),
            main: String::new(),
            samples: vec![sample],
        };
        append(dir.path(), &series, &around).unwrap();
        append(dir.path(), &series, &around).unwrap();
        let text = fs::read_to_string(dir.path().join("short.csv")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[1]), (3, COLUMNS, lines[2]));
        assert_eq!(
            lines[1],
            "2026-01-02T03:04:05Z,abc,short,ppserver,ppserver 1,1,proxy CPU us/connection,70.500000,\
             \"it said \"\"no\"\"\",\"a, b\",2,6.1,rustc 1,wrk 4,a busy machine"
        );
        let sample = &mut series.samples[0];
        sample.metrics.clear();
        sample.faults = vec!["it died:\n  why".to_owned()];
        let row = rows(&series, &around);
        assert_eq!(row.lines().count(), 1);
        assert!(row.contains(",ppserver 1,1,,,\"it died:   why\","), "{row}");
        fs::write(dir.path().join("short.csv"), "date,value\n").unwrap();
        append(dir.path(), &series, &around).unwrap_err();
    }
}
