//! What is warned about, and what is not.

use std::path::Path;
use std::time::Duration;

use super::{HEAD, LISTENER, UPSTREAM, accept_faults, faults, loaded, places};
use crate::config::{Code, Host, LeadsBack, from_bytes, own_listeners};

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
    let short = ["3:8 short-header-timeout", "9:8 short-header-timeout"];
    assert_eq!(faults(&text), ["3:1 no-effect", short[0], short[1]]);
    assert_eq!(loaded(&text).listeners[0].timeouts.header, Duration::from_secs(1));
}

#[test]
fn a_time_that_no_listener_waits_for_is_warned_about() {
    let file = |times: &str, own: &str| {
        format!("{HEAD}[timeouts]\n{times}\n{LISTENER}[listener.timeouts]\n{own}\n{UPSTREAM}")
    };
    for (times, own, expected) in [
        ("idle='9s'", "idle='7s'", vec!["3:1 no-effect"]),
        ("idle='9s'", "connect='7s'", vec![]),
        // What is written out and changes nothing surprises nobody.
        ("idle='5m'", "idle='7s'", vec![]),
        ("flow='9s'\nflow_unanswered='5s'", "idle='7s'", vec!["3:1 no-effect"]),
    ] {
        let text = file(times, own);
        assert_eq!(faults(&text), expected, "{text}");
        // What is printed is warned of alike.
        let printed = loaded(&text).to_string();
        let warned = faults(&printed).len();
        assert_eq!(warned, expected.len(), "{printed}");
    }
    let second = "[[listener]]\nname='b'\nbind=['127.0.0.1:9']\nupstream='u'\n";
    let text = file("idle='9s'", "idle='7s'").replace(UPSTREAM, &format!("{second}{UPSTREAM}"));
    assert_eq!(faults(&text), [""; 0]);
    let udp = second.replace("upstream='u'", "upstream='u'\nprotocol='udp'");
    assert_eq!(faults(&text.replace(second, &udp)), ["3:1 no-effect"]);
}

#[test]
fn an_endpoint_that_is_written_twice_is_warned_about() {
    let twice = relay("127.0.0.1:1", "10.0.0.1:2', '[::ffff:10.0.0.1]:2");
    assert_eq!(faults(&twice), ["7:26 no-effect"]);
    let twice = relay("127.0.0.1:1", "web:2', { address = 'web:2', weight = 2 }, 'web:3");
    assert_eq!(faults(&twice), ["7:33 no-effect"]);
}

/// A listener at `bind` that relays to `endpoint`.
fn relay(bind: &str, endpoint: &str) -> String {
    let text = format!("{HEAD}{LISTENER}{UPSTREAM}");
    text.replace("127.0.0.1:1", bind).replace("127.0.0.1:2", endpoint)
}

/// The faults where 192.0.2.7 and fe80::7 are addresses of this host.
fn faults_here(text: &str) -> Vec<String> {
    let own = || ["192.0.2.7/32", "fe80::7/128"].map(|own| own.parse().unwrap()).into();
    let host = Host { own_networks: own, ..Host::default() };
    places(from_bytes("f.toml".into(), text.as_bytes(), host))
}

#[test]
fn a_listener_without_headers_that_relays_to_itself_is_an_error() {
    for (bind, endpoint) in [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("192.0.2.7:80", "192.0.2.7:80"),
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("0.0.0.0:80", "127.9.9.9:80"),
        ("0.0.0.0:80", "[::ffff:127.0.0.1]:80"),
        ("[::]:80", "[::1]:80"),
        ("0.0.0.0:80", "localhost:80"),
        ("[::1]:80", "localhost:80"),
    ] {
        assert_eq!(faults_here(&relay(bind, endpoint)), ["7:12 loop"], "{bind} {endpoint}");
    }
}

