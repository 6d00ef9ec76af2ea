//! What the page shows, and when.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rustix::process::Signal;

use crate::browser::Page;
use crate::common::far_end::FarEnd;
use crate::common::socket::ReservedPort;
use crate::common::wire::v1;
use crate::served::{Served, echo, file, listener, refused, session};

/// Nobody listens there.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9);

#[test]
fn what_happens_is_shown_as_it_does() {
    let far_end = FarEnd::start();
    let served = Served::start(far_end.addr());
    let mut page = Page::open(&served.url());
    page.wait_for_text("#state-text", "Serving");
    page.wait_for_text("#facts", "Nothing needs attention");
    page.wait_for_text("#facts", env!("CARGO_PKG_VERSION"));
    page.wait_for_text("#link", "live");
    page.eval("window.isTheSame = true");
    assert_eq!(page.text(".tile .value"), "0");

    let mut first = session(served.server.addr());
    page.wait_until("document.querySelector('.tile .value').textContent === '1'");
    let _second = session(served.server.addr());
    page.wait_until("document.querySelector('.tile .value').textContent === '2'");
    echo(&mut first, &[7; 10_000]);
    page.wait_for_text("#tiles", "9.8 KiB in all");
    let row = "#listeners tbody tr";
    page.wait_for_text(row, "edge");
    page.wait_for_text(row, &served.server.addr().to_string());
    page.wait_for_text("#pools tbody tr", "1 of 1");
    page.wait_for_text("#pools tbody tr", "ms");
    page.wait_for_text("#endpoints tbody tr", "● up");
    drop(first);
    page.wait_until("document.querySelector('.tile .value').textContent === '1'");
    page.wait_for_text("#closed", "done");
    assert_eq!(page.eval("window.isTheSame"), true, "it was never loaded again");
}

#[test]
fn who_is_refused_is_shown_at_once_with_the_bytes_and_the_place() {
    let far_end = FarEnd::start();
    let served = Served::start(far_end.addr());
    refused(served.server.addr(), b"GET / HTTP/1.1\r\nHost: web\r\n\r\n");
    let mut page = Page::open(&served.url());
    // From before the page was there.
    page.wait_for_text("#refusals-list", "it looks like HTTP");
    page.wait_for_text("#refusals-list pre", "00000  47 45 54 20");
    page.wait_for_text("#refusals-list pre", "|GET / HTTP/1.1..|");
    page.wait_for_text("#refusals-list pre", "^^ byte 0: not_proxy");
    assert_eq!(page.text("#refusals-list mark"), "47");

    refused(served.server.addr(), b"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n");
    let newest = "#refusals-list li";
    page.wait_for_text(newest, "header_invalid");
    page.eval("document.querySelector('#refusals-list summary').click()");
    page.wait_for_text(&format!("{newest} pre"), "50 52 4f 58 59 20 54 43  50 34");
    page.wait_for_text(&format!("{newest} pre"), "^^ byte");
    // The same again is counted, not repeated.
    refused(served.server.addr(), b"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\n");
    page.wait_for_text(newest, "2 times");
    assert_eq!(page.eval("document.querySelectorAll('#refusals-list li').length"), 2);
    page.wait_for_text("#attention", "refused in the last minute");
    page.wait_for_text("#state-text", "Serving, with notices");
}

#[test]
fn connects_that_fail_are_told_first() {
    let served = Served::start(NOBODY);
    let mut page = Page::open(&served.url());
    page.wait_for_text("#facts", "Nothing needs attention");
    let header = v1("203.0.113.7:1".parse().unwrap(), NOBODY);
    refused(served.server.addr(), &header);
    page.wait_for_text("#attention", "1 of 1 connect to edge failed in the last minute");
    page.wait_for_text("#attention", "127.0.0.1:9");
    page.wait_for_text("#state-text", "Serving, with trouble");
    page.wait_for_text("#closed", "connect_failed");
}

