//! What a process uses, by /proc/PID (proc(5)).

use std::fs;
use std::time::Duration;

/// The resident memory of a process.
#[track_caller]
pub(crate) fn resident_bytes(pid: i32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).expect("`VmRSS: 1 kB`");
    kib.parse::<usize>().expect("a number") * 1024
}

/// The processor time that a process has used in all its threads.
#[track_caller]
pub(crate) fn cpu_time(pid: i32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there");
    let nanos = tasks.map(|task| {
        let task = task.expect("the directory can be read").path();
        let schedstat = fs::read_to_string(task.join("schedstat")).expect("the thread is there");
        let on_cpu = schedstat.split(' ').next().expect("time on a CPU is the first field");
        on_cpu.parse::<u64>().expect("a number")
    });
    Duration::from_nanos(nanos.sum())
}
