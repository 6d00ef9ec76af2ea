//! The text output of `decode`, letter for letter: what a user reads is looked at when it changes.
//!
//! Each file under `golden/` is what the command in its first line prints for the hex text in its
//! second.

use crate::support::run;

fn check(name: &str, golden: &str) {
    let mut lines = golden.splitn(3, '\n');
    let command = lines.next().unwrap().strip_prefix("$ ppserver ").unwrap();
    let input = lines.next().unwrap().strip_prefix("< ").unwrap();
    let want = lines.next().unwrap();
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
    something_else
}
