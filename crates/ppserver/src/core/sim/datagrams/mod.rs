//! Worlds of datagrams: a relay between clients, balancers and a pool, on a network that loses and reorders.
//!
//! ```text
//! clients, balancers --road--> socket --batch--> shell -> relay, outbox, pool
//!                                                  |
//!                     judge <- each segment -------+--road--> endpoints, which answer, refuse, or say nothing
//! ```
//!
//! As everywhere in the simulator one number decides all. Bytes are real: headers are written and read by
//! `ppcore`, so what is mixed up shows. Not simulated: which socket of the kernel's a datagram comes to.

mod judge;
mod net;
mod plan;
mod shell;

use std::time::{Duration, Instant};

use judge::Judge;
use net::Net;
use plan::Plan;
use shell::Shell;

use super::coverage::{Coverage, Quirk};
use super::oracle::hold;
use super::rng::Rng;
use crate::core::session::Direction;
use crate::core::udp::drop_reason::DropReason;
use crate::core::udp::end_reason::EndReason;
use crate::core::udp::{Headers, Path, Terms};

/// Moves in a world.
const MOVES: usize = 240;
/// Worlds of a seed.
const WORLDS: usize = 3;
/// What the least tick of a deadline may add.
const MOMENT: Duration = Duration::from_millis(1);

/// Runs the worlds of a seed.
pub(super) fn run(seed: u64, begin: Instant, is_traced: bool, cover: &mut Coverage) {
    // Of its own, so that what sessions meet does not hang on it.
    let mut rng = Rng::new(seed ^ 0xDA7A_6BA5);
    for _ in 0..WORLDS {
        World::new(rng.fork(), begin, is_traced).run(cover);
    }
}

/// One listener, with who sends to it and who is behind it.
struct World {
    rng: Rng,
    now: Instant,
    plan: Plan,
    net: Net,
    shell: Shell,
    judge: Judge,
    is_traced: bool,
    sent: u64,
}

impl World {
    fn new(mut rng: Rng, now: Instant, is_traced: bool) -> Self {
        let plan = Plan::draw(&mut rng);
        let net = Net::new(rng.fork(), &plan);
        let shell = Shell::new(rng.fork(), &plan, now);
        let judge = Judge::new(&plan);
        Self { rng, now, plan, net, shell, judge, is_traced, sent: 0 }
    }

    fn run(mut self, cover: &mut Coverage) {
        for at in 0..MOVES {
            if at == MOVES - 40 && self.plan.drains {
                self.tell(format_args!("drains"));
                self.shell.relay.drain();
                self.judge.note_drain();
                cover.hit(Quirk::FlowsDrain);
            }
            self.step(cover);
            cover.steps += 1;
            self.judge.check(&self.shell, &self.net);
        }
        self.shell.relay.end_all(EndReason::Drained);
        self.shell.take_ended(&mut self.net, &mut self.judge, self.now, cover);
        self.shell.close_idle(&mut self.net);
        self.judge.check(&self.shell, &self.net);
        self.judge.check_end(&self.shell, &self.net);
        for direction in Direction::ALL {
            let counts = self.shell.relay.counts(direction);
            for (reason, count) in DropReason::ALL.iter().zip(counts.dropped) {
                cover.note_dropped(*reason, count);
            }
        }
    }

    /// One thing happens.
    fn step(&mut self, cover: &mut Coverage) {
        match self.rng.below(16) {
            0..=3 => self.send(cover),
            4..=6 => self.net.move_road(&mut self.rng, cover),
            7..=9 => {
                let (net, judge) = (&mut self.net, &mut self.judge);
                self.shell.receive(net, judge, &self.plan, self.now, cover);
            }
            10 | 11 => self.net.move_up(&mut self.rng, &self.plan, cover),
            12 | 13 => {
                let (net, judge) = (&mut self.net, &mut self.judge);
                self.shell.receive_answers(net, judge, &self.plan, self.now, cover);
            }
            14 => self.pass_time(cover),
            _ => self.meet_fate(cover),
        }
        if self.rng.one_in(3) {
            self.shell.take_ended(&mut self.net, &mut self.judge, self.now, cover);
        }
    }

    /// Somebody sends a datagram.
    fn send(&mut self, cover: &mut Coverage) {
        let client = if self.plan.is_flood && self.rng.one_in(2) {
            cover.hit(Quirk::Flood);
            self.plan.spoofed(&mut self.rng)
        } else {
            self.rng.pick(&self.plan.clients)
        };
        let count = if self.rng.one_in(3) { self.rng.between(2, 6) } else { 1 };
        let len = self.rng.pick(&[0, 9, 9, 20, 90]);
        for at in 0..count {
            self.sent += 1;
            let is_last = at + 1 == count;
            let len = if is_last && self.rng.one_in(3) { self.rng.below(len + 1) } else { len };
            let payload = payload(self.sent, len);
            let datagram = self.net.write(client, payload, &self.plan, &mut self.rng, cover);
            self.tell(format_args!("{client:?} sends {} bytes", datagram.bytes.len()));
            self.net.road.push(datagram);
        }
    }

    fn pass_time(&mut self, cover: &mut Coverage) {
        let relay = &mut self.shell.relay;
        let due = relay.deadline().filter(|_| self.rng.one_in(2));
        self.now = match due {
            Some(due) => due.max(self.now),
            None => self.now + MOMENT * u32::try_from(self.rng.below(2_000)).expect("it is small"),
        };
        relay.expire(self.now);
        self.judge.check_silence(relay, self.now);
        self.shell.take_ended(&mut self.net, &mut self.judge, self.now, cover);
    }

    /// Something happens to an endpoint, to a socket, or to the terms.
    fn meet_fate(&mut self, cover: &mut Coverage) {
        match self.rng.below(4) {
            0 => self.net.change_endpoint(&mut self.rng, &self.shell),
            1 => {
                let (net, judge) = (&mut self.net, &mut self.judge);
                self.shell.hear_errors(net, judge, self.now, cover);
            }
            2 if self.rng.one_in(4) => {
                let flows_max = self.rng.between(2, 12);
                let terms = Terms { flows_max, ..self.plan.terms };
                self.tell(format_args!("a reload: {terms:?}"));
                self.judge.note_reload(terms);
                self.shell.relay.follow(terms, self.now);
                self.plan.terms = terms;
                self.shell.take_ended(&mut self.net, &mut self.judge, self.now, cover);
                self.shell.close_idle(&mut self.net);
                cover.hit(Quirk::FlowsReload);
            }
            _ => self.shell.change_health(&mut self.rng),
        }
    }

    fn tell(&self, what: std::fmt::Arguments<'_>) {
        if self.is_traced {
            println!("{what}");
        }
    }
}

/// Returns bytes of which no two datagrams have the same, as far as there is room, and none begins like a header.
fn payload(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![b'#'];
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.resize(len, b'.');
    bytes
}
