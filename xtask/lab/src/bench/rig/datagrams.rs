//! One run of datagrams: a fresh sink, a fresh proxy, a warm-up, the measured load, and the counts.
//!
//! The proxy's own counts play no part: the sink knows every datagram that was sent, and whose it is. A full socket
//! drops what comes, with every proxy; a run that lost more than a few datagrams that way does not count.

use anyhow::{Context, Result};
use ppload::{DatagramReport, DatagramSinkReport, LISTENING};

use super::super::contender::Running;
use super::super::datagrams::{Lane, Load, Unit, word};
use super::super::strace;
use super::{FULL, FULL_SHARE, Look, Metric, P99, Rig, Sample, Spent, TRACED_WAIT, watch};
use crate::host::real;
use crate::ports;
use crate::process::{Cores, LOAD_CORE, PROXY_CORE, Process};
use crate::usage::Family;

/// Of the datagrams of a run; more lost ones say that nothing was relayed but dropped.
const LOST_SHARE_MAX: f64 = 0.01;

impl Rig {
    /// Measures a load of datagrams.
    pub(in super::super) fn datagrams(
        &self,
        lane: &Lane,
        load: &Load,
        span: &str,
        round: usize,
    ) -> Result<Sample> {
        self.relayed(lane, load, round, |rig, proxy, sample| {
            sample.notes.extend(watch()?);
            let before = Look::at(proxy)?;
            let report = rig.send(load, &load.measured(span))?;
            let spent = sample.spent_since(&before, proxy)?;
            sample.notes.extend(report.bottleneck.iter().cloned());
            if load.cores == Cores::APART && spent.core_share(LOAD_CORE) >= FULL_SHARE {
                sample.notes.push(FULL.to_owned());
            }
            Ok((report, Some(spent), Vec::new()))
        })
    }

    /// Counts the system calls of the same load, in a run of its own.
    pub(in super::super) fn trace_datagrams(
        &self,
        lane: &Lane,
        load: &Load,
        words: &[String],
    ) -> Result<Sample> {
        self.relayed(lane, load, 1, |rig, proxy, sample| {
            let (report, calls) =
                Self::under_strace(proxy, sample, load.cores, || rig.send(load, words))?;
            Ok((report, None, calls))
        })
    }

    /// Starts sink and proxy, warms them up, lets `work` send, and holds the counts of both ends against each other.
    fn relayed(
        &self,
        lane: &Lane,
        load: &Load,
        round: usize,
        work: impl FnOnce(
            &Self,
            &mut Running,
            &mut Sample,
        ) -> Result<(DatagramReport, Option<Spent>, Vec<strace::Calls>)>,
    ) -> Result<Sample> {
        ports::all_free()?;
        let mut sample = Sample::of(&lane.contender, round);
        let sink = self.sink(lane, load)?;
        let mut proxy =
            lane.contender.start_with(load.cores, ports::is_bound, |dir| lane.words(load, dir))?;
        let driven = self.send(load, &load.warm_up()).and_then(|warm| {
            proxy.find_family();
            sample.wait_until_quiet(&proxy)?;
            Ok((warm, work(self, &mut proxy, &mut sample)?))
        });
        // Of a proxy that is gone, others only say that it does not answer.
        let (warm, (report, spent, calls)) = driven.map_err(|error| match proxy.death() {
            Some(death) => error.context(death),
            None => error,
        })?;
        sample.wait_until_quiet(&proxy)?;
        let errors = proxy.errors();
        proxy.stop()?;
        let seen = stop(sink)?;
        sample.faults.extend(faults(&warm, &report, &seen, errors));
        let relayed = relayed(load.unit, &warm, &report, &seen);
        sample.metrics = match spent {
            Some(spent) => describe(load.unit, relayed, &warm, &report, &seen, &spent),
            None => strace::metrics(&calls, relayed, load.unit.singular()),
        };
        Ok(sample)
    }

    fn sink(&self, lane: &Lane, load: &Load) -> Result<Process> {
        let listen = ports::addr(ports::BACKEND).to_string();
        let words = ["sink", "--udp", word(lane.framing), "--listen", &listen, "--json"];
        let words = [&words[..], load.sink].concat();
        let mut sink = Process::pinned("sink", load.cores.load, &self.programs.ppload, &words)?;
        sink.wait_for_line("where it listens", |line| line.starts_with(LISTENING).then_some(()))?;
        Ok(sink)
    }

    fn send(&self, load: &Load, words: &[String]) -> Result<DatagramReport> {
        let to = ports::addr(ports::PROXY).to_string();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let always = ["--to", &to, "--proxy", "none", "--json"];
        let words = [&["load"], &words[..], &always].concat();
        let lines = Process::pinned("load", load.cores.load, &self.programs.ppload, &words)?
            .finish(TRACED_WAIT * 2)?;
        let json = lines.iter().rev().find(|line| line.starts_with('{'));
        Ok(serde_json::from_str(json.context("the generator printed no report")?)?)
    }
}

