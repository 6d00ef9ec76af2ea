//! What processes and the machine have used, from /proc (proc(5)).
//!
//! CPU time comes from schedstat, in nanoseconds: the ticks of utime and stime are too coarse. But it
//! knows only threads that are alive, so those ticks, which keep what has ended, are held against it.
//! The whole machine's comes from /proc/stat beside it, because work can hide in kernel threads and
//! in interrupts charged to others.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::host;

/// A family is quiet when it used less than this between two looks.
const QUIET_USE: Duration = Duration::from_micros(300);
const QUIET_SPAN: Duration = Duration::from_millis(30);
/// A proxy that never becomes quiet is measured all the same, after this.
const QUIET_WAIT: Duration = Duration::from_secs(3);

/// How far the two measures of CPU time may be apart: a share, for kernels that count ticks by
/// sampling, or for little use a time, since the numbers of a process are cut to ticks of mostly
/// 10 ms, two of them at either look.
const APART_SHARE: f64 = 0.05;
const APART_TIME: Duration = Duration::from_millis(100);

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
            let ended =
                || format!("CPU time cannot be told: process {pid} or a thread of it has ended");
            for task in fs::read_dir(format!("/proc/{pid}/task")).with_context(ended)? {
                let file = task.with_context(ended)?.path().join("schedstat");
                let text = fs::read_to_string(file).with_context(ended)?;
                nanos += parse_schedstat(&text).context("schedstat has no number")?;
            }
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// What it has used so far, by both measures.
    pub(crate) fn used(&self) -> Result<Used> {
        let second = rustix::param::clock_ticks_per_second();
        let (mut threads, mut ticks) = (BTreeSet::new(), 0);
        for pid in &self.pids {
            let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            ticks += parse_process_stat(&text).context("stat has no times")?;
            threads.extend(threads_of(*pid));
        }
        let processes = self.pids.iter().copied().collect();
        Ok(Used { processes, threads, alive: self.cpu()?, all: span_of(ticks, second) })
    }

    /// Waits until it does next to nothing, so that what a run left to do is in the count, and
    /// returns whether it came to that.
    pub(crate) fn wait_until_quiet(&self) -> Result<bool> {
        let mut last = self.cpu()?;
        let quiet = host::poll_for(QUIET_WAIT, || {
            host::pause(QUIET_SPAN);
            let now = self.cpu()?;
            let used = now.saturating_sub(last);
            last = now;
            Ok((used < QUIET_USE).then_some(()))
        })?;
        Ok(quiet.is_some())
    }

    /// Resident bytes of all members.
    pub(crate) fn resident(&self) -> Result<u64> {
        self.memory(&["Rss:"])
    }

    /// Bytes of all members that have no file behind them: what they allocated. Resident memory has the
    /// program's text too, which comes as it is first run and goes when the kernel wants its pages.
    pub(crate) fn allocated(&self) -> Result<u64> {
        self.memory(&["Anonymous:", "Swap:"])
    }

    fn memory(&self, kinds: &[&str]) -> Result<u64> {
        let mut bytes = 0;
        for pid in &self.pids {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            for kind in kinds {
                bytes += parse_rollup(&text, kind)
                    .with_context(|| format!("smaps_rollup has no {kind}"))?;
            }
        }
        Ok(bytes)
    }

    /// Descriptors of pipes that members hold.
    pub(crate) fn pipe_ends(&self) -> Result<usize> {
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

/// The CPU time of a family until a moment, and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Used {
    processes: BTreeSet<u32>,
    threads: BTreeSet<u32>,
    /// Of the threads that are alive, from schedstat.
    alive: Duration,
    /// Also of threads that ended and children that were waited for, in ticks.
    all: Duration,
}

impl Used {
    /// CPU time since `earlier`, of threads that are alive.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        self.alive.saturating_sub(earlier.alive)
    }

    /// Why that is not all that was used, if it is not.
    pub(crate) fn doubt_since(&self, earlier: &Self) -> Option<String> {
        let ended = earlier.threads.difference(&self.threads).count();
        if self.processes != earlier.processes || ended > 0 {
            let (before, after) = (earlier.processes.len(), self.processes.len());
            return Some(format!(
                "threads or processes of it came or ended ({before} processes before, {after} \
                 after, {ended} threads gone)"
            ));
        }
        let (alive, all) = (self.since(earlier), self.all.saturating_sub(earlier.all));
        let allowed = APART_TIME.max(alive.max(all).mul_f64(APART_SHARE));
        (alive.abs_diff(all) > allowed).then(|| {
            format!(
                "threads or processes of it ended unseen (those alive used {alive:.1?}, all of \
                 them {all:.1?})"
            )
        })
    }
}