#[test]
fn an_endpoint_that_may_lead_back_is_warned_about() {
    for (bind, endpoint) in [("0.0.0.0:80", "192.0.2.7:80"), ("[::]:80", "[fe80::7%2]:80")] {
        let expected = ["7:12 own-listener"];
        assert_eq!(faults_here(&relay(bind, endpoint)), expected, "{bind} {endpoint}");
    }
    let headers = relay("0.0.0.0:80", "127.0.0.1:80")
        .replace("[upstream", "proxy_protocol={accept='require',trust='127.0.0.1'}\n[upstream")
        .replace("'127.0.0.1'", "['127.0.0.1']");
    assert_eq!(faults_here(&headers), ["8:12 own-listener"]);
    let second = "[[listener]]\nname='b'\nbind=['127.0.0.1:81']\nupstream='v'\n";
    let chain = format!(
        "{}[upstream.v]\nendpoints=['127.0.0.1:82']\n",
        relay("127.0.0.1:80", "127.0.0.1:81")
    );
    let chain = chain.replace("[upstream.u]", &format!("{second}[upstream.u]"));
    assert_eq!(faults_here(&chain), ["11:12 own-listener"]);
}

#[test]
fn an_endpoint_beside_the_listeners_is_not_warned_about() {
    for (bind, endpoint) in [
        ("0.0.0.0:80", "127.0.0.1:81"),
        ("0.0.0.0:80", "192.0.2.8:80"),
        ("0.0.0.0:80", "[::1]:80"),
        ("[::]:80", "127.0.0.1:80"),
        ("127.0.0.2:80", "127.0.0.1:80"),
        ("192.0.2.7:80", "localhost:80"),
        ("0.0.0.0:80", "web:80"),
        ("0.0.0.0:0", "127.0.0.1:80"),
    ] {
        assert_eq!(faults_here(&relay(bind, endpoint)), [""; 0], "{bind} {endpoint}");
    }
}

#[test]
fn a_name_that_leads_back_is_warned_about_once_it_is_resolved() {
    let own_networks = || vec!["192.0.2.7/32".parse().unwrap()];
    let host = Host { own_networks, ..Host::default() };
    let warnings = |endpoint: &str, resolved: &str| {
        let config = loaded(&relay("0.0.0.0:80", endpoint));
        let found = own_listeners(&config, &[vec![resolved.parse().unwrap()]], host);
        // Others may be at an address of this host too.
        let is_loopback = resolved.starts_with("127.");
        assert!(found.iter().all(|one| one.is_certain == is_loopback), "{found:?}");
        let report = LeadsBack::warnings(found.iter());
        report
            .warnings()
            .map(|fault| (fault.code(), fault.message().to_owned()))
            .collect::<Vec<_>>()
    };
    let message = "upstream `u`: 127.0.0.1:80 leads back to 0.0.0.0:80, where `a` listens: \
                   each connection would open another";
    let expected = [(Code::OwnListener, message.to_owned())];
    assert_eq!(warnings("web:80", "127.0.0.1:80"), expected);
    assert_eq!(warnings("web:80", "192.0.2.7:80").len(), 1);
    assert_eq!(warnings("web:80", "192.0.2.8:80"), []);
    // What the report of the file says is not said again.
    let text = relay("0.0.0.0:80", "127.0.0.1:80");
    let accept = "proxy_protocol={accept='require',trust=['127.0.0.1']}\n[upstream";
    let config = loaded(&text.replace("[upstream", accept));
    let resolved = [vec!["127.0.0.1:80".parse().unwrap()]];
    assert!(own_listeners(&config, &resolved, Host::default()).is_empty());
}

#[test]
fn more_retries_than_other_endpoints_are_warned_about() {
    let text = format!("{HEAD}{LISTENER}{UPSTREAM}retries=3\n");
    assert_eq!(faults(&text), ["8:9 no-effect"]);
}

