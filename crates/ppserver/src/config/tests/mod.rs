//! Whole files: what is accepted, and what is refused and where.

mod datagrams;
mod every_key;
mod flags;
mod lints;
mod mistakes;
mod random;
mod routes;
mod words;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use every_key::{EXAMPLE, every_key};

use super::keys::TABLES;
use super::*;

const FULL_SHAPE: &str = include_str!("../../../../../tests/config/full-shape.toml");
const BROKEN: &str = include_str!("../../../../../tests/config/broken.toml");
const BROKEN_REPORT: &str = include_str!("../../../../../tests/config/broken.txt");
const README: &str = include_str!("../../../../../README.md");
const README_JA: &str = include_str!("../../../../../README.ja.md");
const UPSTREAMS: &str = include_str!("../../../../../docs/upstreams.md");
const ROUTING: &str = include_str!("../../../../../docs/routing.md");
const UDP: &str = include_str!("../../../../../docs/udp.md");
const OPERATIONS: &str = include_str!("../../../../../docs/operations.md");

/// Listener and upstream of the least file that is right.
const HEAD: &str = "config_version = 1\n";
const LISTENER: &str = "[[listener]]\nname='a'\nbind=['127.0.0.1:1']\nupstream='u'\n";
const UPSTREAM: &str = "[upstream.u]\nendpoints=['127.0.0.1:2']\n";

fn check(text: &str) -> Result<Loaded, Report> {
    from_bytes("f.toml".into(), text.as_bytes(), Host::default())
}

fn faults(text: &str) -> Vec<String> {
    places(check(text))
}

/// Every fault as `line:column code`, errors and warnings, in the order of the text.
fn places(outcome: Result<Loaded, Report>) -> Vec<String> {
    let report = match outcome {
        Ok(loaded) => loaded.warnings,
        Err(report) => report,
    };
    let (errors, warnings) = report.to_json();
    let all = serde_json::to_value([errors, warnings].concat()).unwrap();
    let mut places: Vec<_> = all.as_array().unwrap().iter().collect();
    places.sort_by_key(|fault| (fault["line"].as_u64(), fault["column"].as_u64()));
    let place = |fault: &serde_json::Value| {
        format!("{}:{} {}", fault["line"], fault["column"], fault["code"].as_str().unwrap())
    };
    places.into_iter().map(place).collect()
}

/// The faults of the least file with `lines` in its listener's proxy_protocol table, at line 6.
fn accept_faults(lines: &str) -> Vec<String> {
    faults(&format!("{HEAD}{LISTENER}[listener.proxy_protocol]\n{lines}\n{UPSTREAM}"))
}

fn loaded(text: &str) -> Config {
    let loaded = check(text).unwrap_or_else(|report| panic!("{}", report.render(Colour::Off)));
    loaded.config
}

#[test]
fn the_least_file_has_every_default() {
    let config = loaded(&format!("{HEAD}{LISTENER}{UPSTREAM}"));
    assert_eq!(config.server, Server::default());
    assert_eq!((config.tcp, config.splice), (Tcp::default(), Splice::default()));
    assert_eq!(config.listeners[0].accept, HeaderMode::Off);
    assert_eq!(config.listeners[0].timeouts, Timeouts::default());
    assert_eq!(config.upstreams[0].retries, 1);
    assert_eq!(config.upstreams[0].send, Sending::of(None));
    assert_eq!(config.upstreams[0].health, Health::default());
}

#[test]
fn the_documented_example_is_clean() {
    let loaded = check(EXAMPLE).unwrap_or_else(|report| panic!("{}", report.render(Colour::Off)));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(Colour::Off));
}

#[test]
fn the_documented_example_with_every_comment_taken_away_is_the_same_configuration() {
    let text = every_key();
    assert!(text.contains("\nworkers = \"auto\"") && text.contains("\ncrc32c = false"), "{text}");
    assert_eq!(loaded(&text), loaded(EXAMPLE));
}

#[test]
fn every_configuration_of_a_page_is_clean() {
    let blocks = |page: &'static str| page.split("```toml\n").skip(1);
    assert!([UPSTREAMS, ROUTING].iter().all(|page| blocks(page).count() >= 2));
    for block in [README, README_JA, UPSTREAMS, ROUTING, UDP].into_iter().flat_map(blocks) {
        let (text, _) = block.split_once("```").expect("a block has an end");
        let loaded = check(text).unwrap_or_else(|report| panic!("{}", report.render(Colour::Off)));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(Colour::Off));
    }
}

#[test]
fn the_full_shape_is_read_without_a_word() {
    let loaded =
        check(FULL_SHAPE).unwrap_or_else(|report| panic!("{}", report.render(Colour::Off)));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(Colour::Off));
}

