//! What the kernel says of this process. Where there is no /proc the rest is still told.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// What it uses and may use.
#[derive(Debug)]
pub(super) struct Process {
    /// Of all threads, in the kernel too.
    pub(super) cpu: Duration,
    /// The soft limit; none where there is no limit.
    pub(super) descriptors_max: Option<u64>,
    /// Only with /proc, as the next one.
    pub(super) descriptors: Option<u64>,
    pub(super) resident_bytes: Option<u64>,
}

impl Process {
    pub(super) fn read() -> Self {
        Self {
            cpu: Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default(),
            descriptors_max: getrlimit(Resource::Nofile).current,
            descriptors: descriptors(),
            resident_bytes: fs::read_to_string("/proc/self/status")
                .ok()
                .as_deref()
                .and_then(resident),
        }
    }
}

/// Counts the open descriptors. Since Linux 6.2 the size of the directory says it, which costs nothing where there
/// are a hundred thousand (proc_pid_fd(5)).
fn descriptors() -> Option<u64> {
    const DIR: &str = "/proc/self/fd";
    match fs::metadata(DIR).ok()?.size() {
        // The one that reads the directory is among them.
        0 => u64::try_from(fs::read_dir(DIR).ok()?.count().saturating_sub(1)).ok(),
        size => Some(size),
    }
}

/// Finds `VmRSS:    1234 kB` (proc_pid_status(5)).
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_says_what_it_uses() {
        let before = Process::read();
        let file = fs::File::open("/dev/null").unwrap();
        let with_file = Process::read();
        drop(file);
        assert!(with_file.descriptors >= before.descriptors.map(|count| count.min(1)));
        assert!(with_file.descriptors.is_some() && with_file.resident_bytes > Some(1 << 20));
        assert!(with_file.cpu >= before.cpu && before.cpu > Duration::ZERO);
        assert_eq!(resident("VmHWM:\t 9 kB\nVmRSS:\t   1234 kB\n"), Some(1234 << 10));
        assert_eq!(resident("Name:\tppserver\n"), None);
    }
}
