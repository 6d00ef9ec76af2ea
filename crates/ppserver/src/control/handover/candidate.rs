//! The program that is to take over: started as this one was, given everything, and waited for.
//!
//! Invariant: one that does not serve in time is no more when that is told.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use tokio::time::{Instant, sleep, timeout_at};

use super::channel::Channel;
use super::words::{PROTOCOL, Word};
use super::{Parcel, TIMEOUT, VARIABLE};
use crate::control::bounded;
use crate::control::input::Input;
use crate::data::sys;

/// How long a process that has closed its end may take to be gone, and between two looks.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);
const EXIT_PAUSE: Duration = Duration::from_millis(5);

/// What a process that is started is to know.
#[derive(Clone, Copy, Debug)]
pub(in crate::control) struct Terms {
    /// 1 at a start, one more at each upgrade.
    pub(in crate::control) generation: u32,
    pub(in crate::control) parent: Parent,
}

/// Whose child a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Parent {
    /// Its supervisor's, which starts it and goes on holding its sockets.
    Supervisor,
    /// That of whoever hands over to it, and ends before it.
    Giver,
    /// The service manager's, which would kill a main process that is no child of its own, where it lets others drain,
    /// and not learn how it ends.
    Manager,
}

/// A process that is to take over; it is killed when this is dropped.
#[derive(Debug)]
pub(in crate::control) struct Candidate {
    process: Process,
    channel: Channel,
    terms: Terms,
    until: Instant,
}

/// One that has; it is killed when this is dropped, unless it is left alone.
#[derive(Debug)]
pub(in crate::control) struct Heir {
    pub(in crate::control) process: Process,
    pub(in crate::control) channel: Channel,
    /// The ports that it serves.
    pub(in crate::control) parcels: Vec<Parcel>,
}

impl Candidate {
    /// Starts a program with the arguments of this one, and what this one has read from standard input; that which runs, by the path it was started by, if none is
    /// named: what is there now, and not what was.
    ///
    /// # Errors
    /// In words: when there is no such program, or it cannot be started.
    pub(in crate::control) async fn start(
        program: Option<PathBuf>,
        terms: Terms,
        input: Option<Input>,
    ) -> Result<Self, String> {
        let until = Instant::now() + TIMEOUT;
        let own = env::args_os().next().unwrap_or_else(|| env!("CARGO_PKG_NAME").into());
        let program = program.map_or(own, PathBuf::into_os_string);
        let words = env::args_os().skip(1).collect();
        let (channel, theirs) = Channel::open().map_err(|error| error.to_string())?;
        let shown = program.to_string_lossy().into_owned();
        let failed = |error: &dyn std::fmt::Display| format!("cannot start `{shown}`: {error}");
        let start = move |is_wanted: &dyn Fn() -> bool| {
            let process = Process(Some(spawn(&program, words, terms, input, &theirs)?));
            if is_wanted() { Ok(process) } else { Err(io::ErrorKind::TimedOut.into()) }
        };
        // A program may lie on a disk that hangs.
        let started: io::Result<Process> =
            bounded::run("starter", TIMEOUT, start).await.map_err(|error| failed(&error))?;
        let process = started.map_err(|error| failed(&error))?;
        Ok(Self { process, channel, terms, until })
    }

    /// Gives it everything, and waits until it serves.
    ///
    /// # Errors
    /// In words: its own, if it has any.
    pub(in crate::control) async fn take_over(
        mut self,
        parcels: &[Parcel],
    ) -> Result<Heir, String> {
        let answer = async {
            give(&self.channel, self.terms, parcels).await?;
            receive(&self.channel).await
        };
        match timeout_at(self.until, answer).await {
            Ok(Ok(Answer::Ready(parcels))) => {
                Ok(Heir { process: self.process, channel: self.channel, parcels })
            }
            Ok(Ok(Answer::Failed(why))) => {
                // It says the same on stderr.
                self.process.end().await;
                Err(why)
            }
            Ok(Ok(Answer::Ended)) => Err(self.process.end().await),
            // It may have ended before it was given everything.
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Err(self.process.end().await)
            }
            Ok(Err(error)) => Err(format!("the handover broke off: {error}")),
            Err(_) => {
                let span = humantime::format_duration(TIMEOUT);
                Err(format!("it did not serve within {span}"))
            }
        }
    }

    /// Leaves it its time.
    pub(in crate::control) fn into_parts(self) -> (Process, Channel) {
        (self.process, self.channel)
    }
}

/// Gives everything to a process.
///
/// # Errors
/// EPIPE when it has gone.
pub(in crate::control) async fn give(
    channel: &Channel,
    terms: Terms,
    parcels: &[Parcel],
) -> io::Result<()> {
    let Terms { generation, parent } = terms;
    let is_supervised = parent == Parent::Supervisor;
    channel.send(&Word::Hello { protocol: PROTOCOL, generation, is_supervised }, &[]).await?;
    channel.send_parcels(parcels).await?;
    channel.send(&Word::Complete, &[]).await
}

/// What comes of it.
#[derive(Debug)]
pub(in crate::control) enum Answer {
    /// It serves these.
    Ready(Vec<Parcel>),
    /// It does not, and says why.
    Failed(String),
    /// It has ended, without a word.
    Ended,
}

