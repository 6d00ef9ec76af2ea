//! The machine that commands run on.

use anyhow::{Context, Result};

/// Returns the processors' names, one for each core, from /proc/cpuinfo.
///
/// # Errors
/// When it cannot be read.
pub fn cpu_models() -> Result<Vec<String>> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
    let models =
        cpus.lines().filter_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    Ok(models.map(str::to_owned).collect())
}
