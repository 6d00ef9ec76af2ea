//! Pipes that come with two slots, as where another process of the user holds all of its pages (pipe(7)).

use super::{Calm, serve_one, strace, wait_until_idle};
use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::FarEnd;
use crate::common::payload::{MIB, assert_same, random};
use crate::common::ppserver::assert_balanced;
use crate::common::socket::Client;
use crate::life::procfs;
use crate::life::server::{Server, file};
use crate::life::session::HEADER;

#[test]
fn bulk_is_copied_where_a_pipe_comes_small_and_spliced_once_pipes_come_whole() {
    let far_end = FarEnd::start();
    let settings = ["server.workers = 1", "splice.mode = \"always\""];
    let server = Server::start(&file(&settings, far_end.addr()));
    let calm = Calm::of(server.pid());
    let pipe_ends = || procfs::of_kind(&procfs::descriptors(server.pid()), "pipe");
    let before = pipe_ends();
    // The first one is of two pages, whatever was asked for (F_SETPIPE_SZ, fcntl(2)).
    let trouble = ["-e", "trace=fcntl", "-e", "inject=fcntl:retval=8192:when=1"];
    let strace = strace::attach(server.pid(), &trouble);
    let payload = random(1, 4 * MIB);
    let has_pipes = || {
        let client = Client::connect(server.addr().ip(), server.addr());
        assert_same(&client.exchange(&[HEADER, &payload].concat()).complete(), &payload);
        (pipe_ends() > before).then_some(())
    };
    poll_for(PATIENCE, has_pipes).expect("it asks for pipes again");
    let calls = strace::detach(strace);
    let is_hit = |line: &&String| line.contains("F_SETPIPE_SZ") && line.contains("INJECTED");
    assert_eq!(calls.iter().filter(is_hit).count(), 1, "{calls:?}");
    serve_one(&server);
    let counters = wait_until_idle(&server);
    assert!(counters["pipes_missing"].as_u64() > Some(0), "it was not copied: {counters}");
    assert_balanced(&counters);
    calm.assert_back("a pipe that came small");
}
