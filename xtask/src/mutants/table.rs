//! The mutants: what is planted where, and the historic bug it stands for.

/// A bug to be planted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mutant {
    /// What the bug is, in a word or three.
    pub(super) name: &'static str,
    /// Below the directory of `core`.
    pub(super) file: &'static str,
    /// Stands in the file exactly once.
    pub(super) find: &'static str,
    pub(super) replace: &'static str,
    /// The fix, or the report, of the bug it stands for.
    pub(super) origin: &'static str,
}

/// Every one of them was a bug in somebody's proxy, or in ours.
pub(super) const MUTANTS: &[Mutant] = &[
    // A splice stops when the slots of the pipe are used up, long before its bytes are: neither a
    // short splice nor EAGAIN says that the socket is empty.
    Mutant {
        name: "short-splice-is-empty",
        file: "session/flow.rs",
        find: "} else if method == Method::Copy && !self.copy_only {\n                    self.bulk = false;\n                    self.readable = false;\n                    self.eof = self.fin_announced;",
        replace: "} else if !self.copy_only {\n                    self.bulk = false;\n                    self.readable = false;\n                    self.eof = method == Method::Copy && self.fin_announced;",
        origin: "sozu-proxy/sozu#1323: a full pipe taken for an empty socket",
    },
    // RDHUP behind a splice that returned less than asked was taken for the end.
    Mutant {
        name: "short-splice-is-the-end",
        file: "session/flow.rs",
        find: "} else if method == Method::Copy && !self.copy_only {",
        replace: "} else if !self.copy_only {",
        origin: "haproxy/haproxy 4fc90efed039: RDHUP behind a short splice is no end",
    },
    // Both meanings of EAGAIN were one: with data behind an urgent byte there is no second edge.
    Mutant {
        name: "eagain-at-the-mark-is-empty",
        file: "session/flow.rs",
        find: "self.copy_only |= ready.urgent || ready.error;",
        replace: "self.copy_only |= ready.error;",
        origin: "sozu-proxy/sozu#1323: EAGAIN taken for an empty socket",
    },
    Mutant {
        name: "sink-eagain-ignored",
        file: "session/flow.rs",
        find: "Sent::WouldBlock | Sent::Failed(_) => self.writable = false,",
        replace: "Sent::WouldBlock | Sent::Failed(_) => {}",
        origin: "cgzones/apt-cacher-rs#109: EAGAIN did not clear readiness, a core spun",
    },
    // A part of the pipe went out, and nobody waited for room for the rest.
    Mutant {
        name: "rest-of-the-pipe-forgotten",
        file: "session/flow.rs",
        find: "self.moved += count as u64;",
        replace: "self.moved += count as u64;\n                self.writable = self.buffered == 0;",
        origin: "haproxy/haproxy d44ad5b8bd94: freeze, no subscription while data stays in the pipe",
    },
    Mutant {
        name: "eagain-keeps-readable",
        file: "session/flow.rs",
        find: "Received::WouldBlock => (self.readable, self.bulk) = (false, false),",
        replace: "Received::WouldBlock => self.bulk = false,",
        origin: "haproxy/haproxy 81464b4e4df8: receiving in loops, nothing to be had",
    },
    Mutant {
        name: "splice-of-0-ignored",
        file: "session/flow.rs",
        find: "Received::End if method == Method::Splice => self.copy_only = true,",
        replace: "Received::End if method == Method::Splice => {}",
        origin: "haproxy/haproxy 1146f975a9f2: never back from the pipe to a receive",
    },
    Mutant {
        name: "splice-of-0-is-the-end",
        file: "session/flow.rs",
        find: "Received::End if method == Method::Splice => self.copy_only = true,",
        replace: "",
        origin: "haproxy/haproxy 4fc90efed039: an end concluded from a splice",
    },
    Mutant {
        name: "readiness-overwritten-source",
        file: "session/flow.rs",
        find: "self.readable |= ready.readable || ready.read_closed || ready.urgent || ready.error;",
        replace: "self.readable = ready.readable || ready.read_closed || ready.urgent || ready.error;",
        origin: "haproxy/haproxy 9fab7bedfb1c: new events in place of those not handled yet",
    },
    Mutant {
        name: "readiness-overwritten-sink",
        file: "session/flow.rs",
        find: "self.writable |= ready.writable || ready.error;",
        replace: "self.writable = ready.writable || ready.error;",
        origin: "pistacheio/pistache#1114: interest in writing lost, the rest never sent",
    },
    Mutant {
        name: "hup-is-the-end",
        file: "session/flow.rs",
        find: "self.fin_announced |= ready.read_closed;",
        replace: "self.fin_announced |= ready.read_closed;\n        self.eof |= ready.read_closed;",
        origin: "haproxy/haproxy 1ddaaa4228d9: truncated, HUP processed as the end; netty/netty#3729",
    },
    // With `abc`, an urgent byte, `def` and a FIN queued, a receive returns `abc` under RDHUP.
    Mutant {
        name: "short-read-at-the-mark-is-the-end",
        file: "session/flow.rs",
        find: "} else if method == Method::Copy && !self.copy_only {",
        replace: "} else if method == Method::Copy {",
        origin: "haproxy/haproxy 4fc90efed039: RDHUP behind a short read is no end",
    },
    Mutant {
        name: "fin-before-the-pipe-is-empty",
        file: "session/flow.rs",
        find: "if self.buffered > 0 {\n            self.writable.then_some(Step::Drain)",
        replace: "if self.eof && !self.shut {\n            Some(Step::Shutdown)\n        } else if self.buffered > 0 {\n            self.writable.then_some(Step::Drain)",
        origin: "haproxy/haproxy 3abf6934a436 (#2505): shutdown forwarded, the pipe not empty",
    },
    Mutant {
        name: "close-before-the-pipe-is-empty",
        file: "session/mod.rs",
        find: "let has_ended = |flow: &Flow| flow.eof && flow.buffered == 0;",
        replace: "let has_ended = |flow: &Flow| flow.eof;",
        origin: "haproxy/haproxy 48f1e2b6fe84 (#2749): shut down with spliced data blocked",
    },
    Mutant {
        name: "reset-swallowed",
        file: "session/mod.rs",
        find: "Some(failure) => self.handle_failure(side, Socket::Dying, failure, now),\n            None if side == Side::Upstream",
        replace: "Some(_) => {}\n            None if side == Side::Upstream",
        origin: "haproxy/haproxy debdc4b65705: an error told with a HUP was ignored",
    },
    Mutant {
        name: "error-not-fetched-in-connect",
        file: "session/mod.rs",
        find: "Side::Upstream if ready.writable && !ready.error => self.established(now),",
        replace: "Side::Upstream if ready.writable => self.established(now),",
        origin: "haproxy/haproxy f12a20ebce89: no look for a pending error in a connect probe",
    },
    Mutant {
        name: "reset-while-connecting-unseen",
        file: "session/next.rs",
        find: "fn next_connecting(&self) -> Action {\n        if let Some(side) = self.suspect() {",
        replace: "fn next_connecting(&self) -> Action {\n        if let Some(side) = self.suspect().filter(|side| *side == Side::Upstream) {",
        origin: "haproxy/haproxy debdc4b65705: an error told with a HUP was ignored",
    },
    // A server that answers and closes with unread bytes sends a reset behind its answer.
    Mutant {
        name: "error-of-a-send-ends-the-answer",
        file: "session/mod.rs",
        find: "self.handle_failure(direction.sink(), Socket::Dying, failure, now);\n            }\n        }\n    }\n\n    /// [`Action::Shutdown`]",
        replace: "self.handle_failure(direction.sink(), Socket::Failed, failure, now);\n            }\n        }\n    }\n\n    /// [`Action::Shutdown`]",
        origin: "haproxy/haproxy d1480cc8a443: data refused because of the error behind it",
    },
    Mutant {
        name: "error-told-with-data-ends-it",
        file: "session/mod.rs",
        find: "Some(failure) => self.handle_failure(side, Socket::Dying, failure, now),\n            None if side == Side::Upstream",
        replace: "Some(failure) => self.handle_failure(side, Socket::Failed, failure, now),\n            None if side == Side::Upstream",
        origin: "haproxy/haproxy dfefebcd7a01: an error reported though something was received",
    },
    Mutant {
        name: "reset-becomes-a-fin",
        file: "session/mod.rs",
        find: "self.phase = Phase::Aborting(reason);",
        replace: "self.phase = Phase::Over(reason);",
        origin: "envoyproxy/envoy#44148: the client got a FIN for the upstream's reset",
    },
    Mutant {
        name: "reset-drops-what-was-taken",
        file: "session/next.rs",
        find: "// What it takes is progress, though nothing can be added yet.\n",
        replace: "Socket::Open => Some(Action::Reset(side)),\n",
        origin: "envoyproxy/envoy#45267: a reset passed on at once drops buffered data",
    },
    Mutant {
        name: "payload-passes-the-header",
        file: "session/mod.rs",
        find: "        self.up.buffered += header;\n",
        replace: "",
        origin: "icgood/proxy-protocol#37: payload went upstream before the header",
    },
    Mutant {
        name: "more-announced-that-never-comes",
        file: "session/mod.rs",
        find: "matches!(self.phase, Phase::Connecting | Phase::Relaying) && self.flow(direction).eof",
        replace: "true",
        origin: "haproxy/haproxy 4ac49287182d: MSG_MORE, and no shutdown behind it",
    },
    Mutant {
        name: "deadline-moved-by-each-byte",
        file: "session/mod.rs",
        find: "Verdict::Incomplete => {}\n            Verdict::Relay",
        replace: "Verdict::Incomplete => self.deadline = now + self.policy.header_timeout,\n            Verdict::Relay",
        origin: "pgsty/silo#195: the header's deadline moved by every partial read",
    },
    Mutant {
        name: "header-deadline-on-the-session",
        file: "session/mod.rs",
        find: "Phase::Relaying => self.progress.look_at(self.silence_max()),",
        replace: "Phase::Relaying => self.deadline,",
        origin: "pires/go-proxyproto#75: the header's deadline stayed on the connection",
    },
    Mutant {
        name: "emfile-without-a-timer",
        file: "accept_queue.rs",
        find: "Accepted::Failed => self.state = State::Paused(now + PAUSE),",
        replace: "Accepted::Failed => self.state = State::Quiet,",
        origin: "projecteru/redis-cerberus#29: no accept any more after EMFILE",
    },
    Mutant {
        name: "emfile-spins",
        file: "accept_queue.rs",
        find: "Accepted::Failed => self.state = State::Paused(now + PAUSE),",
        replace: "Accepted::Failed => {}",
        origin: "twisted/twisted#5368: a busy loop at the limit of descriptors",
    },
    Mutant {
        name: "drain-drops-the-queue",
        file: "accept_queue.rs",
        find: "self.is_draining = true;\n        self.state = State::Ready;",
        replace: "self.is_draining = true;\n        self.state = State::Quiet;",
        origin: "close(2) of a listening socket resets who is queued (Linux 6.18)",
    },
    // The rest are our own stories: session/tests.rs tells each.
    Mutant {
        name: "late-event-of-a-failed-attempt",
        file: "session/mod.rs",
        find: "self.down.forget_source();",
        replace: "",
        origin: "ours: an event of a failed attempt ended the next one's stream",
    },
    Mutant {
        name: "idle-behind-a-leap-of-the-clock",
        file: "session/mod.rs",
        find: "Phase::Relaying if self.next() != Action::Wait => {}\n",
        replace: "",
        origin: "ours: timed out behind SIGSTOP with bytes ready to move",
    },
    Mutant {
        name: "abort-waits-for-a-broken-socket",
        file: "session/next.rs",
        find: "Socket::Open if end.suspect => Some(Action::TakeError(side)),",
        replace: "",
        origin: "ours: SIOCOUTQ never becomes 0 behind a reset",
    },
    Mutant {
        name: "what-is-acknowledged-is-silence",
        file: "session/progress.rs",
        find: "let has_moved = before.map_or(is_first_progress, |before| unsent < before);",
        replace: "let has_moved = false;",
        origin: "ours: 3 MB in the socket of a client that read 30 kB/s, which was reset after a minute",
    },
    Mutant {
        name: "silence-looks-at-one-socket",
        file: "session/progress.rs",
        find: "            queue.is_due = queue.unsent != Some(0);\n        }",
        replace: "            queue.is_due = queue.unsent != Some(0);\n        }\n        self.client.is_due = false;",
        origin: "ours: the same, for the download alone",
    },
    Mutant {
        name: "abort-gives-up-on-a-slow-reader",
        file: "session/next.rs",
        find: "            // What it takes is progress, though nothing can be added yet.\n            Socket::Open if self.progress.is_due(side) => Some(Action::CheckUnsent(side)),\n            Socket::Open if self.flow(inward).buffered > 0 => None,",
        replace: "            Socket::Open if self.flow(inward).buffered > 0 => None,\n            Socket::Open if self.progress.is_due(side) => Some(Action::CheckUnsent(side)),",
        origin: "ours: an answer behind which the upstream resets was cut after a second",
    },
    // A turn gave each busy connection its whole share before the kernel was asked who else is ready.
    Mutant {
        name: "share-ignored",
        file: "schedule.rs",
        find: "let share = if is_quiet_there { self.shares.short } else { self.shares.long };",
        replace: "let share = usize::MAX;",
        origin: "ours: 262 ms for a ping beside 32 downloads",
    },
    Mutant {
        name: "fresh-behind-bulk",
        file: "schedule.rs",
        find: "if place.bulk > 0 { &mut self.bulk } else { &mut self.fresh }.push_back(key);",
        replace: "self.bulk.push_back(key);",
        origin: "ours: who had a byte waited for everybody who had a gigabyte",
    },
    Mutant {
        name: "filed-twice",
        file: "schedule.rs",
        find: "place.is_queued = true;",
        replace: "",
        origin: "ours, as it might have been: a place in the queue for each event",
    },
    Mutant {
        name: "reminder-filed-twice",
        file: "schedule.rs",
        find: "            if set <= at {\n                return;\n            }\n            self.timers.cancel(reminder);",
        replace: "            if set <= at {\n                return;\n            }\n            let _ = reminder;",
        origin: "ours: a reminder for each time a deadline came nearer",
    },
    Mutant {
        name: "reminder-outlives-its-connection",
        file: "schedule.rs",
        find: "        if let Some((reminder, _)) = place.reminder.take() {\n            self.timers.cancel(reminder);\n        }",
        replace: "        place.reminder = None;",
        origin: "ours: 39 bytes for every connection served, until its idle limit had passed",
    },
    Mutant {
        name: "header-of-another-attempt",
        file: "session/mod.rs",
        find: "self.up.buffered -= std::mem::take(&mut self.header);",
        replace: "self.header = 0;",
        origin: "ours, as it might have been: an endpoint gets the header of the one before it too",
    },
    Mutant {
        name: "no-pipe-forgotten",
        file: "session/flow.rs",
        find: "self.is_unpiped = true;",
        replace: "",
        origin: "ours, as it might have been: asks again and again for a pipe that is not there",
    },
    Mutant {
        name: "spliced-before-our-header",
        file: "session/flow.rs",
        find: "splicing: Splicing::Off,\n            bulk: false,",
        replace: "splicing: Splicing::Always,\n            bulk: false,",
        origin: "ours, as it might have been: nothing can be put in front of a pipe",
    },
    Mutant {
        name: "pipe-that-waits-is-listened-to",
        file: "session/flow.rs",
        find: "self.filled_by == Method::Splice && self.buffered > 0 && self.asked == Interest::All",
        replace: "false",
        origin: "ours: an event for each segment, of which none was of use",
    },
    Mutant {
        name: "never-listened-to-again",
        file: "session/flow.rs",
        find: "(self.asked == Interest::Room).then_some(Step::Listen)",
        replace: "None",
        origin: "ours, as it might have been: what came while a pipe waited is never noticed",
    },
];
