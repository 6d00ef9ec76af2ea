//! Our units under a real systemd, the first process of namespaces of its own.

mod manager;
mod recipes;

use std::net::SocketAddr;

use manager::Systemd;

use crate::common::far_end::{End, FarEnd};
use crate::life::server::{file, wildcard_port};
use crate::life::session::{Session, wait_until_refused};

/// The most that `systemd-analyze security` may say; 10 is the worst.
const EXPOSURE_MAX: f64 = 1.6;

const UPSTREAMS: &str = include_str!("../../../docs/upstreams.md");

const UPGRADE: [&str; 4] = ["ppserver", "upgrade", "--admin", "/run/ppserver/admin.sock"];

/// A configuration with this in the place of its port.
fn text(bind: &str, far_end: &FarEnd) -> String {
    file(&["server.workers = 2"], far_end.addr()).replace("127.0.0.1:0", bind)
}

/// An address of this host where nobody else listens, whose port takes a capability.
fn privileged(nth: u8) -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, 100 + nth, high, low], 1))
}

/// The drop-in for our unit that a section of the page has.
#[track_caller]
fn drop_in(section: &str) -> String {
    let (_, page) = UPSTREAMS.split_once(&format!("## {section}\n")).expect("the page has it");
    let (_, block) = page.split_once("```ini\n").expect("it has one");
    let (lines, _) = block.split_once("```").expect("it ends");
    lines.lines().map(|line| line.trim_start().to_owned() + "\n").collect()
}

/// Another process takes over, and the service manager learns of it.
#[track_caller]
fn upgrade(systemd: &Systemd) {
    let said = systemd.ask(&UPGRADE);
    let pid = said.strip_prefix("process ").and_then(|rest| rest.split(' ').next());
    systemd.wait_for("MainPID", pid.unwrap_or_else(|| panic!("{said}")));
}

/// The service is stopped, and waits for who is there.
#[track_caller]
fn assert_stops(systemd: &Systemd, addr: SocketAddr, mut running: Session) {
    systemd.ask(&["systemctl", "stop", "--no-block", "ppserver"]);
    systemd.wait_for("ActiveState", "deactivating");
    wait_until_refused(addr);
    running.echo(b"still here");
    running.finish();
    assert_eq!(running.rest(), (Vec::new(), End::Fin));
    systemd.wait_for("ActiveState", "inactive");
    assert_eq!(systemd.property("Result"), "success", "{}", systemd.journal(&[]));
}

#[test]
fn the_unit_is_started_when_it_serves_reloads_with_an_answer_and_stops_by_draining() {
    let far_end = FarEnd::start();
    let addr = privileged(0);
    let text = text(&addr.to_string(), &far_end);
    let systemd = Systemd::boot(&text, &[]);
    systemd.ask(&["systemctl", "start", "ppserver"]);
    let mut running = Session::open(addr);

    let status =
        systemd.ask(&["cat", &format!("/proc/{}/status", systemd.main_pid().as_raw_nonzero())]);
    let has = |field: &str, value: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        assert_eq!(line.map(str::trim), Some(value), "{field} in:\n{status}");
    };
    has("CapEff:", "0000000000000400");
    has("CapBnd:", "0000000000000400");
    has("NoNewPrivs:", "1");
    has("Seccomp:", "2");
    assert!(!status.contains("Uid:\t0"), "{status}");
    let said = systemd.ask(&["systemd-analyze", "security", "--no-pager", "ppserver"]);
    let exposure = said.split("Overall exposure level for ppserver.service: ").nth(1);
    let exposure =
        exposure.and_then(|rest| rest.split(' ').next()).and_then(|level| level.parse().ok());
    assert!(exposure.is_some_and(|level: f64| level <= EXPOSURE_MAX), "{said}");

    systemd.configure(&text.replace("workers = 2", "workers = 2\nlog.level = 'debug'"));
    systemd.ask(&["systemctl", "reload", "ppserver"]);
    systemd.wait_for_record("reloaded", 0);
    systemd.configure("nonsense");
    assert_ne!(systemd.run(&["systemctl", "reload", "ppserver"]).code, Some(0));
    systemd.wait_for_record("reload refused", 0);
    assert_eq!(systemd.property("ActiveState"), "active");
    running.echo(b"as if nothing had been");
    let errors = systemd.journal(&["--unit", "ppserver", "--priority", "err"]);
    assert!(errors.contains("reload refused") && errors.contains("key with no value"), "{errors}");
    assert!(!errors.contains("listening"), "{errors}");

    assert_stops(&systemd, addr, running);

    // A configuration that is wrong is not tried again.
    assert_ne!(systemd.run(&["systemctl", "start", "ppserver"]).code, Some(0));
    systemd.wait_for("ActiveState", "failed");
    assert_eq!(systemd.property("ExecMainStatus"), "78");
    assert_eq!(systemd.property("NRestarts"), "0");
}