async fn receive(channel: &Channel) -> io::Result<Answer> {
    let mut parcels = Vec::new();
    while let Some((word, sockets)) = channel.receive().await? {
        match word {
            Word::Sockets(name) => Parcel::add(&mut parcels, name, sockets),
            Word::Ready => return Ok(Answer::Ready(parcels)),
            Word::Failed { why } => return Ok(Answer::Failed(why)),
            Word::Hello { .. }
            | Word::Complete
            | Word::Held
            | Word::Draining
            | Word::Upgrade { .. }
            | Word::Leave { .. }
            | Word::Refused { .. } => {
                return Err(io::Error::other(format!("{word:?} is out of place")));
            }
        }
    }
    Ok(Answer::Ended)
}

/// Starts a program that finds its end of the channel by the number it is told.
fn spawn(
    program: &OsString,
    words: Vec<OsString>,
    terms: Terms,
    input: Option<Input>,
    end: &OwnedFd,
) -> io::Result<Started> {
    // Nobody else in this process starts programs, which would get it too.
    fcntl_setfd(end, FdFlags::empty())?;
    let number = end.as_raw_fd().to_string();
    let mut command = Command::new(program);
    // Said of this process (sd_watchdog_enabled(3)): without it whoever is told is meant.
    command.args(words).env(VARIABLE, number).env_remove("WATCHDOG_PID");
    // Those sockets go over with all others.
    command.env_remove("LISTEN_PID").env_remove("LISTEN_FDS").env_remove("LISTEN_FDNAMES");
    if let Some(input) = input {
        command.stdin(input.again()?);
    }
    match terms.parent {
        Parent::Supervisor => {
            // Its supervisor is told what a terminal and a service manager tell.
            command.process_group(0).env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
            command.spawn().map(Started::Child)
        }
        Parent::Giver => command.spawn().map(Started::Child),
        Parent::Manager => {
            let pid = sys::spawn_orphan(command)?;
            Ok(Started::Orphan(pid, pidfd_open(pid, PidfdFlags::empty())?))
        }
    }
}

/// A process that was started here.
#[derive(Debug)]
enum Started {
    Child(Child),
    /// Nobody's of ours; pidfd_open(2).
    Orphan(Pid, OwnedFd),
}

/// How a process has ended.
#[derive(Clone, Copy, Debug)]
pub(in crate::control) enum End {
    Known(ExitStatus),
    /// Only its parent knows.
    Unknown,
}

/// A process of ours, which is killed when this is dropped.
#[derive(Debug)]
pub(in crate::control) struct Process(Option<Started>);

impl Process {
    /// Its number.
    pub(in crate::control) fn id(&self) -> u32 {
        match &self.0 {
            Some(Started::Child(child)) => child.id(),
            Some(Started::Orphan(pid, _)) => pid.as_raw_nonzero().get().unsigned_abs(),
            None => 0,
        }
    }

    /// Leaves it alone from now on.
    pub(in crate::control) fn leave_alone(mut self) {
        self.0 = None;
    }

    /// Says how it ended, if it has.
    ///
    /// # Errors
    /// When it is nobody of ours.
    pub(in crate::control) fn ended(&mut self) -> io::Result<Option<End>> {
        match &mut self.0 {
            Some(Started::Child(child)) => Ok(child.try_wait()?.map(End::Known)),
            Some(Started::Orphan(_, handle)) => {
                Ok(has_ended(handle, Duration::ZERO)?.then_some(End::Unknown))
            }
            None => Ok(None),
        }
    }

    /// Signals it. One that has ended takes no notice.
    pub(in crate::control) fn signal(&mut self, signal: Signal) {
        match &mut self.0 {
            Some(Started::Child(child)) => {
                // Until it has been waited for its number is nobody else's.
                if let Ok(None) = child.try_wait() {
                    let _ = kill_process(Pid::from_child(child), signal);
                }
            }
            Some(Started::Orphan(_, handle)) => {
                let _ = pidfd_send_signal(handle, signal);
            }
            None => {}
        }
    }

    /// Waits until it is gone, which it should be, and says how it ended.
    async fn end(&mut self) -> String {
        let until = Instant::now() + EXIT_TIMEOUT;
        loop {
            match self.ended() {
                Ok(Some(end)) => return said(end),
                Ok(None) if Instant::now() < until => sleep(EXIT_PAUSE).await,
                Ok(None) => return "it closed the handover, and went on".to_owned(),
                Err(error) => return format!("it ended: {error}"),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        match &mut self.0 {
            Some(Started::Child(child)) => {
                drop(child.kill());
                drop(child.wait());
            }
            Some(Started::Orphan(_, handle)) => {
                let _ = pidfd_send_signal(&*handle, Signal::KILL);
                let _ = has_ended(handle, EXIT_TIMEOUT);
            }
            None => {}
        }
    }
}

/// Waits for so long at most until it has ended; somebody else waits for it (pidfd_open(2)).
fn has_ended(handle: &OwnedFd, time: Duration) -> io::Result<bool> {
    let time = Timespec::try_from(time).ok();
    Ok(poll(&mut [PollFd::new(handle, PollFlags::IN)], time.as_ref())? > 0)
}

fn said(end: End) -> String {
    let how = match end {
        End::Known(status) => format!(" ({status})"),
        End::Unknown => " (the service manager alone is told the exit status)".to_owned(),
    };
    format!(
        "it ended before it served{how}; what it said is on stderr, and a version that knows no handover finds its \
         ports taken"
    )
}
