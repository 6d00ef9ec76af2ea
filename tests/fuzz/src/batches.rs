//! How the bytes of an input lay out a batch of messages, and what is to become of its datagrams.
//!
//! The oracle splits, decodes and follows flows by itself. While there is room for every flow it knows what becomes of each datagram;
//! without, what may.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ppserver::data::datagrams_fuzzed::{Became, Message, Taken};

use crate::naive::{self, Answer, Input, Options};

/// Messages of a batch, as the shell takes them.
const MESSAGES_MAX: usize = 16;
/// Bytes in front of a message's own: who, the size of its segments, how long it waited, and its length.
const FRONT: usize = 5;

/// A batch: what the listener takes, room for flows, and the messages.
pub(crate) fn batch(data: &[u8]) -> Option<(Taken, usize, Vec<Message>)> {
    let (&[taken, room], mut rest) = data.split_first_chunk::<2>()?;
    let taken = [Taken::V2, Taken::First, Taken::Spp][usize::from(taken % 3)];
    let mut messages = Vec::new();
    while messages.len() < MESSAGES_MAX
        && let Some((&[who, size, pause, high, low], behind)) = rest.split_first_chunk::<FRONT>()
    {
        let len = usize::from(u16::from_be_bytes([high, low])).min(behind.len());
        let (bytes, behind) = behind.split_at(len);
        let peer = SocketAddr::from(([10, 0, 0, who & 3], 1 + u16::from(who >> 6)));
        let pause = Duration::from_millis(u64::from(pause) * 10);
        let segment = Some(usize::from(size)).filter(|size| *size > 0);
        messages.push(Message { peer, segment, bytes: bytes.to_vec(), pause });
        rest = behind;
    }
    Some((taken, 1 + usize::from(room), messages))
}

/// The datagrams of a message.
fn datagrams(message: &Message) -> Vec<&[u8]> {
    match (message.segment, &message.bytes[..]) {
        (_, []) => vec![&[]],
        (Some(size), bytes) => bytes.chunks(size).collect(),
        (None, bytes) => vec![bytes],
    }
}

/// Fails unless this is what was to become of them.
pub(crate) fn judge(taken: Taken, room: usize, messages: &[Message], became: &[Became]) {
    let came = messages
        .iter()
        .flat_map(|message| datagrams(message).into_iter().map(move |bytes| (message, bytes)));
    let mut became = became.iter();
    // Whose a place is, which somebody else may get when he is gone.
    let mut owners: BTreeMap<u32, (SocketAddr, SocketAddr, Option<SocketAddr>)> = BTreeMap::new();
    let mut paths: BTreeMap<SocketAddr, (SocketAddr, Option<SocketAddr>)> = BTreeMap::new();
    let is_roomy = room > messages.iter().map(|message| datagrams(message).len()).sum();
    // Nobody is silent for too long.
    let lasts =
        messages.iter().map(|message| message.pause).sum::<Duration>() < Duration::from_secs(5);
    for (message, bytes) in came {
        let became = became.next().expect("something becomes of each");
        let read = header(taken, message.peer, bytes);
        let known = paths.get(&message.peer).copied().filter(|_| taken == Taken::First);
        let expected = known.map(|(client, to)| (client, to, bytes)).or(read);
        match became {
            Became::Sent(place, payload, client, to) => {
                let is_so = |(one, other, rest): (SocketAddr, Option<SocketAddr>, &[u8])| {
                    (one, other, rest) == (*client, *to, &payload[..])
                };
                let is_expected =
                    expected.is_some_and(is_so) || !(is_roomy && lasts) && read.is_some_and(is_so);
                assert!(is_expected, "{became:?}, not {expected:?}");
                let owner = (message.peer, *client, *to);
                let before = owners.insert(*place, owner);
                assert!(
                    !(is_roomy && lasts) || before.is_none_or(|before| before == owner),
                    "{before:?} has the flow of {owner:?}"
                );
                paths.insert(message.peer, (*client, *to));
            }
            Became::Dropped(reason) => {
                assert!(!is_roomy || !lasts || expected.is_none(), "{reason}: {bytes:02x?}");
                assert_ne!(*reason, "cut", "nothing was");
            }
        }
    }
    assert!(became.next().is_none(), "they come from nowhere");
}

/// Reads a header by the oracle: who the client is, where to, and what stands behind it.
fn header(
    taken: Taken,
    peer: SocketAddr,
    bytes: &[u8],
) -> Option<(SocketAddr, Option<SocketAddr>, &[u8])> {
    let input = if taken == Taken::Spp { Input::Spp } else { Input::Datagram };
    let options = Options { input, v1: false, ..Options::default() };
    let Answer::Ok(header) = naive::decode(bytes, &options) else { return None };
    let counts = header.command == "PROXY" && header.transport == "DGRAM";
    let addr = |text: &Option<String>| {
        let addr: SocketAddr = text.as_deref()?.parse().ok()?;
        Some(SocketAddr::new(addr.ip().to_canonical(), addr.port()))
    };
    let carried = addr(&header.src).zip(addr(&header.dst)).filter(|_| counts);
    let (client, to) = carried.unzip();
    Some((client.unwrap_or(peer), to, &bytes[header.consumed..]))
}
