//! The file of a listening UNIX socket: its mode, one that is stale, one that is live, its end.

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use rustix::process::{Signal, kill_process};

use super::{End, place};
use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::FarEnd;
use crate::life::procfs::listens_at;
use crate::life::server::{Server, ppserver, run, written};
use crate::life::supervise::ward;
use crate::life::upgrade::Heir;

const WORKERS: usize = 3;

fn text(bind: &str, to: std::net::SocketAddr, more: &str) -> String {
    format!(
        "config_version = 1\nserver.workers = {WORKERS}\n\
         [[listener]]\nname = 'edge'\nbind = [{bind}]\nupstream = 'far'\n{more}\n\
         [upstream.far]\nendpoints = ['{to}']\n"
    )
}

fn both(path: &Path) -> String {
    format!("'127.0.0.1:0', 'unix:{}'", path.display())
}

#[track_caller]
fn echo(path: &Path) -> End {
    let client = End::connect(path);
    client.send(b"x");
    client.expect(b"x");
    client
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o7777
}

#[test]
fn a_stale_file_is_replaced_has_its_mode_serves_with_all_workers_and_is_removed_at_the_end() {
    let far = FarEnd::start();
    let (_dir, path) = place();
    drop(UnixListener::bind(&path).expect("the directory is ours"));
    let mut server = Server::start(&text(&both(&path), far.addr(), "unix_mode = '0662'"));
    assert_eq!(mode(&path), 0o662, "whatever the umask");
    let bind = server.wait_for("listening", 1);
    assert_eq!(bind["bind"], format!("unix:{}", path.display()));
    let clients: Vec<_> = (0..20).map(|_| echo(&path)).collect();
    drop(clients);
    let counters = server.stop();
    assert_eq!(counters["accepted"], 20);
    assert!(!path.exists(), "it goes with the server");
}

#[test]
fn a_live_socket_and_a_file_that_is_none_are_left_alone() {
    let far = FarEnd::start();
    let (dir, path) = place();
    let live = UnixListener::bind(&path).expect("the directory is ours");
    let no_socket = dir.path().join("text");
    fs::write(&no_socket, "precious").expect("the directory is ours");
    let name = format!("ppserver-live-{}", std::process::id());
    let abstract_name = SocketAddr::from_abstract_name(&name).expect("it is short");
    let _live_too = UnixListener::bind_addr(&abstract_name).expect("nobody has the name");
    for taken in [path.display().to_string(), no_socket.display().to_string(), format!("@{name}")] {
        let (_files, file) = written(&text(&format!("'unix:{taken}'"), far.addr(), ""));
        let ran = run(ppserver().args(["run", "-c"]).arg(file));
        assert_eq!(ran.code, Some(69), "{taken}: {}", ran.stderr);
        assert!(ran.stderr.contains(&format!("cannot bind unix:{taken}")), "{}", ran.stderr);
    }
    assert_eq!(fs::read_to_string(&no_socket).expect("it is there"), "precious");
    End::connect(&path);
    live.accept().expect("it is the same socket still");
}

#[test]
fn a_reload_keeps_the_socket_changes_its_mode_and_removes_what_nobody_asks_for() {
    let far = FarEnd::start();
    let (dir, kept) = place();
    let gone = dir.path().join("gone.sock");
    let bind = format!("{}, 'unix:{}'", both(&kept), gone.display());
    let mut server = Server::start(&text(&bind, far.addr(), ""));
    let inode = fs::metadata(&kept).expect("it is there").ino();
    assert_eq!((mode(&kept), gone.exists()), (0o660, true));
    let running = echo(&gone);
    server.reload(&text(&both(&kept), far.addr(), "unix_mode = '0600'"), "reloaded");
    assert_eq!((mode(&kept), gone.exists()), (0o600, false));
    assert_eq!(fs::metadata(&kept).expect("it is there").ino(), inode);
    running.send(b"y");
    running.expect(b"y");
    drop((running, echo(&kept)));
    // One that cannot be had changes nothing.
    fs::write(&gone, "no socket").expect("the directory is ours");
    server.reload(&text(&bind, far.addr(), ""), "reload refused");
    drop(echo(&kept));
    assert!(gone.exists());
    server.stop();
    assert!(!kept.exists() && gone.exists());
}

#[test]
fn an_upgrade_hands_the_socket_over_and_the_last_one_removes_the_file() {
    let far = FarEnd::start();
    let (_dir, path) = place();
    let mut server = Server::start(&text(&both(&path), far.addr(), ""));
    let inode = fs::metadata(&path).expect("it is there").ino();
    let running = echo(&path);
    assert!(listens_at(server.pid(), &path));
    let heir = Heir::of(&server, server.pid(), 0);
    let has_left = || (!listens_at(server.pid(), &path)).then_some(());
    poll_for(PATIENCE, has_left).expect("it lets go of it");
    let new = echo(&path);
    running.send(b"to the old one");
    running.expect(b"to the old one");
    drop(running);
    server.ended();
    assert_eq!(fs::metadata(&path).expect("it is there").ino(), inode);
    new.send(b"to the new one");
    new.expect(b"to the new one");
    drop((new, echo(&path)));
    heir.stop();
    assert!(!path.exists());
}

#[test]
fn who_serves_in_the_place_of_one_that_was_killed_has_the_same_file_and_removes_it_at_the_end() {
    let far = FarEnd::start();
    let (_dir, path) = place();
    let mut server = Server::start_with(&text(&both(&path), far.addr(), ""), |file| {
        let mut command = ppserver();
        command.args(["run", "--supervise", "-c"]).arg(file);
        command
    });
    let inode = fs::metadata(&path).expect("it is there").ino();
    drop(echo(&path));
    kill_process(ward(&server, None), Signal::KILL).expect("it is our grandchild");
    drop(echo(&path));
    assert_eq!(fs::metadata(&path).expect("it is there").ino(), inode);
    server.stop();
    assert!(!path.exists());
}