/// The threads of a process; none of one that has gone.
fn threads_of(pid: u32) -> impl Iterator<Item = u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok())
}

/// Each thread has the children that it started.
fn children_of(pid: u32) -> Vec<u32> {
    let lists = threads_of(pid)
        .filter_map(|task| fs::read_to_string(format!("/proc/{pid}/task/{task}/children")).ok());
    let mut children = Vec::new();
    for list in lists {
        children.extend(list.split_ascii_whitespace().filter_map(|word| word.parse::<u32>().ok()));
    }
    children
}

/// A moment of the whole machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    at: Instant,
    cores: Vec<Core>,
}

/// What a core has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Core {
    busy: Duration,
    /// It had work, and whoever runs this machine beside others gave the time to them.
    stolen: Duration,
}

impl Machine {
    pub(crate) fn look() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        let second = rustix::param::clock_ticks_per_second();
        Ok(Self { at: host::now(), cores: parse_stat(&text, second) })
    }

    /// Busy time of all cores since `earlier`.
    pub(crate) fn busy_since(&self, earlier: &Self) -> Duration {
        (0..self.cores.len()).map(|core| self.core_since(earlier, core).busy).sum()
    }

    /// The share of all cores' time since `earlier` that others took.
    pub(crate) fn stolen_share_since(&self, earlier: &Self) -> f64 {
        let shares = (0..self.cores.len())
            .map(|core| self.share_since(earlier, self.core_since(earlier, core).stolen));
        shares.sum::<f64>() / host::real(u64::try_from(self.cores.len().max(1)).unwrap_or(1))
    }

    /// The share of its time that a core was busy since `earlier`.
    pub(crate) fn core_share_since(&self, earlier: &Self, core: usize) -> f64 {
        self.share_since(earlier, self.core_since(earlier, core).busy)
    }

    fn share_since(&self, earlier: &Self, time: Duration) -> f64 {
        let span = (self.at - earlier.at).as_secs_f64();
        if span > 0.0 { time.as_secs_f64() / span } else { 0.0 }
    }

    fn core_since(&self, earlier: &Self, core: usize) -> Core {
        let at = |machine: &Self| machine.cores.get(core).copied().unwrap_or_default();
        let (now, then) = (at(self), at(earlier));
        Core {
            busy: now.busy.saturating_sub(then.busy),
            stolen: now.stolen.saturating_sub(then.stolen),
        }
    }
}

fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

fn parse_rollup(rollup: &str, kind: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix(kind))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// utime, stime, cutime and cstime of /proc/PID/stat, in ticks. The name in parentheses before them
/// is the program's own, with whatever parentheses and blanks it likes.
fn parse_process_stat(text: &str) -> Option<u64> {
    const UTIME: usize = 11;
    let (_, fields) = text.rsplit_once(')')?;
    let times: Vec<u64> = fields
        .split_ascii_whitespace()
        .skip(UTIME)
        .take(4)
        .map_while(|field| field.parse().ok())
        .collect();
    (times.len() == 4).then(|| times.iter().sum())
}

/// Busy is everything but idle, iowait and what was stolen; guest time is part of user time already.
fn parse_stat(text: &str, ticks_per_second: u64) -> Vec<Core> {
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
            let sum = |at: &[usize]| at.iter().filter_map(|at| fields.get(*at)).sum();
            Core {
                busy: span_of(sum(&[0, 1, 2, 5, 6]), ticks_per_second),
                stolen: span_of(sum(&[7]), ticks_per_second),
            }
        })
        .collect()
}

