//! The other way in: flags obey the rules of a file.

use super::{HEAD, loaded};
use crate::config::*;
use crate::trust::Trust;

#[test]
fn flags_and_the_file_that_says_the_same_agree() {
    let flags = Flags {
        listen: vec!["0.0.0.0:443".parse().unwrap()],
        to: vec!["web:80".parse().unwrap()],
        accept: Some("v1,v2".parse().unwrap()),
        trust: Some("10.0.0.0/8".parse().unwrap()),
        presence: Presence::Optional,
        send: Some(Version::V2),
    };
    let text = format!(
        "{HEAD}[[listener]]\nname='listener'\nbind=['0.0.0.0:443']\nupstream='upstream'\n\
         [listener.proxy_protocol]\naccept='optional'\ntrust=['10.0.0.0/8']\n\
         [upstream.upstream]\nendpoints=['web:80']\n[upstream.upstream.proxy_protocol]\nsend='v2'\n"
    );
    assert_eq!(Config::from_flags(flags, Host::default()).unwrap().config, loaded(&text));
}

#[test]
fn accept_without_trust_is_an_error_that_says_so() {
    let flags = Flags {
        listen: vec!["127.0.0.1:1".parse().unwrap(), "127.0.0.1:1".parse().unwrap()],
        to: Vec::new(),
        accept: Some(Versions::Both),
        trust: None,
        presence: Presence::Required,
        send: None,
    };
    let report = Config::from_flags(flags.clone(), Host::default()).unwrap_err();
    let messages: Vec<_> = report.errors().map(Diagnostic::message).collect();
    assert_eq!(
        messages,
        [
            "--to is missing",
            "--accept needs --trust: who may set client addresses?",
            "--listen: the address `127.0.0.1:1` is used twice",
        ]
    );
    let trusting = Flags {
        accept: None,
        trust: Some(Trust::Any),
        to: vec!["a:1".parse().unwrap()],
        listen: vec!["127.0.0.1:1".parse().unwrap()],
        ..flags
    };
    let report = Config::from_flags(trusting, Host::default()).unwrap_err();
    assert!(report.render(Colour::Off).contains("--trust needs --accept"));
}
