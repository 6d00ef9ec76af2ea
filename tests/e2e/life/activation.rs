//! Socket activation: what a service manager passes is served by `bind = ["fd:NAME"]`, and stays the manager's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::{End, FarEnd};
use crate::common::process::{Proc, Stream, require_program};
use crate::life::procfs::listening;
use crate::life::server::{Server, file, listener, ppserver, wildcard_port, written};
use crate::life::session::{HEADER, Session};
use crate::life::supervise::ward;
use crate::life::upgrade::Heir;

/// "At once", on a busy machine.
const SOON: Duration = Duration::from_secs(2);

/// A service manager: it has two sockets, and passes them to each process that it starts.
struct Manager {
    sockets: [TcpListener; 2],
}

impl Manager {
    fn new() -> Manager {
        let socket = || TcpListener::bind("127.0.0.1:0").expect("a port is free");
        Manager { sockets: [socket(), socket()] }
    }

    fn addr(&self, nth: usize) -> SocketAddr {
        self.sockets[nth].local_addr().expect("it is bound")
    }

    /// Passes them by these names, with colons between, to a `run` with these arguments.
    #[track_caller]
    fn pass(&self, names: &str, args: &[&str], file: &Path) -> Proc {
        let sockets = self.sockets.each_ref().map(|socket| socket.try_clone().expect("a copy"));
        pass(sockets.map(OwnedFd::from), names, args, file)
    }

    /// Starts a server whose file asks for `fd:web` where `text` binds a free port.
    #[track_caller]
    fn start(&self, names: &str, text: &str, ports: usize) -> Server {
        Server::launch(&web(text), ports, |file| self.pass(names, &[], file))
    }
}

/// Passes sockets as the third descriptor and the fourth (sd_listen_fds(3)).
#[track_caller]
fn pass([third, fourth]: [OwnedFd; 2], names: &str, args: &[&str], file: &Path) -> Proc {
    let script = "exec 3<&0 4>&1 0</dev/null 1>&2; \
                  export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=\"$1\"; shift; \
                  exec \"$0\" run \"$@\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_ppserver"), names]).args(args);
    shell.arg("-c").arg(file).stdin(Stdio::from(third)).stdout(Stdio::from(fourth));
    Proc::spawn_with("ppserver", &mut shell)
}

fn web(text: &str) -> String {
    text.replace("'127.0.0.1:0'", "'fd:web'")
}

/// Connects and says everything at once; nobody may be there yet.
#[track_caller]
fn wait_in_queue(addr: SocketAddr) -> Session {
    let mut session = Session::connect(addr);
    session.send(HEADER);
    session
}

/// Who comes while nobody is there is served by the server that starts then.
#[track_caller]
fn next_start_serves(manager: &Manager, addr: SocketAddr, text: &str) {
    let mut waiting = wait_in_queue(addr);
    let mut server = manager.start("web:other", text, 1);
    waiting.echo(b"served");
    drop(waiting);
    server.stop();
}

#[test]
fn what_is_passed_is_served_by_all_workers_and_nothing_is_bound_beside() {
    let far_end = FarEnd::start();
    let manager = Manager::new();
    let mut first = wait_in_queue(manager.addr(0));
    let mut server = manager.start("web:other", &file(&["server.workers = 3"], far_end.addr()), 1);
    assert_eq!(server.addr(), manager.addr(0));
    assert_eq!(listening(server.pid()).len(), 2, "what was passed, and no more");
    let idle = server.wait_for("no listener asks for this socket", 0);
    assert_eq!(idle["name"], "other");
    first.echo(b"who came before the start");
    let mut sessions: Vec<_> = (0..20).map(|_| Session::open(server.addr())).collect();
    sessions.iter_mut().for_each(|session| session.echo(b"served"));
    drop((first, sessions));
    server.stop();
}

#[test]
fn who_waits_in_the_queue_is_served_by_the_next_start() {
    let far_end = FarEnd::start();
    let manager = Manager::new();
    let text = file(&["server.workers = 2"], far_end.addr());
    let mut server = manager.start("web:other", &text, 1);
    let mut running = Session::open(server.addr());
    server.proc.signal(Signal::TERM);
    let has_left = poll_for(PATIENCE, || listening(server.pid()).is_empty().then_some(()));
    has_left.expect("it lets go of them");
    let mut waiting = [(); 20].map(|()| wait_in_queue(server.addr()));
    running.echo(b"still here");
    running.finish();
    assert_eq!(running.rest(), (Vec::new(), End::Fin));
    assert_eq!(server.ended()["accepted"], 1);
    let mut server = manager.start("web:other", &text, 1);
    waiting.iter_mut().for_each(|session| session.echo(b"served"));
    server.proc.signal(Signal::KILL);
    server.proc.wait_for_exit();
    next_start_serves(&manager, server.addr(), &text);
}

