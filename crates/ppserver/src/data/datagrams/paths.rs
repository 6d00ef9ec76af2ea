//! A port goes, and its flows stay: each of their paths gets a socket of its own, at the port's address and connected to
//! the client, before another process serves the port or it is closed.
//!
//! ```text
//! part -> what waits at the port is taken, then what strangers sent to the new sockets -> has_parted -> leave, or close_port
//! ```
//!
//! A socket that is bound and not yet connected gets what anybody sends: it is judged by whom it is from, as all
//! is, and may be taken behind what he sent later to the port. Invariant: the datagrams of a flow that parts are taken
//! in the order in which they came, from the port first.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use mio::Interest;
use socket2::Socket;

use super::{Batch, DatagramPort, Parting, Standing};
use crate::core::connection_id::ConnectionIds;
use crate::core::udp::apart::Apart;
use crate::core::udp::end_reason::EndReason;
use crate::core::udp::{FlowId, Path};
use crate::data::conn::Ctx;
use crate::data::source::Source;
use crate::data::sys;
use crate::data::sys::datagrams::{self, WAITING_MAX};

/// The sockets of paths, and which of them are to be looked at.
#[derive(Debug, Default)]
pub(super) struct Paths {
    apart: Apart<Own>,
    ready: VecDeque<u32>,
    /// Those that were never read.
    unread: usize,
}

#[derive(Debug)]
struct Own {
    socket: Socket,
    is_unread: bool,
    is_ready: bool,
}

impl Paths {
    /// Returns the socket of a path.
    pub(super) fn of(&self, path: Path) -> Option<&Socket> {
        self.apart.of(path).map(|own| &own.socket)
    }

    /// Has the socket at a place looked at, once.
    pub(super) fn make_ready(&mut self, place: u32) {
        if let Some(own) = self.apart.at_mut(place)
            && !std::mem::replace(&mut own.is_ready, true)
        {
            self.ready.push_back(place);
        }
    }

    pub(super) fn are_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn next_ready(&mut self) -> Option<u32> {
        self.ready.pop_front()
    }

    /// A flow of a path is over: its socket goes once what has come to it is read, if nobody else holds it.
    pub(super) fn release(&mut self, path: Path, began: Instant) {
        if let Some(place) = self.apart.release(path, began) {
            self.make_ready(place);
        }
    }
}

impl DatagramPort {
    /// Gives each flow, and those that begin, a socket of its own.
    pub(in crate::data) fn part(&mut self, parting: Parting, ctx: &mut Ctx<'_>) {
        if self.standing == Standing::Left {
            return;
        }
        self.standing = Standing::Parting(parting);
        // What has come so far may be of flows that part; and nothing may have come.
        (self.is_readable, self.waiting_max) = (true, WAITING_MAX);
        self.paths.apart.recount();
        let flows: Vec<(FlowId, Path)> =
            self.relay.flows().map(|(id, flow)| (id, flow.path())).collect();
        let mut failed = None;
        for (id, path) in flows {
            if let Err(error) = self.hold(path, ctx) {
                failed = Some(error);
                if parting == Parting::ToNobody {
                    self.relay.end(id, EndReason::Reloaded);
                }
            }
        }
        if let Some(error) = failed {
            let (listener, addr) = (self.rules.name(), self.addr);
            tracing::warn!(listener, %addr, %error, "not every flow of datagrams stays: no socket for it");
        }
        self.take_ended(ctx);
    }

    /// Nobody else comes to serve the port: flows that begin need no socket of their own.
    pub(in crate::data) fn stay(&mut self) {
        if self.standing == Standing::Parting(Parting::ToAnother) {
            self.standing = Standing::Ours;
        }
    }

    /// Whether whatever came to the port before its flows had sockets is taken, unless the port stays.
    pub(in crate::data) fn has_parted(&self) -> bool {
        !matches!(self.standing, Standing::Parting(_))
            || self.waiting_max == 0 && self.paths.unread == 0
    }

    /// Leaves the port to another process, which serves it too. Who comes by a path that has a socket is still served
    /// here, as long as a flow of before is on it: nobody else hears of him.
    pub(in crate::data) fn leave(&mut self, ctx: &Ctx<'_>) {
        self.paths.apart.end(ctx.now);
        self.unwatch(ctx.registry);
        (self.standing, self.is_readable) = (Standing::Left, false);
    }

    /// Closes the port. Nobody new comes.
    pub(super) fn close_port(&mut self, ctx: &Ctx<'_>) {
        self.relay.drain();
        self.unwatch(ctx.registry);
        (self.standing, self.is_readable) = (Standing::Left, false);
        self.socket = None;
    }

    /// The socket of the path at a place has something to tell. Nothing was closed since it told.
    pub(in crate::data) fn note_path_event(&mut self, place: u32) {
        self.paths.make_ready(place);
    }

    /// A flow has begun on a path.
    ///
    /// # Errors
    /// When the path is to have a socket, and there is none to be had.
    pub(super) fn hold(&mut self, path: Path, ctx: &Ctx<'_>) -> io::Result<()> {
        let Paths { apart, .. } = &mut self.paths;
        let is_parting = matches!(self.standing, Standing::Parting(_));
        if !apart.is_in_time(ctx.now) {
            return Ok(());
        }
        let Some(place) = apart.hold(path, is_parting) else { return Ok(()) };
        let socket = datagrams::connect_beside(path.local, path.peer)?;
        let fragments = self.rules.datagrams.fragments;
        datagrams::aggregate(&socket);
        datagrams::set_fragments(&socket, self.addr.is_ipv4(), fragments)?;
        let token = Source::Path(self.at, place).token();
        sys::watch(ctx.registry, &socket, token, Interest::READABLE)?;
        apart.insert(place, Own { socket, is_unread: true, is_ready: false });
        self.paths.unread += 1;
        // An edge tells of what comes, not of what has come between the calls.
        self.paths.make_ready(place);
        Ok(())
    }

    /// Takes a batch from the socket of a path and sends it on.
    pub(super) fn take_from_path(
        &mut self,
        place: u32,
        batch: &mut Batch,
        ids: &mut ConnectionIds,
        ctx: &mut Ctx<'_>,
    ) {
        let Some((path, own)) = self.paths.apart.at(place) else { return };
        batch.clear();
        batch.count_call();
        let room = batch.messages.room();
        let received = batch.messages.receive(&own.socket);
        if let Some(own) = self.paths.apart.at_mut(place) {
            own.is_ready = false;
            self.paths.unread -= usize::from(std::mem::take(&mut own.is_unread));
        }
        let has_more = match received {
            Ok(received) => {
                let has_more = received.len() == room;
                self.judge_batch(received, path.local, batch, ids, ctx);
                has_more
            }
            // The client's host tells that nobody is there: what has come is behind that.
            Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        };
        if has_more {
            self.paths.make_ready(place);
        } else {
            drop(self.paths.apart.remove_idle(place));
        }
    }
}
