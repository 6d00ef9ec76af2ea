//! One urgent byte (MSG_OOB): it is not part of the stream, and must not stall, spin or cut it.
//!
//! A splice stops at the urgent mark, and says so in the same way as for an empty socket or an end.

use std::thread;
use std::time::Duration;

use crate::common::deadline::poll_for;
use crate::common::payload::{MIB, random};
use crate::support::{Listener, SPLICE_MODES, Setup, assert_closed, cpu_time, link};

/// Bytes before and behind the urgent one: none, a few, and more than any buffer on the way.
const AROUND: [(usize, usize); 7] =
    [(0, 0), (0, 5), (5, 0), (5, 5), (0, MIB), (MIB, 0), (MIB, MIB)];

#[test]
fn one_urgent_byte_loses_no_other_and_stops_nothing() {
    let far = Listener::start();
    for mode in SPLICE_MODES {
        let server = Setup::to(&[far.addr()]).splice(mode).start();
        for (before, behind) in AROUND {
            let (before, behind) = (random(1, before), random(2, behind));
            for client_sends in [true, false] {
                let (client, upstream) = link(server.addr(), &far);
                let (sender, reader) =
                    if client_sends { (&client, &upstream) } else { (&upstream, &client) };
                thread::scope(|scope| {
                    scope.spawn(|| {
                        sender.send(&before);
                        sender.send_urgent(b'!');
                        sender.send(&behind);
                        sender.fin();
                    });
                    reader.expect_last(&[&before[..], &behind].concat());
                });
                reader.send_with_fin(b"answer");
                sender.expect_last(b"answer");
            }
        }
        assert_closed(&server.stop(), &[("done", 2 * AROUND.len())]);
    }
}

#[test]
fn data_sent_long_after_an_urgent_byte_still_flows() {
    let far = Listener::start();
    for mode in SPLICE_MODES {
        let server = Setup::to(&[far.addr()]).splice(mode).start();
        let (client, upstream) = link(server.addr(), &far);
        client.send(b"one");
        upstream.expect(b"one");
        client.send_urgent(b'!');
        for _ in 0..20 {
            client.send(b"two");
            upstream.expect(b"two");
            upstream.send(b"three");
            client.expect(b"three");
        }
        client.fin();
        upstream.expect_last(b"");
    }
}

#[test]
fn a_pending_urgent_byte_costs_no_processor_time() {
    const MOST: Duration = Duration::from_millis(20);
    let far = Listener::start();
    for mode in SPLICE_MODES {
        let mut server = Setup::to(&[far.addr()]).splice(mode).start();
        let links: Vec<_> = (0..4).map(|_| link(server.addr(), &far)).collect();
        for (index, (client, upstream)) in links.iter().enumerate() {
            client.send(b"before");
            upstream.expect(b"before");
            let sender = if index % 2 == 0 { client } else { upstream };
            sender.send_urgent(b'!');
            if index >= 2 {
                sender.fin();
            }
        }
        for (client, upstream) in &links[2..3] {
            upstream.expect_last(b"");
            assert!(client.is_quiet());
        }
        let pid = server.pid();
        let before = cpu_time(pid);
        // An idle second is the thing itself here: what happens in it is measured.
        let spun = poll_for(Duration::from_secs(1), || {
            let used = cpu_time(pid) - before;
            (used >= MOST).then_some(used)
        });
        assert_eq!(spun, None, "{mode}: processor time in an idle second");
    }
}
