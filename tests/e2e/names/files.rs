//! Files with endpoints: replaced, edited, gone, and with mistakes.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use super::rig::{CHANGED, LOST, door, endpoints, text};
use crate::admin::assert_is;
use crate::common::deadline::{PATIENCE, poll_for};
use crate::common::far_end::FarEnd;
use crate::life::server::Server;

/// A server that follows a file, which is asked for every hour only: what is seen sooner was told.
struct Following {
    server: Server,
    dir: TempDir,
}

impl Following {
    #[track_caller]
    fn start(lines: &str, dns: &str) -> Following {
        let dir = TempDir::new().expect("a temporary directory can be made");
        let file = dir.path().join("web.txt");
        fs::write(&file, lines).expect("the directory is ours");
        let text = text(&format!("{{ file = '{}' }}", file.display()));
        let server = Server::start(&text.replace("{ min = '1s', max = '2s' }", dns));
        Following { server, dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("web.txt")
    }

    /// Waits until these are the endpoints.
    #[track_caller]
    fn assert_follows(&self, expected: &[SocketAddr]) {
        let door = door(&self.server);
        let mut expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
        expected.sort_unstable();
        let now = || {
            let mut now: Vec<_> = endpoints(&door).into_iter().map(|(addr, _)| addr).collect();
            now.sort_unstable();
            now
        };
        let is_so = poll_for(PATIENCE, || (now() == expected).then_some(())).is_some();
        assert!(is_so, "{:?}, not {expected:?}", now());
    }
}

const TOLD: &str = "{ min = '1h', max = '1h' }";
const LOOKED_AT: &str = "{ min = '1s', max = '1s' }";

fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("the directory is ours");
    fs::rename(new, file).expect("the directory is ours");
}

#[test]
fn a_file_is_followed_when_it_is_replaced_edited_or_comes_back() {
    let ends = [(); 3].map(|()| FarEnd::start());
    let [first, second, third] = ends.each_ref().map(|end| end.addr());
    let following = Following::start(&format!("{first}\n"), TOLD);
    let from = json!(following.file().display().to_string());
    assert_eq!(endpoints(&door(&following.server)), [(first.to_string(), from)]);
    replace(&following.file(), &format!("{first} weight=2\n{second} # new\n"));
    following.assert_follows(&[first, second]);
    fs::write(following.file(), format!("{third}\n")).expect("the file is ours");
    following.assert_follows(&[third]);
    // Without it the last ones stay.
    fs::remove_file(following.file()).expect("the file is ours");
    let lost = following.server.wait_for(LOST, 0);
    assert!(lost["why"].as_str().is_some_and(|why| why.contains("No such file")), "{lost}");
    following.assert_follows(&[third]);
    replace(&following.file(), &format!("{second}\n"));
    following.assert_follows(&[second]);
    // As Kubernetes does it: the name is a link through another one, which is replaced.
    let dir = following.dir.path();
    for (version, addr) in [("1", first), ("2", third)] {
        fs::create_dir(dir.join(version)).expect("the directory is ours");
        fs::write(dir.join(version).join("web.txt"), format!("{addr}\n")).expect("it is ours");
    }
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(to, dir.join("link")).expect("the directory is ours");
        fs::rename(dir.join("link"), dir.join(name)).expect("the directory is ours");
    };
    link("1", "data");
    link("data/web.txt", "web.txt");
    following.assert_follows(&[first]);
    link("2", "data");
    following.assert_follows(&[third]);
}

#[test]
fn whoever_listens_is_told_what_endpoints_come_and_go() {
    let following = Following::start("127.0.0.1:7\n127.0.0.1:8\n", TOLD);
    let mut events = door(&following.server).events();
    let mut told = |text: &str| {
        replace(&following.file(), text);
        let event = events.next("endpoints");
        assert_is("endpoints_event", &event);
        event
    };
    let expected = json!({
        "upstream": "web",
        "added": ["127.0.0.1:9"],
        "removed": ["127.0.0.1:7"],
        "count": 2,
    });
    assert_eq!(told("127.0.0.1:8\n127.0.0.1:9\n"), expected);
    // Who weighs more now has been there before.
    let expected = json!({ "upstream": "web", "added": [], "removed": [], "count": 2 });
    assert_eq!(told("127.0.0.1:8\n127.0.0.1:9 weight=2 backup\n"), expected);
}

#[test]
fn a_bad_line_refuses_the_whole_file_and_is_said_once() {
    let end = FarEnd::start();
    let following = Following::start(&format!("{}\n", end.addr()), TOLD);
    let bad = format!("127.0.0.1:9\n{} wieght=2\n", end.addr());
    replace(&following.file(), &bad);
    let lost = following.server.wait_for(LOST, 0);
    assert_eq!(lost["why"], "line 2: `wieght=2` is neither `weight=N` nor `backup`");
    assert_eq!(lost["kept"], 1);
    replace(&following.file(), &bad);
    replace(&following.file(), &format!("{}\n127.0.0.1:9\n", end.addr()));
    following.server.wait_for("found out again", 0);
    following.assert_follows(&[end.addr(), ([127, 0, 0, 1], 9).into()]);
    assert_eq!(following.server.records(LOST).len(), 1);
    assert_eq!(following.server.records(CHANGED).len(), 2);
}

#[test]
fn a_file_behind_a_link_to_elsewhere_is_looked_at_now_and_then() {
    let ends = [FarEnd::start(), FarEnd::start()];
    let elsewhere = TempDir::new().expect("a temporary directory can be made");
    let file = elsewhere.path().join("web.txt");
    fs::write(&file, format!("{}\n", ends[0].addr())).expect("the directory is ours");
    let following = Following::start("127.0.0.1:9\n", LOOKED_AT);
    let link = following.dir.path().join("link");
    std::os::unix::fs::symlink(&file, &link).expect("the directory is ours");
    fs::rename(link, following.file()).expect("the directory is ours");
    following.assert_follows(&[ends[0].addr()]);
    replace(&file, &format!("{}\n", ends[1].addr()));
    following.assert_follows(&[ends[1].addr()]);
}
