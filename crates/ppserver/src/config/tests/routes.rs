//! Routes: what is read, what is refused and where, and which of them nobody takes.

use std::net::Ipv4Addr;

use super::{HEAD, LISTENER, UPSTREAM, check, faults, loaded};
use crate::config::{Colour, Way};
use crate::core::route::{Name, Pattern, When};

const ACCEPT: &str = "proxy_protocol={accept='require',trust=['10.0.0.0/8']}\n";

/// A listener that takes headers, with these lines of its routes, from line 7 on.
fn file(routes: &str) -> String {
    format!("{HEAD}{LISTENER}{ACCEPT}{routes}\n{UPSTREAM}")
}

/// With one route, whose `when` stands in line 8.
fn route(when: &str) -> String {
    file(&format!("[[listener.route]]\nwhen = {when}\nupstream = 'u'"))
}

fn rendered(text: &str) -> String {
    match check(text) {
        Ok(loaded) => loaded.warnings.render(Colour::Off),
        Err(report) => report.render(Colour::Off),
    }
}

#[test]
fn a_route_leads_to_an_upstream_or_denies() {
    let text = file(
        "[[listener.route]]\nwhen = { client = ['192.0.2.0/24'] }\nupstream = 'v'\n\
         [[listener.route]]\nwhen = {}\ndeny = true\n[upstream.v]\nendpoints = ['127.0.0.1:3']",
    );
    let config = loaded(&text);
    let ways: Vec<_> = config.listeners[0].routes.iter().map(|route| route.way).collect();
    let at = config.upstreams.iter().position(|upstream| upstream.name == "v");
    assert_eq!(ways, [Way::To(at.unwrap()), Way::Deny]);
    assert_eq!(config.listeners[0].routes[1].when, When::default());
}

#[test]
fn what_a_route_lacks_or_has_too_much_of_is_said_where_it_is() {
    for (lines, expected) in [
        ("upstream = 'u'", &["7:1 missing-key"][..]),
        ("when = {}", &["7:1 missing-key"]),
        ("when = {}\ndeny = false", &["7:1 missing-key"]),
        ("when = {}\nupstream = 'u'\ndeny = true", &["9:12 bad-value"]),
        ("when = {}\nupstream = 'w'", &["9:12 unknown-upstream"]),
        ("when = {}\nupstream = 7", &["9:12 wrong-type"]),
        ("when = 'all'\nupstream = 'u'", &["8:8 wrong-type"]),
        ("when = {}\nupstraem = 'u'", &["7:1 missing-key", "9:1 unknown-key"]),
    ] {
        assert_eq!(faults(&file(&format!("[[listener.route]]\n{lines}"))), expected, "{lines}");
    }
    let text = file("[[listener.route]]\nwhen = {}\nupstream = 'uu'");
    assert!(rendered(&text).contains("did you mean \"u\"?"), "{}", rendered(&text));
    assert_eq!(faults(&file("[listener.route]\nwhen = {}\ndeny = true")), ["7:1 wrong-type"]);
}

#[test]
fn what_a_condition_cannot_be_is_said_where_it_is() {
    for (when, column, code) in [
        ("{ client = [] }", 19, "bad-value"),
        ("{ client = '10.0.0.0/8' }", 19, "wrong-type"),
        ("{ client = ['10/8'] }", 20, "bad-value"),
        ("{ peer = ['10.0.0.1/8'] }", 18, "host-bits"),
        ("{ peers = ['10.0.0.0/8'] }", 10, "unknown-key"),
        ("{ sni = [] }", 16, "bad-value"),
        ("{ sni = ['a.*.test'] }", 17, "bad-value"),
        ("{ sni = ['*'] }", 17, "bad-value"),
        ("{ sni = ['192.0.2.1'] }", 17, "bad-value"),
        ("{ sni = ['a b'] }", 17, "bad-value"),
        ("{ alpn = [''] }", 18, "bad-value"),
        ("{ tlv = 'x' }", 16, "wrong-type"),
        ("{ tlv = { 0xEA = [] } }", 25, "bad-value"),
        ("{ tlv = { 0x100 = 'x' } }", 18, "bad-value"),
        ("{ tlv = { authorty = 'x' } }", 18, "bad-value"),
        ("{ tlv = { ssl_cn = 'x' } }", 18, "bad-value"),
        ("{ tlv = { 0xEA = 7 } }", 25, "wrong-type"),
        ("{ tlv = { 0xEA = '' } }", 25, "bad-value"),
        ("{ tlv = { 0xEA = 'a*b' } }", 25, "bad-value"),
        ("{ tlv = { 0xEE = 4294967296 } }", 25, "bad-value"),
        ("{ tlv = { 0xEE = 'one' } }", 25, "bad-value"),
        ("{ tlv = { 0xE1 = 'hex:0' } }", 25, "bad-value"),
        ("{ tlv = { 0xE1 = 'hex:0g' } }", 25, "bad-value"),
        ("{ tlv = { 0xEA = 'a', aws_vpc_endpoint_id = 'b' } }", 30, "duplicate"),
    ] {
        assert_eq!(faults(&route(when)), [format!("8:{column} {code}")], "{when}");
    }
    let report = rendered(&route("{ tlv = { authorty = 'x' } }"));
    assert!(report.contains("did you mean `authority`?"), "{report}");
    let report = rendered(&route("{ peers = ['10.0.0.0/8'] }"));
    assert!(report.contains("did you mean `peer`?"), "{report}");
}

