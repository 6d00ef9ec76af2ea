//! What is recorded of a case as bars with the range of their rounds, in SVG.
//!
//! A drawing is made of a record and of nothing else, so it shows what the record holds. Invariant: each record has its
//! drawing in the table below, but for those of system calls, which are counted once.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::record::{self, Row};
use super::statistics::Summary;
use super::table::number;
use crate::host::real;

/// What is drawn into a file `NAME.svg`.
struct Drawing {
    name: &'static str,
    title: &'static str,
    /// The figure as the record has it.
    figure: &'static str,
    /// What a bar is, for people.
    unit: &'static str,
    /// Of what grows, the steps: each has a record of its own, `NAME-STEP`. Empty where contenders are compared.
    steps: &'static [&'static str],
}

const CPU_CONNECTION: (&str, &str) = ("proxy CPU us/connection", "µs of proxy CPU a connection");
const CPU_REQUEST: (&str, &str) = ("proxy CPU us/request", "µs of proxy CPU a request");
const CPU_GIB: (&str, &str) = ("proxy CPU s/GiB", "s of proxy CPU a GiB");
const CPU_DATAGRAM: (&str, &str) = ("proxy CPU us/datagram", "µs of proxy CPU a datagram");
const PING: (&str, &str) = ("ping p50 ms", "ms until a ping is answered, median");

const DRAWINGS: &[Drawing] = &[
    compared("short-wrk", "Short connections: wrk, proxy, nginx", CPU_CONNECTION),
    compared("short-load", "Short connections: ppload, proxy, ppload", CPU_CONNECTION),
    compared("keepalive-wrk", "Keep-alive requests: wrk, proxy, nginx", CPU_REQUEST),
    compared("keepalive-load", "Keep-alive requests: ppload, proxy, ppload", CPU_REQUEST),
    compared("keepalive-spliced", "Keep-alive requests, HAProxy with splice forced", CPU_REQUEST),
    compared("bulk-down", "Downloads of 64 MiB, 4 at a time", CPU_GIB),
    compared("bulk-up", "Uploads of 64 MiB, 4 at a time", CPU_GIB),
    compared(
        "idle",
        "5,000 idle connections",
        ("resident bytes/connection", "resident bytes a connection"),
    ),
    compared(
        "latency",
        "Short connections at half of HAProxy's peak rate",
        ("latency p99 us", "µs until the answer, 99th percentile"),
    ),
    compared("mixed-4", "A ping beside 4 downloads flat out", PING),
    compared("mixed-8", "A ping beside 8 downloads flat out", PING),
    compared("mixed-32", "A ping beside 32 downloads flat out", PING),
    compared("pipes-down", "Downloads through pipes of several sizes, and copied", CPU_GIB),
    compared("pipes-up", "Uploads through pipes of several sizes, and copied", CPU_GIB),
    compared("workers", "Short connections, one worker and two on both cores", CPU_CONNECTION),
    compared("rules", "Short connections, by 50 routes and a client limit", CPU_CONNECTION),
    compared(
        "checks",
        "1,000 endpoints, each checked once a second",
        ("proxy CPU % of a core", "% of a core"),
    ),
    compared("udp-game", "UDP: 200 flows of small datagrams, all answered", CPU_DATAGRAM),
    compared("udp-game-one-core", "UDP: the same, everybody on one core", CPU_DATAGRAM),
    compared("udp-bulk-gso-gro", "UDP: 1,200 bytes each, GSO and GRO at the ends", CPU_DATAGRAM),
    compared("udp-bulk-gso", "UDP: 1,200 bytes each, a sender with GSO", CPU_DATAGRAM),
    compared("udp-bulk-plain", "UDP: 1,200 bytes each, one a call at the ends", CPU_DATAGRAM),
    compared(
        "udp-dns",
        "UDP: questions, a new flow each",
        ("proxy CPU us/question", "µs of proxy CPU a question"),
    ),
    grown(
        "scale-crowd",
        "Short connections beside so many that idle",
        CPU_CONNECTION,
        &["0", "1000", "8000"],
    ),
    grown(
        "scale-connections",
        "Keep-alive requests on so many connections",
        CPU_REQUEST,
        &["100", "1000", "3000", "9000"],
    ),
    grown(
        "scale-answer",
        "Keep-alive requests with answers of so many bytes",
        CPU_REQUEST,
        &["1", "1KiB", "16KiB", "256KiB", "1MiB", "16MiB", "64MiB"],
    ),
    grown(
        "scale-pieces",
        "Short connections whose header comes in so many pieces",
        CPU_CONNECTION,
        &["1", "2", "4", "8", "28"],
    ),
];