#[test]
fn what_is_said_of_endpoints_and_means_nothing_is_warned_about() {
    let pool = |lines: &str| faults(&format!("{HEAD}{LISTENER}[upstream.u]\n{lines}\n"));
    let one = |keys: &str| format!("endpoints=['127.0.0.1:2',{{address='127.0.0.1:3',{keys}}}]");
    assert_eq!(pool(&one("weight=0")), ["7:56 unused-endpoint"]);
    assert_eq!(pool(&format!("{}\nbalance='first'", one("weight=2"))), ["7:49 no-effect"]);
    assert_eq!(pool(&format!("{}\nbalance='first'", one("weight=1"))), [""; 0], "the default");
    assert_eq!(pool(&one("backup=true,weight=7,max_connections=1")), [""; 0]);
    assert_eq!(pool("endpoints=[{address='127.0.0.1:3',backup=true}]"), ["7:35 no-effect"]);
    let never = "endpoints=['127.0.0.1:2']\npassive={failures=0,eject='1s',max='2m'}";
    assert_eq!(pool(never), ["8:21 no-effect"]);
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
            let host = Host { descriptors_max, cpus: 2, ..Host::default() };
            from_bytes("f".into(), text.as_bytes(), host).unwrap().warnings.warnings().count()
        };
        let around = (warnings(None), warnings(Some(needed)), warnings(Some(needed - 1)));
        assert_eq!(around, (0, 0, 1), "{settings}");
    }
}

#[test]
fn few_descriptors_without_a_number_are_warned_about() {
    let warnings = |settings: &str, descriptors: u64| {
        let text = format!("{HEAD}{settings}{LISTENER}{UPSTREAM}");
        let host = Host { descriptors_max: Some(descriptors), cpus: 1, ..Host::default() };
        let loaded = from_bytes("f".into(), text.as_bytes(), host).unwrap();
        loaded.warnings.warnings().map(|fault| fault.message().to_owned()).collect::<Vec<_>>()
    };
    // 67 are no connection's, a sixteenth of the pairs' descriptors are pipes'.
    let message = "the limit of 300 open files leaves room for 98 connections";
    assert_eq!(warnings("", 300), [message]);
    assert_eq!(warnings("splice.max_pipes=1\n", 300), [message.replace("98", "115")]);
    assert_eq!(warnings("server.workers=9\n", 300), [message.replace("98", "86")]);
    assert_eq!(warnings("", 10), ["the limit of 10 open files leaves room for 1 connections"]);
    let fits = 67 + 2 * 256 + 2 * (662 / 16);
    assert_eq!((warnings("", fits), warnings("", fits - 2).len()), (Vec::new(), 1));
}

/// The listener's table for headers from 10.0.0.0/8, with these lines from line 9 on.
fn trusting(lines: &str) -> String {
    let accept = "[listener.proxy_protocol]\naccept='require'\ntrust=['10.0.0.0/8']";
    format!("{HEAD}{LISTENER}{accept}\n{lines}\n{UPSTREAM}")
}

#[test]
fn retries_over_a_name_are_as_many_as_it_has_addresses() {
    let name = format!("{HEAD}{LISTENER}{}retries=3\n", UPSTREAM.replace("127.0.0.1:2", "web:2"));
    assert_eq!(faults(&name), Vec::<String>::new());
}

#[test]
fn how_often_names_are_asked_for_has_no_effect_without_one() {
    let with = |endpoints: &str, dns: &str| {
        faults(&format!("{HEAD}{LISTENER}[upstream.u]\nendpoints=[{endpoints}]\ndns={dns}\n"))
    };
    assert_eq!(with("'127.0.0.1:2'", "{max='9m'}"), ["8:6 no-effect"]);
    assert_eq!(with("'127.0.0.1:2'", "{min='5s',max='5m'}"), [""; 0], "defaults");
    assert_eq!(with("'127.0.0.1:2'", "{min='5s',max='9m'}"), ["8:15 no-effect"], "a default");
    for followed in ["'web:2'", "{srv='_pp._tcp.web'}", "{file='/etc/pp/web.txt'}"] {
        assert_eq!(with(followed, "{max='9m'}"), [""; 0], "{followed}");
    }
}