#[test]
fn a_pattern_says_what_a_tlv_is_compared_with() {
    let id = |text: &str| Pattern::Id(text.to_owned());
    for (text, kind, expected) in [
        ("0xEA = 'vpce-1'", 0xEA, vec![id("vpce-1")]),
        (
            "aws_vpc_endpoint_id = ['a', 'b*']",
            0xEA,
            vec![id("a"), Pattern::IdPrefix("b".to_owned())],
        ),
        (
            "0xEE = [42, '43', 'hex:012b000000']",
            0xEE,
            vec![Pattern::Number(42), Pattern::Number(43), Pattern::Bytes(vec![1, 43, 0, 0, 0])],
        ),
        ("0xE0 = '18446744073709551615'", 0xE0, vec![Pattern::Number(u64::MAX)]),
        ("2 = '*'", 2, vec![Pattern::Present]),
        ("0xE1 = 'hex:0A*'", 0xE1, vec![Pattern::BytesPrefix(vec![10])]),
        ("0xE1 = '42'", 0xE1, vec![id("42")]),
    ] {
        let config = loaded(&route(&format!("{{ tlv = {{ {text} }} }}")));
        assert_eq!(config.listeners[0].routes[0].when.tlvs, [(kind, expected)], "{text}");
    }
}

#[test]
fn names_are_read_without_their_case_and_last_dot() {
    let config = loaded(&route("{ sni = ['A.Test.', '*.Example.com'], alpn = ['h2'] }"));
    let when = &config.listeners[0].routes[0].when;
    let names = [Name::Exact("a.test".to_owned()), Name::Below("example.com".to_owned())];
    assert_eq!((&when.sni[..], &when.alpn[..]), (&names[..], &["h2".to_owned()][..]));
}

#[test]
fn a_route_that_nobody_can_take_is_warned_about() {
    let routes = |whens: &[&str]| {
        let route = |when: &&str| format!("[[listener.route]]\nwhen = {when}\nupstream = 'u'\n");
        faults(&file(&whens.iter().map(route).collect::<String>()))
    };
    let (wide, narrow) = ("{ client = ['10.0.0.0/8'] }", "{ client = ['10.1.0.0/16'] }");
    assert_eq!(routes(&[wide, narrow]), ["10:1 unreachable-route"]);
    assert_eq!(routes(&[narrow, wide]), [""; 0]);
    assert_eq!(routes(&["{}", wide, narrow]), ["10:1 unreachable-route", "13:1 unreachable-route"]);
    let text = file(
        "[[listener.route]]\nwhen = {}\ndeny = true\n[[listener.route]]\nwhen = {}\ndeny = true",
    );
    let report = rendered(&text);
    assert!(report.contains("no connection takes route 2: route 1 takes them all"), "{report}");
}

#[test]
fn a_condition_on_tlvs_where_none_can_come_is_warned_about() {
    let when = "{ tlv = { 0xEA = '*' } }";
    let plain = route(when).replace(ACCEPT, "");
    assert_eq!(faults(&plain), ["7:10 no-effect"]);
    assert_eq!(faults(&route(when).replace("trust", "versions=['v1'],trust")), ["8:10 no-effect"]);
    assert_eq!(faults(&route(when)), [""; 0]);
}

#[test]
fn an_upstream_that_only_a_route_uses_is_used() {
    let text = file(
        "[[listener.route]]\nwhen = {}\nupstream = 'v'\n[upstream.v]\nendpoints = ['127.0.0.1:1']",
    );
    assert_eq!(faults(&text), ["11:14 own-listener"], "and leads back as any other");
    let two =
        "[[listener.route]]\nwhen = {}\nupstream = 'v'\n[upstream.v]\nendpoints = ['127.0.0.1:3']";
    assert_eq!(faults(&file(two)), [""; 0]);
}

#[test]
fn there_are_at_most_a_thousand_routes() {
    let routes = |count: usize| {
        let route = |nth: usize| {
            let client = format!("10.{}.{}.0/24", nth / 256, nth % 256);
            format!("[[listener.route]]\nwhen = {{ client = ['{client}'] }}\ndeny = true\n")
        };
        faults(&file(&(0..count).map(route).collect::<String>()))
    };
    assert_eq!(routes(1_000), [""; 0]);
    assert_eq!(routes(1_001), ["3007:1 bad-value"]);
}

#[test]
fn a_list_may_have_a_hundred_thousand_networks() {
    // Every second one, so that none can be joined with another.
    let network = |at: u32| format!("'{}/24',", Ipv4Addr::from_bits(at << 9));
    let list: String = (0..100_000).map(network).collect();
    let config = loaded(&route(&format!("{{ client = [{list}] }}")));
    let networks = config.listeners[0].routes[0].when.client.as_ref().unwrap();
    assert_eq!(networks.iter().count(), 100_000);
    for (addr, is_in) in [(0, true), (99_999 << 9 | 0xFF, true), (99_999 << 9 | 0x100, false)] {
        assert_eq!(networks.contains(Ipv4Addr::from_bits(addr).into()), is_in);
    }
}
