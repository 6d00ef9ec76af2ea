//! The documented configuration, docs/ppserver.toml, with every key it has.

/// What it says as it stands.
pub(crate) const EXAMPLE: &str = include_str!("../../../../../docs/ppserver.toml");

/// The same with the keys that stand behind a `#`, each with its default.
pub(crate) fn every_key() -> String {
    let is_key = |line: &str| {
        let is_name = |key: &str| key.trim().bytes().all(|byte| byte.is_ascii_graphic());
        line.starts_with('[') || line.split_once('=').is_some_and(|(key, _)| is_name(key))
    };
    let uncommented = EXAMPLE.lines().map(|line| {
        let line = line.trim_start();
        line.strip_prefix("# ").map(str::trim_start).filter(|rest| is_key(rest)).unwrap_or(line)
    });
    uncommented.collect::<Vec<_>>().join("\n")
}
