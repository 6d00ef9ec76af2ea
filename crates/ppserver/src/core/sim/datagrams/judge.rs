//! The judge of a world of datagrams: what must hold, by an account of its own.
//!
//! It sees what came, what was decided of it, and what left, byte for byte; never what the relay knows. Each datagram that
//! is let in is owed to its flow's upstream, in order, until it leaves or is dropped aloud.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::net::{Datagram, Net, Reply};
use super::plan::{Mode, Name, Plan};
use super::shell::{Leg, Shell};
use super::{Headers, Path, Terms, hold};
use crate::core::session::Direction;
use crate::core::udp::drop_reason::DropReason;
use crate::core::udp::end_reason::EndReason;
use crate::core::udp::{Answer, Ended, FlowId, Relay, Verdict};

/// What a flow is, and what is owed.
#[derive(Clone, Debug)]
struct Account {
    name: Name,
    last: Instant,
    asked: u64,
    answered: u64,
    /// Why it is over.
    over: Option<EndReason>,
    /// Payloads that are to leave, in order.
    up: VecDeque<Vec<u8>>,
    /// The same of answers.
    down: VecDeque<Vec<u8>>,
    /// How often what is next was refused.
    refusals: usize,
    /// The socket that it sent by last, and has still.
    socket: Option<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct Judge {
    plan: Plan,
    is_draining: bool,
    /// So many stood when there was to be room for fewer, and none might be forgotten.
    crowd: usize,
    accounts: HashMap<FlowId, Account>,
    /// What the kernel gave and took, by direction.
    received: [u64; 2],
    sent: [u64; 2],
}

impl Judge {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            plan: plan.clone(),
            is_draining: false,
            crowd: 0,
            accounts: HashMap::new(),
            received: [0; 2],
            sent: [0; 2],
        }
    }

    pub(super) fn note_drain(&mut self) {
        self.is_draining = true;
    }

    pub(super) fn note_reload(&mut self, terms: Terms) {
        self.plan.terms = terms;
        if terms.headers == Headers::First {
            self.crowd = self.standing().count();
        }
    }

    fn standing(&self) -> impl Iterator<Item = (&FlowId, &Account)> {
        self.accounts.iter().filter(|(_, account)| account.over.is_none())
    }

    /// Returns the flow that a datagram belongs to, its name and the length of its header.
    fn expected(&self, came: &Datagram) -> Result<(Option<FlowId>, Name, usize), DropReason> {
        if self.plan.terms.headers == Headers::First {
            let known = self.standing().find(|(_, account)| account.name.path == came.path);
            if let Some((id, account)) = known {
                return Ok((Some(*id), account.name, 0));
            }
        }
        let (name, header_len) = came.says?;
        let known = self.standing().find(|(_, account)| account.name == name);
        let known = known.map(|(id, _)| *id);
        if known.is_none() && self.is_draining {
            return Err(DropReason::Draining);
        }
        let is_full = self.standing().count() >= self.plan.terms.flows_max;
        if known.is_none() && is_full && self.plan.terms.headers == Headers::First {
            return Err(DropReason::Limited);
        }
        if known.is_none()
            && let Some(reason) = self.plan.turns_away(name.client, name.is_local)
        {
            return Err(reason);
        }
        Ok((known, name, header_len))
    }

    /// So many datagrams have come.
    pub(super) fn note_received(&mut self, direction: Direction, datagrams: usize) {
        self.received[direction as usize] += datagrams as u64;
    }

    /// A datagram was judged.
    pub(super) fn note_judged(
        &mut self,
        came: &Datagram,
        verdict: Verdict,
        relay: &Relay<Leg>,
        now: Instant,
    ) {
        let expected = self.expected(came);
        // Who gives way did so before the newcomer stood.
        self.note_gone(relay, now);
        let (id, header_len) = match verdict {
            Verdict::Relay(id, header_len) | Verdict::Dial(id, header_len) => (id, header_len),
            Verdict::Drop(reason) => {
                let due = expected.err();
                hold!(Reason, due == Some(reason), "dropped: {reason:?}, due: {due:?}");
                return;
            }
        };
        let (known, name, expected_len) = match expected {
            Ok(expected) => expected,
            Err(due @ DropReason::Draining) => {
                hold!(Stop, false, "{due:?}, and somebody new is let in");
                return;
            }
            Err(due) => {
                hold!(Reason, false, "let in, due: {due:?}");
                return;
            }
        };
        hold!(Whole, header_len == expected_len, "{header_len} bytes of header: {expected_len}");
        match known {
            Some(known) => {
                hold!(Addressee, known == id, "{name:?} goes along {id:?}, not {known:?}")
            }
            None => {
                let is_taken = self.accounts.get(&id).map(|account| account.name);
                hold!(Addressee, is_taken.is_none(), "{name:?} goes along that of {is_taken:?}");
            }
        }
        let account = self.accounts.entry(id).or_insert_with(|| Account {
            name,
            last: now,
            asked: 0,
            answered: 0,
            over: None,
            up: VecDeque::new(),
            down: VecDeque::new(),
            refusals: 0,
            socket: None,
        });
        (account.last, account.asked) = (now, account.asked + 1);
        account.up.push_back(came.bytes[header_len..].to_vec());
    }

    /// Finds who gave way when somebody new came, and whether he had to.
    fn note_gone(&mut self, relay: &Relay<Leg>, now: Instant) {
        let is_gone = |id: &FlowId| relay.flow(*id).is_none();
        let gone: Vec<FlowId> = self.standing().map(|(id, _)| *id).filter(is_gone).collect();
        hold!(Bounded, gone.len() <= 1, "{} flows give way to one", gone.len());
        let Some(id) = gone.first() else { return };
        let may = self.plan.terms.headers == Headers::Each;
        hold!(Flood, may, "one gives way whose sender may know him still");
        let standing = self.standing().count();
        hold!(Bounded, standing >= self.plan.terms.flows_max, "one gives way, {standing} stand");
        let account = &self.accounts[id];
        let is_answered = account.answered > 0;
        let answered = self.standing().filter(|(_, other)| other.answered > 0).count();
        let is_crowd = answered > self.plan.terms.flows_max * 7 / 8;
        hold!(Flood, !is_answered || is_crowd, "an answered flow gives way, {answered} of them");
        let is_older =
            |other: &Account| (other.answered > 0) == is_answered && other.last < account.last;
        let older = self.standing().find(|(_, other)| is_older(other));
        hold!(Flood, older.is_none(), "{id:?} gives way, silent since {:?}", now - account.last);
        let account = self.accounts.get_mut(id).expect("it is there");
        account.over = Some(EndReason::Evicted);
    }

    /// Datagrams have left upstream.
    pub(super) fn note_sent_up(
        &mut self,
        whose: &[FlowId],
        socket: usize,
        segments: &[Vec<u8>],
        is_first: bool,
    ) {
        let goes = self.plan.goes;
        for (at, (segment, id)) in paired(segments, whose).enumerate() {
            self.sent[Direction::Up as usize] += 1;
            let account = self.accounts.get_mut(id).expect("who sends was judged");
            account.socket = Some(socket);
            let header = match goes {
                Mode::Plain => Vec::new(),
                Mode::First if !is_first || at > 0 => Vec::new(),
                Mode::Each | Mode::First | Mode::Spp => account.name.header(goes),
            };
            let Some(payload) = account.up.pop_front() else {
                panic!("Whole: {segment:?} leaves, nothing is owed")
            };
            account.refusals = 0;
            let due = [header, payload].concat();
            if *segment != due {
                self.blame(*id, segment, &due);
            }
        }
    }

    /// Names the rule that a wrong datagram breaks.
    fn blame(&self, id: FlowId, segment: &[u8], due: &[u8]) {
        let is_named = |account: &Account| {
            let header = account.name.header(self.plan.goes);
            !header.is_empty() && segment.starts_with(&header)
        };
        let own = &self.accounts[&id];
        let len = own.name.header(self.plan.goes).len();
        let is_payload = 0 < len && len <= due.len() && segment.ends_with(&due[len..]);
        let is_others = |(other, account): (&FlowId, &Account)| *other != id && is_named(account);
        let is_strange = !is_named(own) && (is_payload || self.accounts.iter().any(is_others));
        hold!(Addressee, !is_strange, "{segment:?} names another, due: {due:?}");
        let is_later =
            own.up.iter().any(|payload| segment.ends_with(payload) && !payload.is_empty());
        hold!(Order, !is_later, "{segment:?} overtakes {due:?}");
        hold!(Whole, false, "{segment:?} leaves, due: {due:?}");
    }

    /// A send was refused, and is to be made once more.
    pub(super) fn note_refused(&mut self, id: FlowId) {
        self.accounts.get_mut(&id).expect("who sends was judged").refusals += 1;
        self.note_unlinked(id);
    }

    /// A flow has its socket no more.
    pub(super) fn note_unlinked(&mut self, id: FlowId) {
        self.accounts.get_mut(&id).expect("who has one was judged").socket = None;
    }

    /// What came last is gone: there was nowhere to send it to.
    pub(super) fn note_undialled(&mut self, id: FlowId) {
        let owed = self.accounts.get_mut(&id).and_then(|account| account.up.pop_back());
        hold!(Balance, owed.is_some(), "gone, nothing is owed");
    }

    /// What could not be sent is about to be dropped.
    pub(super) fn check_given_up(&self, id: FlowId, reason: DropReason) {
        let refusals = self.accounts[&id].refusals;
        let is_refused = reason == DropReason::Refused;
        hold!(Lost, !is_refused || refusals > 0, "lost to the refusal of an earlier one");
    }

    /// What is owed first is gone.
    pub(super) fn note_dropped(
        &mut self,
        direction: Direction,
        whose: &[FlowId],
        reason: DropReason,
    ) {
        let (goes, comes, max) = (self.plan.goes, self.plan.comes, self.plan.datagram_max);
        for id in whose {
            let account = self.accounts.get_mut(id).expect("who sends was judged");
            account.refusals = 0;
            let (owed, mode) = match direction {
                Direction::Up => (&mut account.up, goes),
                Direction::Down => (&mut account.down, comes),
            };
            let Some(owed) = owed.pop_front() else {
                panic!("Balance: {reason:?}, nothing is owed")
            };
            if reason == DropReason::TooLong {
                let len = owed.len() + account.name.header(mode).len();
                hold!(Lost, len > max, "{len} bytes are too long, {max} are not");
            }
        }
    }

    /// Something was taken for no answer.
    pub(super) fn note_no_answer(&mut self, socket: usize, reply: &Reply, reason: DropReason) {
        self.note_received(Direction::Down, 1);
        let is_his = |account: &Account| {
            account.socket == Some(socket) && self.answers(account, reply).is_some()
        };
        let whose = self.standing().find(|(_, account)| is_his(account));
        hold!(Addressee, whose.is_none(), "{reason:?}, and it is an answer to {whose:?}");
    }

    /// Returns where the payload of an answer begins, if it is one to this flow.
    fn answers(&self, account: &Account, reply: &Reply) -> Option<usize> {
        let header = match self.plan.goes {
            Mode::Spp => account.name.header(Mode::Spp),
            Mode::Plain | Mode::Each | Mode::First => Vec::new(),
        };
        reply.bytes.starts_with(&header).then_some(header.len())
    }

    /// Something has come to the socket of a flow.
    pub(super) fn note_answer(
        &mut self,
        id: FlowId,
        reply: &Reply,
        answer: Option<Answer>,
        relay: &Relay<Leg>,
        now: Instant,
    ) {
        self.note_received(Direction::Down, 1);
        let at = self.answers(&self.accounts[&id], reply);
        let responses = self.plan.terms.responses;
        let account = self.accounts.get_mut(&id).expect("it has a socket");
        let is_over = account.over.is_some();
        hold!(Addressee, is_over == answer.is_none(), "{answer:?}, over: {:?}", account.over);
        let Some(answer) = answer else { return };
        hold!(Addressee, at.is_some(), "what names another is answered: {:?}", self.plan.goes);
        hold!(Addressee, answer.path == account.name.path, "{answer:?} to {:?}", account.name);
        account.answered += 1;
        account.last = now;
        hold!(Reason, answer.is_first == (account.answered == 1), "{answer:?}");
        account.down.push_back(reply.bytes[at.unwrap_or(0)..].to_vec());
        let owed = responses * account.asked;
        let is_done = owed > 0 && account.answered >= owed;
        let is_gone = relay.flow(id).is_none();
        hold!(Lost, is_done || !is_gone, "over behind {} of {owed} answers", account.answered);
        hold!(Reason, is_gone || !is_done, "stands behind {} of {owed} answers", account.answered);
        if is_gone {
            account.over = Some(EndReason::Done);
        }
    }

    /// Answers have left.
    pub(super) fn note_sent_down(&mut self, whose: &[FlowId], path: Path, segments: &[Vec<u8>]) {
        let comes = self.plan.comes;
        for (segment, id) in paired(segments, whose) {
            let account = self.accounts.get_mut(id).expect("who is answered was judged");
            self.sent[Direction::Down as usize] += 1;
            hold!(Addressee, path == account.name.path, "{path:?}: {:?}", account.name);
            let header = match comes {
                Mode::Spp => account.name.header(comes),
                Mode::Plain | Mode::Each | Mode::First => Vec::new(),
            };
            let owed = account.down.pop_front();
            let due = owed.map(|owed| [header, owed].concat());
            hold!(Whole, due.as_ref() == Some(segment), "{segment:?} answers, due: {due:?}");
        }
    }

    /// What was silent for too long has been taken out; nobody else.
    pub(super) fn check_silence(&mut self, relay: &Relay<Leg>, now: Instant) {
        let Terms { silence_max, unanswered_max, .. } = self.plan.terms;
        let limit = |account: &Account| -> (Duration, EndReason) {
            match account.answered {
                0 => (unanswered_max, EndReason::Unanswered),
                _ => (silence_max, EndReason::Silent),
            }
        };
        for (id, account) in &mut self.accounts {
            if account.over.is_some() {
                continue;
            }
            let (limit, reason) = limit(account);
            let is_due = account.last + limit <= now;
            let is_gone = relay.flow(*id).is_none();
            hold!(Deadline, is_due == is_gone, "silent for {:?}: {limit:?}", now - account.last);
            if is_gone {
                account.over = Some(reason);
            }
        }
    }

    /// The shell is told that a flow is over.
    pub(super) fn note_ended(&mut self, over: &Ended<Leg>, now: Instant) {
        let account = self.accounts.get_mut(&over.id).expect("it began with a datagram");
        let may = self.plan.terms.headers == Headers::Each || over.reason != EndReason::Evicted;
        hold!(Flood, may, "one is forgotten whose sender may know him still");
        let known = account.over.get_or_insert(over.reason);
        hold!(Reason, *known == over.reason, "{:?}, not {known:?}", over.reason);
        let tallies = (over.flow.up().datagrams, over.flow.down().datagrams);
        let counted = (account.asked, account.answered);
        hold!(Counts, tallies == counted, "{tallies:?} are told, {counted:?} were counted");
        hold!(Counts, over.last == account.last && account.last <= now, "another last time");
    }

    /// What must hold between two moves.
    pub(super) fn check(&mut self, shell: &Shell, net: &Net) {
        let (len, flows_max) = (shell.relay.len(), self.plan.terms.flows_max);
        self.crowd = self.crowd.min(len.max(flows_max));
        let most = flows_max.max(self.crowd);
        hold!(Bounded, len <= most, "{len} flows of {most}");
        for direction in Direction::ALL {
            let counts = shell.relay.counts(direction);
            let (received, sent) =
                (self.received[direction as usize], self.sent[direction as usize]);
            hold!(Balance, counts.received == received, "{received} came: {}", counts.received);
            hold!(Balance, counts.sent == sent, "{sent} left: {}", counts.sent);
            let dropped: u64 = counts.dropped.iter().sum();
            hold!(
                Balance,
                received == sent + dropped,
                "{received} in, {sent} out, {dropped} dropped"
            );
        }
        let (linked, sockets) = shell.linked();
        let (active, open) = (shell.active(), net.open(|_| true).len());
        hold!(Counts, active == linked as u64, "{active} at endpoints, {linked} go there");
        hold!(Counts, open == sockets, "{open} sockets are open, {sockets} are in use");
        if self.is_draining {
            let is_waited_for = self.standing().any(|(_, account)| account.answered > 0);
            hold!(Stop, shell.relay.is_drained() != is_waited_for, "answered: {is_waited_for}");
        }
    }

    /// All is over.
    pub(super) fn check_end(&self, shell: &Shell, net: &Net) {
        let open = net.open(|_| true).len();
        hold!(Close, open == 0 && shell.active() == 0, "{open} sockets are left open");
        let owed = self.accounts.values().map(|account| account.up.len() + account.down.len());
        hold!(Balance, owed.sum::<usize>() == 0, "what was owed is forgotten");
    }
}

/// Each of what leaves, and whose it is.
fn paired<'a>(
    segments: &'a [Vec<u8>],
    whose: &'a [FlowId],
) -> impl Iterator<Item = (&'a Vec<u8>, &'a FlowId)> {
    let (left, due) = (segments.len(), whose.len());
    hold!(Whole, left == due, "{left} leave, not {due}");
    segments.iter().zip(whose)
}
