//! What people write who know other proxies, or guess: each is told what to write instead.

use super::{HEAD, LISTENER, UPSTREAM, check};
use crate::config::{Code, Host, LogLevel, Output, from_bytes};

/// Asserts that `text` has one fault, at `place`, whose help says `help`.
#[track_caller]
fn assert_told(text: &str, place: (usize, usize), message: &str, help: &str) {
    let report = check(text).unwrap_err();
    let (errors, warnings) = report.to_json();
    assert_eq!((errors.len(), warnings.len()), (1, 0), "{text}\n{report:#?}");
    let error = &errors[0];
    assert_eq!((error.line, error.column), (Some(place.0), Some(place.1)), "{text}\n{error:#?}");
    assert!(error.message.contains(message), "{text}\n{error:#?}");
    assert!(error.help.is_some_and(|found| found.contains(help)), "{text}\n{error:#?}");
}

/// A file with these lines at its top, from line 2 on.
fn top(lines: &str) -> String {
    format!("{HEAD}{lines}\n{LISTENER}{UPSTREAM}")
}

/// A file with these lines in its listener, from line 6 on.
fn listener(lines: &str) -> String {
    format!("{HEAD}{LISTENER}{lines}\n{UPSTREAM}")
}

/// A file with these lines in its upstream, from line 8 on.
fn upstream(lines: &str) -> String {
    format!("{HEAD}{LISTENER}{UPSTREAM}{lines}\n")
}

#[test]
fn a_time_that_is_switched_off_is_told_the_longest() {
    for off in ["'off'", "'never'", "'None'", "false"] {
        assert_told(
            &top(&format!("[timeouts]\nidle = {off}")),
            (3, 8),
            "`idle` has no off",
            "the longest is idle = \"366d\"",
        );
    }
    let keepalive = top("[tcp]\nkeepalive.idle = 'off'");
    assert_told(&keepalive, (3, 18), "`idle` has no off", "idle = \"9h 6m 7s\"");
    for off in ["false", "'off'"] {
        assert_told(
            &top(&format!("[tcp]\nkeepalive = {off}")),
            (3, 13),
            "`keepalive` has no off",
            "keepalive = { idle = \"9h 6m 7s\" }",
        );
    }
    let on = top("[tcp]\nkeepalive = true");
    assert_told(&on, (3, 13), "`keepalive` is always on", "keepalive = { idle = \"1m\" }");
}

#[test]
fn a_duration_of_another_unit_is_told_ours() {
    let months = top("[timeouts]\nidle = '3M'");
    assert_told(&months, (3, 8), "no unit is called `M`", "did you mean \"3m\"?");
}

#[test]
fn accept_that_names_versions_is_told_the_key_that_does() {
    for (value, versions) in [
        ("'v2'", "[\"v2\"]"),
        ("['v2']", "[\"v2\"]"),
        ("'v1,v2'", "[\"v1\", \"v2\"]"),
        ("['v2', 'v1']", "[\"v1\", \"v2\"]"),
    ] {
        assert_told(
            &listener(&format!("[listener.proxy_protocol]\naccept = {value}\ntrust = 'any'")),
            (7, 10),
            "`accept` says whether there must be a header, not of which version",
            &format!("accept = \"require\" and versions = {versions}"),
        );
    }
    for value in ["true", "'on'", "'yes'"] {
        assert_told(
            &listener(&format!("[listener.proxy_protocol]\naccept = {value}\ntrust = 'any'")),
            (7, 10),
            "`accept` says whether there must be a header",
            "\"require\", or \"optional\" where a trusted peer may also do without",
        );
    }
    let round = listener("[listener.proxy_protocol]\naccept = 'v2'\ntrust = 'any'");
    let report = check(&round.replace("127.0.0.1:2", "127.0.0.1:1")).unwrap_err();
    assert_eq!(report.errors().count(), 1, "whether it goes round is not known: {report:#?}");
    let off = listener("[listener.proxy_protocol]\naccept = false");
    assert_told(&off, (7, 10), "`accept` says whether there must be a header", "\"off\"");
    let send = upstream("[upstream.u.proxy_protocol]\nsend = true");
    assert_told(&send, (9, 8), "`send` takes a string", "send = \"off\" or \"v1\" or \"v2\"");
}

