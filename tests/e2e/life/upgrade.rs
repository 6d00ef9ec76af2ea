//! SIGUSR2: another program takes over the ports themselves, and nobody notices; or nothing changes.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};
use tempfile::TempDir;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::{End, FarEnd};
use crate::common::ppserver::assert_balanced;
use crate::common::process::Stream;
use crate::common::socket::Client;
use crate::life::procfs::{self, listening};
use crate::life::server::{
    Server, file, listener, ppserver, privileged_port, run, without_low_ports, written,
};
use crate::life::session::{HEADER, Session, wait_until_refused};
use crate::life::supervise::ward;

const UPGRADED: &str = "upgraded";
const REFUSED: &str = "upgrade refused";

/// "At once", on a busy machine.
const SOON: Duration = Duration::from_secs(2);

/// A process that has taken over; it ends with this.
pub(crate) struct Heir {
    pid: Pid,
}

impl Heir {
    /// Says, before there is one, that what its parent leaves behind is ours.
    #[track_caller]
    pub(crate) fn expect() {
        set_child_subreaper(Some(getpid())).expect("prctl(2) knows it");
    }

    /// The process of this number, of which it is known that it has taken over.
    pub(crate) fn of_pid(pid: Pid) -> Heir {
        Heir { pid }
    }

    /// Has a process hand over, which has done so `nth` times before in this log, and finds who serves then.
    #[track_caller]
    pub(crate) fn of(server: &Server, giver: Pid, nth: usize) -> Heir {
        Heir::expect();
        kill_process(giver, Signal::USR2).expect("it runs");
        let line = server.wait_for(UPGRADED, nth);
        let pid = line["pid"].as_i64().and_then(|pid| pid.try_into().ok()).and_then(Pid::from_raw);
        let generation = nth as u64 + 2;
        assert_eq!(line["generation"], generation, "{line}");
        Heir { pid: pid.expect("it has a process") }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) fn is_running(&self) -> bool {
        // Once its parent is gone it is a child of ours. Not before it has ended is it waited for.
        procfs::is_running(self.pid)
    }

    #[track_caller]
    pub(crate) fn stop(&self) {
        kill_process(self.pid, Signal::TERM).expect("nobody has waited for it");
        let ended = poll_for(PATIENCE, || (!self.is_running()).then_some(()));
        assert!(ended.is_some(), "it does not end");
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        // Until it is waited for, which only its parent or we do, the number is nobody else's.
        kill_process(self.pid, Signal::KILL).ok();
        waitpid(Some(self.pid), WaitOptions::empty()).ok();
    }
}

#[test]
fn the_sockets_themselves_go_over_and_running_sessions_stay() {
    let far_end = FarEnd::start();
    let mut server = Server::start(&file(&["server.workers = 2"], far_end.addr()));
    let sockets = listening(server.pid());
    assert_eq!(sockets.len(), 2);
    let mut running = Session::open(server.addr());
    let heir = Heir::of(&server, server.pid(), 0);
    assert_eq!(listening(heir.pid), sockets);
    let has_left = poll_for(PATIENCE, || listening(server.pid()).is_empty().then_some(()));
    has_left.expect("it closes its own");
    let mut new = Session::open(server.addr());
    running.echo(b"to the old one");
    new.echo(b"to the new one");
    running.finish();
    assert_eq!(running.rest(), (Vec::new(), End::Fin));
    assert!(server.ends_within(SOON), "its last session is over");
    let counters = server.records("counters").pop().expect("it has left them");
    assert_eq!((&counters["accepted"], &counters["closed"]["done"]), (&1.into(), &1.into()));
    new.echo(b"to the new one still");
    heir.stop();
    new.assert_reset();
    wait_until_refused(server.addr());
}

/// Who is the parent of the process that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parent {
    Any,
    Supervisor,
    /// That of orphans: there is a service manager.
    Manager,
}