#[test]
fn every_error_of_a_broken_file_is_drawn_at_once() {
    let report = from_bytes("broken.toml".into(), BROKEN.as_bytes(), Host::default()).unwrap_err();
    assert_eq!(report.render(Colour::Off) + &report.summary() + "\n", BROKEN_REPORT);
}

#[test]
fn a_missing_version_is_told_and_an_unknown_one_stops_everything_else() {
    assert_eq!(faults(&format!("{LISTENER}{UPSTREAM}")), ["1:1 missing-key"]);
    assert_eq!(faults("config_version = 2\nnew_key = 1\n"), ["1:18 not-supported"]);
    assert_eq!(faults("config_version = '1'\n"), ["1:18 wrong-type"]);
    assert_eq!(faults(HEAD), ["null:null missing-key"]);
    assert_eq!(faults(&format!("{HEAD}listener = []\n")), ["null:null missing-key"]);
    assert_eq!(faults(&format!("{HEAD}[listener]\n")), ["2:1 wrong-type"]);
}

#[test]
fn required_keys_are_missed_at_their_table() {
    let expected = [
        "2:1 missing-key", // name
        "2:1 missing-key", // bind
        "2:1 missing-key", // upstream
        "3:1 missing-key", // endpoints
        "3:11 unused-upstream",
    ];
    assert_eq!(faults(&format!("{HEAD}[[listener]]\n[upstream.u]\n")), expected);
}

#[test]
fn an_endpoint_is_an_address_or_a_table_with_what_it_is() {
    let pool = |lines: &str| faults(&format!("{HEAD}{LISTENER}[upstream.u]\n{lines}\n"));
    let one = |keys: &str| pool(&format!("endpoints=['127.0.0.1:2',{{{keys}}}]"));
    let good = "address='127.0.0.1:3',weight=1000,backup=true,max_connections=262144";
    assert_eq!(one(good), [""; 0]);
    let text = format!("{HEAD}{LISTENER}[upstream.u]\nendpoints=[{{{good}}},'web:80']\n");
    let upstream = loaded(&text).upstreams.remove(0);
    let expected = Entry {
        endpoint: "127.0.0.1:3".parse().unwrap(),
        weight: 1000,
        backup: Toggle::On,
        connections_max: 262_144,
        send: EntrySend::Inherited,
    };
    assert_eq!(upstream.endpoints, [expected, Entry::plain("web:80".parse().unwrap())]);
    for (keys, expected) in [
        ("weight=1", "7:26 missing-key"),
        ("address='web'", "7:35 bad-value"),
        ("address='web:1',weight=1001", "7:50 bad-value"),
        ("address='web:1',weight=-1", "7:50 bad-value"),
        ("address='web:1',backup='yes'", "7:50 wrong-type"),
        ("address='web:1',max_connections=262145", "7:59 bad-value"),
        ("address='web:1',wieght=1", "7:43 unknown-key"),
        ("srv='_a._tcp.web',weight=1001", "7:52 bad-value"),
        ("address='web:1',srv='_a._tcp.web'", "7:26 bad-value"),
    ] {
        assert_eq!(one(keys), [expected], "{keys}");
    }
}

#[test]
fn terms_of_an_ejection_fit_together() {
    let passive = |keys: &str| faults(&format!("{HEAD}{LISTENER}{UPSTREAM}passive={{{keys}}}\n"));
    for (keys, expected) in [
        ("failures=1000,eject='100ms',max='1d'", ""),
        ("failures=1001", "8:19 bad-value"),
        ("eject='99ms'", "8:16 bad-value"),
        ("max='25h'", "8:14 bad-value"),
        ("eject='3m'", "8:16 bad-value"),
        ("eject='3m',max='2m'", "8:25 bad-value"),
        ("eject='3m',max='3m'", ""),
        ("ejects='3m'", "8:10 unknown-key"),
    ] {
        let expected: Vec<_> = Some(expected).filter(|text| !text.is_empty()).into_iter().collect();
        assert_eq!(passive(keys), expected, "{keys}");
    }
}