/// A script that puts `change` in the way of what `path` answers.
fn altered(path: &str, change: &str) -> String {
    format!(
        "{{ const asked = window.fetch; window.fetch = async (path, ...rest) => {{
            const answer = await asked(path, ...rest);
            if (path !== '{path}') return answer;
            {change}
        }}; }}"
    )
}

#[test]
fn an_endpoint_that_is_down_is_told_first_with_since_when_and_why() {
    // What this version never says of an endpoint is put into its answer.
    let down = altered(
        "/api/v1/upstreams",
        "const known = await answer.json();
         Object.assign(known.pools[0].endpoints[0],
             { state: 'down', why: 'check: refused', since: '2026-01-02T03:04:05.000Z' });
         return new Response(JSON.stringify(known));",
    );
    let served = Served::start(NOBODY);
    let mut page = Page::open_behind(&served.url(), &down);
    let told = "Endpoint 127.0.0.1:9 of edge is down since 2 Jan 03:04:05";
    page.wait_for_text("#attention", told);
    page.wait_for_text("#attention", "): check: refused");
    page.wait_for_text("#attention", "Pool edge has no endpoint that is up");
    page.wait_for_text("#state-text", "Serving, with trouble");
    page.wait_for_text("#endpoints tbody tr", "▼ down");
    page.wait_for_text("#pools tbody tr", "0 of 1");
}

#[test]
fn a_worker_that_stands_still_is_told_first() {
    let still = altered(
        "/livez",
        "return new Response('worker 0 has not turned for 7 s\\n', { status: 503 });",
    );
    let served = Served::start(NOBODY);
    let mut page = Page::open_behind(&served.url(), &still);
    page.wait_for_text("#state-text", "Standing still: 1 worker of 1");
    page.wait_for_text("#attention", "worker 0 has not turned for 7 s");
}

#[test]
fn a_drain_is_told_and_so_is_its_end() {
    let far_end = FarEnd::start();
    let mut served = Served::start(far_end.addr());
    let held = session(served.server.addr());
    let mut page = Page::open(&served.url());
    page.wait_for_text("#state-text", "Serving");
    served.server.proc().signal(Signal::TERM);
    page.wait_for_text("#state-text", "Draining");
    page.leave_alone();
    drop(held);
    page.wait_for_text("#state-text", "No answer since");
}

#[test]
fn a_reload_is_told() {
    let mut served = Served::start(NOBODY);
    let mut page = Page::open(&served.url());
    page.wait_for_text("#state-text", "Serving");
    page.wait_until("events?.readyState === EventSource.OPEN");
    served.reload();
    page.wait_for_text("#attention", "nothing changed");
    page.wait_for_text("#state-text", "Serving");
}

#[test]
fn a_server_that_is_gone_is_told_and_one_that_comes_back_is_shown() {
    let (far_end, door) = (FarEnd::start(), ReservedPort::new());
    let text = file(&door.addr().to_string(), &[listener("edge", far_end.addr())]);
    let served = Served::with(&text);
    let mut page = Page::open(&served.url());
    page.wait_for_text("#state-text", "Serving");
    page.wait_for_text("#facts", "process");
    page.eval("window.isTheSame = true");
    let first = page.text("#facts");
    page.leave_alone();
    drop(served);
    page.wait_for_text("#state-text", "No answer since");
    page.wait_for_text("#link", "no answer");
    page.wait_for_text("#facts", "As of");
    assert_eq!(page.eval("document.body.className"), "stale");

    let served = Served::with(&text);
    page.wait_until("document.getElementById('state-text').textContent === 'Serving'");
    assert_eq!(page.eval("document.body.className"), "");
    assert_ne!(page.text("#facts"), first, "it is another process");
    // Its events are heard too.
    page.wait_until("events?.readyState === EventSource.OPEN");
    refused(served.server.addr(), b"hello, is it me?");
    page.wait_for_text("#refusals-list", "hello, is it me?");
    assert_eq!(page.eval("window.isTheSame"), true, "it was never loaded again");
}