#[test]
fn trust_is_told_how_lists_are_written() {
    let trust = |value: &str| {
        listener(&format!("[listener.proxy_protocol]\naccept = 'require'\ntrust = {value}"))
    };
    assert_told(
        &trust("['any', '10.0.0.0/8']"),
        (8, 10),
        "\"any\" stands alone",
        "\"any\" and nothing else, or only networks",
    );
    assert_told(
        &trust("'10.0.0.0/8, fd00::1'"),
        (8, 9),
        "`trust` is a list of networks",
        "trust = [\"10.0.0.0/8\", \"fd00::1\"]",
    );
    assert_told(&trust("'all'"), (8, 9), "`trust` cannot be \"all\"", "\"any\", or a list");
}

#[test]
fn keys_of_other_proxies_are_told_ours() {
    let endpoints = "endpoints = [\"10.0.0.7:8080\"] in [upstream.NAME]";
    for key in ["servers", "server", "proxy_pass", "backends", "targets"] {
        let text = upstream(&format!("{key} = ['10.0.0.7:80']"));
        assert_told(&text, (8, 1), &format!("unknown key `{key}`"), endpoints);
    }
    let send = |version| format!("send = \"{version}\" in [upstream.NAME.proxy_protocol]");
    for (key, version) in [("send_proxy", "v1"), ("send-proxy", "v1"), ("send-proxy-v2", "v2")] {
        let text = upstream(&format!("{key} = true"));
        assert_told(&text, (8, 1), &format!("unknown key `{key}`"), &send(version));
    }
    let check = "check = \"tcp\" in [upstream.NAME.health]";
    for key in ["health_check", "healthcheck", "tcp-check"] {
        assert_told(&upstream(&format!("{key} = true")), (8, 1), "unknown key", check);
    }
    let interval = "`interval` belongs in [upstream.NAME.health]";
    assert_told(&upstream("interval = '1s'"), (8, 1), "unknown key `interval`", interval);
    let accept = "accept = \"require\" and trust = [\"10.0.0.0/8\"] in [listener.proxy_protocol]";
    for key in ["accept_proxy", "accept-proxy", "acceptProxyProtocol"] {
        assert_told(&listener(&format!("{key} = true")), (6, 1), "unknown key", accept);
    }
    let trust = "trust = [\"10.0.0.0/8\"] in [listener.proxy_protocol]";
    for key in ["trusted_ips", "trustedIPs", "real_ip", "set_real_ip_from"] {
        assert_told(&listener(&format!("{key} = ['10.0.0.0/8']")), (6, 1), "unknown key", trust);
    }
    for (key, ours) in [
        ("max_fails", "passive = { failures = 2"),
        ("fail_timeout", "passive = { failures = 2"),
        ("ip_hash", "balance = \"source_hash\""),
        ("serverName", "sni = [\"*.example.com\"] } in a [[listener.route]]"),
        ("allowlist", "client = [\"192.0.2.0/24\"] } in a [[listener.route]]"),
        ("limit_conn", "per_client = { connections = 100, rate = 20 }"),
        ("metrics", "in [admin]"),
    ] {
        let text = upstream(&format!("{key} = true"));
        assert_told(&text, (8, 1), &format!("unknown key `{key}`"), ours);
    }
    for key in ["port", "bind", "address"] {
        let text = top(&format!("[admin]\n{key} = ':9464'"));
        assert_told(&text, (3, 1), "unknown key", "here that is listen = \"127.0.0.1:9464\"");
    }
    let bind = "bind = [\"0.0.0.0:443\"] in a [[listener]]";
    assert_told(&listener("listen = ':80'"), (6, 1), "unknown key `listen`", bind);
    assert_told(&top("[entryPoints.web]\naddress = ':80'"), (2, 2), "`entryPoints`", bind);
}

#[test]
fn an_example_of_what_is_off_by_default_is_not_off() {
    let limits = |lines: &str| listener(&format!("[listener.limits]\n{lines}"));
    assert_told(&limits("rate = '10/s'"), (7, 8), "`rate` takes a number", "rate = 10");
    assert_told(&top("[server]\nlame_duck = 5"), (3, 13), "takes a string", "lame_duck = \"10s\"");
}