#[test]
fn trust_is_mandatory_and_its_entries_are_checked() {
    assert_eq!(accept_faults("accept='require'"), ["7:8 missing-key"]);
    assert_eq!(accept_faults("accept='optional'"), ["7:8 missing-key"]);
    assert_eq!(accept_faults("accept='require'\ntrust=[]"), ["8:7 bad-value"]);
    assert_eq!(accept_faults("accept='require'\ntrust='all'"), ["8:7 bad-value"]);
    assert_eq!(accept_faults("accept='require'\ntrust=true"), ["8:7 wrong-type"]);
    assert_eq!(
        accept_faults("accept='require'\ntrust=['10.0.0.0/33',1]"),
        ["8:8 bad-value", "8:22 wrong-type"]
    );
    assert_eq!(accept_faults("accept='require'\ntrust=['10.0.0.1/8']"), ["8:8 host-bits"]);
    assert_eq!(accept_faults("accept='require'\ntrust='any'"), Vec::<String>::new());
    assert_eq!(accept_faults("accept='off'"), Vec::<String>::new());
}

#[test]
fn values_out_of_range_are_refused_and_their_neighbours_taken() {
    let accept = |key: &str, value: &str| {
        accept_faults(&format!("accept='require'\ntrust='any'\n{key}={value}"))
    };
    for (value, is_good) in [
        ("'15B'", false),
        ("'16B'", true),
        ("'65551B'", true),
        ("'65552B'", false),
        ("4096", false),
        ("'4KB'", false),
    ] {
        assert_eq!(accept("header_max", value).is_empty(), is_good, "header_max = {value}");
    }
    let long_path = format!("'/{}'", "s".repeat(107));
    for (section, key, value, is_good) in [
        ("server", "workers", "0", false),
        ("server", "workers", "1", true),
        ("server", "workers", "256", true),
        ("server", "workers", "257", false),
        ("server", "workers", "'auto'", true),
        ("server", "workers", "'Auto'", false),
        ("server", "workers", "1.5", false),
        ("server", "workers", "-1", false),
        ("server", "workers", "99999999999999999999", false),
        ("server", "max_connections", "262144", true),
        ("server", "max_connections", "262145", false),
        ("server", "shutdown_grace", "'0s'", true),
        ("server", "lame_duck", "'0s'", true),
        ("server", "lame_duck", "5", false),
        ("timeouts", "header", "'0s'", false),
        ("timeouts", "idle", "'1ms'", true),
        ("timeouts", "idle", "'366d'", true),
        ("timeouts", "idle", "'367d'", false),
        ("timeouts", "idle", "30", false),
        ("tcp", "keepalive", "{ idle = '1s' }", true),
        ("tcp", "keepalive", "{ idle = '1500ms' }", false),
        ("tcp", "keepalive", "{ count = 128 }", false),
        ("tcp", "keepalive", "false", false),
        ("tcp", "backlog", "65536", false),
        ("tcp", "nodelay", "1", false),
        ("splice", "pipe_size", "'4KiB'", true),
        ("splice", "pipe_size", "'2MiB'", false),
        ("splice", "mode", "'never'", false),
        ("admin", "listen", "'127.0.0.1:9464'", true),
        ("admin", "listen", "''", true),
        ("admin", "listen", "'localhost:9464'", false),
        ("admin", "listen", "'127.0.0.1:1'", false),
        ("admin", "socket", "'/run/a.sock'", true),
        ("admin", "socket", "''", true),
        ("admin", "socket", "'unix:/run/a.sock'", false),
        ("admin", "socket", &long_path, false),
        ("log", "output", "'file:/tmp/x'", false),
        ("access_log", "output", "'file:/tmp/x'\nenabled = true", true),
        ("access_log", "output", "'file:'", false),
        ("access_log", "output", "'syslog'", false),
        ("access_log", "format", "'logfmt'", false),
    ] {
        let text = format!("{HEAD}[{section}]\n{key} = {value}\n{LISTENER}{UPSTREAM}");
        let found = faults(&text);
        assert_eq!(found.is_empty(), is_good, "{key} = {value}: {found:?}");
        let is_placed = found.iter().all(|fault| fault.starts_with("3:"));
        assert!(is_placed, "{key} = {value} stands on line 3: {found:?}");
    }
}

#[test]
fn listener_timeouts_override_single_ones() {
    let text = format!(
        "{HEAD}[timeouts]\nidle='9s'\nconnect='8s'\n{LISTENER}[listener.timeouts]\nidle='7s'\n\
         {UPSTREAM}"
    );
    let timeouts = &loaded(&text).listeners[0].timeouts;
    let expected = Timeouts {
        idle: Duration::from_secs(7),
        connect: Duration::from_secs(8),
        ..Timeouts::default()
    };
    assert_eq!(*timeouts, expected);
}

