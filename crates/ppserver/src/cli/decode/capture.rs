//! The headers in a capture: what each opener of a TCP connection and each sender of UDP datagrams begins with.
//!
//! Ports say nothing here. Who answers is passed over, and of what began before the capture only what is a
//! header, or begins as one, is told. Invariant: a flow is told of once, in the order in which it is decided; those
//! left undecided come last.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::packets::{self, CaptureError, Packet};
use super::segment::{Carried, Flow, Link, Segment, Tcp, carried};
use super::stream::Stream;
use super::{Args, Arrival, Format, Outcome, Verdict, judge, report, text};
use crate::cli::{Exit, Failure, answer};

/// Flows that are known at a time; beyond them those that are decided are forgotten.
const FLOWS_MAX: usize = 1 << 16;

/// Reads a capture and tells of each flow as soon as it is decided.
pub(super) fn run(args: &Args, name: &str, input: impl Read + Send) -> Result<ExitCode, Failure> {
    let mut capture = Capture::new(args, answer);
    packets::each(input, |packet| capture.take_packet(packet)).map_err(|stop| match stop {
        Stop::Capture(error) => Failure::usage(format!("{name}: {error}")),
        Stop::Link(linktype) => Failure::usage(format!(
            "{name}: captures of link type {linktype} are not read: those of Ethernet, Linux cooked, loopback \
             and raw IP are"
        )),
        Stop::Flows => Failure::usage(format!(
            "{name}: more than {FLOWS_MAX} connections are undecided at once; filter it first"
        )),
        Stop::Answer(failure) => failure,
    })?;
    finish(capture)
}

/// Does the same with the packets that tcpdump printed.
pub(super) fn run_printed(args: &Args, printed: &[Vec<u8>]) -> Result<ExitCode, Failure> {
    let mut capture = Capture::new(args, answer);
    for (number, packet) in (1..).zip(printed) {
        let taken = capture.take(number, Link::of_printed(packet), packet);
        taken.map_err(|stop| match stop {
            Stop::Answer(failure) => failure,
            Stop::Capture(_) | Stop::Link(_) | Stop::Flows => {
                Failure::usage("more connections are undecided at once than a text can hold")
            }
        })?;
    }
    finish(capture)
}

/// Tells of what is left; stderr has what is no part of the answer.
fn finish(
    capture: Capture<'_, impl FnMut(&[u8]) -> Result<(), Failure>>,
) -> Result<ExitCode, Failure> {
    let (exit, notes) = capture.end()?;
    for note in notes {
        // Nobody is left to be told that stderr is closed.
        let _ = writeln!(io::stderr(), "{note}");
    }
    Ok(exit.into())
}

/// Returns the text for a capture, as it is printed.
#[cfg(fuzzing)]
pub(super) fn explain(args: &Args, input: &[u8]) -> String {
    let mut told = String::new();
    let mut capture = Capture::new(args, |bytes: &[u8]| {
        told += str::from_utf8(bytes).expect("what is told is text");
        Ok(())
    });
    let _ = packets::each(input, |packet| capture.take_packet(packet));
    let _ = capture.end();
    told
}

/// Why no more packets are looked at.
enum Stop {
    Capture(CaptureError),
    Link(i32),
    Flows,
    Answer(Failure),
}

impl From<CaptureError> for Stop {
    fn from(error: CaptureError) -> Self {
        Self::Capture(error)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Answer(failure)
    }
}

/// What is known of a flow.
enum Known {
    Undecided { stream: Stream, is_whole: bool, number: u64 },
    Decided,
}

struct Capture<'a, T> {
    args: &'a Args,
    tell: T,
    flows: HashMap<Flow, Known>,
    exit: Option<Exit>,
    /// Packets that are fragments of IP, and those that were cut when they were captured.
    fragments: u64,
    cut: u64,
}

impl<'a, T: FnMut(&[u8]) -> Result<(), Failure>> Capture<'a, T> {
    fn new(args: &'a Args, tell: T) -> Self {
        Self { args, tell, flows: HashMap::new(), exit: None, fragments: 0, cut: 0 }
    }

    fn take_packet(&mut self, packet: &Packet<'_>) -> Result<(), Stop> {
        self.cut += u64::from(packet.is_cut);
        let link = Link::of(packet.linktype).ok_or(Stop::Link(packet.linktype.0))?;
        self.take(packet.number, link, packet.bytes)
    }

    fn take(&mut self, number: u64, link: Link, packet: &[u8]) -> Result<(), Stop> {
        match carried(link, packet) {
            Carried::Segment(segment) => {
                if self.flows.len() >= FLOWS_MAX {
                    self.flows.retain(|_, known| matches!(known, Known::Undecided { .. }));
                    if self.flows.len() >= FLOWS_MAX {
                        return Err(Stop::Flows);
                    }
                }
                match segment.tcp {
                    Some(tcp) => self.take_tcp(number, &segment, tcp)?,
                    None => self.take_udp(number, &segment)?,
                }
            }
            Carried::Fragment => self.fragments += 1,
            Carried::Other => {}
        }
        Ok(())
    }

