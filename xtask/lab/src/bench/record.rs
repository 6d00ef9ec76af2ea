//! Results in files, one a case: a row for each figure of each run, with all that made it.
//!
//! Runs that do not count are recorded too, with their faults; one that failed has a row without a figure. Invariants: a
//! row can be understood alone, years later, on another machine; and of each contender, in each version and on each
//! machine, a file holds one commit: who is measured again at the same commit has more rounds, at another one new ones.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tools::machine::cpu_models;

use super::table::Series;
use crate::process::output;

/// One figure of one run, and how it came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) date: String,
    pub(super) commit: String,
    pub(super) case: String,
    pub(super) contender: String,
    pub(super) version: String,
    pub(super) round: usize,
    /// Empty, and so is its value, where the run came to nothing.
    pub(super) figure: String,
    /// As it is written, so that a row stays what it is.
    pub(super) value: String,
    /// Why the run does not count.
    pub(super) faults: String,
    pub(super) cpu: String,
    pub(super) cores: String,
    pub(super) kernel: String,
    pub(super) rustc: String,
    pub(super) wrk: String,
    pub(super) notes: String,
}

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

impl Row {
    /// Whether the other one is of the same contender, in the same version and on the same machine.
    fn is_of(&self, other: &Self) -> bool {
        (&self.contender, &self.version, &self.cpu)
            == (&other.contender, &other.version, &other.cpu)
    }
}

/// Adds a series to `DIR/NAME.csv`.
///
/// # Errors
/// When the file cannot be written, or holds other columns.
pub(super) fn add(dir: &Path, series: &Series, around: &Circumstances) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let mut held = read(dir, &series.name)?;
    let new = rows(series, around);
    held.retain(|row| row.commit == around.commit || !new.iter().any(|new| new.is_of(row)));
    let path = dir.join(format!("{}.csv", series.name));
    let shown = path.display();
    let mut file = csv::Writer::from_path(&path).with_context(|| format!("opening {shown}"))?;
    for row in held.into_iter().chain(new) {
        file.serialize(row).with_context(|| format!("writing {shown}"))?;
    }
    file.flush().with_context(|| format!("writing {shown}"))
}

/// The rows of `DIR/NAME.csv` on the machine that ran last; none where there is no such file.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn last(dir: &Path, name: &str) -> Result<Vec<Row>> {
    let mut rows = read(dir, name)?;
    if let Some(cpu) = rows.last().map(|row| row.cpu.clone()) {
        rows.retain(|row| row.cpu == cpu);
    }
    Ok(rows)
}

fn read(dir: &Path, name: &str) -> Result<Vec<Row>> {
    let path = dir.join(format!("{name}.csv"));
    let text = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.with_context(|| format!("reading {}", path.display()))?,
    };
    let rows: Result<_, csv::Error> = csv::Reader::from_reader(&*text).into_deserialize().collect();
    rows.with_context(|| format!("{} holds other columns", path.display()))
}

fn rows(series: &Series, around: &Circumstances) -> Vec<Row> {
    let mut rows = Vec::new();
    for sample in &series.samples {
        let figures = sample.metrics.iter();
        let mut figures: Vec<(&str, String)> =
            figures.map(|metric| (metric.name.trim(), format!("{:.6}", metric.value))).collect();
        if figures.is_empty() {
            figures.push(("", String::new()));
        }
        for (figure, value) in figures {
            rows.push(Row {
                date: around.date.clone(),
                commit: around.commit.clone(),
                case: series.name.clone(),
                contender: sample.contender.to_owned(),
                version: on_a_line(&sample.version),
                round: sample.round,
                figure: figure.to_owned(),
                value,
                faults: on_a_line(&sample.faults.join("; ")),
                cpu: around.cpu.clone(),
                cores: around.cores.clone(),
                kernel: around.kernel.clone(),
                rustc: around.rustc.clone(),
                wrk: around.wrk.clone(),
                notes: on_a_line(&sample.notes.join("; ")),
            });
        }
    }
    rows
}

fn on_a_line(text: &str) -> String {
    text.trim().replace('\n', " ")
}

#[cfg(test)]
impl Circumstances {
    /// Those of a test.
    pub(super) fn of(commit: &str, cpu: &str) -> Self {
        Self {
            date: "2026-01-02T03:04:05Z".to_owned(),
            commit: commit.to_owned(),
            cpu: cpu.to_owned(),
            cores: "2".to_owned(),
            kernel: "6.1".to_owned(),
            rustc: "rustc 1".to_owned(),
            wrk: "wrk 4".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rig::{Metric, Sample};
    use super::*;

    fn series() -> Series {
        let sample = Sample {
            contender: "ppserver",
            version: "ppserver 1".to_owned(),
            round: 1,
            metrics: vec![Metric::new("proxy CPU us/connection", 70.5)],
            faults: vec!["it said \"no\"".to_owned()],
            notes: vec!["a busy machine".to_owned()],
        };
        Series { name: "short".to_owned(), title: String::new(), samples: vec![sample] }
    }

    #[test]
    fn a_row_stands_below_the_names_of_its_columns() {
        let dir = tempfile::tempdir().unwrap();
        add(dir.path(), &series(), &Circumstances::of("abc", "a, b")).unwrap();
        let text = fs::read_to_string(dir.path().join("short.csv")).unwrap();
        assert_eq!(
            text,
            "date,commit,case,contender,version,round,figure,value,faults,cpu,cores,kernel,rustc,wrk,notes\n\
             2026-01-02T03:04:05Z,abc,short,ppserver,ppserver 1,1,proxy CPU us/connection,70.500000,\
             \"it said \"\"no\"\"\",\"a, b\",2,6.1,rustc 1,wrk 4,a busy machine\n"
        );
        fs::write(dir.path().join("short.csv"), "date,value\n2026,1\n").unwrap();
        add(dir.path(), &series(), &Circumstances::of("abc", "a")).unwrap_err();
    }

    #[test]
    fn the_same_commit_adds_rounds_and_another_one_takes_the_place_of_the_older() {
        let dir = tempfile::tempdir().unwrap();
        let places = |rows: Vec<Row>| -> Vec<String> {
            rows.into_iter().map(|row| [row.contender, row.commit, row.cpu].join(" ")).collect()
        };
        let mut theirs = series();
        theirs.samples[0].contender = "nginx";
        add(dir.path(), &theirs, &Circumstances::of("old", "x")).unwrap();
        for (commit, cpu) in [("old", "x"), ("old", "y"), ("new", "x"), ("new", "x")] {
            add(dir.path(), &series(), &Circumstances::of(commit, cpu)).unwrap();
        }
        let of_x = ["nginx old x", "ppserver new x", "ppserver new x"];
        assert_eq!(places(last(dir.path(), "short").unwrap()), of_x);
        let all = places(read(dir.path(), "short").unwrap());
        assert_eq!(all, [of_x[0], "ppserver old y", of_x[1], of_x[2]]);
        assert_eq!(last(dir.path(), "none").unwrap(), []);
    }

    #[test]
    fn a_run_that_came_to_nothing_is_a_row_with_its_fault() {
        let mut series = series();
        let sample = &mut series.samples[0];
        sample.metrics.clear();
        sample.faults = vec!["it died:\n  why".to_owned()];
        let rows = rows(&series, &Circumstances::of("abc", "a"));
        let row = &rows[0];
        assert_eq!((rows.len(), &*row.figure, &*row.value), (1, "", ""));
        assert_eq!(row.faults, "it died:   why");
    }
}
