//! What is warned about, and what is not.

use std::time::Duration;

use super::{HEAD, LISTENER, UPSTREAM, accept_faults, faults, loaded};
use crate::config::{Host, from_bytes};

#[test]
fn trust_without_accept_is_warned_about() {
    assert_eq!(accept_faults("trust=['10.0.0.0/8']"), ["7:1 no-effect"]);
    assert_eq!(accept_faults("accept='off'\nlocal='reject'"), ["8:1 no-effect"]);
}

#[test]
fn everybody_trusted_on_a_public_address_is_warned_about() {
    for (bind, trust, expected) in [
        ("0.0.0.0:1", "'any'", 1),
        ("[::]:1", "'any'", 1),
        ("203.0.113.1:1", "['0.0.0.0/0', '::/0']", 1),
        ("127.0.0.1:1", "'any'", 0),
        ("10.0.0.1:1", "'any'", 0),
        ("0.0.0.0:1", "['10.0.0.0/8']", 0),
    ] {
        let text = format!(
            "{HEAD}[[listener]]\nname='a'\nbind=['{bind}']\nupstream='u'\n\
             [listener.proxy_protocol]\naccept='require'\ntrust={trust}\n{UPSTREAM}"
        );
        assert_eq!(faults(&text), vec!["8:7 open-trust"; expected], "{bind} {trust}");
    }
}

#[test]
fn a_header_deadline_below_three_seconds_is_warned_about_where_it_is_set() {
    let text = format!(
        "{HEAD}[timeouts]\nheader='2999ms'\n{LISTENER}[listener.timeouts]\nheader='1s'\n{UPSTREAM}"
    );
    assert_eq!(faults(&text), ["3:8 short-header-timeout", "9:8 short-header-timeout"]);
    assert_eq!(loaded(&text).listeners[0].timeouts.header, Duration::from_secs(1));
}

#[test]
fn an_endpoint_that_is_our_own_listener_is_warned_about() {
    let text = format!("{HEAD}{LISTENER}{}", UPSTREAM.replace(":2", ":1"));
    assert_eq!(faults(&text), ["7:12 own-listener"]);
}

#[test]
fn more_retries_than_other_endpoints_are_warned_about() {
    let text = format!("{HEAD}{LISTENER}{UPSTREAM}retries=3\n");
    assert_eq!(faults(&text), ["8:9 no-effect"]);
}

#[test]
fn too_few_descriptors_are_warned_about() {
    for (settings, needed) in [
        // Each worker has three.
        ("", 64 + 2 * 3 + 2000),
        ("workers=5\n", 64 + 5 * 3 + 2000),
        ("[splice]\nmax_pipes=10\n", 64 + 2 * 3 + 2000 + 2 * 10),
    ] {
        let text = format!("{HEAD}[server]\nmax_connections=1000\n{settings}{LISTENER}{UPSTREAM}");
        let warnings = |descriptors_max| {
            let host = Host { descriptors_max, cpus: 2 };
            from_bytes("f".into(), text.as_bytes(), host).unwrap().warnings.warnings().count()
        };
        let around = (warnings(None), warnings(Some(needed)), warnings(Some(needed - 1)));
        assert_eq!(around, (0, 0, 1), "{settings}");
    }
}
