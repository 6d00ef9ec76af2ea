//! What a service manager is told (sd_notify(3)), by whom, and when.

use std::io::{ErrorKind, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::{End, FarEnd};
use crate::common::process::Proc;
use crate::life::server::{Server, file, listener, ppserver, wait_for};
use crate::life::session::{HEADER, Session};
use crate::life::supervise::ward;
use crate::life::upgrade::Heir;
use crate::support::http::Door;
use crate::torment::strace;

const WATCHDOG: &str = "WATCHDOG=1\n";
/// What the watchdog asks for, and a worker may be in one turn for.
const EVERY: Duration = Duration::from_secs(1);

/// A service manager, which listens.
struct Manager {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Manager {
    fn new() -> Manager {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("nobody is there");
        socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
        set_socket_passcred(&socket, true).expect("unix(7) knows it");
        Manager { socket, dir }
    }

    /// Starts a server that is to tell it.
    #[track_caller]
    fn start(&self, text: &str, args: &[&str]) -> Server {
        Server::start_with(text, |file| self.command(file, args))
    }

    fn command(&self, file: &Path, args: &[&str]) -> Command {
        let mut command = ppserver();
        command.arg("run").args(args).arg("-c").arg(file);
        command.env("NOTIFY_SOCKET", self.dir.path().join("notify"));
        command
    }

    /// What is told next, and by whom; `None` if nothing is within the time of a read.
    fn hear(&self) -> Option<(Pid, String)> {
        let mut text = [0; 256];
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut room);
        let mut parts = [IoSliceMut::new(&mut text)];
        let received = match recvmsg(&self.socket, &mut parts, &mut control, RecvFlags::empty()) {
            Ok(received) => received.bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => panic!("nothing is heard: {error}"),
        };
        let by = control.drain().find_map(|message| {
            if let RecvAncillaryMessage::ScmCredentials(by) = message { Some(by.pid) } else { None }
        });
        let text = String::from_utf8_lossy(&text[..received]).into_owned();
        Some((by.expect("who tells is known"), text))
    }

    /// What is told next by this process, other than that it is alive.
    #[track_caller]
    fn hear_of(&self, pid: Pid) -> String {
        loop {
            let (by, text) = self.hear().expect("something is told");
            assert_eq!(by, pid, "{text}");
            if text != WATCHDOG {
                return text;
            }
        }
    }

    #[track_caller]
    fn assert_reloads(&self, pid: Pid) {
        let reloading = self.hear_of(pid);
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").map(str::trim_end);
        assert!(time.is_some_and(|time| time.parse::<u64>().is_ok()), "{reloading}");
        assert_eq!(self.hear_of(pid), "READY=1\n");
    }
}

#[test]
fn it_is_told_when_everybody_follows_reloads_and_ends() {
    let far_end = FarEnd::start();
    let manager = Manager::new();
    let text = file(&["server.workers = 2"], far_end.addr());
    let mut server = manager.start(&text, &[]);
    let pid = server.pid();
    assert_eq!(manager.hear_of(pid), "READY=1\n");
    let more = text.clone() + &listener("more", far_end.addr());
    server.reload(&more, "reloaded");
    manager.assert_reloads(pid);
    server.reload("nonsense", "reload refused");
    manager.assert_reloads(pid);
    let mut running = Session::open(server.addr());
    server.proc.signal(Signal::TERM);
    assert_eq!(manager.hear_of(pid), "STOPPING=1\n");
    running.finish();
    assert_eq!(running.rest(), (Vec::new(), End::Fin));
    server.ended();
    let mut refused = {
        std::fs::write(server.file(), "nonsense").expect("it can be written");
        Proc::spawn("ppserver", &mut manager.command(server.file(), &[]))
    };
    refused.wait_for_exit();
    manager.socket.set_nonblocking(true).expect("it is a socket");
    assert_eq!(manager.hear(), None, "nothing is ready");
}

#[test]
fn an_upgrade_names_the_main_process_and_the_old_one_is_silent_from_then_on() {
    let far_end = FarEnd::start();
    let manager = Manager::new();
    let mut server = Server::start_with(&file(&["server.workers = 2"], far_end.addr()), |file| {
        let mut command = manager.command(file, &[]);
        command.env("WATCHDOG_USEC", EVERY.as_micros().to_string());
        command
    });
    let old = server.pid();
    assert_eq!(manager.hear_of(old), "READY=1\n");
    let mut running = Session::open(server.addr());
    let heir = Heir::of(&server, old, 0);
    let new = heir.pid();
    let mut others = Vec::new();
    loop {
        let (by, text) = manager.hear().expect("something is told");
        if text.starts_with("MAINPID=") {
            assert_eq!((by, text), (old, format!("MAINPID={}\n", new.as_raw_nonzero())));
            break;
        }
        others.push(text);
    }
    assert!(others.iter().all(|text| text == WATCHDOG), "{others:?}");
    kill_process(new, Signal::HUP).expect("it runs");
    manager.assert_reloads(new);
    for _ in 0..2 {
        assert_eq!(manager.hear().expect("it is alive"), (new, WATCHDOG.to_owned()));
    }
    running.echo(b"to the old one");
    running.finish();
    running.rest();
    assert!(server.ends_within(PATIENCE), "its last session is over");
    heir.stop();
    assert_eq!(manager.hear_of(new), "STOPPING=1\n");
}

#[test]
fn a_manager_that_does_not_listen_holds_nobody_up() {
    let far_end = FarEnd::start();
    let manager = Manager::new();
    let text = file(&["server.workers = 1"], far_end.addr());
    let mut server = manager.start(&text, &[]);
    // What one socket may have on its way is less than what waits where a systemd has been.
    let mut is_full = false;
    while !is_full {
        let flood = UnixDatagram::unbound().expect("a socket");
        flood.set_nonblocking(true).expect("it is a socket");
        let send = || flood.send_to(b"", manager.dir.path().join("notify"));
        is_full = send().is_err();
        while send().is_ok() {}
    }
    server.reload(&text, "reloaded");
    server.wait_for("the service manager cannot be told", 1);
    server.stop();
}

#[test]
fn a_supervisor_tells_for_those_who_serve() {
    let far_end = FarEnd::start();
    let manager = Manager::new();
    let mut server = manager.start(&file(&[], far_end.addr()), &["--supervise"]);
    let pid = server.pid();
    assert_eq!(manager.hear_of(pid), "READY=1\n");
    let old = ward(&server, None);
    server.proc.signal(Signal::USR2);
    server.wait_for("upgraded", 0);
    kill_process(ward(&server, Some(old)), Signal::KILL).expect("it is our grandchild");
    server.wait_for("the process that serves was killed", 0);
    Session::open(server.addr());
    server.stop();
    assert_eq!(manager.hear_of(pid), "STOPPING=1\n");
}

#[test]
fn the_watchdog_is_answered_unless_a_worker_hangs() {
    let far_end = FarEnd::start();
    let manager = Manager::new();
    let settings = ["server.workers = 1", "admin.listen = '127.0.0.1:0'"];
    let mut server = Server::start_with(&file(&settings, far_end.addr()), |file| {
        let mut command = manager.command(file, &[]);
        command.env("WATCHDOG_USEC", EVERY.as_micros().to_string());
        command
    });
    let opened = wait_for(&server.proc, "admin door opens", 0);
    let door = opened["admin"].as_str().and_then(|addr| addr.parse().ok());
    let door = Door::Tcp(door.expect("it is an address"));
    let is_alive = (server.pid(), WATCHDOG.to_owned());
    assert_eq!(manager.hear_of(server.pid()), "READY=1\n");
    for _ in 0..3 {
        assert_eq!(manager.hear().as_ref(), Some(&is_alive));
    }
    // Its next call does not come back before it is let go.
    let strace = strace::attach(server.pid(), &["-e", "inject=accept4:delay_enter=600s"]);
    let mut waiting = Session::connect(server.addr());
    let hangs = poll_for(PATIENCE, || (door.get("/livez").status == 503).then_some(()));
    hangs.expect("a worker that hangs is noticed");
    manager.socket.set_nonblocking(true).expect("it is a socket");
    while manager.hear().is_some() {}
    manager.socket.set_nonblocking(false).expect("it is a socket");
    // Twice in this time it would be told.
    manager.socket.set_read_timeout(Some(EVERY)).expect("it is not zero");
    assert_eq!(manager.hear(), None);
    manager.socket.set_read_timeout(Some(PATIENCE)).expect("it is not zero");
    strace::detach(strace);
    assert_eq!(manager.hear(), Some(is_alive));
    waiting.send(HEADER);
    waiting.echo(b"served");
    drop(waiting);
    server.stop();
}
