//! What a world and each of its sessions will meet, drawn from the seed before it happens.
//!
//! Nothing here happens; each [`Mood`] makes some things likelier than chance would.

use std::time::Duration;

use super::kernel::Budget;
use super::peer::{Ending, FAIR_PAUSE_MAX, Reading, SILENCE_MIN, Script};
use super::rng::Rng;
use super::socket::{Errno, Handshake, Sizes};
use crate::core::close_reason::CloseReason;
use crate::core::session::{FirstBytes, FirstUse, Policy, Side, Splicing, Verdict};

/// Buffers in a crowd: small, so that nobody moves much more than his share.
pub(super) const CROWDED_CONDUIT_MAX: usize = 16;
/// The longest header we send.
pub(super) const GREETING_MAX: usize = 60;

/// What the decoder will say, by how many bytes it has seen; what the bytes are plays no part.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeaderPlan {
    pub(super) len: usize,
    /// Said from `len` bytes on.
    pub(super) verdict: Verdict,
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) mood: Mood,
    pub(super) policy: Policy,
    pub(super) header: HeaderPlan,
    /// The header we send: bytes.
    pub(super) greeting: usize,
    /// Why it is turned away where it would be routed.
    pub(super) turned_away: Option<CloseReason>,
    /// So many bytes of payload say where it goes; 0 where nobody asks.
    pub(super) hello: usize,
    /// A conduit's buffer: bytes.
    pub(super) conduit: usize,
    pub(super) sizes: Sizes,
    /// Each attempt that its route allows: after how long it is decided, and how; `None` hangs.
    pub(super) connects: Vec<Option<(Duration, Handshake)>>,
    pub(super) first_receive: FirstUse,
    pub(super) first_send: FirstUse,
    pub(super) client: Script,
    pub(super) upstream: Script,
    /// At which of its steps the path of one of its sockets breaks.
    pub(super) break_at: Option<usize>,
    /// At which of its steps a peer resets, wherever it is in its script.
    pub(super) reset_at: Option<(usize, Side)>,
    /// The upstream resets at the moment an abort begins.
    pub(super) is_impatient: bool,
    /// Events the epoll makes up.
    pub(super) spurious: usize,
    /// How often each moves: the shell, the epoll, an event, the network, the client, the upstream,
    /// the clock.
    pub(super) speeds: [usize; 7],
}

/// What kind of session it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Every byte has to arrive.
    Fair,
    /// Anything may happen.
    Rough,
    /// Much happens in the kernel before the session is told a word: urgent bytes, ends, resets.
    Storm,
    /// An endpoint refuses, its events are told late, and the next one stands.
    Retry,
    /// An answered client sends more than a lingering close takes.
    Flood,
    /// Much is downloaded by somebody who reads at once.
    Bulk,
}

impl Mood {
    /// Returns whether every byte has to arrive.
    pub(super) fn is_fair(self) -> bool {
        matches!(self, Self::Fair | Self::Bulk)
    }
}

