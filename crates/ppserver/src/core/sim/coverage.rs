//! What the runs came across, so that a run that tests nothing is a failure too.
//!
//! Counts only; what must be reached, and how often, is said by [`Coverage::holes`].

use std::fmt::{self, Display, Formatter};

use crate::core::close_reason::CloseReason;
use crate::core::session::{Action, Direction, Interest, Method};
use crate::core::udp::drop_reason::DropReason;
use crate::core::udp::end_reason::EndReason;

macro_rules! quirks {
    ($($quirk:ident, $name:literal;)*) => {
        /// A thing the kernel, a peer or the machine does that a careless proxy trips over.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Quirk { $($quirk,)* }

        impl Quirk {
            const NAMES: &[&str] = &[$($name,)*];
        }
    };
}

quirks! {
    RecvStopsAtMark, "recv stops short at an urgent byte";
    RecvSkipsMark, "recv skips an urgent byte";
    SpliceStuckAtMark, "splice returns EAGAIN at an urgent byte, data behind it";
    SpliceZeroAtMark, "splice returns 0 at an urgent byte, data behind it";
    SpliceFailsAtMark, "splice returns the error at an urgent byte, data behind it";
    SplicePipeFull, "splice stops with the slots full and data left";
    SpliceShort, "splice stops short for no reason";
    PipeOfTwoSlots, "a pipe has 2 slots only";
    PipeShortage, "no pipe is to be had";
    QueueSurvivesReset, "data is read from a socket that was reset";
    ZeroAfterError, "a read gives 0 because the error was eaten";
    ErrorEaten, "SO_ERROR eats the error";
    ResetAfterFin, "RST behind a FIN: the error is EPIPE, reads give 0";
    ShutdownBroken, "shutdown fails: ENOTCONN";
    SendInHandshake, "a send during the handshake: EAGAIN";
    SendShort, "a send takes a part";
    SendBlocked, "a send takes nothing: EAGAIN";
    HeldBack, "the last bytes wait for their FIN";
    ZeroWindow, "data waits for a window";
    CloseUnread, "close with unread data resets";
    DataAfterClose, "data for a closed socket is answered by RST";
    ResetDropsQueue, "a reset drops what was queued";
    PathBroke, "an established path breaks: ETIMEDOUT";
    ConnectAtOnce, "connect stands before it returns";
    ConnectLater, "connect stands later";
    ConnectRefused, "connect is refused";
    ConnectUnreachable, "connect fails for another reason";
    ConnectHangs, "connect hangs";
    ResetAtOnce, "RST arrives before the connect was noticed";
    NoDescriptor, "EMFILE";
    NoDescriptorToAccept, "EMFILE from accept";
    GoneBeforeAccept, "a client is gone before it is accepted";
    Queued, "a drain while somebody is queued";
    Crowd, "sessions share one kernel's budget";
    QuietInACrowd, "a quiet session waits for others' shares";
    Reload, "a reload between two sessions";
    Drain, "a drain while sessions run";
    OperatorSets, "an operator says what an endpoint is to be";
    EndpointEjected, "an endpoint is ejected";
    TrialStands, "an endpoint that was ejected comes back";
    CheckFails, "our checks find an endpoint down";
    SlowStart, "an endpoint that is back starts slowly";
    OtherFamily, "an endpoint is of another family than what a client comes from";
    NobodyUp, "nobody is up, and one that is down is tried";
    PeerReset, "a peer resets in the midst of its script";
    NoPort, "EADDRNOTAVAIL";
    EventCoalesced, "two edges, one event";
    EventSplit, "one event is told in two";
    EventReordered, "events overtake each other";
    EventStale, "the socket changed after its event was taken";
    EventForClosed, "an event of a socket that is closed";
    EventSpurious, "an event without a cause";
    ErrSpurious, "ERR with no error behind it";
    HupWithoutIn, "HUP without IN";
    HupOfBothEnds, "HUP that is two FINs, no error";
    EndAndUrgent, "RDHUP and PRI at once";
    UnsentWaits, "SIOCOUTQ is not 0 yet";
    UnsentStuck, "SIOCOUTQ stays above 0 behind a reset";
    NotAskedFor, "bytes come of which nobody is asked to tell";
    AskedAgain, "asked again, the epoll tells what is there";
    HeaderSplit, "a header comes in parts";
    SilentClient, "a client that may send a header is silent until its deadline";
    LateHeader, "a header lies there at its deadline";
    HelloSplit, "a hello comes in parts";
    HelloLate, "a hello is not whole when it has had its time";
    HelloEnds, "a client ends within its hello";
    TimeJump, "the clock jumps";
    Stop, "the process stops";
    Fair, "both peers are fair, every byte must arrive";
    DatagramLost, "a datagram is lost";
    DatagramOvertakes, "a datagram overtakes others";
    Aggregate, "several datagrams are received as one";
    AggregateOfSeveral, "those of an aggregate are of several clients";
    HeaderInAFlow, "a later datagram of a flow begins with a header";
    Segments, "several datagrams are sent as one";
    SegmentsRefused, "what is sent is too long";
    SendTellsRefusal, "a send tells that an earlier one was refused";
    EventTellsRefusal, "an event tells that one was refused";
    NoSocket, "there is no socket for a flow";
    SocketMeetsItself, "the socket of a flow meets itself";
    AnswerOfAnother, "an answer names somebody else";
    BundleOfSeveral, "what is sent as one is of several flows";
    BundleParts, "a flow of those that are to be sent as one has gone elsewhere";
    HeaderTaken, "two flows would share a socket with one header";
    Flood, "sources that nobody has seen before";
    FlowsReload, "a reload while flows stand";
    FlowsDrain, "a drain while flows stand";
}

