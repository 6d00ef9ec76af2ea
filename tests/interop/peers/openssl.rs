//! openssl: a TLS client that does what it is told, and certificates.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::peers::peer;

/// Makes a key and a certificate of a name, signed by itself.
#[track_caller]
pub(crate) fn self_signed(name: &str, key: &Path, certificate: &Path) {
    let mut command = Command::new(peer("openssl"));
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    command.args(["-noenc", "-days", "1", "-subj", &format!("/CN={name}")]);
    command.args(["-addext", &format!("subjectAltName=DNS:{name}")]);
    let output = command.arg("-keyout").arg(key).arg("-out").arg(certificate).output();
    let output = output.expect("openssl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Shakes hands with a server and leaves; returns what its s_client says of the server: the name of its
/// certificate, and the protocol that was agreed upon.
#[track_caller]
pub(crate) fn handshake(addr: SocketAddr, args: &[&str]) -> (String, Option<String>) {
    let mut command = Command::new(peer("openssl"));
    command.args(["s_client", "-connect", &addr.to_string()]).args(args).stdin(Stdio::null());
    let output = command.output().expect("openssl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let behind = |word: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(word));
        found.map(|rest| rest.trim().to_owned())
    };
    // `CN = a.test`, or without the spaces since 3.2.
    let subject = behind("subject=").map(|subject| subject.replace(' ', ""));
    let name = subject.as_deref().and_then(|subject| subject.strip_prefix("CN="));
    let name = name.unwrap_or_else(|| {
        panic!("no certificate\n{text}{}", String::from_utf8_lossy(&output.stderr))
    });
    (name.to_owned(), behind("ALPN protocol:"))
}
