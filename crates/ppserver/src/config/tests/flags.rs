//! The other way in: flags obey the rules of a file.

use super::{HEAD, loaded};
use crate::config::*;

/// Flags that are right.
fn flags() -> Flags {
    Flags {
        listen: vec!["10.0.0.1:443".to_owned()],
        to: vec!["web:80".to_owned()],
        accept: Some(Versions::Both),
        trust: Some("10.0.0.0/8".to_owned()),
        presence: Presence::Required,
        send: None,
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
        presence: Presence::Optional,
        send: Some(Version::V2),
        ..flags()
    };
    let text = format!(
        "{HEAD}[[listener]]\nname='listener'\nbind=['0.0.0.0:443']\nupstream='upstream'\n\
         [listener.proxy_protocol]\naccept='optional'\ntrust=['fd00::1', '10.0.0.0/8']\n\
         [upstream.upstream]\nendpoints=['web:80']\n[upstream.upstream.proxy_protocol]\nsend='v2'\n"
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
