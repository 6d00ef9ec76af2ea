//! Every order of events in a small world, to a depth: no chance, and nothing left out.
//!
//! ```text
//! world --each choice--> worlds --each choice--> ... (a world met before is not followed again)
//! ```
//!
//! An event is anything but an action of the shell: a step of a peer, an arrival on the network, an
//! event taken from the epoll or told, a deadline that passes. Actions are interleaved with them and
//! not counted. Payloads are of a few bytes, queues of one or two, pipes of 2 slots; every oracle is
//! on. Where nothing can happen any more the clock leaps and the session must be waiting rightly.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::case::{Case, Choice};
use super::kernel::{Budget, Kernel};
use super::peer::{Ending, Reading, Script};
use super::plan::{HeaderPlan, Mood, Plan, Setting};
use super::rng::Rng;
use super::socket::{Errno, Handshake, Sizes};
use super::world::World;
use super::{begin, number};
use crate::core::session::{FirstBytes, FirstUse, Policy, Splicing, Verdict};

/// Events in a row.
const DEPTH: u64 = 10;

/// What happens in one step of the search.
#[derive(Clone, Copy, Debug)]
enum Step {
    Choice(Choice),
    /// The session's deadline passes.
    Expire,
}

/// One node: a world, and the way to it.
#[derive(Clone, Debug)]
struct Node {
    world: World,
    events: u64,
    way: usize,
}

#[derive(Debug)]
struct Search {
    seen: HashSet<u64>,
    /// Each step with the index of the one before it.
    ways: Vec<(usize, Step)>,
    edges: usize,
}

impl Search {
    /// Follows every order of events up to the depth, and returns how many worlds it met.
    fn run(&mut self, world: World, depth: u64) -> usize {
        let mut open = VecDeque::from([Node { world, events: 0, way: usize::MAX }]);
        // Those with fewer events come first, so a world met again was met with as few before.
        while let Some(node) = open.pop_front() {
            for step in steps(&node.world) {
                let is_action = matches!(step, Step::Choice(Choice::Act));
                let events = node.events + u64::from(!is_action);
                if events > depth {
                    continue;
                }
                self.edges += 1;
                let mut world = node.world.clone();
                let result = catch_unwind(AssertUnwindSafe(|| take(&mut world, step)));
                self.ways.push((node.way, step));
                let way = self.ways.len() - 1;
                if let Err(panic) = result {
                    self.tell(way);
                    std::panic::resume_unwind(panic);
                }
                if !self.seen.insert(fingerprint(&world)) {
                    continue;
                }
                let found = Node { world, events, way };
                if is_action {
                    open.push_front(found);
                } else {
                    open.push_back(found);
                }
            }
        }
        self.seen.len()
    }

    /// Prints the way to a world.
    fn tell(&self, mut way: usize) {
        let mut steps = Vec::new();
        while let Some((before, step)) = self.ways.get(way) {
            steps.push(step);
            way = *before;
        }
        for step in steps.into_iter().rev() {
            println!("    {step:?}");
        }
    }
}

/// Returns everything that can happen next.
fn steps(world: &World) -> Vec<Step> {
    let case = &world.cases[0];
    let choices = case.choices(true, &world.kernel, world.now).into_iter().flatten();
    let expires = case.closed.is_none().then_some(Step::Expire);
    choices.map(Step::Choice).chain(expires).collect()
}

fn take(world: &mut World, step: Step) {
    match step {
        Step::Choice(choice) => world.with(0, |case, env| case.take(choice, env)),
        Step::Expire if steps(world).len() == 1 => world.leap(),
        Step::Expire => world.expire(0),
    }
    // Here it acts whenever it can, whoever the schedule would let.
    world.remind(0);
    if world.is_over() {
        world.check_end();
    }
}

/// Two worlds of the same print have the same future.
fn fingerprint(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    let Kernel { sockets, budget, .. } = &world.kernel;
    (world.now, sockets, budget).hash(&mut hasher);
    world.cases[0].hash_state(&mut hasher);
    hasher.finish()
}

/// A small world: what its peers have to say, and how it ends.
#[derive(Clone, Copy, Debug)]
struct Small {
    name: &'static str,
    first_bytes: FirstBytes,
    verdict: Verdict,
    /// So many bytes of payload are read to choose a route.
    hello: usize,
    splicing: Splicing,
    up: (u64, Ending),
    down: (u64, Ending),
    urgent_at: Option<u64>,
    connect: Handshake,
}

const RELAY: Verdict = Verdict::Relay { buffered: 0 };

const SMALL: Small = Small {
    name: "a byte each way, both half-close",
    first_bytes: FirstBytes::Payload,
    verdict: RELAY,
    hello: 0,
    splicing: Splicing::Off,
    up: (1, Ending::Fin),
    down: (1, Ending::Fin),
    urgent_at: None,
    connect: Handshake::Stands,
};

