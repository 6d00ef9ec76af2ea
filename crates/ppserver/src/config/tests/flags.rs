//! The other way in: flags obey the rules of a file.

use super::{HEAD, LISTENER, UPSTREAM, loaded};
use crate::config::*;

/// Flags that are right.
fn flags() -> Flags {
    Flags {
        listen: vec!["10.0.0.1:443".to_owned()],
        to: vec!["web:80".to_owned()],
        accept: Some(Versions::Both),
        trust: Some("10.0.0.0/8".to_owned()),
        ..Flags::default()
    }
}

/// The messages of all errors, or of all warnings if there are none.
fn messages(flags: Flags) -> Vec<String> {
    let message = |fault: &Diagnostic| fault.message().to_owned();
    match Config::from_flags(flags, Host::default()) {
        Ok(loaded) => loaded.warnings.warnings().map(message).collect(),
        Err(report) => report.errors().map(message).collect(),
    }
}

#[test]
fn flags_and_the_file_that_says_the_same_agree() {
    let flags = Flags {
        listen: vec!["0.0.0.0:443".to_owned()],
        accept: Some("v1,v2".parse().unwrap()),
        trust: Some("10.0.0.0/8, fd00::1".to_owned()),
        optional: true,
        untrusted: Some(Untrusted::Plain),
        local: Some(LocalPolicy::Answer),
        header_timeout: Some("10s".to_owned()),
        send: Some(Version::V2),
        tlv_pass: Some("0xEE, 234".to_owned()),
        common: CommonFlags {
            admin: vec!["127.0.0.1:9464".to_owned(), "unix:/s".to_owned()],
            log_level: Some(LogLevel::Debug),
            log_format: Some(LogFormat::Json),
            access_log: Some("file:/a".to_owned()),
            grace: Some("0s".to_owned()),
        },
        ..flags()
    };
    let text = format!(
        "{HEAD}admin = {{ listen = '127.0.0.1:9464', socket = '/s' }}\n[log]\nlevel='debug'\nformat='json'\n[access_log]\nenabled=true\noutput='file:/a'\n\
         [server]\nshutdown_grace='0s'\n\
         [[listener]]\nname='listener'\nbind=['0.0.0.0:443']\nupstream='upstream'\n\
         timeouts={{header='10s'}}\n\
         [listener.proxy_protocol]\naccept='optional'\ntrust=['fd00::1', '10.0.0.0/8']\n\
         untrusted='plain'\nlocal='answer'\n\
         [upstream.upstream]\nendpoints=['web:80']\n\
         [upstream.upstream.proxy_protocol]\nsend='v2'\ntlv_pass=[0xEA, 0xEE]\n"
    );
    assert_eq!(Config::from_flags(flags, Host::default()).unwrap().config, loaded(&text));
}

#[test]
fn accept_without_trust_is_an_error_that_says_so() {
    let lacking = Flags {
        listen: vec!["127.0.0.1:1".to_owned(), "127.0.0.1:1".to_owned()],
        to: Vec::new(),
        trust: None,
        ..flags()
    };
    assert_eq!(
        messages(lacking),
        [
            "--to is missing",
            "--accept needs --trust: who may set client addresses?",
            "--listen: the address `127.0.0.1:1` is used twice",
        ]
    );
    assert_eq!(
        messages(Flags { accept: None, ..flags() }),
        ["--trust needs --accept: no header is taken without it"]
    );
}

#[test]
fn every_flag_is_judged_as_the_file_is_and_all_at_once() {
    let wrong = Flags {
        listen: vec!["localhost:443".to_owned(), "[::ffff:10.0.0.1]:443".to_owned()],
        to: vec!["web".to_owned(), "10.0.0.7:0".to_owned()],
        trust: Some("10.0.0.0/33,any".to_owned()),
        header_timeout: Some("3".to_owned()),
        send: Some(Version::V2),
        tlv_pass: Some("all,0x100,+1".to_owned()),
        common: CommonFlags {
            access_log: Some("disk".to_owned()),
            grace: Some("1y".to_owned()),
            ..CommonFlags::default()
        },
        ..flags()
    };
    assert_eq!(
        messages(wrong),
        [
            "--listen: `localhost:443` cannot be listened on: it is no address in numbers with a port",
            "--listen: `[::ffff:10.0.0.1]:443` cannot be listened on: it is an IPv4 address",
            "--to: `web` is no endpoint: the port is missing",
            "--to: `10.0.0.7:0` is no endpoint: the port is not a number from 1 to 65535",
            "--trust: `10.0.0.0/33` is neither a network (10.0.0.0/8) nor an address (10.0.0.7)",
            "--trust: \"any\" stands alone: it believes everybody already",
            "--header-timeout: `header` cannot be read: a unit is missing: ms, s, m, h, d",
            "--tlv-pass: `all` is no type of a TLV",
            "--tlv-pass: `0x100` is no type of a TLV",
            "--tlv-pass: `+1` is no type of a TLV",
            "--grace: `shutdown_grace` cannot be read: no unit is called `y`; there are ms, s, m, h, d",
            "--access-log: `output` cannot be \"disk\"",
        ]
    );
}