#[test]
fn names_and_addresses_are_used_once() {
    let second = "[[listener]]\nname='a'\nbind=['127.0.0.1:1']\nupstream='u'\n";
    let text = format!("{HEAD}{LISTENER}{second}{UPSTREAM}");
    assert_eq!(faults(&text), ["7:6 duplicate", "8:7 duplicate"]);
    let drawn = check(&text).unwrap_err().render(Colour::Off);
    assert!(drawn.contains("first used here"), "{drawn}");
    let any_port = second.replace("'a'", "'b'").replace(":1'", ":0','127.0.0.1:0'");
    assert_eq!(faults(&format!("{HEAD}{LISTENER}{any_port}{UPSTREAM}")), Vec::<String>::new());
}

#[test]
fn an_address_stands_not_beside_the_wildcard_of_its_family() {
    for (bind, expected) in [
        ("'127.0.0.1:8080','0.0.0.0:8080'", &["5:7 duplicate"][..]),
        ("'[::]:8080','[::1]:8080','[fe80::1%2]:8080'", &["5:19 duplicate", "5:32 duplicate"]),
        ("'[::]:8080','0.0.0.0:8080'", &[]),
        ("'[::1]:8080','0.0.0.0:8080'", &[]),
        ("'127.0.0.1:8081','0.0.0.0:8080'", &[]),
        ("'127.0.0.1:0','0.0.0.0:0'", &[]),
        ("'fd:a','fd:b','0.0.0.0:8080'", &[]),
        ("'fd:a','fd:b','fd:a'", &["5:21 duplicate"]),
        ("'unix:/a','unix:@/a','unix:/a'", &["5:28 duplicate"]),
    ] {
        let text = format!("{HEAD}[[listener]]\nname='a'\nupstream='u'\nbind=[{bind}]\n{UPSTREAM}");
        assert_eq!(faults(&text), expected, "{bind}");
    }
}

#[test]
fn bind_takes_numeric_addresses_and_names_of_sockets_only() {
    for (bind, code) in [
        ("':443'", "bad-value"),
        ("'localhost:443'", "bad-value"),
        ("'::1:443'", "bad-value"),
        ("'0.0.0.0'", "bad-value"),
        ("'[::ffff:10.0.0.1]:443'", "bad-value"),
        ("'unix:run/x'", "bad-value"),
        ("'unix:@'", "bad-value"),
        ("'unix:'", "bad-value"),
        ("'fd:'", "bad-value"),
        ("'fd:web:1'", "bad-value"),
        ("443", "wrong-type"),
    ] {
        let text = format!("{HEAD}[[listener]]\nname='a'\nupstream='u'\nbind=[{bind}]\n{UPSTREAM}");
        assert_eq!(faults(&text), [format!("5:7 {code}")], "{bind}");
    }
}

#[test]
fn an_endpoint_is_one_host_that_can_be_reached() {
    for (endpoint, expected) in [
        ("0.0.0.0:80", &["7:12 bad-value"][..]),
        ("[::]:80", &["7:12 bad-value"]),
        ("224.0.0.1:80", &["7:12 bad-value"]),
        ("[fe80::1]:80", &["7:12 bad-value"]),
        ("[fe80::1%eth0]:80", &["7:12 bad-value"]),
        ("http://web:80", &["7:12 bad-value"]),
        ("unix:run/a.sock", &["7:12 bad-value"]),
        ("unix:/run/a.sock", &[]),
        ("unix:@a", &[]),
        ("[fe80::1%2]:80", &[]),
        ("[::ffff:10.0.0.7]:80", &[]),
    ] {
        let text = format!("{HEAD}{LISTENER}{}", UPSTREAM.replace("127.0.0.1:2", endpoint));
        assert_eq!(faults(&text), expected, "{endpoint}");
    }
}

#[test]
fn an_upstream_that_does_not_exist_is_told_the_nearest_name() {
    let text = format!("{HEAD}{LISTENER}{}", UPSTREAM.replace(".u]", ".v]"));
    assert_eq!(faults(&text), ["5:10 unknown-upstream", "6:11 unused-upstream"]);
    let report = check(&text).unwrap_err();
    let (errors, _) = report.to_json();
    let error = serde_json::to_value(&errors[0]).unwrap();
    assert_eq!(error["suggestion"], "\"v\"");
    assert_eq!((error["column"].as_u64(), error["end_column"].as_u64()), (Some(10), Some(13)));
    assert!(error["help"].as_str().unwrap().starts_with("did you mean \"v\"?"), "{error}");
}

#[test]
fn an_unknown_key_is_told_the_nearest_name_or_its_home() {
    let help = |text: &str| {
        let report = check(text).unwrap_err();
        report.errors().next().and_then(|error| error.help().map(str::to_owned)).unwrap()
    };
    let server = help(&format!("{HEAD}[server]\nworker = 1\n{LISTENER}{UPSTREAM}"));
    assert!(server.starts_with("did you mean `workers`?"), "{server}");
    let lost = help(&format!("{HEAD}{LISTENER}trust = 'any'\n{UPSTREAM}"));
    assert_eq!(lost, "`trust` belongs in [listener.proxy_protocol]");
}