#[test]
fn two_names_are_two_listeners_and_two_sockets_of_one_name_are_one() {
    let ends = [FarEnd::start(), FarEnd::start()];
    let manager = Manager::new();
    let edge = file(&["server.workers = 2"], ends[0].addr());
    let other = listener("other", ends[1].addr()).replace("'127.0.0.1:0'", "'fd:o t'");
    let mut server = manager.start("web:o t", &(edge.clone() + &other), 2);
    assert_eq!(server.addrs(), [manager.addr(0), manager.addr(1)]);
    server.addrs().iter().for_each(|addr| drop(Session::open(*addr)));
    server.stop();
    let mut server = manager.start("web:web", &edge, 2);
    let mut addrs = [manager.addr(0), manager.addr(1)];
    addrs.sort_unstable();
    assert_eq!(server.addrs(), addrs);
    addrs.into_iter().for_each(|addr| drop(Session::open(addr)));
    let names = server.records("listening").iter().all(|line| line["listener"] == "edge");
    assert!(names, "{}", server.proc.transcript());
    server.stop();
}

#[test]
fn a_reload_lets_go_of_a_socket_and_takes_it_again() {
    let far_end = FarEnd::start();
    let manager = Manager::new();
    let edge = file(&["server.workers = 2"], far_end.addr());
    let passed = |name: &str| web(&listener(name, far_end.addr()));
    let both = edge.clone() + &passed("one");
    let mut server = Server::launch(&both, 2, |file| manager.pass("web:other", &[], file));
    let mut running = Session::open(manager.addr(0));
    server.reload(&edge, "reloaded");
    let mut waiting = wait_in_queue(manager.addr(0));
    // Nobody takes it, while others are served.
    Session::open(server.addr());
    assert_eq!(server.counters()["accepted"], 2);
    running.echo(b"still here");
    server.reload(&(edge.clone() + &passed("two")), "reloaded");
    waiting.echo(b"served");
    // From one listener to another it goes at once.
    server.reload(&(edge.clone() + &passed("three")), "reloaded");
    Session::open(manager.addr(0));
    let line = server.reload(&both.replace("fd:web", "fd:wbe"), "reload refused");
    let why = line["why"].as_str().expect("text");
    assert!(why.contains("no socket named `wbe` was passed, only `web`, `other`"), "{why}");
    // An address that a socket was passed for is not ours.
    let taken = edge.clone() + &listener("one", far_end.addr());
    let taken = taken.replacen("'127.0.0.1:0'", &format!("'{}'", manager.addr(0)), 1);
    server.reload(&taken, "reload refused");
    Session::open(manager.addr(0));
    drop((running, waiting));
    server.stop();
}

#[test]
fn an_upgrade_hands_over_what_was_passed_too() {
    let far_end = FarEnd::start();
    let manager = Manager::new();
    let text = file(&["server.workers = 2"], far_end.addr());
    let mut server = manager.start("web:other", &text, 1);
    let passed = listening(server.pid());
    let mut running = Session::open(server.addr());
    // Nobody has asked for the other one so far.
    let more = web(&text) + &listener("more", far_end.addr()).replace("127.0.0.1:0", "fd:other");
    std::fs::write(server.file(), &more).expect("it can be written");
    let heir = Heir::of(&server, server.pid(), 0);
    assert_eq!(listening(heir.pid()), passed);
    let has_left = poll_for(PATIENCE, || listening(server.pid()).is_empty().then_some(()));
    has_left.expect("it lets go of them");
    Session::open(manager.addr(0));
    Session::open(manager.addr(1));
    running.echo(b"to the old one");
    running.finish();
    running.rest();
    assert!(server.ends_within(SOON), "{}", server.proc.transcript());
    heir.stop();
    next_start_serves(&manager, manager.addr(0), &text);
}

#[test]
fn a_supervisor_is_passed_them_and_gives_them_to_who_serves() {
    let far_end = FarEnd::start();
    let manager = Manager::new();
    let text = file(&["server.workers = 2"], far_end.addr());
    let mut server =
        Server::launch(&web(&text), 1, |file| manager.pass("web:other", &["--supervise"], file));
    let mut last = None;
    for _ in 0..2 {
        let pid = ward(&server, last);
        Session::open(manager.addr(0));
        kill_process(pid, Signal::KILL).expect("it is our grandchild");
        Session::open(manager.addr(0));
        last = Some(pid);
    }
    let old = ward(&server, last);
    server.proc.signal(Signal::USR2);
    server.wait_for("upgraded", 0);
    let new = ward(&server, Some(old));
    Session::open(manager.addr(0));
    kill_process(new, Signal::KILL).expect("it is our grandchild");
    Session::open(manager.addr(0));
    server.proc.signal(Signal::TERM);
    assert!(server.ends_within(SOON), "{}", server.proc.transcript());
    server.ended();
    next_start_serves(&manager, manager.addr(0), &text);
}

