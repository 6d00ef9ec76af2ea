//! What the kernel says of a process: proc(5), read from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Pid;

/// Length of a tick in /proc/PID/stat (USER_HZ is 100 on every Linux).
const TICK: Duration = Duration::from_millis(10);

/// The listening TCP sockets of a process, by their numbers in the kernel.
pub(crate) fn listening(pid: Pid) -> BTreeSet<String> {
    let tables = ["tcp", "tcp6"].map(|name| fs::read_to_string(format!("/proc/self/net/{name}")));
    let tables = tables.map(|table| table.expect("the kernel lists its sockets")).join("\n");
    let rows = tables.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let listening = rows.filter(|row| row.get(3) == Some(&"0A"));
    let listening: BTreeSet<_> = listening.map(|row| format!("socket:[{}]", row[9])).collect();
    let open: BTreeSet<_> = descriptors(pid).into_values().collect();
    open.intersection(&listening).cloned().collect()
}

/// Whether a process has the UNIX socket that listens at a path.
pub(crate) fn listens_at(pid: Pid, path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/net/unix").expect("the kernel lists its sockets");
    let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    // What was accepted there has the path too, and not the flag.
    let mut listening =
        rows.filter(|row| row[3] == "00010000" && row.get(7).map(Path::new) == Some(path));
    let socket = listening.next().map(|row| format!("socket:[{}]", row[6]));
    socket.is_some_and(|socket| descriptors(pid).into_values().any(|open| open == socket))
}

/// Open descriptors: number, and what it stands for.
pub(crate) fn descriptors(pid: Pid) -> BTreeMap<usize, String> {
    let dir = fs::read_dir(place(pid, "fd")).expect("the process runs");
    let open = dir.map(|entry| {
        let entry = entry.expect("a directory entry");
        let number = entry.file_name().to_string_lossy().parse().expect("a number");
        // Closed in between: as good as never seen.
        let target = fs::read_link(entry.path()).map(|path| path.to_string_lossy().into_owned());
        (number, target.unwrap_or_default())
    });
    open.filter(|(_, target)| !target.is_empty()).collect()
}

/// How many of these descriptors are of a kind: `socket`, `pipe`.
pub(crate) fn of_kind(descriptors: &BTreeMap<usize, String>, kind: &str) -> usize {
    descriptors.values().filter(|target| target.starts_with(kind)).count()
}

/// Soft and hard limit of open files.
pub(crate) fn descriptor_limits(pid: Pid) -> (usize, usize) {
    let limits = read(pid, "limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let mut numbers = line.expect("the kernel lists it").split_whitespace();
    let mut next = || numbers.next().expect("two numbers").parse().expect("a limit");
    (next(), next())
}

/// The children of its first thread.
pub(crate) fn children(pid: Pid) -> Vec<Pid> {
    let number = |text: &str| text.parse().ok().and_then(Pid::from_raw).expect("a process id");
    read(pid, &format!("task/{}/children", pid.as_raw_nonzero()))
        .split_whitespace()
        .map(number)
        .collect()
}

/// Whether it has not ended; one that nobody has waited for has.
pub(crate) fn is_running(pid: Pid) -> bool {
    let stat = fs::read_to_string(place(pid, "stat")).unwrap_or_default();
    let behind = stat.rsplit_once(')').map(|(_, behind)| behind.trim_start());
    behind.is_some_and(|behind| !behind.starts_with(['Z', 'X']))
}

/// Its id in the innermost of the PID namespaces that it is in.
pub(crate) fn innermost_pid(pid: Pid) -> i32 {
    let status = read(pid, "status");
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let last = line.and_then(|line| line.split_whitespace().next_back());
    last.and_then(|pid| pid.parse().ok()).expect("the kernel lists them")
}

/// What is said of each of its threads.
pub(crate) fn thread_statuses(pid: Pid) -> Vec<String> {
    threads(pid).map(|dir| read_file(&format!("{dir}/status"))).collect()
}

/// The names of its threads, sorted.
pub(crate) fn thread_names(pid: Pid) -> Vec<String> {
    let mut names: Vec<_> = threads(pid).map(|dir| read_file(&format!("{dir}/comm"))).collect();
    names.iter_mut().for_each(|name| *name = name.trim().to_owned());
    names.sort();
    names
}

/// The id of the thread of this name, once it has named itself.
pub(crate) fn thread_id(pid: Pid, name: &str) -> Option<String> {
    // One that ends in between has no name.
    let has_name = |dir: &String| {
        fs::read_to_string(format!("{dir}/comm")).is_ok_and(|comm| comm.trim() == name)
    };
    threads(pid).find(has_name)?.rsplit('/').next().map(str::to_owned)
}

/// The state of a thread: `S` asleep, `T` stopped, `R` running.
pub(crate) fn thread_state(pid: Pid, thread: &str) -> Option<char> {
    let stat = read(pid, &format!("task/{thread}/stat"));
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// How often its threads have gone to sleep of their own accord, which is how often they woke.
pub(crate) fn wakeups(pid: Pid) -> BTreeMap<String, u64> {
    let count = |dir: &str| {
        let status = read_file(&format!("{dir}/status"));
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.expect("the kernel counts them").trim().parse().expect("a number")
    };
    threads(pid)
        .map(|dir| (read_file(&format!("{dir}/comm")).trim().to_owned(), count(&dir)))
        .collect()
}

/// CPU time it has used in all.
pub(crate) fn cpu_time(pid: Pid) -> Duration {
    let stat = read(pid, "stat");
    // The name in parentheses may hold anything; state is the field behind it.
    let behind = stat.rsplit_once(')').expect("a name in parentheses").1;
    let ticks = |field: usize| -> u32 {
        behind.split_whitespace().nth(field).expect("a field").parse().expect("ticks")
    };
    TICK * (ticks(11) + ticks(12))
}

fn threads(pid: Pid) -> impl Iterator<Item = String> {
    let dir = fs::read_dir(place(pid, "task")).expect("the process runs");
    dir.map(|entry| entry.expect("a directory entry").path().to_string_lossy().into_owned())
}

fn read(pid: Pid, name: &str) -> String {
    read_file(&place(pid, name))
}

fn read_file(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn place(pid: Pid, name: &str) -> String {
    format!("/proc/{}/{name}", pid.as_raw_nonzero())
}