#[test]
fn tlv_types_are_sorted_and_the_checksum_is_not_among_them() {
    let send = |lines: &str| {
        format!(
            "{HEAD}{LISTENER}[listener.proxy_protocol]\naccept='require'\ntrust='any'\n\
             {UPSTREAM}[upstream.u.proxy_protocol]\n{lines}\n"
        )
    };
    let text = send("send='v2'\ntlv_pass=[0xEE, 0x03, 0xEA, 0xEE]");
    assert_eq!(faults(&text), ["13:17 no-effect"]);
    let expected = Sending {
        version: Some(Version::V2),
        destination: Destination::Original,
        tlv_pass: TlvPass::Types(vec![0xEA, 0xEE]),
        tlv_set: Vec::new(),
        crc32c: ChecksumSent::WhenReceived,
        datagrams: Datagrams::Each,
    };
    assert_eq!(loaded(&text).upstreams[0].send, expected);
    assert_eq!(faults(&send("send='v2'\ntlv_pass=[256]")), ["13:11 bad-value"]);
    assert_eq!(faults(&send("send='v2'\ntlv_pass='some'")), ["13:10 bad-value"]);
    assert_eq!(faults(&send("send='v1'\ntlv_pass='all'")), ["13:1 no-effect"]);
    assert_eq!(faults(&send("crc32c=true")), ["12:1 no-effect"]);
    let v1_only = send("send='v2'\ntlv_pass='all'").replace("trust=", "versions=['v1']\ntrust=");
    assert_eq!(faults(&v1_only), ["14:10 no-effect"]);
}

#[test]
fn an_endpoint_may_be_sent_a_header_of_its_own_version() {
    let text = |endpoints: &str, lines: &str| {
        format!(
            "{HEAD}{LISTENER}[upstream.u]\nendpoints=[{endpoints}]\n\
             [upstream.u.proxy_protocol]\n{lines}\n"
        )
    };
    let mixed = text("{address='10.0.0.7:1',send='off'},'10.0.0.8:1'", "send='v2'\ncrc32c=true");
    let upstream = loaded(&mixed).upstreams.remove(0);
    let sent = upstream.endpoints.iter().map(|entry| entry.send.or(upstream.send.version));
    assert_eq!(sent.collect::<Vec<_>>(), [None, Some(Version::V2)]);
    // What is said of a version counts if anybody is sent it.
    let one = "{address='10.0.0.7:1',send='v2'},'10.0.0.8:1'";
    let own = text(one, "crc32c=true");
    assert_eq!(faults(&own), [""; 0]);
    assert_eq!(loaded(&own).upstreams[0].send.crc32c, ChecksumSent::Always);
    assert_eq!(faults(&text(&one.replace("v2", "v1"), "crc32c=true")), ["9:1 no-effect"]);
    assert_eq!(faults(&text(one, "send='v2'")), ["7:34 no-effect"]);
    assert_eq!(faults(&text(&one.replace("v2", "v3"), "")), ["7:39 bad-value"]);
}

#[test]
fn checks_are_read_with_their_ranges_and_bytes() {
    let text = |lines: &str| format!("{HEAD}{LISTENER}{UPSTREAM}[upstream.u.health]\n{lines}\n");
    let exchange = "check='exchange'\nsend=\"PING\\r\\n\"\nexpect='hex:2b'\ninterval='1s'\nrise=1";
    let Check::On(policy) = &loaded(&text(exchange)).upstreams[0].health.check else {
        panic!("it is on")
    };
    let expected = Exchange { send: b"PING\r\n".to_vec(), expect: b"+".to_vec() };
    assert_eq!((policy.exchange.as_ref(), policy.rise, policy.fall), (Some(&expected), 1, 3));
    assert_eq!(policy.interval, Duration::from_secs(1));
    for (lines, fault) in [
        ("check='http'", "9:7 bad-value"),
        ("check=true", "9:7 wrong-type"),
        ("check='tcp'\ninterval='99ms'", "10:10 bad-value"),
        ("check='tcp'\ntimeout='11m'", "10:9 bad-value"),
        ("check='tcp'\nrise=0", "10:6 bad-value"),
        ("check='tcp'\nfall=1001", "10:6 bad-value"),
        ("check='tcp'\nproxy='local'", "10:7 bad-value"),
        ("check='tcp'\nslow_start='2d'", "10:12 bad-value"),
        ("check='tcp'\non_down='drop'", "10:9 bad-value"),
        ("check='exchange'\nexpect='hex:0'", "10:8 bad-value"),
        ("check='tcp'\nintervall='1s'", "10:1 unknown-key"),
    ] {
        assert_eq!(faults(&text(lines)), [fault], "{lines}");
    }
    let long = text(&format!("check='exchange'\nsend='{}'", "a".repeat(4097)));
    assert_eq!(faults(&long), ["10:6 bad-value"]);
}