#[test]
fn what_an_access_log_that_is_off_would_do_is_warned_about() {
    let access_log =
        |lines: &str| faults(&format!("{HEAD}[access_log]\n{lines}\n{LISTENER}{UPSTREAM}"));
    assert_eq!(access_log("output='stderr'\nlog_probes=true"), ["3:1 no-effect", "4:1 no-effect"]);
    assert_eq!(access_log("enabled=false\noutput='file:/tmp/x'"), ["4:1 no-effect"]);
    assert_eq!(access_log("enabled=true\noutput='stderr'\nlog_probes=true"), [""; 0]);
    assert_eq!(access_log("enabled=false\noutput='stdout'\nlog_probes=false"), [""; 0], "defaults");
    assert_eq!(access_log("enabled='no'\noutput='stderr'"), ["3:9 wrong-type"], "who knows");
}

#[test]
fn pipes_of_a_splice_that_is_off_are_warned_about() {
    let splice = |lines: &str| faults(&format!("{HEAD}[splice]\n{lines}\n{LISTENER}{UPSTREAM}"));
    let limits = "max_pipes=9\npipe_size='64KiB'";
    assert_eq!(splice(&format!("mode='off'\n{limits}")), ["4:1 no-effect", "5:1 no-effect"]);
    assert_eq!(splice("mode='off'\nmax_pipes='auto'\npipe_size='1MiB'"), [""; 0], "defaults");
    assert_eq!(splice(&format!("mode='always'\n{limits}")), [""; 0]);
}

#[test]
fn untrusted_peers_where_everybody_is_trusted_are_warned_about() {
    let any = trusting("untrusted='plain'").replace("['10.0.0.0/8']", "'any'");
    assert_eq!(faults(&any), ["9:1 no-effect"]);
    let all = trusting("untrusted='plain'").replace("10.0.0.0/8", "0.0.0.0/0");
    assert_eq!(faults(&all), ["9:1 no-effect"], "nobody else can come to an IPv4 address");
    assert_eq!(faults(&trusting("untrusted='plain'")), [""; 0]);
    let six = all.replace("127.0.0.1:1", "[::1]:1").replace("0.0.0.0/0','", "0.0.0.0/0");
    assert_eq!(faults(&six), ["8:7 nobody-trusted"]);
    assert_eq!(faults(&any.replace("plain", "reject")), [""; 0], "the default");
}

#[test]
fn what_only_v2_headers_have_is_warned_about_where_none_are_taken() {
    let keys = "header_max='64B'\ncrc32c='ignore'\nlocal='answer'";
    let v1 = trusting(&format!("{keys}\nversions=['v1']"));
    assert_eq!(faults(&v1), ["9:1 no-effect", "10:1 no-effect", "11:1 no-effect"]);
    assert_eq!(faults(&v1.replace("'v1'", "'v1','v2'")), [""; 0]);
    let defaults = trusting("header_max='4KiB'\ncrc32c='verify'\nlocal='forward'\nversions=['v1']");
    assert_eq!(faults(&defaults), [""; 0]);
}

#[test]
fn what_only_v1_lines_have_or_peers_without_a_header_is_warned_about_where_there_are_none() {
    let v2 = trusting("v1_families='mixed'\nversions=['v2']");
    assert_eq!(faults(&v2), ["9:1 no-effect"]);
    assert_eq!(faults(&v2.replace("'v2'", "'v1'")), [""; 0]);
    assert_eq!(faults(&v2.replace("mixed", "strict")), [""; 0], "the default");
    let required = trusting("silent='plain'");
    assert_eq!(faults(&required), ["9:1 no-effect"]);
    assert_eq!(faults(&required.replace("require", "optional")), [""; 0]);
    assert_eq!(faults(&required.replace("plain", "refuse")), [""; 0], "the default");
}