#[test]
fn a_unix_socket_that_is_passed_is_served_and_its_file_stays_the_managers() {
    let far_end = FarEnd::start();
    let dir = TempDir::new().expect("a temporary directory can be made");
    let path = dir.path().join("s.sock");
    let unix = UnixListener::bind(&path).expect("the directory is ours");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let two = listener("two", far_end.addr()).replace("127.0.0.1:0", "fd:unix");
    let text = file(&["server.workers = 2"], far_end.addr()).replace("127.0.0.1:0", "fd:tcp")
        + &two.replace("['127.0.0.1']", "['unix']");
    for _ in 0..2 {
        // Who comes before the start waits in the queue, which outlives every server.
        let mut client = UnixStream::connect(&path).expect("it listens");
        client.set_read_timeout(Some(PATIENCE)).expect("the timeout is not zero");
        client.write_all(&[HEADER, b"x"].concat()).expect("there is room for it");
        let sockets: [OwnedFd; 2] =
            [unix.try_clone().expect("a copy").into(), tcp.try_clone().expect("a copy").into()];
        let mut server = Server::launch(&text, 1, |file| pass(sockets, "unix:tcp", &[], file));
        client.read_exact(&mut [0]).expect("the far end echoes");
        drop(client);
        server.stop();
        assert!(path.exists());
    }
}

#[test]
fn what_was_not_passed_or_is_no_port_is_told() {
    const UNAVAILABLE: Option<i32> = Some(69);
    let far_end = FarEnd::start();
    let manager = Manager::new();
    let (_dir, path) = written(&web(&file(&[], far_end.addr())));
    let told = |mut proc: Proc, words: &str| {
        assert_eq!(proc.wait_for_exit().code(), UNAVAILABLE, "{}", proc.transcript());
        let said = proc.lines(Stream::Stderr).join("\n");
        assert!(said.contains(words), "`{words}` is not in:\n{said}");
    };
    let only = "listener `edge`: no socket named `web` was passed, only `wbe`, `other`; a .socket unit of the \
                service passes one with FileDescriptorName=web";
    told(manager.pass("wbe:other", &[], &path), only);
    told(manager.pass("wbe:other", &["--supervise"], &path), only);
    let mut command = ppserver();
    command.args(["run", "-c"]).arg(&path);
    let none = "no socket named `web` was passed, nor any other;";
    told(Proc::spawn("ppserver", &mut command), none);
    // Said to another process.
    command.envs([("LISTEN_PID", "1"), ("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "web")]);
    told(Proc::spawn("ppserver", &mut command), none);
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let tcp = manager.sockets[0].try_clone().expect("a copy");
    let no_port =
        "what the service manager has passed: `dns` is no socket of TCP or UNIX that listens";
    for args in [&[][..], &["--supervise"]] {
        let udp = udp.try_clone().expect("a copy");
        let tcp = tcp.try_clone().expect("a copy");
        told(pass([tcp.into(), udp.into()], "web:dns", args, &path), no_port);
    }
}

#[test]
fn systemds_own_tool_activates_it_by_the_first_connection() {
    let tool = require_program("systemd-socket-activate", "apt-get install systemd");
    let far_end = FarEnd::start();
    let (_dir, path) = written(&web(&file(&["server.workers = 2"], far_end.addr())));
    let addr = SocketAddr::from(([127, 0, 0, 1], wildcard_port()));
    let mut command = Command::new(tool);
    command.arg(format!("--listen={addr}")).args(["--fdname=web", env!("CARGO_BIN_EXE_ppserver")]);
    command.args(["run", "-c"]).arg(&path);
    let mut proc = Proc::spawn("systemd-socket-activate", &mut command);
    proc.wait_for_line(Stream::Stderr, "its port", |line| line.contains("Listening").then_some(()));
    let mut session = wait_in_queue(addr);
    session.echo(b"it is started by this");
    session.finish();
    assert_eq!(session.rest(), (Vec::new(), End::Fin));
    proc.signal(Signal::TERM);
    assert_eq!(proc.wait_for_exit().code(), Some(0), "{}", proc.transcript());
}
