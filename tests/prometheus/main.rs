//! What is exposed to a real Prometheus: it scrapes and answers, promtool finds nothing, the alert rules of
//! docs/alerts.yml fire when they should, and every query of docs/grafana-dashboard.json has an answer.
//!
//! A missing program fails the tests with the line that installs it.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "shared with the interop tests, which use all of it")]
mod common;
mod scraped;
mod server;

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use common::deadline::{PATIENCE, poll_for};
use common::process::require_program;
use ppserver::telemetry::exposition::Format;
use scraped::Scraped;
use server::Prometheus;

/// What puts both programs on a Debian or Ubuntu machine.
const INSTALL: &str = "apt-get install -y --no-install-recommends prometheus";
const DASHBOARD: &str = include_str!("../../docs/grafana-dashboard.json");
const TOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[test]
fn promtool_finds_nothing_to_say_of_the_text() {
    let mut promtool = Command::new(require_program("promtool", INSTALL))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let text = Scraped::new().text(Format::Prometheus);
    let mut stdin = promtool.stdin.take().expect("it is piped");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    let said = promtool.wait_with_output().expect("it ends");
    let words = [said.stdout, said.stderr].concat();
    assert_eq!((said.status.code(), &*String::from_utf8_lossy(&words)), (Some(0), ""), "{text}");
}

#[test]
fn every_alert_fires_when_it_should_and_not_otherwise() {
    let rules = std::fs::read_to_string(format!("{TOP}/docs/alerts.yml")).expect("it is there");
    let tests = std::fs::read_to_string(format!("{TOP}/tests/prometheus/alerts.test.yml"));
    let tests = tests.expect("it is there");
    for name in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {name}\n")), "{name} has no test");
    }
    let said = Command::new(require_program("promtool", INSTALL))
        .args(["test", "rules", "tests/prometheus/alerts.test.yml"])
        .current_dir(TOP)
        .output()
        .expect("it starts");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn a_real_prometheus_scrapes_and_answers_every_query_of_the_dashboard() {
    let scraped = Scraped::new().serve();
    let prometheus = Prometheus::scraping(scraped);
    // Rates need two of them.
    let is_known = || {
        let up = prometheus.query("count_over_time(up{job=\"ppserver\"}[1m]) > 3 and up == 1");
        (!up.is_empty()).then_some(())
    };
    poll_for(PATIENCE, is_known).unwrap_or_else(|| panic!("{}", prometheus.transcript()));

    let balance = prometheus.query(
        "ppserver_connections_accepted_total - ppserver_connections_active \
         - on (listener) sum by (listener) (ppserver_connections_closed_total)",
    );
    assert_eq!(balance.len(), 1, "{balance:?}");
    assert_eq!(balance[0]["value"][1], "0", "{balance:?}");

    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("queries"));
    let mut count = 0;
    for target in targets {
        let query = target["expr"].as_str().expect("a query");
        let query = query.replace("$instance", ".+").replace("$__rate_interval", "1m");
        assert!(!query.contains('$'), "{query}");
        assert!(!prometheus.query(&query).is_empty(), "no answer: {query}");
        count += 1;
    }
    assert!(count >= panels.len());
    // Its metrics, all of them, are told of in the docs.
    let docs = include_str!("../../docs/operations.md");
    for name in prometheus.names() {
        let is_ours = name.starts_with("ppserver_") || name.starts_with("process_");
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let base = base.unwrap_or(&name);
        assert!(!is_ours || docs.contains(&format!("`{base}")), "{name} is not in operations.md");
    }
}
