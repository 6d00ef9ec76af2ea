//! What a name or a file stands for at a time, and how a change of it is told.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::core::addr::Addr;
use crate::core::pool::endpoint;

/// The most endpoints that one name or file stands for.
pub(super) const FOUND_MAX: usize = 256;

/// Endpoints that are named in a line of the log; the rest is counted.
const SHOWN_MAX: usize = 16;

/// One of the endpoints that were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    /// Port 0 where the name does not say it.
    pub(super) addr: SocketAddr,
    /// Its part of the connections beside others' weights. 0..=65,535.
    pub(super) weight: u32,
    /// Whether it is for when no other is there.
    pub(super) is_backup: bool,
}

/// A member of a pool, and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) struct Member {
    pub(in crate::control) member: endpoint::Member,
    /// The name or file that it came from; `None` if it is written in the configuration.
    pub(in crate::control) from: Option<Arc<str>>,
}

impl Member {
    pub(in crate::control) const fn addr(&self) -> Addr {
        self.member.addr
    }
}

impl Found {
    /// One like any other.
    pub(super) const fn plain(addr: SocketAddr) -> Self {
        Self { addr, weight: 1, is_backup: false }
    }

    fn shown(&self) -> String {
        let addr =
            if self.addr.port() == 0 { self.addr.ip().to_string() } else { self.addr.to_string() };
        let weight =
            if self.weight == 1 { String::new() } else { format!(" weight={}", self.weight) };
        let backup = if self.is_backup { " backup" } else { "" };
        format!("{addr}{weight}{backup}")
    }
}

/// Puts them in an order of their own, each address once.
pub(super) fn sorted(mut found: Vec<Found>) -> Vec<Found> {
    found.sort_unstable();
    found.dedup_by_key(|found| found.addr);
    found
}

/// Returns those of `these` that are not among `others`, as they are shown.
pub(super) fn without(these: &[Found], others: &[Found]) -> String {
    let gone: Vec<_> = these.iter().filter(|found| !others.contains(found)).collect();
    let mut shown: Vec<_> = gone.iter().take(SHOWN_MAX).map(|found| found.shown()).collect();
    if gone.len() > SHOWN_MAX {
        shown.push(format!("{} more", gone.len() - SHOWN_MAX));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(last: u8, port: u16) -> Found {
        Found::plain(([192, 0, 2, last], port).into())
    }

    #[test]
    fn a_change_is_told_by_what_came_and_what_went() {
        let weighty = Found { weight: 5, is_backup: true, ..found(1, 80) };
        let (old, new) = ([found(1, 80), found(2, 0)], [weighty, found(2, 0)]);
        assert_eq!(without(&new, &old), "192.0.2.1:80 weight=5 backup");
        assert_eq!(without(&old, &new), "192.0.2.1:80");
        assert_eq!(without(&old, &old), "");
        let many: Vec<_> = (0..20).map(|last| found(last, 0)).collect();
        assert!(without(&many, &[]).ends_with("192.0.2.15, 4 more"));
    }

    #[test]
    fn an_address_is_there_once() {
        let twice = vec![found(2, 80), found(1, 80), Found { weight: 9, ..found(1, 80) }];
        assert_eq!(sorted(twice), [found(1, 80), found(2, 80)]);
    }
}