impl Parent {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Parent::Any | Parent::Manager => &[],
            Parent::Supervisor => &["--supervise"],
        }
    }

    /// How a program ended, as far as it is told: nobody but its parent knows.
    fn told(self, status: &'static str) -> &'static str {
        match self {
            Parent::Any | Parent::Supervisor => status,
            Parent::Manager => "(the service manager alone is told the exit status)",
        }
    }
}

/// A server that was started by the path of a program which can become another one.
struct Replaceable {
    server: Server,
    parent: Parent,
    program: PathBuf,
    _manager: UnixDatagram,
    _dir: TempDir,
}

impl Replaceable {
    /// Starts it without the permission for low ports.
    #[track_caller]
    fn start(parent: Parent, text: &str) -> Replaceable {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let program = dir.path().join("ppserver");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ppserver"), &program).expect("a link");
        let socket = dir.path().join("notify");
        let manager = UnixDatagram::bind(&socket).expect("nobody is there");
        let server = Server::start_with(text, |file| {
            let mut command = without_low_ports(&program);
            if parent == Parent::Manager {
                command.env("NOTIFY_SOCKET", &socket);
            }
            command.arg("run").args(parent.flags()).arg("-c").arg(file);
            command
        });
        Replaceable { server, parent, program, _manager: manager, _dir: dir }
    }

    /// The process that serves.
    #[track_caller]
    fn serving(&self) -> Pid {
        match self.parent {
            Parent::Any | Parent::Manager => self.server.pid(),
            Parent::Supervisor => ward(&self.server, None),
        }
    }

    /// The processes that it has started beside the one that serves.
    fn others(&self, serving: Pid) -> Vec<Pid> {
        let mut children = procfs::children(self.server.pid());
        children.retain(|pid| *pid != serving);
        children
    }

    /// Puts a script in the program's place.
    #[track_caller]
    fn become_script(&self, script: &str, mode: u32) {
        fs::remove_file(&self.program).ok();
        // By another process: what this one is writing cannot be executed, nor while another test's child, which is
        // about to exec, has the file too.
        let mut shell = Command::new("sh");
        shell.args(["-c", "printf %s \"$1\" > \"$0\""]).arg(&self.program).arg(script);
        assert_eq!(run(&mut shell).code, Some(0));
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(&self.program, mode).expect("it is ours");
    }

    /// Puts a program in its place that hangs, and says in a file which process it is.
    #[track_caller]
    fn become_hanging(&self) -> PathBuf {
        let told = self.program.with_extension("pid");
        fs::remove_file(&told).ok();
        let script = "#!/bin/sh\necho $$ > \"$0.new\" && mv \"$0.new\" \"$0.pid\"\nexec sleep 60\n";
        self.become_script(script, 0o755);
        told
    }

    /// Asks for the upgrade, and sees that nothing comes of it but a line that says why.
    #[track_caller]
    fn assert_refused(&self, why: &[&str]) {
        let before = self.server.records(REFUSED).len();
        let serving = self.serving();
        let sockets = listening(serving);
        self.server.proc.signal(Signal::USR2);
        let line = self.server.wait_for(REFUSED, before);
        let said = line["why"].as_str().expect("text");
        assert!(why.iter().all(|word| said.contains(word)), "`{why:?}` is not in:\n{said}");
        assert_eq!(line["level"], "ERROR");
        let others = || self.others(serving).is_empty().then_some(());
        poll_for(PATIENCE, others).expect("it leaves no process behind");
        assert_eq!(self.serving(), serving);
        assert_eq!(listening(serving), sockets);
        Session::open(self.server.addr());
    }
}