#[test]
fn a_service_among_the_endpoints_is_told_how_srv_records_are_asked_for() {
    let text = format!("{HEAD}{LISTENER}{}", UPSTREAM.replace("127.0.0.1:2", "_pp._tcp.web"));
    assert_told(&text, (7, 12), "the port is missing", "{ srv = \"_pp._tcp.web\" }");
}

#[test]
fn a_table_given_a_word_is_told_what_stands_in_it() {
    assert_told(
        &listener("proxy_protocol = 'on'"),
        (6, 18),
        "[listener.proxy_protocol] is a table, and this is a string",
        "accept = \"require\" and trust = [\"10.0.0.0/8\"]",
    );
    assert_told(
        &upstream("proxy_protocol = true"),
        (8, 18),
        "[upstream.NAME.proxy_protocol] is a table, and this is true or false",
        "send = \"v2\"",
    );
}

#[test]
fn lines_of_other_proxies_are_told_ours() {
    for (line, help) in [
        ("proxy_protocol on;", "accept = \"require\""),
        ("listen 443 proxy_protocol;", "bind = "),
        ("set_real_ip_from 10.0.0.0/8;", "trust = "),
        ("bind *:443 accept-proxy", "accept = \"require\""),
        ("server web1 10.0.0.7:80 send-proxy-v2", "endpoints = "),
        ("server web1 10.0.0.7:80 send-proxy-v2", "send = \"v2\""),
        ("proxy_protocol on;", "send = \"v1\""),
        ("timeout client 30s", "idle in [timeouts]"),
        ("balance leastconn", "least_conn"),
    ] {
        let report = check(&listener(line)).unwrap_err();
        let (errors, _) = report.to_json();
        let (line_no, found) = (errors[0].line, errors[0].help.unwrap_or_default());
        assert_eq!((errors.len(), line_no), (1, Some(6)), "{line}\n{report:#?}");
        assert!(found.contains(help), "{line}: {found}");
    }
    let several = listener("proxy_protocol on;\nworker 4;\nretry = 1");
    let report = check(&several).unwrap_err();
    let (errors, _) = report.to_json();
    let lines: Vec<_> = errors.iter().map(|error| error.line).collect();
    assert_eq!(lines, [Some(6), Some(7), Some(8)], "the rest is read all the same");
}

/// Asserts that a file is another proxy's, and what its lines are told, each by the line's number.
#[track_caller]
fn assert_foreign(text: &str, whose: &str, told: &[(usize, &[&str])]) {
    let report = check(text).unwrap_err();
    let (errors, warnings) = report.to_json();
    assert_eq!((errors.len(), warnings.len()), (1 + told.len(), 0), "{report:#?}");
    assert!(errors[0].message.ends_with(whose), "{report:#?}");
    assert!(errors.iter().all(|error| error.code.as_str() == "foreign"), "{report:#?}");
    for (error, (line, words)) in errors[1..].iter().zip(told) {
        assert_eq!(error.line, Some(*line), "{report:#?}");
        for word in *words {
            assert!(error.help.is_some_and(|help| help.contains(word)), "{word}: {error:#?}");
        }
    }
}

