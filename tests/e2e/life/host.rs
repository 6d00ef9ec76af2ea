//! What the process takes from its host, and what it does without.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::far_end::FarEnd;
use crate::common::process::{Proc, Stream, require_program};
use crate::life::procfs;
use crate::life::server::{Server, bound, file, wait_for, written};
use crate::life::session::Session;

/// CAP_NET_BIND_SERVICE as a bit.
const NET_BIND_SERVICE: u64 = 1 << 10;

/// `unshare` with these namespaces, in which we are root.
fn as_root(namespaces: &[&str]) -> Command {
    require_program("unshare", "apt-get install util-linux");
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user"]).args(namespaces);
    command
}

/// Serves a connection and ends.
#[track_caller]
fn assert_serves(mut proc: Proc) {
    let mut session = Session::open(bound(&proc, 1)[0]);
    session.finish();
    session.rest();
    proc.signal(Signal::TERM);
    assert_eq!(proc.wait_for_exit().code(), Some(0), "{}", proc.transcript());
}

#[test]
fn root_keeps_what_binds_low_ports_and_nothing_else_in_every_thread() {
    let far_end = FarEnd::start();
    let to = far_end.addr().to_string();
    let args = ["run", "--listen", "127.0.0.1:0", "--to", &to];
    let mut command = as_root(&[]);
    let proc = Proc::spawn("ppserver", command.arg(env!("CARGO_BIN_EXE_ppserver")).args(args));
    bound(&proc, 1);
    let statuses = procfs::thread_statuses(proc.pid());
    assert!(statuses.len() > 2, "workers, the log and the main thread");
    for status in statuses {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let value = line.expect("the kernel lists it").trim_start_matches(':').trim();
            u64::from_str_radix(value, 16).expect("a number")
        };
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(field(set), NET_BIND_SERVICE, "{set}\n{status}");
        }
        assert_eq!(field("NoNewPrivs"), 1, "{status}");
    }
}

#[test]
fn a_user_without_capabilities_has_none_to_give_up() {
    require_program("setpriv", "apt-get install util-linux");
    let far_end = FarEnd::start();
    let to = far_end.addr().to_string();
    let mut command = as_root(&[]);
    command.args(["setpriv", "--bounding-set=-all", "--inh-caps=-all"]);
    command.arg(env!("CARGO_BIN_EXE_ppserver"));
    command.args(["run", "--listen", "127.0.0.1:0", "--to", &to]);
    let proc = Proc::spawn("ppserver", &mut command);
    bound(&proc, 1);
    let said = proc.lines(Stream::Stderr);
    assert!(!said.iter().any(|line| line.contains("privileges")), "{said:?}");
}

#[test]
fn a_read_only_root_no_tmp_and_no_proc_are_no_hindrance() {
    let far_end = FarEnd::start();
    let to = far_end.addr().to_string();
    // The program may lie in /tmp.
    let bare = "program=$1 && shift && mount -t tmpfs none /mnt && : > /mnt/ppserver && \
                mount --bind \"$program\" /mnt/ppserver && mount -o remount,ro /mnt && \
                mount -t tmpfs -o ro none /proc && mount -t tmpfs -o ro none /tmp && \
                mount -o remount,bind,ro / && ! touch /tmp/x /x /mnt/x 2>/dev/null && exec /mnt/ppserver \"$@\"";
    let mut command = as_root(&["--mount"]);
    command.args(["sh", "-c", bare, "sh", env!("CARGO_BIN_EXE_ppserver"), "run"]);
    command.args(["--listen", "127.0.0.1:0", "--to", &to, "--accept", "v1", "--trust", "any"]);
    assert_serves(Proc::spawn("ppserver", &mut command));
    assert_eq!(far_end.accepted(), 1);
}