#[test]
fn tlvs_that_are_set_keep_their_order_and_those_that_are_not_ours_to_make_are_refused() {
    let set = |list: &str| {
        format!(
            "{HEAD}{LISTENER}{UPSTREAM}[upstream.u.proxy_protocol]\nsend='v2'\ntlv_set=[{list}]\n"
        )
    };
    assert_eq!(faults(&set("{type=2,from='sni'},{type=1,from='alpn'}")), [""; 0]);
    let text = set("{type=0xE1,value='edge-1'},{type=5,from='id'},{type=0xE0,value='hex:00fF'}");
    assert_eq!(faults(&text), [""; 0]);
    let tlv_set = &loaded(&text).upstreams[0].send.tlv_set;
    let bytes = |bytes: &[u8]| TlvValue::Bytes(bytes.to_vec());
    let expected =
        [(0xE1, bytes(b"edge-1")), (0x05, TlvValue::From(TlvSource::Id)), (0xE0, bytes(b"\0\xff"))];
    assert_eq!(tlv_set[..], expected.map(|(kind, value)| TlvSet { kind, value }));
    for (list, fault) in [
        ("{type=3,value='a'}", "10:16 bad-value"),
        ("{type=4,value=''}", "10:16 bad-value"),
        ("{type=0x20,value='a'}", "10:16 bad-value"),
        ("{type=0x28,value='a'}", "10:16 bad-value"),
        ("{type=256,value='a'}", "10:16 bad-value"),
        ("{type='0xE1',value='a'}", "10:16 wrong-type"),
        ("{value='a'}", "10:10 missing-key"),
        ("{type=1}", "10:10 missing-key"),
        ("{type=1,value=1}", "10:24 wrong-type"),
        ("{type=1,value='hex:0'}", "10:24 bad-value"),
        ("{type=1,value='hex:0g'}", "10:24 bad-value"),
        ("{type=1,value='a',from='id'}", "10:33 bad-value"),
        ("{type=5,from='sni'}", "10:23 bad-value"),
        ("{type=1,from='ip'}", "10:23 bad-value"),
        ("{type=1,value='a',valeu='a'}", "10:28 unknown-key"),
        ("'edge-1'", "10:10 wrong-type"),
    ] {
        let found = faults(&set(list));
        assert_eq!(found.first().map(String::as_str), Some(fault), "{list}: {found:?}");
    }
    let long = |len| format!("{{type=5,value='{}'}}", "a".repeat(len));
    assert_eq!(faults(&set(&long(128))), [""; 0]);
    assert_eq!(faults(&set(&long(129))), ["10:24 bad-value"]);
    let most = |len| format!("{{type=0xE0,value='{}'}}", "a".repeat(len));
    assert_eq!(faults(&set(&most(65_489))), [""; 0]);
    assert_eq!(faults(&set(&most(65_490))), ["10:9 bad-value"]);
    let v1 = text.replace("send='v2'", "send='v1'");
    assert_eq!(faults(&v1), ["10:1 no-effect"]);
    let both = text.replace("send='v2'", "send='v2'\ntlv_pass=[0xE1, 0xE2]");
    assert!(faults(&both).contains(&"10:11 no-effect".to_owned()), "{:?}", faults(&both));
}

#[test]
fn the_rest_of_a_file_is_judged_beside_its_syntax_errors() {
    let text = format!(
        "{HEAD}[server]\nworkers = 4x\nmax_conections = 1\n[log]\nlevel = 'loud\n\
         {LISTENER}{UPSTREAM}"
    );
    assert_eq!(faults(&text), ["3:11 syntax", "4:1 unknown-key", "6:14 syntax"]);
}

#[test]
fn an_unclosed_list_is_one_error_where_it_opens() {
    let text =
        format!("{HEAD}[[listener]]\nname='a'\nbind=['127.0.0.1:1',\nupstream='u'\n{UPSTREAM}");
    assert_eq!(faults(&text), ["4:6 syntax"]);
    let top = format!("{HEAD}x = [1,\n{LISTENER}{UPSTREAM}# the end\n");
    assert_eq!(faults(&top), ["2:5 syntax"]);
}

