//! What listeners of datagrams are told, and what they are not.

use super::{HEAD, LISTENER, UPSTREAM, faults};

/// A listener of datagrams with these lines in its table, in its `proxy_protocol`, and in its upstream's.
fn udp(own: &str, accept: &str, send: &str) -> String {
    format!(
        "{HEAD}{LISTENER}protocol='udp'\n{own}\n[listener.proxy_protocol]\n{accept}\n\
         {UPSTREAM}[upstream.u.proxy_protocol]\n{send}\n"
    )
}

#[test]
fn every_way_to_say_who_the_client_is_can_be_asked_for() {
    for accept in ["", "versions=['v2']\ndatagrams='first'", "versions=['spp']"] {
        for send in ["", "send='off'", "send='v2'\ndatagrams='first'", "send='spp'"] {
            let accept =
                format!("accept='optional'\ntrust=['10.0.0.0/8']\nuntrusted='plain'\n{accept}");
            assert_eq!(faults(&udp("responses=1\ndont_fragment='probe'", &accept, send)), [""; 0]);
        }
    }
}

#[test]
fn versions_that_datagrams_do_not_carry_are_refused_and_so_are_those_of_connections() {
    let accept =
        |versions: &str| format!("accept='require'\ntrust=['10.0.0.0/8']\nversions={versions}");
    for (versions, found) in [
        ("['v1']", &["11:11 bad-value"][..]),
        ("['v1','v2']", &["11:11 bad-value"]),
        ("['spp','v2']", &["11:10 bad-value"]),
        ("['sp']", &["11:11 bad-value"]),
    ] {
        assert_eq!(faults(&udp("", &accept(versions), "")), found, "{versions}");
    }
    assert_eq!(faults(&udp("", "", "send='v1'")), ["5:10 bad-value"]);
    let tcp = |accept: &str, send: &str| {
        let text = udp("", accept, send).replace("protocol='udp'", "");
        faults(&text)
    };
    assert_eq!(tcp(&accept("['spp']"), ""), ["11:11 bad-value"]);
    assert_eq!(tcp("", "send='spp'"), ["5:10 bad-value"]);
}

#[test]
fn what_is_about_the_other_protocol_has_no_effect() {
    let tcp = format!(
        "{HEAD}{LISTENER}responses=1\ndont_fragment='off'\n[listener.proxy_protocol]\naccept='require'\n\
         trust=['10.0.0.0/8']\ndatagrams='first'\n[listener.timeouts]\nflow='1s'\n[listener.limits]\nflows=1\n\
         {UPSTREAM}[upstream.u.proxy_protocol]\nsend='v2'\ndatagrams='first'\n"
    );
    let places = ["6:1", "7:1", "11:1", "13:1", "15:1", "20:1"];
    assert_eq!(faults(&tcp), places.map(|place| format!("{place} no-effect")));
    let timeouts = "[listener.timeouts]\nidle='1s'\nflow='1s'\n";
    let text = udp("", "", "").replace("[upstream.u]", &format!("{timeouts}[upstream.u]"));
    assert_eq!(faults(&text), ["11:1 no-effect"]);
}

#[test]
fn an_address_of_datagrams_is_none_of_connections() {
    let second = "[[listener]]\nname='b'\nbind=['127.0.0.1:1']\nupstream='u'\n";
    let text = udp("", "", "").replace("[upstream.u]", &format!("{second}[upstream.u]"));
    assert_eq!(faults(&text), [""; 0]);
    let twice = text.replace("name='b'\n", "name='b'\nprotocol='udp'\n");
    assert_eq!(faults(&twice), ["13:7 duplicate"]);
    // Where connections are taken at an address that datagrams go to, nothing goes round.
    let round = text
        .replace("127.0.0.1:2", "127.0.0.1:1")
        .replace("name='b'\nbind=['127.0.0.1:1']", "name='b'\nbind=['127.0.0.1:9']");
    assert_eq!(faults(&round), ["15:12 loop"]);
    let unix = udp("", "", "").replace("127.0.0.1:1", "unix:/run/dns");
    assert_eq!(faults(&unix), ["4:7 not-supported"]);
    let passed = udp("", "", "").replace("127.0.0.1:1", "fd:dns");
    assert_eq!(faults(&passed), ["4:7 not-supported"]);
}

#[test]
fn what_takes_datagrams_alone_is_checked_by_datagrams() {
    let second = "[[listener]]\nname='b'\nbind=['127.0.0.1:3']\nupstream='u'\n";
    let alone = |check: &str| format!("{}[upstream.u.health]\n{check}\n", udp("", "", ""));
    let beside =
        |check: &str| alone(check).replace("[upstream.u]", &format!("{second}[upstream.u]"));
    let question = "check='exchange'\nsend='hex:0a'";
    let at = |text: &str, found: &str| {
        let line = text.lines().position(|line| line.starts_with("check=")).unwrap() + 1;
        assert_eq!(faults(text), [format!("{line}:7 {found}")], "{text}");
    };
    for text in [alone(question), alone("check='off'"), beside("check='tcp'")] {
        assert_eq!(faults(&text), [""; 0], "{text}");
    }
    at(&alone("check='tcp'"), "bad-value");
    at(&alone("check='exchange'"), "bad-value");
    at(&beside(question), "bad-value");
}
