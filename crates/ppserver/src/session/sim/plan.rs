//! What one session will meet, drawn from its seed before it starts.
//!
//! Nothing here happens; each [`Mood`] makes some things likelier than chance would.

use std::time::Duration;

use super::super::{CloseReason, Opening, Policy, Splicing, Verdict};
use super::kernel::{Budget, Sizes};
use super::peer::{Ending, FAIR_PAUSE_MAX, Reading, Script};
use super::rng::Rng;
use super::socket::{Errno, Handshake};

/// What the decoder will say, by how many bytes it has seen; what the bytes are plays no part.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeaderPlan {
    pub(super) len: usize,
    /// Said from `len` bytes on.
    pub(super) verdict: Verdict,
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    mood: Mood,
    pub(super) policy: Policy,
    pub(super) header: HeaderPlan,
    /// The header we send: bytes.
    pub(super) greeting: usize,
    /// A conduit's buffer: bytes.
    pub(super) conduit: usize,
    pub(super) sizes: Sizes,
    pub(super) budget: Budget,
    /// Each attempt: after how long it is decided, and how; `None` hangs.
    pub(super) connects: Vec<Option<(Duration, Handshake)>>,
    pub(super) client: Script,
    pub(super) upstream: Script,
    pub(super) stop_at: Option<usize>,
    pub(super) jump_at: Option<usize>,
    pub(super) break_at: Option<usize>,
    /// The upstream resets at the moment an abort begins.
    pub(super) is_impatient: bool,
    /// Events the epoll makes up.
    pub(super) spurious: usize,
    /// How often each of the movers moves.
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
    /// An answered client sends more than a lingering close takes.
    Flood,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let mood = rng.pick(&[Mood::Fair, Mood::Rough, Mood::Storm, Mood::Storm]);
        let mood = if rng.one_in(64) { Mood::Flood } else { mood };
        let opening = match mood {
            Mood::Flood => Opening::Header,
            Mood::Fair | Mood::Rough | Mood::Storm => {
                rng.pick(&[Opening::Payload, Opening::Header, Opening::Header])
            }
        };
        let header = match opening {
            Opening::Payload => HeaderPlan { len: 0, verdict: Verdict::Relay { buffered: 0 } },
            Opening::Header => draw_header(rng, mood),
        };
        let attempts_max = rng.between(1, 3);
        let policy = draw_policy(rng, opening, attempts_max);
        let connects =
            (0..attempts_max).map(|_| draw_connect(rng, policy.connect_timeout)).collect();
        let mut sometimes =
            |times| (mood != Mood::Fair && rng.one_in(times)).then(|| rng.between(1, 300));
        let mut plan = Self {
            mood,
            stop_at: sometimes(16),
            jump_at: sometimes(12),
            break_at: sometimes(12),
            policy,
            header,
            greeting: if rng.one_in(4) { 0 } else { rng.between(1, 60) },
            conduit: rng.between(8, 128),
            sizes: Sizes {
                received_max: rng.between(16, 256),
                unsent_max: rng.between(16, 256),
                segment_max: rng.pick(&[1, 8, 64]),
            },
            budget: draw_budget(rng),
            connects,
            client: draw_script(rng, mood, header.len as u64),
            upstream: draw_script(rng, mood, 0),
            is_impatient: mood != Mood::Fair && rng.one_in(4),
            spurious: if rng.one_in(2) { rng.between(1, 6) } else { 0 },
            speeds: [(); 7].map(|()| rng.pick(&[1, 4, 16])),
        };
        plan.suit_mood(rng);
        plan
    }

    fn suit_mood(&mut self, rng: &mut Rng) {
        match self.mood {
            Mood::Fair => {
                if self.client.ending == Ending::FinLast {
                    // One of them has to begin.
                    self.upstream.ending = Ending::Fin;
                }
            }
            Mood::Rough => {}
            Mood::Storm => self.brew_storm(rng),
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
        // The shell, the epoll, an event, the network, the client, the upstream, the clock.
        self.speeds = [32, 1, 1, 64, 64, 64, 1];
        self.sizes = Sizes { received_max: rng.between(16, 64), unsent_max: 256, ..self.sizes };
        self.spurious = 0;
        self.policy.splicing = rng.pick(&[Splicing::Always, Splicing::Auto]);
        self.budget.pipes = self.budget.pipes.max(1);
    }

    /// Returns whether every byte has to arrive.
    pub(super) fn is_fair(&self) -> bool {
        let stands = |connect: &Option<(Duration, Handshake)>| {
            let timeout = self.policy.connect_timeout;
            matches!(connect, Some((delay, Handshake::Stands)) if *delay < timeout)
        };
        let is_open = self.budget.fds > 1 && self.budget.ports > 0;
        let is_fair = self.client.is_fair() && self.upstream.is_fair();
        self.mood == Mood::Fair && is_fair && is_open && self.connects.iter().any(stands)
    }
}

fn draw_policy(rng: &mut Rng, opening: Opening, attempts_max: usize) -> Policy {
    let mut seconds = || Duration::from_millis(rng.between(1_000, 9_000) as u64);
    let (idle_timeout, half_closed_timeout) = (seconds(), seconds());
    Policy {
        opening,
        header_timeout: seconds(),
        connect_timeout: seconds(),
        idle_timeout,
        // Never the same, so that a deadline tells which of them it is.
        half_closed_timeout: half_closed_timeout + Duration::from_micros(1),
        attempts_max,
        splicing: rng.pick(&[Splicing::Auto, Splicing::Always, Splicing::Off]),
    }
}

fn draw_header(rng: &mut Rng, mood: Mood) -> HeaderPlan {
    let is_fair = mood == Mood::Fair;
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
    let is_fair = mood == Mood::Fair;
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
    let reading = match rng.below(if is_fair { 6 } else { 8 }) {
        0..4 => Reading::Eager,
        4 => Reading::Dribble,
        5 => Reading::Pause(second, read_pause),
        6 => Reading::Never,
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

fn draw_budget(rng: &mut Rng) -> Budget {
    Budget {
        fds: if rng.one_in(24) { 1 } else { rng.pick(&[2, 4, 100]) },
        ports: if rng.one_in(24) { 0 } else { 10 },
        pipes: rng.pick(&[0, 1, 2, 100]),
    }
}