#[test]
fn the_unit_goes_on_with_whoever_takes_over() {
    let far_end = FarEnd::start();
    let addr = privileged(1);
    let text = text(&addr.to_string(), &far_end);
    let systemd = Systemd::boot(&text, &[]);
    systemd.ask(&["systemctl", "start", "ppserver"]);
    let mut running = Session::open(addr);
    let old = systemd.main_pid();
    systemd.configure("nonsense");
    let refused = systemd.run(&UPGRADE);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("nonsense"), "{refused:?}");
    assert_eq!(systemd.main_pid(), old);
    systemd.configure(&text);
    upgrade(&systemd);
    let new = systemd.main_pid();
    let new_one = Session::open(addr);
    running.echo(b"to the old one");
    running.finish();
    assert_eq!(running.rest(), (Vec::new(), End::Fin));
    // The old one, whose last words these are.
    systemd.wait_for_record("counters", 0);
    assert_eq!(systemd.property("ActiveState"), "active");
    systemd.ask(&["systemctl", "reload", "ppserver"]);
    assert_eq!((systemd.main_pid(), systemd.property("NRestarts").as_str()), (new, "0"));
    assert_stops(&systemd, addr, new_one);
}

#[test]
fn one_that_hangs_or_is_killed_is_started_again() {
    let far_end = FarEnd::start();
    let addr = privileged(2);
    let soon = ("ppserver.service", "[Service]\nWatchdogSec=1s\nRestartSec=100ms\n");
    let systemd = Systemd::boot(&text(&addr.to_string(), &far_end), &[soon]);
    systemd.ask(&["systemctl", "start", "ppserver"]);
    Session::open(addr);
    systemd.signal_main("STOP");
    systemd.wait_for("NRestarts", "1");
    systemd.wait_for("ActiveState", "active");
    assert!(systemd.journal(&[]).contains("Watchdog timeout"), "{}", systemd.journal(&[]));
    Session::open(addr);
    systemd.signal_main("KILL");
    systemd.wait_for("NRestarts", "2");
    systemd.wait_for("ActiveState", "active");
    // One that has taken over too, while the one before it drains.
    let _running = Session::open(addr);
    upgrade(&systemd);
    systemd.signal_main("KILL");
    systemd.wait_for("NRestarts", "3");
    systemd.wait_for("ActiveState", "active");
    Session::open(addr);
}

#[test]
fn the_ports_of_the_socket_unit_start_it_and_outlive_it() {
    let far_end = FarEnd::start();
    let addr = SocketAddr::from(([127, 0, 0, 1], wildcard_port()));
    let ports = format!("[Socket]\nListenStream=\nListenStream={addr}\n");
    let systemd = Systemd::boot(&text("fd:web", &far_end), &[("ppserver.socket", &ports)]);
    systemd.ask(&["systemctl", "start", "ppserver.socket"]);
    assert_eq!(systemd.property("ActiveState"), "inactive");
    let mut first = Session::open(addr);
    upgrade(&systemd);
    first.echo(b"to the old one");
    let mut second = Session::open(addr);
    for session in [&mut first, &mut second] {
        session.finish();
        assert_eq!(session.rest(), (Vec::new(), End::Fin));
    }
    systemd.ask(&["systemctl", "stop", "ppserver.service"]);
    Session::open(addr);
    assert_eq!(systemd.property("NRestarts"), "0");
}

#[test]
fn drop_ins_let_it_come_from_clients_and_a_group_connect_to_its_socket() {
    let far_end = FarEnd::start();
    let text = text("unix:/run/ppserver/edge.sock", &far_end) + "source = 'client'\n";
    let systemd = Systemd::boot(&text, &[]);
    assert_ne!(systemd.run(&["systemctl", "start", "ppserver"]).code, Some(0));
    assert_eq!(systemd.property("ExecMainStatus"), "77", "{}", systemd.journal(&[]));
    drop(systemd);

    let lines = drop_in("UNIX sockets") + &drop_in("A transparent source");
    let systemd = Systemd::boot(&text, &[("ppserver.service", &lines)]);
    systemd.ask(&["systemctl", "start", "ppserver"]);
    let status = format!("/proc/{}/status", systemd.main_pid().as_raw_nonzero());
    let status = systemd.ask(&["cat", &status]);
    assert!(status.contains("CapEff:\t0000000000002400"), "{status}");
    let warned = systemd.wait_for_record("answers to clients do not come back here", 0);
    assert_eq!(warned["endpoint"], far_end.addr().to_string());
    for (user, may) in [("www-data", true), ("nobody", false)] {
        let user = format!("--reuid={user}");
        let group = user.replace("reuid", "regid").replace("nobody", "nogroup");
        let asked = ["setpriv", &user, &group, "--clear-groups", "test", "-w"];
        let ran = systemd.run(&[&asked[..], &["/run/ppserver/edge.sock"]].concat());
        assert_eq!(ran.code == Some(0), may, "{user}: {ran:?}");
    }
}
