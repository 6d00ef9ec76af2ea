//! The text output of `decode`, letter for letter: what a user reads is looked at when it changes.
//!
//! Each file under `golden/` is what the command in its first line prints for the hex text in those that
//! follow, each behind `< `.

use crate::support::run;

fn check(name: &str, golden: &str) {
    let (command, rest) = golden.split_once('\n').unwrap();
    let command = command.strip_prefix("$ ppserver ").unwrap();
    let mut want = rest;
    let mut input = String::new();
    while let Some((line, rest)) = want.strip_prefix("< ").and_then(|rest| rest.split_once('\n')) {
        input += &format!("{line}\n");
        want = rest;
    }
    let args: Vec<&str> = command.split(' ').collect();
    let ran = run(&args, input.as_bytes());
    assert_eq!(ran.stderr, "", "{name}");
    assert!(ran.text() == want, "{name} prints now:\n{}\nand should print:\n{want}", ran.text());
}

macro_rules! golden {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name), include_str!(concat!("golden/", stringify!($name), ".txt")));
        })*
    };
}

golden! {
    a_v1_line
    a_v1_line_with_a_bad_octet
    a_v1_line_of_unknown_addresses
    a_v2_header_with_every_tlv
    a_v2_header_between_unix_sockets
    a_v2_header_whose_tlvs_break
    a_v2_header_with_a_wrong_checksum
    a_v2_header_cut_short
    a_health_check_of_aws
    a_simple_proxy_header
    packets_that_tcpdump_printed
    something_else
}
