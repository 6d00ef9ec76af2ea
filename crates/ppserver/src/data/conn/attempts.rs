//! The attempts of a connection to reach an endpoint, and what it counts for there.
//!
//! ```text
//! Nothing -connect-> Attempt -it stands-> Connection -close-> Nothing
//!    ^-it fails, or is given up-/
//! ```
//!
//! Invariant: what is held is given back once, whatever ends the connection, also a worker that fails.

use std::net::IpAddr;
use std::time::Instant;
use std::{fmt, io};

use pptrust::{Facts, Outgoing, SocketAddrs};

use super::{Connection, Ctx, Stage};
use crate::config;
use crate::core::addr::{Addr, Peer};
use crate::core::close_reason::CloseReason;
use crate::core::connect_result::ConnectResult;
use crate::core::intent::{Intent, Purpose};
use crate::core::session::Side;
use crate::data::dial::Dial;
use crate::data::hello::Hello;
use crate::data::leg::{self, Leg};
use crate::data::orders::Ejected;
use crate::data::outcome::{connect_result, first_use, met_itself};
use crate::data::rules::Target;
use crate::data::source::Source;
use crate::data::sys::{self, Origin};
use crate::data::table::Key;

/// Whom a failed attempt is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    Endpoint,
    Nobody,
}

/// The last attempt to reach an endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    /// The endpoint's place among its upstream's: four bytes, since idle connections are paid for by the byte.
    place: u32,
    hold: Hold,
}

/// What a connection counts for at an endpoint, until it is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Nothing,
    Attempt,
    /// A connection, which stood.
    Connection,
}

impl Attempt {
    fn new(place: usize) -> Self {
        let place = u32::try_from(place).expect("an upstream has fewer endpoints");
        Self { place, hold: Hold::Attempt }
    }

    fn place(self) -> usize {
        self.place as usize
    }
}