const ACTIONS: &[&str] = &[
    "Wait",
    "ReadHeader",
    "Route",
    "Connect",
    "TakeError",
    "Fill(Up, Copy)",
    "Fill(Up, Splice)",
    "Fill(Down, Copy)",
    "Fill(Down, Splice)",
    "Drain(Up)",
    "Drain(Down)",
    "Shutdown(Up)",
    "Shutdown(Down)",
    "Discard",
    "CheckUnsent",
    "Watch(All)",
    "Watch(Room)",
    "Reset",
    "Close",
    "ReadHello",
];

fn index(action: Action) -> usize {
    match action {
        Action::Wait => 0,
        Action::ReadHeader => 1,
        Action::Route => 2,
        Action::Connect => 3,
        Action::TakeError(_) => 4,
        Action::Fill(Direction::Up, Method::Copy) => 5,
        Action::Fill(Direction::Up, Method::Splice) => 6,
        Action::Fill(Direction::Down, Method::Copy) => 7,
        Action::Fill(Direction::Down, Method::Splice) => 8,
        Action::Drain(Direction::Up) => 9,
        Action::Drain(Direction::Down) => 10,
        Action::Shutdown(Direction::Up) => 11,
        Action::Shutdown(Direction::Down) => 12,
        Action::Discard => 13,
        Action::CheckUnsent(_) => 14,
        Action::Watch(_, Interest::All) => 15,
        Action::Watch(_, Interest::Room) => 16,
        Action::Reset(_) => 17,
        Action::Close(_) => 18,
        Action::ReadHello => 19,
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Coverage {
    quirks: [u64; Quirk::NAMES.len()],
    actions: [u64; ACTIONS.len()],
    reasons: [u64; CloseReason::COUNT],
    drops: [u64; DropReason::COUNT],
    ends: [u64; EndReason::COUNT],
    pub(super) sessions: u64,
    pub(super) steps: u64,
}

impl Coverage {
    pub(super) fn new() -> Self {
        Self {
            quirks: [0; Quirk::NAMES.len()],
            actions: [0; ACTIONS.len()],
            reasons: [0; CloseReason::COUNT],
            drops: [0; DropReason::COUNT],
            ends: [0; EndReason::COUNT],
            sessions: 0,
            steps: 0,
        }
    }

    pub(super) fn hit(&mut self, quirk: Quirk) {
        self.quirks[quirk as usize] += 1;
    }

    pub(super) fn note_action(&mut self, action: Action) {
        self.actions[index(action)] += 1;
    }

    pub(super) fn note_closed(&mut self, reason: CloseReason) {
        self.reasons[reason.index()] += 1;
        self.sessions += 1;
    }

    pub(super) fn note_dropped(&mut self, reason: DropReason, count: u64) {
        self.drops[reason.index()] += count;
    }

    pub(super) fn note_flow_ended(&mut self, reason: EndReason) {
        self.ends[reason.index()] += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.quirks[..], &other.quirks[..]),
            (&mut self.actions, &other.actions),
            (&mut self.reasons, &other.reasons),
            (&mut self.drops, &other.drops),
            (&mut self.ends, &other.ends),
        ];
        for (sums, counts) in pairs {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        self.sessions += other.sessions;
        self.steps += other.steps;
    }

    /// Returns what was met fewer times than `hits_min`.
    pub(super) fn holes(&self, hits_min: u64) -> Vec<&'static str> {
        // A full table of connections is told by a bare close, before there is a session; who is closed by an
        // operator, or with its endpoint, ends like who is stopped; and a worker that fails takes its sessions with it.
        use CloseReason::{ClosedByAdmin, EndpointDown, Overload, WorkerFailed};
        let elsewhere = [Overload, ClosedByAdmin, EndpointDown, WorkerFailed];
        let is_elsewhere = |name: &str| elsewhere.iter().any(|reason| reason.name() == name);
        let entries = self.entries().filter(|(name, _)| !is_elsewhere(name));
        // What is cut, answered here or too long to be written is the shell's to see; there is no limit of flows, no
        // operator who closes one, and no reload that reads otherwise.
        let elsewhere = [
            DropReason::Cut,
            DropReason::LocalAnswered,
            DropReason::Limited,
            DropReason::HeaderTooLong,
            DropReason::EndpointsFull,
        ];
        let drops = self.drops().filter(|(reason, _)| !elsewhere.contains(reason));
        let elsewhere = [EndReason::Reloaded, EndReason::ClosedByAdmin];
        let ends = self.ends().filter(|(reason, _)| !elsewhere.contains(reason));
        entries
            .chain(drops.map(|(reason, count)| (reason.name(), count)))
            .chain(ends.map(|(reason, count)| (reason.name(), count)))
            .filter(|(_, count)| *count < hits_min)
            .map(|(name, _)| name)
            .collect()
    }

    fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let reasons = CloseReason::ALL.iter().map(|reason| reason.name());
        let names = Quirk::NAMES.iter().chain(ACTIONS).copied().chain(reasons);
        let counts = self.quirks.iter().chain(&self.actions).chain(&self.reasons).copied();
        names.zip(counts)
    }

    fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.iter().copied().zip(self.drops)
    }

    fn ends(&self) -> impl Iterator<Item = (EndReason, u64)> {
        EndReason::ALL.iter().copied().zip(self.ends)
    }
}

impl Display for Coverage {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(out, "{} sessions, {} steps", self.sessions, self.steps)?;
        self.entries().try_for_each(|(name, count)| writeln!(out, "{count:9} {name}"))?;
        for (reason, count) in self.drops() {
            writeln!(out, "{count:9} datagrams: {}", reason.name())?;
        }
        self.ends()
            .try_for_each(|(reason, count)| writeln!(out, "{count:9} flows: {}", reason.name()))
    }
}