const fn compared(
    name: &'static str,
    title: &'static str,
    (figure, unit): (&'static str, &'static str),
) -> Drawing {
    Drawing { name, title, figure, unit, steps: &[] }
}

const fn grown(
    name: &'static str,
    title: &'static str,
    (figure, unit): (&'static str, &'static str),
    steps: &'static [&'static str],
) -> Drawing {
    Drawing { name, title, figure, unit, steps }
}

/// Draws all that is recorded in `records` into `plots`.
///
/// # Errors
/// When a record cannot be read or a drawing not be written.
pub(super) fn draw_all(records: &Path, plots: &Path) -> Result<()> {
    DRAWINGS.iter().try_for_each(|drawing| drawing.draw(records, plots))
}

/// Draws the record of this name, or those of its steps; nothing where it has no drawing.
///
/// # Errors
/// As [`draw_all`].
pub(super) fn draw(records: &Path, plots: &Path, name: &str) -> Result<()> {
    let drawing = DRAWINGS.iter().find(|drawing| drawing.name == name);
    drawing.map_or(Ok(()), |drawing| drawing.draw(records, plots))
}

/// The others, as the tables order them.
const PEERS: [&str; 3] = ["haproxy", "nginx", "envoy"];

/// The figure of a contender, or of ours with so much of something.
struct Bar {
    label: String,
    found: Summary,
    is_ours: bool,
}

impl Drawing {
    fn draw(&self, records: &Path, plots: &Path) -> Result<()> {
        let mut bars = Vec::new();
        let mut rows = Vec::new();
        if self.steps.is_empty() {
            rows = record::last(records, self.name)?;
            bars = bars_of(&rows, self.figure);
        }
        for step in self.steps {
            rows = record::last(records, &format!("{}-{step}", self.name))?;
            bars.extend(
                bars_of(&rows, self.figure)
                    .into_iter()
                    .map(|bar| Bar { label: (*step).to_owned(), ..bar }),
            );
        }
        if bars.is_empty() {
            return Ok(());
        }
        fs::create_dir_all(plots).with_context(|| format!("making {}", plots.display()))?;
        let path = plots.join(format!("{}.svg", self.name));
        let svg = svg(self.title, self.unit, &bars, &footer(&rows));
        fs::write(&path, svg).with_context(|| format!("writing {}", path.display()))
    }
}

/// A bar for each contender, in each of its versions, of whom a run counts; ours come first.
fn bars_of(rows: &[Row], figure: &str) -> Vec<Bar> {
    let mut contenders: Vec<(&str, &str)> = Vec::new();
    for row in rows {
        if !contenders.contains(&(&row.contender, &row.version)) {
            contenders.push((&row.contender, &row.version));
        }
    }
    contenders.sort_by_key(|(contender, version)| {
        let program = contender.split('-').next();
        let rank = PEERS.iter().position(|peer| Some(*peer) == program);
        (!is_ours(version), rank)
    });
    let bar = |contender: (&str, &str)| {
        let counts = |row: &&Row| {
            (&*row.contender, &*row.version) == contender
                && row.figure == figure
                && row.faults.is_empty()
        };
        let found =
            Summary::of(rows.iter().filter(counts).filter_map(|row| row.value.parse().ok()))?;
        Some(Bar { label: label(contender), found, is_ours: is_ours(contender.1) })
    };
    contenders.into_iter().filter_map(bar).collect()
}

fn is_ours(version: &str) -> bool {
    version.starts_with("ppserver")
}

/// A contender by the name that its makers give it, with its version; ours, whose commit is told anyhow, without.
fn label((contender, version): (&str, &str)) -> String {
    let (program, way) = contender.split_once('-').unwrap_or((contender, ""));
    let name = match program {
        "haproxy" => "HAProxy",
        "nginx" => "nginx",
        "envoy" => "Envoy",
        _ => return contender.replace('-', ", "),
    };
    let is_version =
        |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    let version = version.split([' ', '/']).find(is_version).unwrap_or_default();
    let version = version.split('+').next().unwrap_or_default();
    match way {
        "" => format!("{name} {version}"),
        "1m" => format!("{name} {version}, 1 MiB pipes"),
        "128k" => format!("{name} {version}, 128 KiB buffers"),
        way => format!("{name} {version}, {way}"),
    }
}