#[test]
fn a_whole_file_of_another_proxy_is_told_so_and_each_line_what_says_the_same() {
    assert_foreign(
        "# what was there before\n\
         global\n    nbthread 2\n\n\
         defaults\n    mode tcp\n    timeout client-fin 1m\n\n\
         frontend edge\n    bind :443 accept-proxy\n    default_backend web\n\n\
         backend web\n    balance source\n    server a 10.0.0.7:80 send-proxy-v2 check\n",
        "HAProxy",
        &[
            (3, &["workers in [server]"]),
            (7, &["half_closed"]),
            (9, &["bind = "]),
            (10, &["accept = \"require\"", "trust = "]),
            (11, &["upstream = "]),
            (13, &["endpoints = "]),
            (14, &["source_hash"]),
            (15, &["endpoints = ", "send = \"v2\""]),
        ],
    );
    assert_foreign(
        "events {}\nstream {\n  server {\n    listen 443 proxy_protocol;\n    set_real_ip_from 10.0.0.0/8;\n    \
         proxy_pass 10.0.0.7:80;\n    proxy_protocol on;\n  }\n}\n",
        "nginx",
        &[
            (4, &["bind = ", "accept = \"require\""]),
            (5, &["trust = "]),
            (6, &["endpoints = "]),
            (7, &["send = \"v1\""]),
        ],
    );
    assert_foreign(
        "entryPoints:\n  web:\n    address: \":443\"\n    proxyProtocol:\n      trustedIPs:\n        - 10.0.0.0/8\n      \
         insecure: true\n",
        "Traefik",
        &[(1, &["bind = "]), (4, &["accept = "]), (5, &["trust = "]), (7, &["trust = \"any\""])],
    );
    // TOML, as ours is.
    assert_foreign(
        "[entryPoints.web]\naddress = \":443\"\n[entryPoints.web.proxyProtocol]\ninsecure = true\n",
        "Traefik",
        &[(1, &["bind = "]), (3, &["bind = ", "accept = "]), (4, &["trust = \"any\""])],
    );
}

#[test]
fn a_file_with_anything_of_ours_is_ours() {
    let report = check(&listener("frontend edge")).unwrap_err();
    assert!(report.errors().all(|error| error.code() != Code::Foreign), "{report:#?}");
    let report = check("listen = 'x'\n").unwrap_err();
    assert!(report.errors().all(|error| error.code() != Code::Foreign), "{report:#?}");
}

#[test]
fn a_key_that_belongs_elsewhere_is_told_the_nearest_table_that_has_it() {
    for (text, help) in [
        (listener("header = '3s'"), "`header` belongs in [listener.timeouts]"),
        (upstream("crc32c = true"), "`crc32c` belongs in [upstream.NAME.proxy_protocol]"),
        (top("retries = 1"), "`retries` belongs in [upstream.NAME]"),
    ] {
        let report = check(&text).unwrap_err();
        assert_eq!(report.errors().next().unwrap().help(), Some(help));
    }
}

#[test]
fn a_variable_that_is_not_set_is_the_only_fault_of_its_string_and_stands_at_its_own_place() {
    let backend = |text: &str| format!("{HEAD}{LISTENER}{}", UPSTREAM.replace("127.0.0.1:2", text));
    assert_told(&backend("x${BACKEND}:80"), (7, 14), "`BACKEND` is not set", "${NAME:-default}");
    assert_told(&backend("x${BACKEND"), (7, 14), "`${BACKEND` names no variable", "$$ is a dollar");
    for (lines, column) in [
        ("[log]\nlevel = '${LEVEL}'", 10),
        ("[server]\nworkers = '${WORKERS}'", 12),
        ("[tcp]\nkeepalive = { idle = '${IDLE}' }", 23),
    ] {
        assert_told(&top(lines), (3, column), "is not set", "");
    }
    let escaped = backend("x").replace("'x'", "\"\\u0024{BACKEND}\"");
    assert_told(&escaped, (7, 12), "`BACKEND` is not set", "");
}

#[test]
fn a_variable_stands_for_a_part_of_a_string_or_all_of_it() {
    let host = Host {
        variable: |name| (name == "NAME").then(|| "127.0.0.1".to_owned()),
        ..Host::default()
    };
    let text = format!(
        "{HEAD}[log]\nlevel = '${{LEVEL:-warn}}'\n[access_log]\nenabled = true\n\
         output = 'file:/$$a'\n{LISTENER}{}",
        UPSTREAM.replace("127.0.0.1:2", "${NAME}:80")
    );
    let config = from_bytes("f".into(), text.as_bytes(), host).unwrap().config;
    assert_eq!(config.log.level, LogLevel::Warn);
    assert_eq!(config.access_log.output, Output::File("/$a".into()));
    assert_eq!(config.upstreams[0].endpoints[0].endpoint.to_string(), "127.0.0.1:80");
    let printed = from_bytes("f".into(), config.to_string().as_bytes(), Host::default());
    assert_eq!(printed.unwrap().config, config, "a dollar reads back");
}
