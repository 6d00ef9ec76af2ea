//! The relay by hand: what the simulator's rules do not name, and sizes that it does not reach.

use std::net::{Ipv4Addr, SocketAddr};

use super::*;
use crate::core::intent::Purpose;

const TERMS: Terms = Terms {
    headers: Headers::Each,
    flows_max: 16,
    silence_max: Duration::from_secs(60),
    unanswered_max: Duration::from_secs(5),
    responses: 0,
};
const SECOND: Duration = Duration::from_secs(1);

/// Reads `client` and a byte for the header from each datagram, and lets everybody in but those it refuses.
#[derive(Default)]
struct Door {
    read: usize,
    asked: usize,
    refuses: Option<DropReason>,
}

impl Gate for Door {
    type Admitted = [u32; 7];

    fn read(&mut self, path: Path, datagram: &[u8]) -> Result<Reading, DropReason> {
        self.read += 1;
        let Some(client) = datagram.first() else { return Err(DropReason::HeaderAbsent) };
        let client = SocketAddr::from(([203, 0, 113, *client], 7));
        Ok(Reading { intent: Intent { client, ..Intent::plain(path.peer) }, header_len: 1 })
    }

    fn admit(&mut self, _: &Intent) -> Result<[u32; 7], DropReason> {
        self.asked += 1;
        self.refuses.map_or(Ok([0; 7]), Err)
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's epoch")]
fn start() -> Instant {
    Instant::now()
}

fn relay(terms: Terms) -> Relay<[u32; 2], [u32; 7]> {
    Relay::new(terms, (1, 2), start())
}

fn path(peer: u32) -> Path {
    let local = SocketAddr::from(([10, 0, 0, 2], 53));
    Path { peer: SocketAddr::from((Ipv4Addr::from(0x0A00_0000 + peer), 4)), local }
}

/// Judges a datagram of a peer's that names a client, and gives its flow an upstream.
fn sent(relay: &mut Relay<[u32; 2], [u32; 7]>, peer: u32, client: u8, now: Instant) -> FlowId {
    match relay.judge(path(peer), &[client, 0, 0], &mut Door::default(), now) {
        Verdict::Dial(id, 1) => {
            relay.handle_dialled(id, [0; 2]);
            id
        }
        Verdict::Relay(id, 1) => id,
        other @ (Verdict::Relay(..) | Verdict::Dial(..) | Verdict::Drop(_)) => panic!("{other:?}"),
    }
}

fn ended(relay: &mut Relay<[u32; 2], [u32; 7]>) -> Vec<(FlowId, EndReason)> {
    std::iter::from_fn(|| relay.next_ended()).map(|ended| (ended.id, ended.reason)).collect()
}

#[test]
fn several_clients_of_one_peer_and_one_client_of_several_are_flows_of_their_own() {
    let (mut relay, now) = (relay(TERMS), start());
    let ids = [(1, 1), (1, 2), (2, 1)].map(|(peer, client)| sent(&mut relay, peer, client, now));
    let again = [(1, 1), (1, 2), (2, 1)].map(|(peer, client)| sent(&mut relay, peer, client, now));
    assert_eq!((ids, relay.len()), (again, 3));
    let other = Path { local: SocketAddr::from(([10, 0, 0, 3], 53)), ..path(1) };
    let verdict = relay.judge(other, &[1], &mut Door::default(), now);
    assert!(matches!(verdict, Verdict::Dial(id, 1) if !ids.contains(&id)), "{verdict:?}");
    assert_eq!(relay.handle_answer(ids[1], 9, now).unwrap().path, path(1));
}

#[test]
fn where_the_first_datagram_has_the_header_the_others_are_not_read() {
    let (mut relay, now) = (relay(Terms { headers: Headers::First, ..TERMS }), start());
    let mut door = Door::default();
    let Verdict::Dial(id, 1) = relay.judge(path(1), &[7, 0], &mut door, now) else { panic!() };
    relay.handle_dialled(id, [0; 2]);
    for later in [&[8, 0][..], &[]] {
        assert_eq!(relay.judge(path(1), later, &mut door, now), Verdict::Relay(id, 0));
    }
    assert_eq!((door.read, door.asked), (1, 1));
    let flow = relay.flow(id).unwrap();
    assert_eq!(flow.intent().client, SocketAddr::from(([203, 0, 113, 7], 7)));
    assert_eq!(flow.up(), Tally { datagrams: 3, bytes: 3 });
    assert!(matches!(relay.judge(path(2), &[7], &mut door, now), Verdict::Dial(..)));
}

/// Who is forgotten while his sender knows him could say himself who he is.
#[test]
fn where_the_first_datagram_has_the_header_nobody_gives_way_to_a_newcomer() {
    let terms = Terms { headers: Headers::First, flows_max: 1, ..TERMS };
    let (mut relay, now) = (relay(terms), start());
    let id = sent(&mut relay, 1, 1, now);
    let mut door = Door::default();
    let turned_away = Verdict::Drop(DropReason::Limited);
    assert_eq!(relay.judge(path(2), &[2], &mut door, now), turned_away);
    assert!(!relay.make_room() && door.asked == 0 && relay.next_ended().is_none());
    relay.follow(Terms { flows_max: 0, ..terms }, now);
    assert_eq!(relay.judge(path(2), &[2], &mut door, now), turned_away);
    assert_eq!(relay.judge(path(1), &[9, 9], &mut door, now), Verdict::Relay(id, 0));
    relay.follow(terms, now);
    relay.expire(now + 5 * SECOND);
    assert_eq!(ended(&mut relay), [(id, EndReason::Unanswered)]);
    sent(&mut relay, 2, 2, now + 5 * SECOND);
}

#[test]
fn who_is_not_let_in_begins_nothing_and_displaces_nobody() {
    let (mut relay, now) = (relay(Terms { flows_max: 1, ..TERMS }), start());
    let id = sent(&mut relay, 1, 1, now);
    let mut door = Door { refuses: Some(DropReason::LocalRejected), ..Door::default() };
    let verdict = relay.judge(path(2), &[2], &mut door, now);
    assert_eq!(verdict, Verdict::Drop(DropReason::LocalRejected));
    assert_eq!(relay.judge(path(1), &[1], &mut door, now), Verdict::Relay(id, 1), "he is known");
    assert_eq!(relay.judge(path(1), &[], &mut door, now), Verdict::Drop(DropReason::HeaderAbsent));
    assert_eq!((door.asked, relay.next_ended().is_none()), (1, true));
    let counts = relay.counts(Direction::Up);
    assert_eq!((counts.received, counts.dropped.iter().sum::<u64>()), (4, 2));
}

#[test]
fn a_flow_ends_behind_its_silence_which_is_shorter_without_an_answer() {
    let (mut relay, now) = (relay(TERMS), start());
    assert_eq!(relay.deadline(), None);
    let [mute, answered] = [1, 2].map(|client| sent(&mut relay, 1, client, now));
    assert!(relay.handle_answer(answered, 1, now).unwrap().is_first);
    assert!(!relay.handle_answer(answered, 1, now + SECOND).unwrap().is_first);
    sent(&mut relay, 1, 1, now + 3 * SECOND);
    assert_eq!(relay.deadline(), Some(now + 8 * SECOND));
    relay.expire(now + 8 * SECOND - Duration::from_nanos(1));
    assert_eq!(relay.len(), 2);
    relay.expire(now + 8 * SECOND);
    assert_eq!(relay.deadline(), Some(now + 61 * SECOND));
    relay.expire(now + 61 * SECOND);
    assert_eq!(ended(&mut relay), [(mute, EndReason::Unanswered), (answered, EndReason::Silent)]);
    assert!(relay.is_empty() && relay.handle_answer(answered, 1, now).is_none());
    assert_eq!(relay.counts(Direction::Down).dropped[DropReason::NoFlow.index()], 1);
}

#[test]
fn a_flow_ends_with_the_answers_that_each_datagram_of_its_client_is_to_have() {
    let (mut relay, now) = (relay(Terms { responses: 2, ..TERMS }), start());
    let id = sent(&mut relay, 1, 1, now);
    assert_eq!(sent(&mut relay, 1, 1, now), id);
    for _ in 0..3 {
        relay.handle_answer(id, 1, now).expect("another is to come");
        assert!(relay.next_ended().is_none());
    }
    assert!(relay.handle_answer(id, 1, now).is_some(), "the last one is passed on");
    let mut over = relay.next_ended().unwrap();
    assert_eq!((over.id, over.reason, over.take_upstream()), (id, EndReason::Done, Some([0; 2])));
    assert_eq!(over.flow.down(), Tally { datagrams: 4, bytes: 4 });
    assert_ne!(sent(&mut relay, 1, 1, now), id, "its place has another name");
}

#[test]
fn a_flow_that_was_refused_is_dialled_anew_and_stays() {
    let (mut relay, now) = (relay(TERMS), start());
    let id = sent(&mut relay, 1, 1, now);
    assert_eq!(relay.handle_refused(id), Some([0; 2]));
    let mut door = Door { refuses: Some(DropReason::LocalRejected), ..Door::default() };
    assert_eq!(relay.judge(path(1), &[1], &mut door, now), Verdict::Dial(id, 1));
    relay.end(id, EndReason::ClosedByAdmin);
    assert_eq!(relay.handle_refused(id), None);
    relay.handle_dialled(id, [0; 2]);
    assert!(relay.is_empty());
}

#[test]
fn the_unanswered_give_way_first_and_the_longest_silent_of_them() {
    let (mut relay, now) = (relay(TERMS), start());
    let ids: Vec<FlowId> = (1..=16).map(|client| sent(&mut relay, 1, client, now)).collect();
    relay.handle_answer(ids[0], 1, now);
    sent(&mut relay, 1, 2, now);
    for client in 17..20 {
        sent(&mut relay, 1, client, now);
    }
    let over: Vec<FlowId> = ended(&mut relay).into_iter().map(|(id, _)| id).collect();
    assert_eq!(over, [ids[2], ids[3], ids[4]]);
}

#[test]
fn the_answered_fill_seven_eighths_and_then_the_longest_silent_of_them_gives_way() {
    let (mut relay, now) = (relay(TERMS), start());
    let ids: Vec<FlowId> = (1..=16).map(|client| sent(&mut relay, 1, client, now)).collect();
    for (id, seconds) in ids.iter().zip(1..) {
        relay.handle_answer(*id, 1, now + seconds * SECOND);
    }
    let later = now + 20 * SECOND;
    sent(&mut relay, 1, 1, later);
    for client in 100..200 {
        sent(&mut relay, 2, client, later);
    }
    let over: Vec<FlowId> = ended(&mut relay).into_iter().map(|(id, _)| id).collect();
    assert_eq!(over[..2], ids[1..3], "two of sixteen");
    assert!(over[2..].iter().all(|id| !ids.contains(id)), "a flood replaces itself");
    assert_eq!(relay.len(), TERMS.flows_max);
}

#[test]
fn a_reload_keeps_flows_and_shortens_what_is_longer_now() {
    let (mut relay, now) = (relay(TERMS), start());
    let ids: Vec<FlowId> = (1..=16).map(|client| sent(&mut relay, 1, client, now)).collect();
    relay.handle_answer(ids[15], 1, now);
    let silence_max = 2 * SECOND;
    relay.follow(Terms { flows_max: 15, silence_max, ..TERMS }, now);
    assert_eq!(ended(&mut relay), [(ids[0], EndReason::Evicted)]);
    assert_eq!(relay.deadline(), Some(now + silence_max));
    assert_eq!(sent(&mut relay, 1, 16, now), ids[15]);
    relay.follow(Terms { headers: Headers::First, ..TERMS }, now);
    let over = ended(&mut relay);
    assert_eq!((over.len(), over[0].1, relay.len()), (15, EndReason::Reloaded, 0));
    assert!(matches!(relay.judge(path(1), &[1], &mut Door::default(), now), Verdict::Dial(..)));
}

#[test]
fn a_drain_begins_nothing_and_ends_with_the_last_one_that_was_answered() {
    let (mut relay, now) = (relay(TERMS), start());
    let [mute, answered] = [1, 2].map(|client| sent(&mut relay, 1, client, now));
    relay.handle_answer(answered, 1, now);
    relay.drain();
    let verdict = relay.judge(path(1), &[3], &mut Door::default(), now);
    assert_eq!(verdict, Verdict::Drop(DropReason::Draining));
    assert_eq!([sent(&mut relay, 1, 1, now), sent(&mut relay, 1, 2, now)], [mute, answered]);
    assert!(!relay.is_drained());
    relay.end(answered, EndReason::Silent);
    assert!(relay.is_drained());
    relay.end_all(EndReason::Drained);
    assert_eq!(ended(&mut relay), [(answered, EndReason::Silent), (mute, EndReason::Drained)]);
}

#[test]
fn what_is_known_of_a_flow_is_what_was_said_of_it() {
    let (mut relay, now) = (relay(TERMS), start());
    let id = sent(&mut relay, 1, 1, now);
    relay.handle_answer(id, 5, now + SECOND);
    relay.handle_sent(Direction::Up, 1);
    relay.handle_no_answer(DropReason::AnswerInvalid);
    let [(found, flow)] = relay.flows().collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!((found, flow.path(), flow.upstream()), (id, path(1), Some(&[0; 2])));
    assert_eq!(relay.times(flow), (now, now + SECOND));
    assert_eq!((flow.up().bytes, flow.down().bytes, flow.is_answered()), (2, 5, true));
    assert_eq!(flow.intent().purpose, Purpose::Service);
    let (up, down) = (relay.counts(Direction::Up), relay.counts(Direction::Down));
    assert_eq!((up.received, up.sent, down.received, down.sent), (1, 1, 2, 0));
    assert_eq!(down.dropped[DropReason::AnswerInvalid.index()], 1);
}

/// Reliability.md: spoofed floods of 10^6 sources keep answered flows, and memory <= 64 MiB.
#[test]
fn a_flood_of_a_million_sources_keeps_answered_flows_and_takes_little_memory() {
    const FLOWS_MAX: usize = 65_536;
    let (mut relay, now) = (relay(Terms { flows_max: FLOWS_MAX, ..TERMS }), start());
    let answered: Vec<FlowId> = (0..10_000)
        .map(|peer| {
            let id = sent(&mut relay, peer, 1, now);
            relay.handle_answer(id, 1, now);
            id
        })
        .collect();
    for peer in 10_000..1_010_000 {
        sent(&mut relay, peer, 2, now + SECOND);
        while let Some(over) = relay.next_ended() {
            assert!(!over.flow.is_answered());
        }
    }
    assert!(answered.iter().all(|id| relay.flow(*id).is_some()));
    assert_eq!(relay.len(), FLOWS_MAX);
    let memory = relay.table.memory();
    assert!(memory <= FLOWS_MAX * 200, "{} bytes a flow", memory / FLOWS_MAX);
}

#[test]
fn what_is_held_does_not_grow_once_as_many_flows_stood() {
    let (mut relay, now) = (relay(TERMS), start());
    let churn = |relay: &mut Relay<[u32; 2], [u32; 7]>, peers: std::ops::Range<u32>| {
        for peer in peers {
            sent(relay, peer, 1, now);
            relay.next_ended();
        }
        (relay.table.memory(), relay.ended.capacity())
    };
    let held = churn(&mut relay, 0..100);
    assert_eq!(churn(&mut relay, 100..10_000), held);
    relay.end_all(EndReason::Drained);
    assert_eq!(ended(&mut relay).len(), TERMS.flows_max);
}