/// The machine, and which commits were measured on it, when; the newest come last.
fn footer(rows: &[Row]) -> String {
    let Some(Row { cpu, cores, kernel, .. }) = rows.last() else { return String::new() };
    let mut commits: Vec<String> = Vec::new();
    for row in rows {
        let day = row.date.split('T').next().unwrap_or_default();
        let commit = format!("{} of {day}", row.commit);
        if !commits.contains(&commit) {
            commits.push(commit);
        }
    }
    format!("{cpu}, {cores} cores, Linux {kernel}; {}", commits.join(", "))
}

const WIDTH: f64 = 760.0;
const MARGIN: f64 = 16.0;
/// Where the first bar begins, below title and unit.
const TOP: f64 = 74.0;
const ROW: f64 = 32.0;
const BAR: f64 = 18.0;
/// Room behind the longest range for what it says.
const VALUE: f64 = 190.0;
/// The width of a letter of 13 pixels, about.
const LETTER: f64 = 7.2;
/// Figures that are further apart are drawn on a scale of powers of ten.
const WIDE: f64 = 100.0;

const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 17px; font-weight: 600 }
.note { font-size: 12px; fill: #59636e }
.back { fill: #ffffff }
.ours { fill: #2060a0 }
.theirs { fill: #b4bac1 }
.range { stroke: #1f2328; stroke-width: 1.5; fill: none }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .note { fill: #9198a1 }
  .back { fill: #0d1117 }
  .ours { fill: #4493f8 }
  .theirs { fill: #545d68 }
  .range { stroke: #e6edf3 }
}";

fn svg(title: &str, unit: &str, bars: &[Bar], footer: &str) -> String {
    let least = bars.iter().map(|bar| bar.found.min).fold(f64::INFINITY, f64::min);
    let most = bars.iter().map(|bar| bar.found.max).fold(f64::EPSILON, f64::max);
    let is_wide = least > 0.0 && most / least > WIDE;
    let letters = bars.iter().map(|bar| bar.label.chars().count()).max().unwrap_or(0);
    let left = MARGIN + LETTER * real(letters as u64) + 8.0;
    let room = WIDTH - left - VALUE;
    let (bottom, scale): (f64, fn(f64) -> f64) =
        if is_wide { (least.log10().floor(), f64::log10) } else { (0.0, |value| value) };
    let x = |value: f64| left + room * (scale(value) - bottom) / (scale(most) - bottom);
    let rounds = bars.iter().map(|bar| bar.found.count).max().unwrap_or(0);
    let (rounds, ranges) = match rounds {
        1 => ("one run".to_owned(), ""),
        count => (format!("medians of {count} rounds"), ", lines from the least to the most"),
    };
    let kind = if is_wide { "; logarithmic scale" } else { "" };
    let height = TOP + ROW * real(bars.len() as u64) + 44.0;

    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\">\n<title>{}</title>\n<style>\n{STYLE}\n</style>\n\
         <rect class=\"back\" width=\"100%\" height=\"100%\"/>",
        escaped(title)
    );
    let text = |class: &str, x: f64, y: f64, text: &str| {
        let text = escaped(text);
        format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>\n")
    };
    svg += &text("title", MARGIN, 30.0, title);
    svg += &text("note", MARGIN, 52.0, &format!("{unit}; lower is better{kind}"));
    for (bar, index) in bars.iter().zip(0_u64..) {
        let y = TOP + ROW * real(index);
        let middle = y + BAR / 2.0;
        let Summary { median, min, max, count } = bar.found;
        let class = if bar.is_ours { "ours" } else { "theirs" };
        let value = match count {
            1 => number(median),
            _ => format!("{} ({} to {})", number(median), number(min), number(max)),
        };
        svg += &text("", MARGIN, middle + 4.5, &bar.label);
        let _ = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"/>",
            x(median) - left
        );
        if count > 1 {
            let (from, to, high, low) = (x(min), x(max), middle - 4.0, middle + 4.0);
            let _ = writeln!(
                svg,
                "<path class=\"range\" d=\"M{from:.1} {high:.1}V{low:.1}M{from:.1} {middle:.1}H{to:.1}M{to:.1} \
                 {high:.1}V{low:.1}\"/>"
            );
        }
        svg += &text("", x(max) + 8.0, middle + 4.5, &value);
    }
    let below = height - 28.0;
    svg += &text("note", MARGIN, below, &format!("Bars: {rounds}{ranges}."));
    svg += &text("note", MARGIN, below + 17.0, footer);
    svg + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::record::{Circumstances, add};
    use super::super::rig::{Metric, Sample};
    use super::super::table::Series;
    use super::*;

    #[test]
    fn every_record_has_a_drawing() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let drawn = |record: &str| {
            DRAWINGS.iter().any(|drawing| {
                record.strip_prefix(drawing.name).is_some_and(|rest| match drawing.steps {
                    [] => rest.is_empty(),
                    steps => rest.strip_prefix('-').is_some_and(|step| steps.contains(&step)),
                })
            })
        };
        let mut count = 0;
        for entry in fs::read_dir(root.join("benches/record")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(drawn(name) || name.ends_with("-calls"), "{name}.csv has no drawing");
            count += 1;
        }
        assert!(count > 10);
    }

    #[test]
    fn a_contender_has_its_name_and_version() {
        for (contender, version, expected) in [
            ("ppserver", "ppserver 0.1.0", "ppserver"),
            ("ppserver-rules", "ppserver 0.1.0", "ppserver, rules"),
            (
                "haproxy",
                "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/",
                "HAProxy 2.6.12-1",
            ),
            ("nginx-128k", "nginx version: nginx/1.22.1", "nginx 1.22.1, 128 KiB buffers"),
            ("envoy", "version: 9e5580/1.40.0/Clean/RELEASE", "Envoy 1.40.0"),
            ("2 workers", "ppserver 0.1.0", "2 workers"),
        ] {
            assert_eq!(label((contender, version)), expected);
        }
    }

    fn sample(contender: &'static str, round: usize, value: f64) -> Sample {
        Sample {
            contender,
            version: format!("{contender} version/1.2"),
            round,
            metrics: vec![Metric::new(CPU_CONNECTION.0, value)],
            faults: vec![],
            notes: vec![],
        }
    }

    fn recorded(dir: &Path, samples: Vec<Sample>) {
        let series = Series { name: "short-wrk".to_owned(), title: String::new(), samples };
        add(dir, &series, &Circumstances::of("abc", "a <machine>")).unwrap();
    }

    #[test]
    fn a_record_becomes_a_drawing_and_one_of_which_no_run_counts_becomes_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut bad = sample("nginx", 1, 3.0);
        bad.faults.push("it died".to_owned());
        recorded(dir.path(), vec![bad.clone()]);
        draw(dir.path(), dir.path(), "short-wrk").unwrap();
        assert!(!dir.path().join("short-wrk.svg").exists());

        let rounds = [("nginx", 1, 80.0), ("ppserver", 1, 60.0), ("ppserver", 2, 70.0)];
        recorded(dir.path(), rounds.map(|(who, round, value)| sample(who, round, value)).to_vec());
        draw(dir.path(), dir.path(), "short-wrk").unwrap();
        let svg = fs::read_to_string(dir.path().join("short-wrk.svg")).unwrap();
        for part in [
            ">ppserver<",
            ">65.0 (60.0 to 70.0)<",
            ">nginx 1.2<",
            ">80.0<",
            "lower is better<",
            "medians of 2 rounds, lines from the least to the most",
            "a &lt;machine&gt;, 2 cores",
        ] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
        assert!(!svg.contains("logarithmic"));
        assert!(svg.find("class=\"ours\"") < svg.find("class=\"theirs\""), "{svg}");
        // Nothing is drawn of a name that has no drawing.
        draw(dir.path(), dir.path(), "nothing").unwrap();
    }

    #[test]
    fn what_is_far_apart_is_drawn_on_a_logarithmic_scale() {
        let bar = |value| Bar {
            label: String::new(),
            found: Summary::of([value]).unwrap(),
            is_ours: true,
        };
        let svg = svg("t", "u", &[bar(7.0), bar(70_000.0)], "");
        for part in ["logarithmic scale", ">7.00<", ">70000<", "Bars: one run."] {
            assert!(svg.contains(part), "{part} in {svg}");
        }
    }
}
