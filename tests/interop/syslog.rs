//! syslog over UDP: logger in front, rsyslog behind. Neither knows of headers.

use crate::common::ppserver::Ppserver;
use crate::peers::syslog::{Rsyslog, log};

#[test]
fn what_logger_says_reaches_rsyslog_in_its_order() {
    let rsyslog = Rsyslog::start();
    let ours = Ppserver::with_config(&format!(
        "config_version = 1\n[[listener]]\nname = \"syslog\"\nprotocol = \"udp\"\nbind = [\"127.0.0.1:0\"]\n\
         upstream = \"rsyslog\"\n[upstream.rsyslog]\nendpoints = [\"{}\"]\nsource = \"127.0.0.4\"\n",
        rsyslog.addr()
    ));
    let lines: Vec<String> = (0..100).map(|nth| format!("line {nth}")).collect();
    log(ours.addr(), &lines);
    let told = rsyslog.wait_for(|told| told.len() == lines.len());
    let expected: Vec<String> = lines.iter().map(|line| format!("127.0.0.4 app: {line}")).collect();
    assert_eq!(told, expected);
}