fn span_of(ticks: u64, ticks_per_second: u64) -> Duration {
    Duration::from_nanos(ticks.saturating_mul(1_000_000_000) / ticks_per_second.max(1))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn busy_time_leaves_out_idle_iowait_guests_and_what_was_stolen() {
        let text = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 1000 1000 4 5 6 7 8\nintr 5\n";
        let (busy, stolen) = (Duration::from_millis(150), Duration::from_millis(60));
        assert_eq!(parse_stat(text, 100), [Core { busy, stolen }]);
    }

    #[test]
    fn the_times_of_a_process_stand_behind_its_name_whatever_that_is() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 100 20 3 4 20 0 1 0 99";
        for name in ["nginx", "a b", "(odd) )", ") S 1 2"] {
            let text = format!("42 ({name}) {fields}\n");
            assert_eq!(parse_process_stat(&text), Some(127), "{name}");
        }
        assert_eq!(parse_process_stat("42 (nginx) S 1 2 3 4 5 6 7 8 9 10 100 20 3\n"), None);
        assert_eq!(parse_process_stat(""), None);
    }

    #[test]
    fn a_child_that_comes_and_ends_is_found_by_what_it_used() {
        let script = "read a; while :; do :; done & read b; kill $!; wait $!; echo ended; read c";
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("every machine has a shell");
        let mut input = shell.stdin.take().unwrap();
        let mut output = BufReader::new(shell.stdout.take().unwrap());
        let used = || Family::of(shell.id()).used().unwrap();
        let before = used();
        assert_eq!(used().doubt_since(&before), None);

        writeln!(input).unwrap();
        let busy = host::poll_for(Duration::from_secs(30), || {
            Ok(Some(used()).filter(|used| used.since(&before) > 3 * APART_TIME))
        });
        let doubt = busy.unwrap().expect("the child is busy").doubt_since(&before).unwrap();
        assert!(doubt.contains("1 processes before, 2 after"), "{doubt}");

        writeln!(input).unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ended\n");
        let after = used();
        assert!(after.since(&before) < APART_TIME, "schedstat has forgotten the child");
        let doubt = after.doubt_since(&before).unwrap();
        assert!(doubt.contains("ended unseen"), "{doubt}");
        drop(input);
        shell.wait().unwrap();
    }

    #[test]
    fn a_thread_that_ends_is_missed() {
        let family = Family { pids: vec![std::process::id()] };
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (end, is_ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            ready.send(()).unwrap();
            let _ = is_ended.recv();
        });
        is_ready.recv().unwrap();
        let before = family.used().unwrap();
        drop(end);
        thread.join().unwrap();
        let doubt =
            host::poll_for(Duration::from_secs(30), || Ok(family.used()?.doubt_since(&before)));
        assert!(doubt.unwrap().unwrap().contains("came or ended"));
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
        let alone = Family { pids: vec![shell.id()] };
        assert!(family.resident().unwrap() > alone.resident().unwrap());
        assert!(family.allocated().unwrap() > alone.allocated().unwrap());
        assert!(alone.allocated().unwrap() < alone.resident().unwrap());
        // Its descriptors above stderr, if any, came from whoever started the tests.
        assert!(family.pipe_ends().unwrap() >= 2, "both have the pipe of their input");
        drop(shell.stdin.take());
        assert!(shell.wait().unwrap().success());
    }

    #[test]
    fn the_forms_of_proc_are_understood() {
        assert_eq!(parse_schedstat("123456 789 10\n"), Some(123_456));
        let rollup = "5500-7fff ---p [rollup]\nRss:     2048 kB\nSwap:       4 kB\n";
        assert_eq!(parse_rollup(rollup, "Rss:"), Some(2 << 20));
        assert_eq!(parse_rollup(rollup, "Swap:"), Some(4096));
        let earlier = Machine { at: host::now(), cores: vec![Core::default(); 2] };
        let core = |busy, stolen| {
            let [busy, stolen] = [busy, stolen].map(Duration::from_millis);
            Core { busy, stolen }
        };
        let cores = vec![core(1000, 100), core(500, 300)];
        let later = Machine { at: earlier.at + Duration::from_secs(2), cores };
        assert_eq!(later.busy_since(&earlier), Duration::from_millis(1500));
        assert!((later.core_share_since(&earlier, 1) - 0.25).abs() < 1e-9);
        assert!((later.stolen_share_since(&earlier) - 0.1).abs() < 1e-9);
    }
}