/// Everything that a program may do instead of taking over, but for those that take 10 s.
#[track_caller]
fn assert_changes_nothing(parent: Parent) {
    let far_end = FarEnd::start();
    let text = file(&["server.workers = 2"], far_end.addr());
    let mut old = Replaceable::start(parent, &text);
    let mut running = Session::open(old.server.addr());
    old.become_script("", 0o755);
    old.assert_refused(&["cannot start", "Exec format error"]);
    old.become_script("#!/bin/sh\nexit 3\n", 0o755);
    old.assert_refused(&["before it served", parent.told("exit status: 3")]);
    old.become_script("#!/bin/sh\nkill -KILL $$\n", 0o755);
    old.assert_refused(&["before it served", parent.told("signal: 9")]);
    old.become_script("#!/bin/sh\nexit 3\n", 0o644);
    old.assert_refused(&["cannot start", "Permission denied"]);
    fs::remove_file(&old.program).expect("it is there");
    old.assert_refused(&["cannot start", "No such file or directory"]);
    // As one that knows no handover: it finds its ports taken.
    let binary = env!("CARGO_BIN_EXE_ppserver");
    let file = old.server.file().display().to_string();
    let ignorant = format!("#!/bin/sh\nunset PPSERVER_HANDOVER\nexec '{binary}' run -c '{file}'\n");
    let port = old.server.addr().to_string();
    fs::write(&file, text.replace("127.0.0.1:0", &port)).expect("it can be written");
    old.become_script(&ignorant, 0o755);
    old.assert_refused(&["knows no handover", parent.told("exit status: 69")]);
    // The program is right, and its file is not.
    old.become_script(&format!("#!/bin/sh\nexec '{binary}' \"$@\"\n"), 0o755);
    fs::write(&file, text.replace("workers", "worker")).expect("it can be written");
    old.assert_refused(&["unknown key `worker`", ":2:8"]);
    fs::remove_file(&file).expect("it is there");
    old.assert_refused(&[&file, "No such file or directory"]);
    let more = |bind: &str| {
        let other = listener("other", far_end.addr()).replace("127.0.0.1:0", bind);
        fs::write(&file, text.clone() + &other).expect("it can be written");
    };
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    more(&taken.local_addr().expect("it has an address").to_string());
    old.assert_refused(&["listener `other`", "Address already in use"]);
    // In most containers no port is privileged.
    if let Some(port) = privileged_port() {
        more(&format!("127.0.0.1:{port}"));
        old.assert_refused(&["listener `other`", "Permission denied", "CAP_NET_BIND_SERVICE"]);
    }
    fs::write(&file, &text).expect("it can be written");
    running.echo(b"as if nothing had been");
    running.finish();
    assert_eq!(running.rest(), (Vec::new(), End::Fin));
    assert_balanced(&old.server.stop());
}

#[test]
fn a_program_that_cannot_take_over_changes_nothing_and_is_answered_with_its_words() {
    assert_changes_nothing(Parent::Any);
}

#[test]
fn one_that_cannot_take_over_where_a_service_manager_is_changes_nothing_either() {
    assert_changes_nothing(Parent::Manager);
}

#[test]
fn one_that_cannot_take_over_from_a_supervised_process_changes_nothing_either() {
    assert_changes_nothing(Parent::Supervisor);
}

/// A server that reads this text from standard input.
#[track_caller]
pub(crate) fn from_stdin(text: &str, args: &str) -> Server {
    Server::start_with(text, |file| {
        let script = format!("exec \"$0\" run {args} -c - < \"$1\"");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_ppserver")]).arg(file);
        shell
    })
}

#[test]
fn what_standard_input_said_goes_over_too() {
    let far_end = FarEnd::start();
    let server = from_stdin(&file(&["server.workers = 2"], far_end.addr()), "");
    fs::write(server.file(), "nonsense").expect("it can be written");
    let first = Heir::of(&server, server.pid(), 0);
    Session::open(server.addr());
    let second = Heir::of(&server, first.pid, 1);
    Session::open(server.addr());
    second.stop();
}

/// The process that is named in a file, once it is there.
#[track_caller]
fn told_in(file: &Path) -> Pid {
    let pid = || Pid::from_raw(fs::read_to_string(file).ok()?.trim().parse().ok()?);
    poll_for(PATIENCE, pid).expect("it is started")
}

