//! An upgrade that is asked for at a door: the doors go over too.

use rustix::process::Pid;
use serde_json::Value;

use super::{Open, messages};
use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::FarEnd;
use crate::life::server::{ppserver, run};
use crate::life::session::Session;
use crate::life::upgrade::Heir;

#[test]
fn it_is_answered_when_the_new_program_serves_and_the_doors_are_its_own_then() {
    let far_end = FarEnd::start();
    let mut open = Open::start_with("127.0.0.1:0", far_end.addr(), &[]);
    let mut heirs: Vec<Heir> = Vec::new();
    for generation in 2..=3 {
        Heir::expect();
        let ran = run(ppserver().args(["upgrade", "--admin"]).arg(open.unix.to_string()));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let said = ran.stdout.trim_end();
        let pid = said.strip_prefix("process ").and_then(|rest| rest.split_once(' '));
        let (pid, rest) = pid.unwrap_or_else(|| panic!("{said}"));
        assert_eq!(rest, format!("has taken over, generation {generation}"));
        let pid: i32 = pid.parse().expect("a number");
        heirs.push(Heir::of_pid(Pid::from_raw(pid).expect("it is a process")));
        let giver_has_gone = poll_for(PATIENCE, || match generation {
            2 => (!open.server.proc.is_running()).then_some(()),
            _ => (!heirs[0].is_running()).then_some(()),
        });
        giver_has_gone.expect("nobody is left there");
        for door in [&open.tcp, &open.unix] {
            let status: Value = door.get("/api/v1/status").json(200);
            assert_eq!((&status["pid"], &status["generation"]), (&pid.into(), &generation.into()));
        }
        Session::open(open.server.addr());
    }
    let refused = open.unix.post("/api/v1/upgrade?binary=/no/such/program").json(422);
    assert!(messages(&refused)[0].contains("cannot start `/no/such/program`"), "{refused}");
    Session::open(open.server.addr());
    let socket = open.dir.path().join("admin.sock");
    assert!(socket.exists());
    heirs[1].stop();
    assert!(!socket.exists(), "it was the last one's to remove");
}