    fn take_tcp(&mut self, number: u64, segment: &Segment<'_>, tcp: Tcp) -> Result<(), Failure> {
        let (flow, payload) = (segment.flow, segment.payload);
        // The SYN takes a number of its own; data may come with it (RFC 7413).
        let sequence = tcp.sequence.wrapping_add(u32::from(tcp.syn));
        if let (true, Some(opened)) = (tcp.syn, tcp.acknowledged) {
            self.flows.insert(flow, Known::Decided);
            let opener =
                || Known::Undecided { stream: Stream::new(opened), is_whole: true, number };
            self.flows.entry(flow.back()).or_insert_with(opener);
            return Ok(());
        }
        let known = match self.flows.get_mut(&flow) {
            Some(Known::Undecided { stream, .. }) if tcp.syn && !stream.is_from(sequence) => None,
            Some(Known::Decided) if tcp.syn => None,
            known => known,
        };
        if known.is_none() {
            let is_answer = !tcp.syn && self.flows.contains_key(&flow.back());
            let is_nothing = !tcp.syn && payload.is_empty();
            if is_answer || is_nothing {
                return Ok(());
            }
            let stream = Stream::new(sequence);
            self.flows.insert(flow, Known::Undecided { stream, is_whole: tcp.syn, number });
        }
        let Some(Known::Undecided { stream, is_whole, number }) = self.flows.get_mut(&flow) else {
            return Ok(());
        };
        stream.take(sequence, payload, tcp.fin);
        let arrival = if stream.has_ended() { Arrival::Ended } else { Arrival::Open };
        let verdict = judge(self.args, arrival, stream.bytes());
        if matches!(verdict.outcome, Outcome::Need(_)) {
            return Ok(());
        }
        let (bytes, is_whole, number) = (stream.bytes().to_vec(), *is_whole, *number);
        self.flows.insert(flow, Known::Decided);
        // Somebody connects and closes: a probe, and no header is missing.
        if bytes.is_empty() || !is_whole && verdict.format.is_none() {
            return Ok(());
        }
        self.tell(flow, number, &verdict, &bytes)
    }

    fn take_udp(&mut self, number: u64, segment: &Segment<'_>) -> Result<(), Failure> {
        let flow = segment.flow;
        if self.flows.contains_key(&flow.back()) {
            return Ok(());
        }
        let is_first = self.flows.insert(flow, Known::Decided).is_none();
        let is_spp = segment.payload.starts_with(&ppcore::spp::MAGIC);
        let arrival = if is_spp { Arrival::Spp } else { Arrival::Datagram };
        let verdict = judge(self.args, arrival, segment.payload);
        // A sender may put its header into the first datagram only.
        if !is_first && verdict.format.is_none() {
            return Ok(());
        }
        self.tell(flow, number, &verdict, segment.payload)
    }

    fn tell(
        &mut self,
        flow: Flow,
        number: u64,
        verdict: &Verdict,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        let is_first = self.exit.is_none();
        let exit = verdict.exit();
        self.exit = match (self.exit, exit) {
            (Some(Exit::Failed), _) | (_, Exit::Failed) => Some(Exit::Failed),
            (Some(Exit::Incomplete), _) | (_, Exit::Incomplete) => Some(Exit::Incomplete),
            _ => Some(exit),
        };
        let told = if self.args.json {
            let report = report::Report::new(verdict, bytes);
            report::line(&InCapture { flow: FlowField::new(flow, number), report })
        } else {
            let Flow { protocol, source, destination } = flow;
            let spp = verdict.format == Some(Format::Spp);
            let explanation = text::Explanation { verdict, input: bytes, spp }.to_string();
            let gap = if is_first { "" } else { "\n" };
            let mut told = format!("{gap}{source} -> {destination}, {protocol}, packet {number}\n");
            for line in explanation.lines() {
                told += if line.is_empty() { "" } else { "  " };
                told += line;
                told.push('\n');
            }
            told
        };
        (self.tell)(told.as_bytes())
    }

    /// Tells of what is left. Returns how it came out, which is the worst of all, and a failure if there is nothing;
    /// and notes.
    fn end(mut self) -> Result<(Exit, Vec<String>), Failure> {
        let flows = std::mem::take(&mut self.flows);
        let mut undecided: Vec<(u64, Flow, Stream)> = flows
            .into_iter()
            .filter_map(|(flow, known)| match known {
                Known::Undecided { stream, is_whole, number } => {
                    let is_told = if is_whole {
                        !stream.bytes().is_empty()
                    } else {
                        judge(self.args, Arrival::Open, stream.bytes()).format.is_some()
                    };
                    is_told.then_some((number, flow, stream))
                }
                Known::Decided => None,
            })
            .collect();
        undecided.sort_by_key(|(number, ..)| *number);
        for (number, flow, stream) in undecided {
            let verdict = judge(self.args, Arrival::Open, stream.bytes());
            self.tell(flow, number, &verdict, stream.bytes())?;
        }
        let mut notes = Vec::new();
        for (count, what) in [
            (self.fragments, "are fragments of IP, which are not joined"),
            (self.cut, "were cut when they were captured: tcpdump -s 0 keeps them whole"),
        ] {
            if count > 0 {
                notes.push(format!("packets that {what}: {count}"));
            }
        }
        let exit = self.exit.unwrap_or_else(|| {
            notes.push("nobody sends anything in it by TCP or UDP".to_owned());
            Exit::Failed
        });
        Ok((exit, notes))
    }
}

/// A line of `--json`: the object of every header behind the flow it came on.
#[derive(Debug, Serialize)]
struct InCapture {
    flow: FlowField,
    #[serde(flatten)]
    report: report::Report,
}

#[derive(Debug, Serialize)]
struct FlowField {
    protocol: String,
    src: String,
    dst: String,
    packet: u64,
}

impl FlowField {
    fn new(flow: Flow, packet: u64) -> Self {
        let Flow { protocol, source, destination } = flow;
        Self {
            protocol: protocol.to_string(),
            src: source.to_string(),
            dst: destination.to_string(),
            packet,
        }
    }
}