/// One that hangs is given up, also by a drain.
#[track_caller]
fn assert_given_up(parent: Parent) {
    let far_end = FarEnd::start();
    let text = file(&["server.workers = 2"], far_end.addr());
    let mut old = Replaceable::start(parent, &text);
    let told = old.become_hanging();
    old.assert_refused(&["did not serve within 10s"]);
    assert!(!procfs::is_running(told_in(&told)), "it leaves no process behind");
    fs::remove_file(&told).expect("it is there");
    old.server.proc.signal(Signal::USR2);
    let hanging = told_in(&told);
    old.server.proc.signal(Signal::HUP);
    old.server.wait_for("SIGHUP: nothing is reloaded during an upgrade", 0);
    old.server.proc.signal(Signal::USR2);
    let line = old.server.wait_for(REFUSED, 1);
    assert_eq!(line["why"], "an upgrade is under way");
    old.server.proc.signal(Signal::TERM);
    assert!(old.server.ends_within(SOON), "{}", old.server.proc.transcript());
    assert!(!procfs::is_running(hanging), "it leaves no process behind");
    old.server.ended();
}

#[test]
fn a_program_that_hangs_is_given_up_and_one_that_a_drain_meets_is_too() {
    assert_given_up(Parent::Any);
}

#[test]
fn one_that_hangs_is_given_up_where_a_service_manager_is_too() {
    assert_given_up(Parent::Manager);
}

#[test]
fn one_that_hangs_is_given_up_by_a_supervisor_too() {
    assert_given_up(Parent::Supervisor);
}

/// The kernel gives it another port, and it says nothing of the handover, which it does not know.
#[track_caller]
fn assert_elsewhere_is_given_up(parent: Parent) {
    let far_end = FarEnd::start();
    let mut old = Replaceable::start(parent, &file(&["server.workers = 2"], far_end.addr()));
    let binary = env!("CARGO_BIN_EXE_ppserver");
    let file = old.server.file().display();
    let script = format!("#!/bin/sh\nunset PPSERVER_HANDOVER\nexec '{binary}' run -c '{file}'\n");
    old.become_script(&script, 0o755);
    old.assert_refused(&["did not serve within 10s"]);
    let elsewhere = old.server.wait_for("listening", 1)["bind"].to_string();
    let elsewhere: SocketAddr = elsewhere.trim_matches('"').parse().expect("an address");
    wait_until_refused(elsewhere);
    assert_balanced(&old.server.stop());
}

#[test]
fn an_older_version_that_serves_elsewhere_is_given_up() {
    assert_elsewhere_is_given_up(Parent::Any);
}

#[test]
fn an_older_version_that_serves_elsewhere_is_given_up_by_a_supervisor_too() {
    assert_elsewhere_is_given_up(Parent::Supervisor);
}

#[test]
fn a_handover_that_is_none_is_told() {
    let far_end = FarEnd::start();
    let (_dir, path) = written(&file(&[], far_end.addr()));
    for (number, why) in [
        ("x", "it is no descriptor"),
        ("-1", "it is no handover's descriptor"),
        ("2", "it is no handover's descriptor"),
        ("1000", "it is no handover's descriptor"),
    ] {
        let mut command = ppserver();
        command.args(["run", "-c"]).arg(&path).env("PPSERVER_HANDOVER", number);
        let ran = run(&mut command);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let why = format!("cannot take over: PPSERVER_HANDOVER: {why}");
        assert!(ran.stderr.contains(&why), "{ran:?}");
    }
}

#[test]
fn another_number_of_workers_serves_all_the_sockets() {
    const CLIENTS: usize = 40;
    let far_end = FarEnd::start();
    let text = |workers: usize| file(&[&format!("server.workers = {workers}")], far_end.addr());
    let server = Server::start(&text(3));
    let mut heirs: Vec<Heir> = Vec::new();
    // Fewer than sockets, and more.
    for (nth, (workers, sockets)) in [(1, 3), (5, 5), (2, 5)].into_iter().enumerate() {
        fs::write(server.file(), text(workers)).expect("it can be written");
        let giver = heirs.last().map_or(server.pid(), |heir| heir.pid);
        let heir = Heir::of(&server, giver, nth);
        assert_eq!(listening(heir.pid).len(), sockets);
        let has_left = poll_for(PATIENCE, || listening(giver).is_empty().then_some(()));
        has_left.expect("it closes its own");
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| Session::connect(server.addr())).collect();
        for client in &mut clients {
            client.send(HEADER);
            client.echo(b"served");
        }
        heirs.push(heir);
    }
}

