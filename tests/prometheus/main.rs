//! What is exposed to a real Prometheus: it scrapes and answers, promtool finds nothing, the alert rules of
//! docs/alerts.yml fire when they should, and every query of docs/grafana-dashboard.json has an answer.
//!
//! A missing program fails the tests with the line that installs it.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "shared with the interop tests, which use all of it")]
mod common;
mod running;
mod scraped;
mod server;

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use common::deadline::{PATIENCE, poll_for};
use common::process::require_program;
use ppserver::telemetry::exposition::Format;
use running::Running;
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
    let prometheus = Prometheus::scraping(Scraped::new().serve());
    prometheus.wait_for_scrapes();
    assert_balanced(&prometheus);
    for query in dashboard() {
        assert!(!prometheus.query(&query).is_empty(), "no answer: {query}");
    }
    // Its metrics, all of them, are told of in the docs.
    let docs = include_str!("../../docs/operations.md");
    for name in prometheus.names() {
        let is_ours = name.starts_with("ppserver_") || name.starts_with("process_");
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let base = base.unwrap_or(&name);
        assert!(!is_ours || docs.contains(&format!("`{base}")), "{name} is not in operations.md");
    }
}

#[test]
fn a_running_server_is_scraped_while_clients_come_and_go_and_its_figures_balance() {
    let running = Running::start();
    let prometheus = Prometheus::scraping(running.door());
    let (_open, refused) = (running.open(), 3);
    (0..refused).for_each(|_| running.be_refused());
    let scraped = poll_for(PATIENCE, || {
        running.come_and_go();
        assert_balanced(&prometheus);
        prometheus.has_scrapes().then_some(())
    });
    assert!(scraped.is_some(), "{}", prometheus.transcript());
    let counts = |query: &str| prometheus.number(query);
    let come = running.come_and_gone() + refused + 1;
    prometheus
        .wait_for(&format!("ppserver_connections_accepted_total{{listener=\"edge\"}} == {come}"));
    prometheus.wait_for("ppserver_connections_active{listener=\"edge\"} == 1");
    assert_eq!(counts("ppserver_connections_closed_total{reason=\"header_absent\"}"), refused);
    assert_eq!(
        counts("ppserver_connections_closed_total{reason=\"done\"}"),
        running.come_and_gone()
    );
    assert_eq!(counts("sum(ppserver_connects_total{result=\"ok\"})"), running.come_and_gone() + 1);
    assert_balanced(&prometheus);
    // Those that refuse an expression end the test.
    dashboard().iter().for_each(|query| drop(prometheus.query(query)));
}

/// Of each listener that is known, and of all.
#[track_caller]
fn assert_balanced(prometheus: &Prometheus) {
    let balance = prometheus.query(
        "ppserver_connections_accepted_total - ppserver_connections_active \
         - on (listener) sum by (listener) (ppserver_connections_closed_total)",
    );
    assert!(balance.len() <= 1, "there is one listener: {balance:?}");
    for series in &balance {
        assert_eq!(series["value"][1], "0", "{balance:?}");
    }
}

/// The queries of the dashboard, their variables filled in.
fn dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("queries"));
    let queries = targets.map(|target| {
        let query = target["expr"].as_str().expect("a query");
        let query = query.replace("$instance", ".+").replace("$__rate_interval", "1m");
        assert!(!query.contains('$'), "{query}");
        query
    });
    let queries: Vec<_> = queries.collect();
    assert!(queries.len() >= panels.len());
    queries
}