impl Plan {
    /// Draws a session under the terms that hold when it is accepted.
    pub(super) fn draw(rng: &mut Rng, terms: Policy, is_crowded: bool) -> Self {
        let mood = rng.pick(&[Mood::Fair, Mood::Rough, Mood::Storm, Mood::Storm]);
        let mood = if rng.one_in(12) { Mood::Retry } else { mood };
        let mood = if rng.one_in(64) { Mood::Flood } else { mood };
        let mood = if is_crowded && !rng.one_in(4) { Mood::Bulk } else { mood };
        let first_bytes = match mood {
            Mood::Flood => FirstBytes::Header,
            Mood::Fair | Mood::Rough | Mood::Storm | Mood::Retry | Mood::Bulk => {
                rng.pick(&[FirstBytes::Payload, FirstBytes::Header, FirstBytes::HeaderOrSilence])
            }
        };
        let header = match first_bytes {
            FirstBytes::Payload if !mood.is_fair() && rng.one_in(12) => {
                HeaderPlan { len: 0, verdict: Verdict::Refuse(CloseReason::HeaderTooLong) }
            }
            FirstBytes::Payload => HeaderPlan { len: 0, verdict: Verdict::Relay { buffered: 0 } },
            FirstBytes::Header | FirstBytes::HeaderOrSilence => draw_header(rng, mood),
        };
        let policy = Policy { first_bytes, ..terms };
        let attempts_max = rng.between(1, 3);
        let connects =
            (0..attempts_max).map(|_| draw_connect(rng, policy.connect_timeout)).collect();
        let mut sometimes =
            |times| (!mood.is_fair() && rng.one_in(times)).then(|| rng.between(1, 200));
        let (break_at, reset_at) = (sometimes(12), sometimes(6));
        let mut plan = Self {
            mood,
            break_at,
            reset_at: reset_at.map(|step| (step, rng.pick(&Side::ALL))),
            policy,
            header,
            greeting: if rng.one_in(4) { 0 } else { rng.between(1, GREETING_MAX) },
            turned_away: None,
            hello: 0,
            conduit: rng.between(8, if is_crowded { CROWDED_CONDUIT_MAX } else { 128 }),
            sizes: Sizes {
                received_max: rng.between(16, 256),
                unsent_max: rng.between(16, 256),
                segment_max: rng.pick(&[1, 8, 64]),
            },
            connects,
            first_receive: rng.pick(&[FirstUse::AtOnce, FirstUse::WhenReady]),
            first_send: rng.pick(&[FirstUse::AtOnce, FirstUse::WhenReady]),
            client: draw_script(rng, mood, header.len as u64),
            upstream: draw_script(rng, mood, 0),
            is_impatient: !mood.is_fair() && rng.one_in(4),
            spurious: if rng.one_in(2) { rng.between(1, 6) } else { 0 },
            speeds: [(); 7].map(|()| rng.pick(&[1, 4, 16])),
        };
        plan.suit_mood(rng);
        plan
    }

    fn suit_mood(&mut self, rng: &mut Rng) {
        // Without a draw of its own: seeds keep their stories.
        if self.mood == Mood::Rough && self.greeting % 8 == 5 {
            let is_limited = self.conduit.is_multiple_of(2);
            let reason = if is_limited { CloseReason::Limited } else { CloseReason::Denied };
            self.turned_away = Some(reason);
        }
        if matches!(self.mood, Mood::Fair | Mood::Rough) && self.greeting % 4 == 3 {
            self.hello = 1 + self.conduit / 2;
        }
        match self.mood {
            Mood::Fair | Mood::Bulk => {
                if self.mood == Mood::Bulk {
                    self.upstream.total = rng.between(500, 2_000) as u64;
                    self.upstream.chunk_max = 200;
                    (self.client.reading, self.upstream.pause) = (Reading::Eager, None);
                }
                if self.client.ending == Ending::FinLast {
                    // One of them has to begin.
                    self.upstream.ending = Ending::Fin;
                }
            }
            Mood::Rough => {
                if let (FirstBytes::HeaderOrSilence, Some((offset, pause))) =
                    (self.policy.first_bytes, &mut self.client.pause)
                {
                    // It says nothing until about the deadline.
                    let late = *pause / 1_000;
                    (*offset, *pause) = (0, self.policy.header_timeout + late);
                }
            }
            Mood::Storm => self.brew_storm(rng),
            Mood::Retry => {
                let soon = Duration::from_micros(rng.between(1, 20) as u64);
                self.connects.fill(Some((Duration::ZERO, Handshake::Stands)));
                self.connects[0] = Some((soon, Handshake::Fails(Errno::ConnRefused)));
                self.first_send = FirstUse::AtOnce;
                self.greeting = self.greeting.max(1);
                (self.upstream.total, self.upstream.chunk_max) = (200, 8);
                self.speeds = [8, 16, 16, 16, 16, 1, 4];
            }
            Mood::Flood => {
                self.header.verdict = Verdict::Answer;
                (self.client.total, self.client.chunk_max) = (200_000, 16 << 10);
                self.client.pause = None;
                self.conduit = 16 << 10;
                let (received_max, unsent_max) = (32 << 10, 32 << 10);
                self.sizes = Sizes { received_max, unsent_max, segment_max: 16 << 10 };
            }
        }
    }