#[test]
fn trust_that_no_peer_of_these_addresses_can_have_is_warned_about() {
    for (bind, trust, expected) in [
        ("'127.0.0.1:1'", "['fd00::/8']", &["8:7 nobody-trusted"][..]),
        ("'[::1]:1'", "['10.0.0.0/8']", &["8:7 nobody-trusted"]),
        ("'[::1]:1'", "['::ffff:10.0.0.0/104']", &["8:7 nobody-trusted"]),
        ("'[::1]:1', '127.0.0.1:1'", "['10.0.0.0/8']", &[]),
        ("'127.0.0.1:1'", "['10.0.0.0/8', 'fd00::/8']", &[]),
        ("'fd:web', '[::1]:1'", "['10.0.0.0/8']", &[]),
        ("'fd:web'", "['fd00::/8']", &[]),
        ("'unix:/a'", "['10.0.0.0/8']", &["8:7 nobody-trusted"]),
        ("'127.0.0.1:1'", "['unix']", &["8:7 nobody-trusted"]),
        ("'unix:/a', '127.0.0.1:1'", "['10.0.0.0/8']", &[]),
        ("'unix:/a'", "['unix', 'fd00::/8']", &[]),
    ] {
        let text = trusting("").replace("'127.0.0.1:1'", bind).replace("['10.0.0.0/8']", trust);
        assert_eq!(faults(&text), expected, "{bind} {trust}");
    }
}

#[test]
fn limits_of_clients_that_limit_nothing_are_warned_about() {
    let limits = |table: &str| {
        let limits = format!("[listener.limits]\nper_client = {{ {table} }}\n");
        faults(&format!("{HEAD}{LISTENER}{limits}{UPSTREAM}"))
    };
    assert_eq!(limits("connections = 9, burst = 3"), ["7:33 no-effect"]);
    assert_eq!(limits("ipv6_prefix = 48"), ["7:16 no-effect"]);
    for fine in ["connections = 9, ipv6_prefix = 48", "rate = 1, burst = 3, ipv6_prefix = 128", ""]
    {
        assert_eq!(limits(fine), [""; 0], "{fine}");
    }
    for bad in ["ipv6_prefix = 0", "ipv6_prefix = 129", "rate = -1", "connections = 262145"] {
        assert_eq!(limits(bad).len(), 1, "{bad}");
    }
}

#[test]
fn keys_of_checks_that_nobody_makes_are_warned_about() {
    let text = |upstream: &str, lines: &str| {
        format!("{HEAD}{LISTENER}{UPSTREAM}{upstream}[upstream.u.health]\n{lines}\n")
    };
    for (lines, expected) in [
        ("interval='1s'", &["9:1 no-effect"][..]),
        ("check='off'\nsend='a'\nrise=3", &["10:1 no-effect", "11:1 no-effect"]),
        ("check='off'\nsend=''\nrise=2\ninterval='5s'\non_down='keep'", &[]),
        ("check='tcp'\nexpect='a'", &["10:1 no-effect"]),
        ("check='exchange'\nexpect='a'", &[]),
        ("check='tcp'\nproxy='proxy'", &["10:1 no-effect"]),
        ("on_down='reset'", &["9:1 no-effect"]),
        ("check='tcp'\non_down='reset'", &[]),
        ("slow_start='9s'", &[]),
        ("check='nothing'\nrise=3", &["9:7 bad-value"]),
    ] {
        assert_eq!(faults(&text("", lines)), expected, "{lines}");
    }
    let never = "slow_start='9s'";
    assert_eq!(faults(&text("passive.failures=0\n", never)), ["10:1 no-effect"]);
    assert_eq!(faults(&text("balance='first'\n", never)), ["10:1 no-effect"]);
    let named = text("", "on_down='reset'").replace("127.0.0.1:2", "web.internal:2");
    assert_eq!(faults(&named), [""; 0], "names lose addresses");
}

