//! Stacks of a running proxy, drawn as a flame graph and summed up in a table.
//!
//! perf(1) samples by its clock, which every machine has; what the kernel does for a system call
//! stands above the function that made it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use inferno::collapse::Collapse;
use inferno::collapse::perf::Folder;
use inferno::flamegraph::{self, Options};

use crate::host::real;

/// Rows of the summary.
const ROWS: usize = 12;

/// Folds what `perf script` printed: a line a stack, with its number of samples.
///
/// # Errors
/// When the text is none of perf's.
pub(super) fn fold(script: &str) -> Result<Vec<String>> {
    let mut folded = Vec::new();
    Folder::default().collapse(script.as_bytes(), &mut folded).context("folding the stacks")?;
    let text = String::from_utf8(folded).context("folded stacks are text")?;
    let stacks: Vec<String> = text.lines().map(str::to_owned).collect();
    if stacks.is_empty() { Err(anyhow!("perf saw no stack")) } else { Ok(stacks) }
}

/// Draws stacks; `footer` says what of, below the title, since both on a line would be cut.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn draw(file: &Path, title: &str, footer: &str, stacks: &[String]) -> Result<()> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    }
    let mut options = Options::default();
    options.title = title.to_owned();
    options.subtitle = Some(footer.to_owned());
    options.hash = true;
    options.min_width = 0.2;
    let target = File::create(file).with_context(|| format!("writing {}", file.display()))?;
    flamegraph::from_lines(&mut options, stacks.iter().map(String::as_str), BufWriter::new(target))
        .with_context(|| format!("drawing {}", file.display()))
}

/// The share of each system call, by the kernel's entry of it; the rest is our own.
pub(super) fn summary(stacks: &[String]) -> String {
    let mut shares: BTreeMap<String, u64> = BTreeMap::new();
    let mut total = 0;
    for (stack, count) in stacks.iter().filter_map(|line| {
        let (stack, count) = line.rsplit_once(' ')?;
        Some((stack, count.parse::<u64>().ok()?))
    }) {
        total += count;
        let call = stack.split(';').find_map(|frame| frame.strip_prefix("__x64_sys_"));
        *shares.entry(call.unwrap_or("(outside system calls)").to_owned()).or_default() += count;
    }
    let mut rows: Vec<(String, u64)> = shares.into_iter().collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut text = String::new();
    for (name, count) in rows.into_iter().take(ROWS) {
        let _ = writeln!(text, "{name:<24}{:>6.1} %", real(count) * 100.0 / real(total.max(1)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_their_system_call() {
        let stacks = [
            "ppserver;work;entry;__x64_sys_close;tcp_close 30".to_owned(),
            "ppserver;work;entry;__x64_sys_close 20".to_owned(),
            "ppserver;work 50".to_owned(),
        ];
        let text = summary(&stacks);
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows, ["(outside system calls)    50.0 %", "close                     50.0 %"]);
    }

    #[test]
    fn what_is_no_output_of_perf_is_an_error() {
        assert!(fold("").is_err());
    }
}