impl Connection {
    pub(super) fn connect(&mut self, key: Key, ctx: &mut Ctx<'_>) {
        let Stage::Dial(dial) = &mut self.stage else {
            unreachable!("a session connects behind its header, and before it relays")
        };
        let route = self.rules.target(self.taken);
        let origin = match origin(route.source, &self.intent) {
            Ok(origin) => origin,
            Err(NoSource) => return self.refuse_source(ctx),
        };
        let (client, from) = (self.intent.client.ip(), origin.ip());
        let place = match dial.next(&route.upstream, client, from, ctx.now) {
            Ok(place) => place,
            Err(reason) => {
                self.report_unavailable(reason, ctx);
                return self.session.handle_refused(reason, ctx.now);
            }
        };
        self.attempt = Some(Attempt::new(place));
        let send = route.send(route.upstream.endpoint(place));
        let endpoint = &route.upstream.endpoint(place).member.addr;
        tracing::debug!(
            listener = self.rules.name(),
            peer = %self.intent.peer,
            %endpoint,
            attempt = self.session.failed_attempts() + 1,
            "connecting",
        );
        // Digits, as the access log has them, so that both can be searched for the same text.
        let digits = send.needs_id().then(|| self.id.digits());
        let hello = self.hello.as_deref();
        let facts = Facts {
            id: digits.as_ref().map(|digits| &digits[..]),
            sni: hello.and_then(Hello::sni).map(str::as_bytes),
            alpn: hello.and_then(Hello::first_protocol),
        };
        let peer = self.intent.peer;
        let header = match compose(dial, send, &self.client, peer, facts, ctx.scratch) {
            Ok(len) => &ctx.scratch[..len],
            Err(reason) => return self.session.handle_refused(reason, ctx.now),
        };
        let is_foreign = matches!(origin, Origin::Foreign(_));
        let may_meet = is_foreign || self.rules.may_meet_itself(endpoint);
        let itself = endpoint.inet().filter(|_| may_meet);
        let connected = sys::connect(endpoint, origin).and_then(|socket| {
            if let Some(addr) = itself
                && sys::local_addr(&socket)? == addr
            {
                // Or the port stays in use, and the backend cannot bind to it.
                sys::reset_on_close(&socket);
                return Err(met_itself());
            }
            leg::register(&socket, Source::Leg(key, Side::Upstream), ctx.registry)?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => {
                let is_early = route.upstream.early_send.is_due();
                let has_options = endpoint.inet().is_some();
                self.upstream.connect(socket, is_early, has_options);
                self.client.conduit.replace_front(self.header_len as usize, header, ctx.spares);
                self.header_len =
                    u32::try_from(header.len()).expect("a header has at most 65,551 bytes");
                self.session.handle_connecting(first_use(is_early), header.len(), ctx.now);
            }
            Err(error) => {
                let failed_before = self.session.failed_attempts();
                let result = connect_result(&error);
                let is_exhausted = sys::is_exhaustion(&error);
                let reason = match is_exhausted {
                    true => CloseReason::Resources,
                    false => CloseReason::ConnectFailed,
                };
                // That nothing can be sent from a client's address is no fault of the endpoint.
                let is_ours = is_exhausted || is_foreign && result != ConnectResult::Refused;
                let blame = if is_ours { Blame::Nobody } else { Blame::Endpoint };
                self.session.handle_connect_failed(reason, ctx.now);
                self.report_attempt(failed_before, reason, (result, blame), &error, ctx);
            }
        }
    }

    /// Counts an attempt to connect if it has come to stand just now.
    #[inline(always)]
    pub(super) fn count_connected(&mut self, now: Instant) {
        if let Some(attempt @ Attempt { hold: Hold::Attempt, .. }) = self.attempt
            && self.session.is_connected()
        {
            self.count_connect(attempt, now);
        }
    }

    /// Counts an attempt to connect that stands.
    #[inline(never)]
    fn count_connect(&mut self, attempt: Attempt, now: Instant) {
        if let Stage::Dial(dial) = &self.stage {
            self.attempt = Some(Attempt { hold: Hold::Connection, ..attempt });
            let place = attempt.place();
            let Target { upstream, cells, .. } = self.rules.target(self.taken);
            upstream.handle_connected(place, now);
            cells.upstream.connect_duration.observe_since(dial.began().unwrap_or(now), now);
            cells.endpoints[place].connect(ConnectResult::Ok);
        }
    }

    /// Gives back what it counts for: at its listener, and at an endpoint.
    pub(super) fn let_go(&mut self) {
        if let (Some(held), Some(limits)) = (self.limited.take(), &self.rules.limits) {
            limits.release(held);
        }
        let Some(attempt) = &mut self.attempt else { return };
        let place = attempt.place();
        let Target { upstream, cells, .. } = self.rules.target(self.taken);
        match std::mem::replace(&mut attempt.hold, Hold::Nothing) {
            Hold::Nothing => {}
            Hold::Attempt => upstream.handle_cancelled(place),
            Hold::Connection => {
                upstream.handle_closed(place);
                cells.endpoints[place].end();
            }
        }
    }

    /// Reports an attempt to connect that has failed just now, if it has, with this error.
    #[cold]
    pub(super) fn report_failure(
        &mut self,
        failed_before: usize,
        error: &io::Error,
        ctx: &mut Ctx<'_>,
    ) {
        let outcome = (connect_result(error), Blame::Endpoint);
        self.report_attempt(failed_before, CloseReason::ConnectFailed, outcome, error, ctx);
    }

    /// Counts an attempt to connect that has failed just now, and says why it did.
    #[cold]
    pub(super) fn report_attempt(
        &mut self,
        failed_before: usize,
        reason: CloseReason,
        (result, blame): (ConnectResult, Blame),
        why: &dyn fmt::Display,
        ctx: &mut Ctx<'_>,
    ) {
        if self.session.failed_attempts() == failed_before {
            return;
        }
        let Some(attempt @ Attempt { hold: Hold::Attempt, .. }) = &mut self.attempt else { return };
        attempt.hold = Hold::Nothing;
        let place = attempt.place();
        if let Stage::Dial(dial) = &mut self.stage {
            dial.handle_failed(reason);
        }
        let Target { upstream, cells, .. } = self.rules.target(self.taken);
        cells.endpoints[place].connect(result);
        if blame == Blame::Nobody {
            upstream.handle_cancelled(place);
        } else if upstream.handle_failed(place) {
            ctx.ejections.tell(Ejected {
                upstream: upstream.name.clone(),
                addr: upstream.endpoint(place).member.addr,
                why: why.to_string(),
            });
        }
        if let Some(suppressed) = ctx.failure_lines.allow(ctx.now) {
            tracing::warn!(
                listener = self.rules.name(),
                upstream = upstream.name,
                endpoint = %upstream.endpoint(place).member.addr,
                error = %why,
                suppressed,
                "cannot connect",
            );
        }
    }

    /// Resets a client from whose address nothing can come.
    #[cold]
    fn refuse_source(&mut self, ctx: &mut Ctx<'_>) {
        if let Some(suppressed) = ctx.failure_lines.allow(ctx.now) {
            tracing::warn!(
                listener = self.rules.name(),
                upstream = self.rules.target(self.taken).upstream.name,
                peer = %self.intent.peer,
                client = %self.intent.client,
                error = "no connection can come from the client's address",
                suppressed,
                "cannot connect",
            );
        }
        self.session.handle_refused(CloseReason::ConnectFailed, ctx.now);
    }

    /// Says that there is nobody to connect to, but for those that have failed.
    #[cold]
    fn report_unavailable(&self, reason: CloseReason, ctx: &mut Ctx<'_>) {
        if self.attempt.is_none()
            && let Some(suppressed) = ctx.failure_lines.allow(ctx.now)
        {
            tracing::warn!(
                listener = self.rules.name(),
                upstream = self.rules.target(self.taken).upstream.name,
                reason = reason.name(),
                suppressed,
                "nobody to connect to",
            );
        }
    }

    /// Whether it stands at this endpoint of this upstream.
    pub(in crate::data) fn is_at(&self, upstream: &str, endpoint: Addr) -> bool {
        self.attempt.is_some_and(|attempt| attempt.hold == Hold::Connection)
            && self.endpoint_addr() == Some(endpoint)
            && self.rules.target(self.taken).upstream.name == upstream
    }

    /// Returns the address of the last attempt's endpoint.
    pub(super) fn endpoint_addr(&self) -> Option<Addr> {
        let upstream = &self.rules.target(self.taken).upstream;
        self.attempt.map(|attempt| upstream.endpoint(attempt.place()).member.addr)
    }
}

/// A worker that fails leaves no count behind.
impl Drop for Connection {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// No connection comes from the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NoSource;

/// Says what a connection to an endpoint comes from: with `source = "client"` from the client, but where it is only to
/// see whether we live, or the client has no address.
#[inline]
fn origin(source: config::Source, intent: &Intent<Peer>) -> Result<Origin, NoSource> {
    match (source, intent.client) {
        (config::Source::Any, _) => Ok(Origin::Any),
        (config::Source::Addr(addr), _) => Ok(Origin::Addr(addr)),
        (config::Source::Client, Peer::Inet(client)) if intent.purpose == Purpose::Service => {
            // Of who is carried by a header, loopback is not this host's.
            let is_here = intent.client == intent.peer;
            let is_source = single_host(client.ip()) && (is_here || !client.ip().is_loopback());
            if is_source { Ok(Origin::Foreign(client)) } else { Err(NoSource) }
        }
        (config::Source::Client, Peer::Inet(_) | Peer::Unix) => Ok(Origin::Any),
    }
}

/// Whether packets can come from an address: it is that of one host, on any interface.
fn single_host(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.octets()[0] != 0 && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local(),
    }
}

/// Writes our header for an endpoint into the scratch space.
fn compose(
    dial: &Dial,
    send: &Outgoing,
    client: &Leg,
    peer: Peer,
    facts: Facts<'_>,
    scratch: &mut [u8],
) -> Result<usize, CloseReason> {
    let socket = match peer {
        Peer::Inet(peer) if dial.needs_local(send) => {
            let local = sys::local_addr(client.socket()).map_err(|_| CloseReason::ClientReset)?;
            Some(SocketAddrs { peer, local })
        }
        Peer::Inet(peer) => Some(SocketAddrs { peer, local: peer }),
        Peer::Unix => None,
    };
    let composed = dial.compose(scratch, send, socket, facts);
    composed.map_err(|_| CloseReason::HeaderTooLong)
}