#[test]
fn a_key_hidden_by_a_syntax_error_is_not_called_missing() {
    let text = format!("{HEAD}{}{UPSTREAM}", LISTENER.replace("name='a'", "name 'a'"));
    assert_eq!(faults(&text), ["3:6 syntax"]);
    let text = format!("{HEAD}{LISTENER}{}", UPSTREAM.replace(".u]", ".u"));
    let found = faults(&text);
    assert!(found.iter().all(|fault| fault.ends_with("syntax")), "{found:?}");
    let text = format!("{HEAD}{}{UPSTREAM}", LISTENER.replace("]]", "]"));
    assert_eq!(faults(&text), ["2:12 syntax"]);
    let text = format!("[server]\nworkers=2\n{}{UPSTREAM}", LISTENER.replace("]]", "]"));
    assert_eq!(
        faults(&text),
        ["1:1 missing-key", "3:12 syntax"],
        "config_version is missing indeed"
    );
}

#[test]
fn a_file_that_is_no_configuration_has_a_bounded_report() {
    for line in ["=\n", "x", "[x]\n", "[[x]]\n", "x = [\n", "a.", "\u{1}", "[a."] {
        let report = check(&line.repeat(10_000)).unwrap_err();
        assert!((1..=201).contains(&report.errors().count()), "{line:?}");
    }
    let keys: String = (0..2_000).map(|n| format!("k{n} = 1\n")).collect();
    assert_eq!(check(&keys).unwrap_err().errors().count(), 201);
    assert_eq!(check(&(keys + "=")).unwrap_err().errors().last().unwrap().code(), Code::More);
}

#[test]
fn a_key_given_twice_is_a_syntax_error() {
    assert_eq!(faults(&format!("{HEAD}{LISTENER}name='b'\n{UPSTREAM}")), ["6:1 syntax"]);
}

#[test]
fn a_file_that_is_not_utf8_is_refused_at_the_byte() {
    let report = from_bytes("f".into(), b"a = 1\nb\xFF = 2\n", Host::default()).unwrap_err();
    let (errors, _) = report.to_json();
    let error = serde_json::to_value(&errors[0]).unwrap();
    assert_eq!((error["line"].as_u64(), error["column"].as_u64()), (Some(2), Some(2)));
}

#[test]
fn a_file_that_cannot_be_read_says_which_and_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.toml");
    let report = load(&path, Host::default()).unwrap_err();
    let error = report.errors().next().unwrap();
    assert_eq!(error.code(), Code::Unreadable);
    assert!(error.message().contains("none.toml") && error.message().contains("No such file"));
    let report = load(directory.path(), Host::default()).unwrap_err();
    assert!(report.errors().next().unwrap().message().contains("Is a directory"));
}

/// The faults of the least file with these endpoints, at line 7, and this `dns`, at line 8.
fn upstream_faults(endpoints: &str, dns: &str) -> Vec<String> {
    let text = format!("{HEAD}{LISTENER}[upstream.u]\nendpoints=[{endpoints}]\ndns={dns}\n");
    faults(&text)
}

#[test]
fn endpoints_may_be_found_elsewhere() {
    let text = "endpoints=[{srv='_pp._tcp.web.internal',weight=2}, 'web:80',\
                {file='/etc/pp/web.txt'}]\ndns={min='1s', max='1m'}\n";
    let upstream = loaded(&format!("{HEAD}{LISTENER}[upstream.u]\n{text}")).upstreams.remove(0);
    let srv = Entry::plain(Endpoint::Srv("_pp._tcp.web.internal".to_owned()));
    let expected = [
        Entry { weight: 2, ..srv },
        Entry::plain(Endpoint::Name { host: "web".to_owned(), port: 80 }),
        Entry::plain(Endpoint::File("/etc/pp/web.txt".into())),
    ];
    assert_eq!(upstream.endpoints, expected);
    assert_eq!((upstream.dns.min.as_secs(), upstream.dns.max.as_secs()), (1, 60));
    // Who gives one bound does not want to hear of the other.
    for (dns, expected) in [("{max='2s'}", (2, 2)), ("{min='10m'}", (600, 600)), ("{}", (5, 300))] {
        let text = format!("{HEAD}{LISTENER}[upstream.u]\nendpoints=['web:80']\ndns={dns}\n");
        let Dns { min, max } = loaded(&text).upstreams[0].dns;
        assert_eq!((min.as_secs(), max.as_secs()), expected, "{dns}");
    }
}

