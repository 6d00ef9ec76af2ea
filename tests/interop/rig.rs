//! What the cases have in common: who is who on loopback, and `ppserver` in the middle.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::common::ppserver::Ppserver;

/// The only peer that may set client addresses.
pub(crate) const BALANCER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A peer outside `trust`.
pub(crate) const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));

/// Where clients of a balancer connect from: neither of the above, nor an address that anything
/// on the way would use by itself.
pub(crate) const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));

/// A proxy to `upstream` that requires a header from the balancer and sends `send` on.
#[track_caller]
pub(crate) fn ppserver(upstream: SocketAddr, send: &str) -> Ppserver {
    let (upstream, trust) = (upstream.to_string(), BALANCER.to_string());
    Ppserver::with_flags(&[
        "--listen",
        "127.0.0.1:0",
        "--to",
        &upstream,
        "--accept",
        "v1,v2",
        "--trust",
        &trust,
        "--send",
        send,
    ])
}

/// The same, sending version 2 with every TLV that came in.
#[track_caller]
pub(crate) fn ppserver_passing_tlvs(upstream: SocketAddr) -> Ppserver {
    ppserver_with(upstream, "", "tlv_pass = \"all\"")
}

/// The same, sending version 2, with these further lines for what is accepted and what is sent.
#[track_caller]
pub(crate) fn ppserver_with(upstream: SocketAddr, accept: &str, send: &str) -> Ppserver {
    Ppserver::with_config(&format!(
        r#"
        config_version = 1

        [[listener]]
        name = "edge"
        bind = ["127.0.0.1:0"]
        upstream = "far"

          [listener.proxy_protocol]
          accept = "require"
          versions = ["v1", "v2"]
          trust = ["{BALANCER}"]
          {accept}

        [upstream.far]
        endpoints = ["{upstream}"]

          [upstream.far.proxy_protocol]
          send = "v2"
          {send}
        "#
    ))
}