#[test]
fn flags_that_relay_to_themselves_are_refused() {
    let plain = Flags { accept: None, trust: None, ..flags() };
    let looping = Flags {
        listen: vec!["0.0.0.0:80".to_owned()],
        to: vec!["localhost:80".to_owned()],
        ..plain
    };
    assert_eq!(
        messages(looping),
        ["--to: localhost:80 leads back to 0.0.0.0:80, where `listener` listens: \
             each connection would open another"]
    );
}

#[test]
fn flags_without_a_fault_are_warned_of_nothing() {
    assert_eq!(messages(flags()), [""; 0]);
    assert_eq!(messages(Flags { accept: None, trust: None, ..flags() }), [""; 0]);
    let useless = Config::from_flags(Flags { accept: None, ..flags() }, Host::default());
    assert_eq!(useless.unwrap_err().warnings().count(), 0, "an error says it");
}

#[test]
fn flags_are_warned_of_as_the_file_is() {
    let trusting = |trust: &str| Flags { trust: Some(trust.to_owned()), ..flags() };
    assert_eq!(
        messages(trusting("10.1.2.3/8")),
        ["--trust: `10.1.2.3/8` has bits set behind its prefix"]
    );
    let public = Flags { listen: vec!["0.0.0.0:443".to_owned()], ..trusting("any") };
    assert_eq!(
        messages(public),
        ["--trust: everybody who reaches 0.0.0.0:443 can claim to be any client"]
    );
}

#[test]
fn flags_that_nothing_asks_for_are_refused() {
    let useless = Flags {
        accept: None,
        trust: None,
        optional: true,
        untrusted: Some(Untrusted::Reject),
        local: Some(LocalPolicy::Forward),
        header_timeout: Some("3s".to_owned()),
        send: Some(Version::V1),
        tlv_pass: Some("all".to_owned()),
        ..flags()
    };
    let needs_accept = ["--optional", "--untrusted", "--local", "--header-timeout"];
    let mut expected = needs_accept
        .map(|flag| format!("{flag} needs --accept: no header is taken without it"))
        .to_vec();
    expected.push("--tlv-pass needs --send v2: nothing else carries TLVs".to_owned());
    assert_eq!(messages(useless), expected);
}

#[test]
fn flags_that_go_with_a_file_win_over_it() {
    let text = format!("{HEAD}[access_log]\nenabled=true\n{LISTENER}{UPSTREAM}");
    let mut config = loaded(&text);
    Overrides::default().apply(&mut config);
    assert_eq!(config, loaded(&text), "nothing is said");
    let flags = CommonFlags {
        admin: vec!["/s".to_owned()],
        log_level: Some(LogLevel::Error),
        log_format: Some(LogFormat::Text),
        access_log: Some("off".to_owned()),
        grace: Some("1m".to_owned()),
    };
    Overrides::new(&flags).unwrap().apply(&mut config);
    let expected = format!(
        "{HEAD}log = {{ level = 'error', format = 'text' }}\nadmin.socket = '/s'\nserver.shutdown_grace = '1m'\n\
         {LISTENER}{UPSTREAM}"
    );
    assert_eq!(config, loaded(&expected));
    let wrong = CommonFlags { grace: Some("never".to_owned()), ..CommonFlags::default() };
    let report = Overrides::new(&wrong).unwrap_err();
    assert!(report.errors().next().unwrap().message().starts_with("--grace: "));
}

#[test]
fn doors_are_judged_as_those_of_the_file_and_there_is_one_of_each_kind() {
    for (doors, expected) in [
        (&["localhost"][..], "--admin: `localhost` is no door: an address has a port"),
        (&["localhost:9464"], "--admin: `localhost:9464` cannot be listened on"),
        (&["127.0.0.1:1", "127.0.0.1:2"], "--admin: one address and one path"),
        (&["/a", "unix:/b"], "--admin: one address and one path"),
    ] {
        let admin = doors.iter().map(|door| (*door).to_owned()).collect();
        let flags = CommonFlags { admin, ..CommonFlags::default() };
        let report = Overrides::new(&flags).unwrap_err();
        let message = report.errors().next().unwrap().message().to_owned();
        assert!(message.starts_with(expected), "{message}");
    }
}