    fn brew_storm(&mut self, rng: &mut Rng) {
        for script in [&mut self.client, &mut self.upstream] {
            // An urgent byte with a little behind it, then the end.
            script.total += rng.between(0, 500) as u64;
            script.urgent_at = Some(script.total.saturating_sub(rng.between(1, 8) as u64));
            script.ending = rng.pick(&[Ending::Fin, Ending::FinLast, Ending::ResetLate]);
            script.chunk_max = 200;
            if rng.one_in(4) {
                // It goes with a full window.
                (script.reading, script.ending) = (Reading::Never, Ending::ResetLate);
            }
        }
        self.speeds = [32, 1, 1, 64, 64, 64, 1];
        self.sizes = Sizes { received_max: rng.between(16, 64), unsent_max: 256, ..self.sizes };
        self.spurious = 0;
        self.policy.splicing = rng.pick(&[Splicing::Always, Splicing::Always, Splicing::Auto]);
    }

    /// Returns whether every byte has to arrive, as long as the system has room for it.
    pub(super) fn is_fair(&self) -> bool {
        let stands = |connect: &Option<(Duration, Handshake)>| {
            let timeout = self.policy.connect_timeout;
            matches!(connect, Some((delay, Handshake::Stands)) if *delay < timeout)
        };
        let is_fair = self.client.is_fair() && self.upstream.is_fair();
        self.mood.is_fair() && is_fair && self.connects.iter().any(stands)
    }
}

/// What befalls a process, whatever its sessions do; each `at` is a step of the world.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) budget: Budget,
    /// How many clients come, and how long each waits behind the one before it.
    pub(super) clients: Vec<Duration>,
    /// From here on new sessions have other terms.
    pub(super) reload_at: Option<usize>,
    pub(super) drain_at: Option<usize>,
    pub(super) stop_at: Option<usize>,
    /// The process stands still, or the clock leaps.
    pub(super) jump_at: Option<usize>,
    /// Most of the clients download much.
    pub(super) is_crowded: bool,
}

impl Setting {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let is_crowded = rng.one_in(64);
        let count = if is_crowded { 12 } else { rng.pick(&[1, 1, 1, 2, 3, 4]) };
        let mut sometimes = |times| rng.one_in(times).then(|| rng.between(1, 150 * count));
        let (reload_at, drain_at) = (sometimes(4), sometimes(8));
        let (stop_at, jump_at) = (sometimes(12), sometimes(10));
        // Early enough for some to be queued still.
        let drain_at = drain_at.map(|at| if rng.one_in(2) { at % 24 + 1 } else { at });
        let later = |rng: &mut Rng| {
            Duration::from_micros(if rng.one_in(2) { 0 } else { rng.between(1, 2_000) as u64 })
        };
        Self {
            budget: draw_budget(rng, count),
            clients: (0..count).map(|_| later(rng)).collect(),
            reload_at,
            drain_at,
            stop_at,
            jump_at,
            is_crowded,
        }
    }

    /// Returns whether every session gets all the descriptors and ports it wants, and its time.
    pub(super) fn is_roomy(&self) -> bool {
        let Budget { fds, ports, pipes } = self.budget;
        let count = self.clients.len();
        let is_calm = self.stop_at.is_none() && self.jump_at.is_none();
        is_calm && fds >= 2 * count + 2 * pipes.min(2 * count) && ports >= count
    }
}

/// Draws what sessions are told; a reload draws anew.
pub(super) fn draw_terms(rng: &mut Rng) -> Policy {
    let mut seconds = || SILENCE_MIN + Duration::from_millis(rng.between(0, 8_000) as u64);
    let (idle_timeout, half_closed_timeout) = (seconds(), seconds());
    let header_timeout = seconds();
    Policy {
        // Each session says how it opens.
        first_bytes: FirstBytes::Payload,
        header_timeout,
        hello_timeout: header_timeout + Duration::from_micros(2),
        connect_timeout: seconds(),
        idle_timeout,
        // Never the same, so that a deadline tells which of them it is.
        half_closed_timeout: half_closed_timeout + Duration::from_micros(1),
        splicing: rng.pick(&[
            Splicing::Auto,
            Splicing::Auto,
            Splicing::Always,
            Splicing::Always,
            Splicing::Off,
        ]),
    }
}

