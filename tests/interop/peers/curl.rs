//! curl: one transfer, and what it says about it.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::common::deadline::PATIENCE;
use crate::peers::peer;

/// curl's exit statuses for a connection that did not come to stand, that ended without an answer,
/// and that failed while sending or receiving.
const NOT_CONNECTED: i32 = 7;
const EMPTY_REPLY: i32 = 52;
const SEND_ERROR: i32 = 55;
const RECEIVE_ERROR: i32 = 56;

/// A transfer that ended well for curl; the status may still be an error.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// curl's own end of its connection.
    pub(crate) local: SocketAddr,
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// A transfer that did not.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) code: i32,
    pub(crate) message: String,
}

/// Runs curl at a UNIX socket and returns the body.
#[track_caller]
pub(crate) fn fetch_here(path: &Path, url: &str) -> Vec<u8> {
    let mut curl = Command::new(peer("curl"));
    curl.args(["-sS", "--fail", "--unix-socket"]).arg(path).arg(url);
    let output = curl.output().expect("curl can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs curl from the address `from` with these arguments, the URL among them.
///
/// # Errors
/// With curl's exit status and message, when it is not 0.
#[track_caller]
pub(crate) fn fetch(from: IpAddr, args: &[&str]) -> Result<Fetched, Failed> {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let body = dir.path().join("body");
    let mut command = Command::new(peer("curl"));
    // -q and the empty environment: neither a .curlrc nor a proxy of this machine has a say.
    command.env_clear().args(["-q", "-sS", "--max-time", &PATIENCE.as_secs().to_string()]);
    command.args([
        "--interface",
        &from.to_string(),
        "-w",
        "%{local_ip}:%{local_port} %{http_code}",
    ]);
    let output = command.arg("-o").arg(&body).args(args).output().expect("curl runs");
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(Failed { code: output.status.code().expect("curl was not killed"), message });
    }
    let written = String::from_utf8(output.stdout).expect("the format is ASCII");
    let (local, status) = written.split_once(' ').expect("the format has two words");
    Ok(Fetched {
        local: local.parse().expect("curl writes an address"),
        status: status.parse().expect("curl writes a number"),
        // curl makes no file for an empty body.
        body: fs::read(&body).unwrap_or_default(),
    })
}

/// Asserts that nothing answered: what is between curl and us may end the connection or reset it.
#[track_caller]
pub(crate) fn assert_cut_off(outcome: Result<Fetched, Failed>) {
    let failed = outcome.expect_err("nothing may answer");
    assert!([EMPTY_REPLY, SEND_ERROR, RECEIVE_ERROR].contains(&failed.code), "{failed:?}");
}

/// Asserts that the connection was reset, be it before curl saw that it stood.
#[track_caller]
pub(crate) fn assert_reset(outcome: Result<Fetched, Failed>) {
    let failed = outcome.expect_err("nothing may answer");
    let reset = ["reset by peer", "Broken pipe"].iter().any(|text| failed.message.contains(text));
    assert!(failed.code == NOT_CONNECTED || reset, "{failed:?}");
}