#[test]
fn ports_that_are_new_are_bound_and_those_that_go_are_drained() {
    let ends = [FarEnd::start(), FarEnd::start()];
    let stays = file(&["server.workers = 2"], ends[0].addr());
    let text = stays.clone() + &listener("goes", ends[1].addr());
    let server = Server::start_ports(&text, 2);
    let [stay, goes] = server.addrs()[..] else { panic!("two ports") };
    let text = stays + &listener("new", ends[1].addr());
    fs::write(server.file(), text).expect("it can be written");
    let _heir = Heir::of(&server, server.pid(), 0);
    wait_until_refused(goes);
    Session::open(stay);
    let line = server.wait_for("listening", 3);
    assert_eq!(line["listener"], "new");
    let new = line["bind"].as_str().and_then(|addr| addr.parse().ok()).expect("an address");
    Session::open(new);
}

/// Clients that come one behind another, until this goes.
pub(crate) struct Load<'a>(&'a AtomicBool);

impl<'a> Load<'a> {
    /// Says that it is over when this goes.
    pub(crate) fn new(is_over: &'a AtomicBool) -> Load<'a> {
        Load(is_over)
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn upgrades_under_load_refuse_and_reset_nobody() {
    const UPGRADES: usize = 10;
    /// Connections served between two upgrades, at least.
    const BETWEEN: usize = 50;
    let far_end = FarEnd::start();
    let server = Server::start(&file(&["server.workers = 2"], far_end.addr()));
    let (addr, is_over, served) = (server.addr(), AtomicBool::new(false), AtomicUsize::new(0));
    let serve = |addr: SocketAddr| {
        while !is_over.load(Ordering::Relaxed) {
            let client = Client::connect(addr.ip(), addr);
            let answer = client.exchange(&[HEADER, b"hello"].concat());
            assert_eq!(answer.complete(), b"hello");
            served.fetch_add(1, Ordering::Relaxed);
        }
    };
    let mut heirs: Vec<Heir> = Vec::new();
    thread::scope(|scope| {
        let load = Load::new(&is_over);
        let clients = [(); 3].map(|()| scope.spawn(|| serve(addr)));
        for nth in 0..UPGRADES {
            let giver = heirs.last().map_or(server.pid(), |heir| heir.pid);
            heirs.push(Heir::of(&server, giver, nth));
            let enough = served.load(Ordering::Relaxed) + BETWEEN;
            let went_on =
                poll_for(PATIENCE, || (served.load(Ordering::Relaxed) >= enough).then_some(()));
            assert!(went_on.is_some(), "no load after upgrade {nth}");
        }
        drop(load);
        for client in clients {
            client.join().expect("everybody is served");
        }
    });
    heirs.last().expect("there is one").stop();
    let counters = || {
        let counters = server.records("counters");
        (counters.len() == UPGRADES + 1).then_some(counters)
    };
    let counters = poll_for(PATIENCE, counters).expect("each leaves its own");
    let sum = |key: &str| {
        let counts = counters.iter().map(|counters| counters[key].as_u64().expect("a count"));
        counts.sum::<u64>()
    };
    assert_eq!(sum("accepted"), served.into_inner() as u64);
    counters.iter().for_each(assert_balanced);
    let done = counters.iter().map(|counters| counters["closed"]["done"].as_u64());
    assert_eq!(done.sum::<Option<u64>>(), Some(sum("accepted")));
    assert!(server.proc.lines(Stream::Stderr).iter().all(|line| !line.contains("ERROR")));
}