#[test]
fn a_mode_that_no_file_has_and_unix_peers_that_anybody_can_be_are_warned_about() {
    for (bind, keys, trust, expected) in [
        ("'127.0.0.1:1'", "unix_mode='0600'", "['10.0.0.0/8']", &["6:11 no-effect"][..]),
        ("'unix:@a'", "unix_mode='0600'", "'any'", &["6:11 no-effect", "9:7 open-trust"]),
        ("'127.0.0.1:1'", "unix_mode='0660'", "['10.0.0.0/8']", &[]),
        ("'unix:/a'", "unix_mode='0600'", "['unix']", &[]),
        ("'unix:/a'", "unix_mode='0666'", "['unix']", &["9:7 open-trust"]),
        ("'unix:/a', '127.0.0.1:1'", "unix_mode='0666'", "['10.0.0.0/8']", &[]),
        ("'unix:/a'", "unix_mode='666'", "'any'", &["9:7 open-trust"]),
        ("'unix:/a'", "unix_mode='0668'", "'any'", &["6:11 bad-value"]),
        ("'unix:/a'", "unix_mode='rw-rw----'", "'any'", &["6:11 bad-value"]),
        ("'unix:/a'", "unix_mode='0060'", "'any'", &["6:11 bad-value"]),
        ("'unix:/a'", "unix_mode='1777'", "'any'", &["6:11 bad-value"]),
        ("'unix:/a'", "unix_mode=660", "'any'", &["6:11 wrong-type"]),
    ] {
        let text = format!(
            "config_version = 1\n[[listener]]\nname='a'\nupstream='u'\nbind=[{bind}]\n{keys}\n\
             [listener.proxy_protocol]\naccept='require'\ntrust={trust}\n{UPSTREAM}"
        );
        assert_eq!(faults(&text), expected, "{bind} {keys}");
    }
}

#[test]
fn a_source_is_the_client_or_an_address_and_endpoints_that_it_does_not_reach_are_warned_about() {
    for (source, endpoints, expected) in [
        ("client", "'10.0.0.7:1', '[fd00::7]:1', 'web:1'", &[][..]),
        ("", "'unix:/a'", &[]),
        ("10.0.0.5", "'10.0.0.7:1', 'web:1'", &[]),
        ("::ffff:10.0.0.5", "'10.0.0.7:1'", &[]),
        ("fd00::5", "'10.0.0.7:1', '[fd00::7]:1'", &["7:12 unused-endpoint"]),
        ("client", "'10.0.0.7:1', 'unix:/a'", &["7:26 no-effect"]),
        ("clients", "'10.0.0.7:1'", &["8:8 bad-value"]),
        ("10.0.0.5:0", "'10.0.0.7:1'", &["8:8 bad-value"]),
        ("0.0.0.0", "'10.0.0.7:1'", &["8:8 bad-value"]),
        ("ff02::1", "'10.0.0.7:1'", &["8:8 bad-value"]),
        ("fe80::1", "'10.0.0.7:1'", &["8:8 bad-value"]),
    ] {
        let upstream = format!("[upstream.u]\nendpoints=[{endpoints}]\nsource='{source}'\n");
        assert_eq!(
            faults(&format!("{HEAD}{LISTENER}{upstream}")),
            expected,
            "{source} {endpoints}"
        );
    }
}

#[test]
fn a_directory_that_is_not_there_is_warned_about() {
    let host = Host { is_dir: |path| path == Path::new("/run/here"), ..Host::default() };
    let bind = "'unix:/run/here/a', 'unix:/run/gone/a', 'unix:@/run/gone/a'";
    let text = format!("{HEAD}{}{UPSTREAM}", LISTENER.replace("'127.0.0.1:1'", bind));
    let warnings = from_bytes("f".into(), text.as_bytes(), host).unwrap().warnings;
    let codes: Vec<_> = warnings.warnings().map(|it| (it.code(), it.message())).collect();
    assert_eq!(codes, [(Code::NoDirectory, "the directory /run/gone is not there")]);
}