fn draw_header(rng: &mut Rng, mood: Mood) -> HeaderPlan {
    let is_fair = mood.is_fair();
    const REFUSALS: &[CloseReason] = &[
        CloseReason::LocalRejected,
        CloseReason::Untrusted,
        CloseReason::HeaderAbsent,
        CloseReason::HeaderInvalid,
        CloseReason::HeaderTooLong,
    ];
    let verdict = match rng.below(5) {
        0 if !is_fair => Verdict::Refuse(rng.pick(REFUSALS)),
        1 if !is_fair => Verdict::Answer,
        _ => Verdict::Relay { buffered: 0 },
    };
    HeaderPlan { len: rng.between(1, 60), verdict }
}

fn draw_connect(rng: &mut Rng, timeout: Duration) -> Option<(Duration, Handshake)> {
    let later = Duration::from_micros(rng.between(1, 5_000) as u64);
    match rng.below(13) {
        0 => None,
        // About when nobody waits for it any more.
        12 => Some((timeout + later / 8, Handshake::Stands)),
        1 => Some((later, Handshake::Fails(Errno::ConnRefused))),
        2 => Some((later, Handshake::Fails(Errno::HostUnreachable))),
        3..7 => Some((Duration::ZERO, Handshake::Stands)),
        _ => Some((later, Handshake::Stands)),
    }
}

fn draw_script(rng: &mut Rng, mood: Mood, header: u64) -> Script {
    let is_fair = mood.is_fair();
    let payload = rng.pick(&[0, 1, 40, 300, 1_000]);
    let payload = rng.between(0, payload) as u64;
    // An unfair client may end inside its header, or before it.
    let total = match rng.below(4) {
        0 if !is_fair => (header / 2).min(payload),
        1 if !is_fair => 0,
        _ => header + payload,
    };
    let mut offset = || rng.between(0, 200) as u64;
    let (first, second, third) = (offset(), offset(), offset());
    let mut pause = || {
        let longest = if is_fair || rng.one_in(2) { FAIR_PAUSE_MAX } else { FAIR_PAUSE_MAX * 100 };
        let micros = rng.below(usize::try_from(longest.as_micros()).expect("it is seconds"));
        Duration::from_micros(micros as u64)
    };
    let (send_pause, read_pause) = (pause(), pause());
    let ending = match rng.below(if is_fair { 6 } else { 12 }) {
        0..4 => Ending::Fin,
        4 | 5 => Ending::FinLast,
        6 | 7 => Ending::Close,
        8 => Ending::Reset,
        9 => Ending::ResetLate,
        10 => Ending::FinReset,
        _ => Ending::Silence,
    };
    let slow = Duration::from_millis(rng.between(50, 900) as u64);
    let reading = match rng.below(if is_fair { 7 } else { 9 }) {
        0..4 => Reading::Eager,
        4 => Reading::Dribble,
        5 => Reading::Pause(second, read_pause),
        6 => Reading::Slow(slow),
        7 => Reading::Never,
        _ => Reading::ResetAt(third),
    };
    Script {
        total,
        chunk_max: rng.pick(&[1, 16, 200]),
        urgent_at: rng.one_in(3).then(|| rng.between(0, 200) as u64),
        pause: rng.one_in(4).then_some((first, send_pause)),
        ending,
        reading,
    }
}

fn draw_budget(rng: &mut Rng, count: usize) -> Budget {
    Budget {
        fds: if rng.one_in(12) {
            rng.between(1, 2 * count)
        } else {
            rng.pick(&[2, 4, 100]) * count
        },
        ports: if rng.one_in(16) { rng.below(count) } else { 10 * count },
        pipes: rng.pick(&[0, 1, 2, 100, 100]),
    }
}