#[test]
fn the_budget_of_descriptors_is_told_at_the_start_and_when_it_changes() {
    let far_end = FarEnd::start();
    let settings = ["server.workers = 1", "splice.max_pipes = 16"];
    let text = file(&settings, far_end.addr());
    let server = Server::start_after("ulimit -n 1024", &text);
    let number = |record: &Value, key: &str| record[key].as_u64().expect("a number");
    let budget = wait_for(&server.proc, "descriptor budget", 0);
    assert_eq!(number(&budget, "descriptors"), 1024);
    assert_eq!(number(&budget, "pipes"), 16);
    let pairs = number(&budget, "connections_max") + number(&budget, "pipes");
    assert_eq!(2 * pairs + number(&budget, "reserved"), 1024 - 1, "an odd one is left");
    server.reload(&text, "reloaded");
    assert_eq!(server.records("descriptor budget").len(), 1, "nothing has changed");
    let fewer = file(&[&settings[..], &["server.max_connections = 7"]].concat(), far_end.addr());
    server.reload(&fewer, "reloaded");
    let budget = wait_for(&server.proc, "descriptor budget", 1);
    assert_eq!(number(&budget, "connections_max"), 7);
}

#[test]
fn lines_have_priorities_where_stderr_is_the_journals() {
    let far_end = FarEnd::start();
    let text = file(&[], far_end.addr());
    let (_dir, path) = written(&text);
    // systemd names the socket by device and inode (systemd.exec(5)).
    let journal = "JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec \"$0\" run -c \"$1\"";
    let start = |path: &Path, script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_ppserver")]).arg(path);
        Proc::spawn("ppserver", &mut shell)
    };
    let mut proc = start(&path, journal);
    let has = |proc: &Proc, prefix: &str, word: &str| {
        proc.wait_for_line(Stream::Stderr, word, |line| {
            let record: Value = serde_json::from_str(line.strip_prefix(prefix)?).ok()?;
            record["message"].as_str()?.contains(word).then_some(record)
        })
    };
    let listening = has(&proc, "<6>", "listening");
    let addr = listening["bind"].as_str().and_then(|bind| bind.parse().ok());
    Session::connect(addr.expect("an address")).send(b"GET");
    has(&proc, "<4>", "refused");
    fs::write(&path, "nonsense").expect("it is there");
    proc.signal(Signal::HUP);
    has(&proc, "<3>", "reload refused");
    proc.signal(Signal::TERM);
    proc.wait_for_exit();
    has(&proc, "<6>", "counters");

    let mut refused = start(&path, journal);
    assert_eq!(refused.wait_for_exit().code(), Some(78));
    let said = refused.lines(Stream::Stderr);
    assert!(said.len() > 3 && said.iter().all(|line| line.starts_with("<3>")), "{said:?}");
    let elsewhere = start(&path, "JOURNAL_STREAM=1:1 exec \"$0\" run -c \"$1\"");
    elsewhere
        .wait_for_line(Stream::Stderr, "the fault", |line| line.starts_with("error").then_some(()));
}

/// A unit of ours.
fn unit(name: &str) -> PathBuf {
    let units = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
    units.join(name).canonicalize().expect("it is there")
}

#[test]
fn systemd_has_nothing_to_say_against_the_units() {
    require_program("systemd-analyze", "apt-get install systemd");
    let dir = TempDir::new().expect("a temporary directory can be made");
    let units = ["ppserver.service", "ppserver.socket"].map(|name| {
        let text = fs::read_to_string(unit(name)).expect("it can be read");
        let here = dir.path().join(name);
        // The program is where it is to be installed, else it is missed.
        let text = text.replace("/usr/local/bin/ppserver", env!("CARGO_BIN_EXE_ppserver"));
        fs::write(&here, text).expect("it can be written");
        here
    });
    let verify = Command::new("systemd-analyze").arg("verify").args(&units).output();
    let said = verify.expect("it runs");
    let words = String::from_utf8_lossy(&said.stderr);
    let about_ours = words.lines().filter(|line| line.contains("ppserver"));
    assert_eq!(about_ours.collect::<Vec<_>>(), [""; 0], "{words}");
    assert!(said.status.success(), "{words}");
}

#[test]
fn the_unit_is_as_exposed_as_it_has_to_be() {
    const EXPOSURE_MAX: f64 = 1.6;
    require_program("systemd-analyze", "apt-get install systemd");
    let unit = unit("ppserver.service");
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(&unit)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let overall = said.lines().find_map(|line| line.split_once("Overall exposure level for "));
    let words = overall.expect("it sums up").1.split_whitespace();
    let exposure = words.flat_map(str::parse::<f64>).next().expect("a number");
    assert!(exposure <= EXPOSURE_MAX, "{said}");
}