fn stop(sink: Process) -> Result<DatagramSinkReport> {
    Family::of(sink.id()).wait_until_quiet()?;
    let lines = sink.stop()?;
    let json = lines.iter().rev().find(|line| line.starts_with('{'));
    Ok(serde_json::from_str(json.context("the sink printed no counts")?)?)
}

/// How many units the measured load came to; of what was dropped on the way, the warm-up is believed to have lost nothing.
fn relayed(
    unit: Unit,
    warm: &DatagramReport,
    report: &DatagramReport,
    seen: &DatagramSinkReport,
) -> u64 {
    match unit {
        Unit::Datagram => seen.arrived.saturating_sub(warm.sent) + report.answered,
        Unit::Question => report.answered,
    }
}

/// What does not add up; empty for a run that counts.
fn faults(
    warm: &DatagramReport,
    report: &DatagramReport,
    seen: &DatagramSinkReport,
    errors: usize,
) -> Vec<String> {
    let mut faults = Vec::new();
    let sent = warm.sent + report.sent;
    let wrong = warm.failures() + report.failures() - warm.lost - report.lost;
    for (who, count) in [("generator", wrong), ("sink", seen.failures())] {
        if count > 0 {
            faults.push(format!("the {who} saw {count} failures"));
        }
    }
    if seen.arrived == 0 {
        faults.push("nothing arrived".to_owned());
    }
    if seen.arrived > sent {
        faults.push(format!("{sent} datagrams were sent, and {} arrived", seen.arrived));
    }
    let lost = lost(warm, report, seen);
    if share(lost, sent) > LOST_SHARE_MAX {
        faults.push(format!("of {sent} datagrams {lost} were lost"));
    }
    if errors > 0 {
        faults.push(format!("the proxy told of {errors} errors"));
    }
    faults
}

/// Datagrams that did not arrive, or whose answer did not.
fn lost(warm: &DatagramReport, report: &DatagramReport, seen: &DatagramSinkReport) -> u64 {
    let on_the_way = (warm.sent + report.sent).saturating_sub(seen.arrived);
    on_the_way.max(warm.lost + report.lost)
}

fn share(part: u64, of: u64) -> f64 {
    real(part) / real(of.max(1))
}

fn describe(
    unit: Unit,
    relayed: u64,
    warm: &DatagramReport,
    report: &DatagramReport,
    seen: &DatagramSinkReport,
    spent: &Spent,
) -> Vec<Metric> {
    let each = |time: std::time::Duration| time.as_secs_f64() * 1e6 / real(relayed.max(1));
    let singular = unit.singular();
    let mut metrics = vec![
        Metric::new(format!("proxy CPU us/{singular}"), each(spent.cpu)),
        Metric::new(
            format!("machine CPU us/{singular}"),
            each(spent.after.busy_since(&spent.before)),
        ),
        Metric::new(format!("{singular}s/s"), real(relayed) / report.seconds.max(f64::EPSILON)),
        Metric::new("lost %", share(lost(warm, report, seen), warm.sent + report.sent) * 100.0),
        Metric::new(
            "datagrams/receive of the sink",
            real(seen.arrived) / real(seen.receives.max(1)),
        ),
        Metric::new("proxy core busy %", spent.core_share(PROXY_CORE) * 100.0),
        Metric::new("load core busy %", spent.core_share(LOAD_CORE) * 100.0),
        Metric::new("machine stolen %", spent.after.stolen_share_since(&spent.before) * 100.0),
    ];
    if report.answered > 0 {
        metrics.push(Metric::new("latency p50 us", report.latency.p50));
        metrics.push(Metric::new(P99, report.latency.p99));
    }
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_adds_up_counts() {
        let warm = DatagramReport { sent: 100, answered: 100, ..DatagramReport::default() };
        let good =
            DatagramReport { sent: 900, answered: 895, lost: 5, ..DatagramReport::default() };
        let seen =
            DatagramSinkReport { arrived: 996, answered: 995, ..DatagramSinkReport::default() };
        assert_eq!(faults(&warm, &good, &seen, 0), [""; 0]);
        assert_eq!(relayed(Unit::Datagram, &warm, &good, &seen), 896 + 895);
        assert_eq!(relayed(Unit::Question, &warm, &good, &seen), 895);
        let seen_with = |arrived, foreign| DatagramSinkReport { arrived, foreign, ..seen.clone() };
        for (report, seen, errors, fault) in [
            (DatagramReport { doubled: 1, ..good.clone() }, seen.clone(), 0, "the generator saw 1"),
            (good.clone(), seen_with(996, 2), 0, "the sink saw 2"),
            (good.clone(), seen_with(1001, 0), 0, "1000 datagrams were sent, and 1001"),
            (good.clone(), seen_with(980, 0), 0, "of 1000 datagrams 20 were lost"),
            (
                DatagramReport { lost: 20, ..good.clone() },
                seen.clone(),
                0,
                "datagrams 20 were lost",
            ),
            (good.clone(), seen.clone(), 3, "the proxy told of 3"),
        ] {
            let found = faults(&warm, &report, &seen, errors);
            assert!(found.len() == 1 && found[0].contains(fault), "{fault}: {found:?}");
        }
    }
}