/// Each reaches another corner within the depth.
const WORLDS: &[Small] = &[
    SMALL,
    Small {
        name: "the upstream answers and closes",
        splicing: Splicing::Always,
        down: (2, Ending::Close),
        ..SMALL
    },
    Small { name: "a byte each way, spliced", splicing: Splicing::Always, ..SMALL },
    Small {
        name: "a header in two parts",
        first_bytes: FirstBytes::Header,
        up: (3, Ending::Fin),
        ..SMALL
    },
    Small {
        name: "a header, or silence until its deadline",
        first_bytes: FirstBytes::HeaderOrSilence,
        up: (3, Ending::Fin),
        ..SMALL
    },
    Small {
        name: "a hello behind a header, and a byte behind that",
        first_bytes: FirstBytes::Header,
        hello: 2,
        up: (5, Ending::Fin),
        ..SMALL
    },
    Small { name: "a hello that is cut short", hello: 2, ..SMALL },
    Small {
        name: "a header answered here",
        first_bytes: FirstBytes::Header,
        verdict: Verdict::Answer,
        up: (3, Ending::Close),
        ..SMALL
    },
    Small {
        name: "an urgent byte in front of the end",
        splicing: Splicing::Always,
        up: (2, Ending::Fin),
        urgent_at: Some(1),
        ..SMALL
    },
    Small { name: "the client resets", up: (1, Ending::Reset), ..SMALL },
    Small { name: "the upstream resets late", down: (1, Ending::ResetLate), ..SMALL },
    Small {
        name: "an endpoint refuses, the next one stands",
        connect: Handshake::Fails(Errno::ConnRefused),
        up: (1, Ending::Fin),
        down: (0, Ending::Fin),
        ..SMALL
    },
];

impl Small {
    fn world(self, begin: Instant) -> World {
        let second = Duration::from_secs(1);
        let policy = Policy {
            first_bytes: self.first_bytes,
            header_timeout: second,
            hello_timeout: second,
            connect_timeout: second,
            idle_timeout: second * 2,
            half_closed_timeout: second * 3,
            splicing: self.splicing,
        };
        let script = |(total, ending)| Script {
            total,
            chunk_max: 1,
            urgent_at: None,
            pause: None,
            ending,
            reading: Reading::Eager,
        };
        let header = usize::from(self.first_bytes != FirstBytes::Payload) * 2;
        let plan = Plan {
            mood: Mood::Rough,
            policy,
            header: HeaderPlan { len: header, verdict: self.verdict },
            greeting: 1,
            turned_away: None,
            hello: self.hello,
            conduit: 2,
            sizes: Sizes { received_max: 2, unsent_max: 2, segment_max: 1 },
            connects: vec![
                Some((Duration::ZERO, self.connect)),
                Some((Duration::ZERO, Handshake::Stands)),
            ],
            first_receive: FirstUse::AtOnce,
            first_send: FirstUse::AtOnce,
            client: Script { urgent_at: self.urgent_at, ..script(self.up) },
            upstream: script(self.down),
            break_at: None,
            reset_at: None,
            is_impatient: false,
            spurious: 0,
            speeds: [1; 7],
        };
        let budget = Budget { fds: 10, ports: 10, pipes: 1 };
        let setting = Setting {
            budget,
            clients: Vec::new(),
            reload_at: None,
            drain_at: None,
            stop_at: None,
            jump_at: None,
            is_crowded: false,
        };
        let mut kernel = Kernel::new(Rng::calm(), budget);
        kernel.arrive();
        let fd = kernel.accept(plan.sizes).expect("it is queued");
        let mut world = World::new(setting, policy, kernel, Rng::calm(), begin);
        world.add(Case::new(plan, fd, begin));
        world
    }
}

/// `PPSERVER_SIM_DEPTH=12` goes deeper.
fn search(worlds: &[Small]) {
    let depth = number("PPSERVER_SIM_DEPTH").unwrap_or(DEPTH);
    let begin = begin();
    for small in worlds {
        let mut search = Search { seen: HashSet::new(), ways: Vec::new(), edges: 0 };
        let states = search.run(small.world(begin), depth);
        println!("{states:9} states, {:9} steps: {}", search.edges, small.name);
        assert!(states > 1_000, "{}: too few to be a search", small.name);
    }
}

#[test]
fn sim_every_order_of_events_around_half_closes() {
    search(&WORLDS[..3]);
}

#[test]
fn sim_every_order_of_events_around_headers_and_urgent_bytes() {
    search(&WORLDS[3..9]);
}

#[test]
fn sim_every_order_of_events_around_resets_and_retries() {
    search(&WORLDS[9..]);
}
