//! What processes and the machine have used, from /proc (proc(5)).
//!
//! CPU time comes from schedstat, in nanoseconds: the ticks of utime and stime are too coarse. The
//! whole machine's comes from /proc/stat beside it, because work can hide in kernel threads and in
//! interrupts charged to others.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::host;

/// A family is quiet when it used less than this between two looks.
const QUIET_USE: Duration = Duration::from_micros(300);
const QUIET_SPAN: Duration = Duration::from_millis(30);
/// A proxy that never becomes quiet is measured all the same, after this.
const QUIET_WAIT: Duration = Duration::from_secs(3);

/// A process and all that descend from it.
#[derive(Debug)]
pub(crate) struct Family {
    pids: Vec<u32>,
}

impl Family {
    /// Finds who belongs to it now.
    pub(crate) fn of(pid: u32) -> Self {
        let mut pids = vec![pid];
        let mut at = 0;
        while let Some(pid) = pids.get(at).copied() {
            pids.extend(children_of(pid));
            at += 1;
        }
        Self { pids }
    }

    pub(crate) fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// CPU time of all threads of all members so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut nanos = 0;
        for pid in &self.pids {
            let tasks = format!("/proc/{pid}/task");
            for task in fs::read_dir(&tasks).with_context(|| format!("{tasks} is gone"))? {
                let text = fs::read_to_string(task?.path().join("schedstat"))?;
                nanos += parse_schedstat(&text).context("schedstat has no number")?;
            }
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Waits until it does next to nothing, so that what a run left to do is in the count.
    pub(super) fn wait_until_quiet(&self) -> Result<()> {
        let mut last = self.cpu()?;
        host::poll_for(QUIET_WAIT, || {
            host::pause(QUIET_SPAN);
            let now = self.cpu()?;
            let used = now.saturating_sub(last);
            last = now;
            Ok((used < QUIET_USE).then_some(()))
        })?;
        Ok(())
    }

    /// Resident bytes of all members.
    pub(crate) fn resident(&self) -> Result<u64> {
        let mut bytes = 0;
        for pid in &self.pids {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            bytes += parse_resident(&text).context("smaps_rollup has no Rss")?;
        }
        Ok(bytes)
    }

    /// Descriptors of pipes that members hold.
    pub(super) fn pipe_ends(&self) -> Result<usize> {
        let mut count = 0;
        for pid in &self.pids {
            for fd in fs::read_dir(format!("/proc/{pid}/fd"))? {
                // A descriptor may be closed between the two looks.
                let is_pipe = fs::read_link(fd?.path())
                    .is_ok_and(|target| target.to_string_lossy().starts_with("pipe:"));
                count += usize::from(is_pipe);
            }
        }
        Ok(count)
    }
}

/// Each thread has the children that it started. A process that has gone has none.
fn children_of(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let mut children = Vec::new();
    for list in lists {
        children.extend(list.split_ascii_whitespace().filter_map(|word| word.parse::<u32>().ok()));
    }
    children
}

/// A moment of the whole machine.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    at: Instant,
    /// Busy time of each core so far.
    cores: Vec<Duration>,
}

impl Machine {
    pub(super) fn look() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        let second = rustix::param::clock_ticks_per_second();
        Ok(Self { at: host::now(), cores: parse_stat(&text, second) })
    }

    /// Busy time of all cores since `earlier`.
    pub(super) fn busy_since(&self, earlier: &Self) -> Duration {
        (0..self.cores.len()).map(|core| self.core_since(earlier, core)).sum()
    }

    /// The share of its time that a core was busy since `earlier`.
    pub(super) fn core_share_since(&self, earlier: &Self, core: usize) -> f64 {
        let span = (self.at - earlier.at).as_secs_f64();
        if span > 0.0 { self.core_since(earlier, core).as_secs_f64() / span } else { 0.0 }
    }

    fn core_since(&self, earlier: &Self, core: usize) -> Duration {
        let at = |machine: &Self| machine.cores.get(core).copied().unwrap_or_default();
        at(self).saturating_sub(at(earlier))
    }
}

fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

fn parse_resident(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Everything but idle and iowait; guest time is part of user time already.
fn parse_stat(text: &str, ticks_per_second: u64) -> Vec<Duration> {
    let cores = text.lines().filter(|line| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    });
    cores
        .map(|line| {
            let fields: Vec<u64> = line
                .split_ascii_whitespace()
                .skip(1)
                .filter_map(|field| field.parse().ok())
                .collect();
            let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|at| fields.get(*at)).sum();
            Duration::from_nanos(busy.saturating_mul(1_000_000_000) / ticks_per_second.max(1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn busy_time_leaves_out_idle_iowait_and_guests() {
        let text = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 1000 1000 4 5 6 7 8\nintr 5\n";
        assert_eq!(parse_stat(text, 100), [Duration::from_millis(210)]);
    }

    #[test]
    fn a_child_of_a_process_belongs_to_its_family() {
        // The shell waits for the one in parentheses, which waits for its input to end.
        let mut shell = Command::new("sh")
            .args(["-c", "(read line); exit 0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("every machine has a shell");
        let found = host::poll_for(Duration::from_secs(30), || {
            let family = Family::of(shell.id());
            Ok((family.pids().len() == 2).then_some(family))
        });
        let family = found.unwrap().expect("the shell starts another one");
        assert_eq!(family.pids()[0], shell.id());
        assert!(family.cpu().unwrap() > Duration::ZERO);
        assert!(family.resident().unwrap() > Family { pids: vec![shell.id()] }.resident().unwrap());
        // Its descriptors above stderr, if any, came from whoever started the tests.
        assert!(family.pipe_ends().unwrap() >= 2, "both have the pipe of their input");
        drop(shell.stdin.take());
        assert!(shell.wait().unwrap().success());
    }

    #[test]
    fn the_forms_of_proc_are_understood() {
        assert_eq!(parse_schedstat("123456 789 10\n"), Some(123_456));
        assert_eq!(parse_resident("5500-7fff ---p [rollup]\nRss:     2048 kB\n"), Some(2 << 20));
        let earlier = Machine { at: host::now(), cores: vec![Duration::ZERO; 2] };
        let busy = vec![Duration::from_secs(1), Duration::from_millis(500)];
        let later = Machine { at: earlier.at + Duration::from_secs(2), cores: busy };
        assert_eq!(later.busy_since(&earlier), Duration::from_millis(1500));
        assert!((later.core_share_since(&earlier, 1) - 0.25).abs() < 1e-9);
    }
}