#[test]
fn what_stands_for_no_endpoints_is_refused_at_its_place() {
    for (endpoints, fault) in [
        ("{srv='_pp._tcp.web:80'}", "7:17 bad-value"),
        ("{srv=''}", "7:17 bad-value"),
        ("{srv=1}", "7:17 wrong-type"),
        ("{file=''}", "7:18 bad-value"),
        ("{}", "7:12 missing-key"),
        ("{srv='a', file='b'}", "7:12 bad-value"),
    ] {
        assert_eq!(upstream_faults(endpoints, "{}"), [fault], "{endpoints}");
    }
    let expected = ["7:12 missing-key", "7:13 unknown-key"];
    assert_eq!(upstream_faults("{svr='_pp._tcp.web'}", "{}"), expected);
    for (dns, fault) in [
        ("{min='2m', max='1m'}", "8:20 bad-value"),
        ("{min='100ms'}", "8:10 bad-value"),
        ("{ttl='5s'}", "8:6 unknown-key"),
        ("'5s'", "8:5 wrong-type"),
    ] {
        assert_eq!(upstream_faults("'web:80'", dns), [fault], "{dns}");
    }
    let many: Vec<_> = (0..1025).map(|nth| format!("'n{nth}:80'")).collect();
    assert_eq!(upstream_faults(&many.join(","), "{}").len(), 1);
    assert_eq!(upstream_faults(&many[1..].join(","), "{}"), [""; 0]);
}

#[test]
fn a_file_without_end_is_refused() {
    let report = load(Path::new("/dev/zero"), Host::default()).unwrap_err();
    assert!(report.errors().next().unwrap().message().contains("longer than"));
}

#[test]
fn every_choice_has_its_word() {
    fn words<T: Choice + fmt::Debug>(all: &[T]) {
        for value in all {
            assert_eq!(T::WORDS.iter().filter(|(_, found)| found == value).count(), 1, "{value:?}");
        }
        assert_eq!(T::WORDS.len(), all.len());
    }
    use LogLevel::{Debug, Error, Info, Trace, Warn};
    words(&[Error, Warn, Info, Debug, Trace]);
    words(&[LogFormat::Auto, LogFormat::Text, LogFormat::Json]);
    words(&[SpliceMode::Auto, SpliceMode::Always, SpliceMode::Off]);
    words(&[None, Some(Presence::Required), Some(Presence::Optional)]);
    words(&[Protocol::Tcp, Protocol::Udp]);
    words(&[DontFragment::Kernel, DontFragment::Probe, DontFragment::Off]);
    words(&[Datagrams::Each, Datagrams::First]);
    words(&[Version::V1, Version::V2, Version::Spp]);
    words(&[TlvSource::Id, TlvSource::Sni, TlvSource::Alpn]);
    words(&[None, Some(Version::V1), Some(Version::V2), Some(Version::Spp)]);
    words(&[Untrusted::Reject, Untrusted::Plain]);
    words(&[LocalPolicy::Forward, LocalPolicy::Answer, LocalPolicy::Reject]);
    words(&[V1Families::Strict, V1Families::Mixed]);
    words(&[Silent::Refuse, Silent::Plain]);
    words(&[ChecksumPolicy::Verify, ChecksumPolicy::Ignore, ChecksumPolicy::Require]);
    words(&[Destination::Original, Destination::Local]);
    words(&[CheckHeader::Auto, CheckHeader::Off, CheckHeader::Proxy]);
    words(&[None, Some(choice::CheckKind::Tcp), Some(choice::CheckKind::Exchange)]);
    words(&[OnDown::Keep, OnDown::Reset]);
}

#[test]
fn every_key_is_documented_in_the_section_of_its_table() {
    for table in TABLES {
        let heading = match table.path {
            "" => "# Top of the file\n".to_owned(),
            _ => format!("# {}\n", table.title()),
        };
        let (_, section) = OPERATIONS.split_once(&heading).unwrap_or_else(|| panic!("{heading}"));
        let section = section.split("\n#").next().unwrap();
        let is_header = |key: &str| {
            let headers =
                [format!("# [{key}]\n"), format!("# [[{key}]]\n"), format!("# [{key}.NAME]\n")];
            table.path.is_empty() && headers.iter().any(|header| OPERATIONS.contains(header))
        };
        let is_like_another = section.contains("The keys of `[timeouts]`");
        for key in table.known {
            let is_row = section.contains(&format!("\n| `{key}` |"));
            assert!(is_row || is_header(key) || is_like_another, "{key} of {heading}");
        }
    }
}

#[test]
fn every_code_is_documented() {
    for code in Code::ALL {
        let prefix = match code.severity() {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        let row = format!("\n| `{}` | {prefix}", code.as_str());
        assert!(OPERATIONS.contains(&row), "{row}");
    }
}
