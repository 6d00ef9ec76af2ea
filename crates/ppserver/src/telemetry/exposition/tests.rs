//! Both forms of a small ledger, and who gets which.

use ppcore::ErrorKind;

use super::*;
use crate::config::{Host, from_bytes};
use crate::core::close_reason::CloseReason;
use crate::core::connect_result::ConnectResult;
use crate::core::pool::Pool;
use crate::core::pool::balance::Balance;
use crate::core::pool::endpoint::{Endpoint, Member};

const FILE: &str = "config_version = 1\n[[listener]]\nname = 'edge'\nbind = ['127.0.0.1:1']\n\
    upstream = 'web'\n[upstream.web]\nendpoints = ['127.0.0.1:2']\n";

/// A ledger in which a few things have happened.
fn ledger() -> Ledger {
    let loaded = from_bytes("f".into(), FILE.as_bytes(), Host::default()).expect("no error");
    let member = Member::at("127.0.0.1:2".parse().expect("an address"));
    let endpoints = vec![Endpoint::new(member, 1)];
    let balance = Balance::RoundRobin;
    let pools = [Pool { endpoints, attempts_max: 1, failures_max: 0, balance }];
    let ledger = Ledger::new(1);
    ledger.follow(&loaded.config, &pools);
    let cells = ledger.cells(0, &loaded.config, &pools);
    cells.listeners[0].open();
    cells.listeners[0].open();
    cells.listeners[0].close(CloseReason::HeaderInvalid);
    cells.listeners[0].refuse_header(ErrorKind::V1TooLong);
    let pool = &cells.upstreams[0];
    pool.endpoints[0].connect(ConnectResult::Ok);
    pool.upstream.connect_duration.observe(std::time::Duration::from_millis(7));
    ledger
}

#[test]
fn both_forms_say_the_same_of_every_family() {
    let ledger = ledger();
    let open = render(&ledger, 3, Format::OpenMetrics);
    let plain = render(&ledger, 3, Format::Prometheus);
    assert!(open.ends_with("# EOF\n") && !plain.contains("# EOF"), "{plain}");
    for (open_type, plain_type) in [
        ("ppserver_connections_accepted counter", "ppserver_connections_accepted_total counter"),
        ("ppserver_connections_active gauge", "ppserver_connections_active gauge"),
        (
            "ppserver_header_duration_seconds histogram",
            "ppserver_header_duration_seconds histogram",
        ),
        ("ppserver_build info", "ppserver_build_info gauge"),
    ] {
        assert!(open.contains(&format!("# TYPE {open_type}\n")), "{open}");
        assert!(plain.contains(&format!("# TYPE {plain_type}\n")), "{plain}");
    }
    for line in [
        "ppserver_connections_accepted_total{listener=\"edge\"} 2",
        "ppserver_connections_active{listener=\"edge\"} 1",
        "ppserver_connections_closed_total{listener=\"edge\",reason=\"header_invalid\"} 1",
        "ppserver_connections_closed_total{listener=\"edge\",reason=\"done\"} 0",
        "ppserver_header_refusals_total{listener=\"edge\",reason=\"v1_too_long\"} 1",
        "ppserver_headers_total{listener=\"edge\",version=\"v2\",command=\"LOCAL\"} 0",
        "ppserver_bytes_total{listener=\"edge\",direction=\"down\"} 0",
        "ppserver_connect_duration_seconds_count{upstream=\"web\"} 1",
        "ppserver_connects_total{upstream=\"web\",endpoint=\"127.0.0.1:2\",result=\"ok\"} 1",
        "ppserver_connects_total{upstream=\"web\",endpoint=\"127.0.0.1:2\",result=\"self\"} 0",
        "ppserver_endpoint_up{upstream=\"web\",endpoint=\"127.0.0.1:2\"} 1",
        "ppserver_endpoint_connections_active{upstream=\"web\",endpoint=\"127.0.0.1:2\"} 1",
        "ppserver_log_lines_dropped_total 3",
        "ppserver_worker_busy_seconds_total{worker=\"0\"} 0.0",
        "ppserver_reloads_total{result=\"refused\"} 0",
    ] {
        assert!(open.lines().any(|other| other == line), "{line}\n{open}");
        assert!(plain.lines().any(|other| other == line), "{line}\n{plain}");
    }
    for (bound, count) in [("0.005", 0), ("0.01", 1), ("+Inf", 1)] {
        // Which label comes first is up to the form.
        let is_bucket = |line: &&str| {
            line.starts_with("ppserver_connect_duration_seconds_bucket")
                && line.contains(&format!("le=\"{bound}\""))
        };
        for text in [&open, &plain] {
            let line = text.lines().find(is_bucket).expect("every bound has a line");
            assert!(line.ends_with(&format!("}} {count}")), "{line}");
        }
    }
}

#[test]
fn plain_text_is_for_those_who_prefer_it() {
    for (accept, expected) in [
        ("", Format::OpenMetrics),
        ("*/*", Format::OpenMetrics),
        ("text/plain", Format::Prometheus),
        ("Text/Plain; version=0.0.4", Format::Prometheus),
        ("text/plain;q=0.000", Format::OpenMetrics),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Format::OpenMetrics,
        ),
        (
            "application/openmetrics-text; q=0.25, text/plain;version=0.0.4;q=0.3",
            Format::Prometheus,
        ),
    ] {
        assert_eq!(Format::accepted(accept), expected, "{accept}");
    }
}
