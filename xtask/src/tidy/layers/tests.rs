//! Planted violations of the layers, each with the clean twin that must pass.

use super::*;

/// A small ppserver with a source in `path`; returns (line, reason) of what is found there.
fn server_with(path: &str, text: &str) -> Vec<(usize, String)> {
    let manifest = "[dependencies]\nmio = \"1\"\nppcore = { path = \"x\" }\nslab = \"0\"\n\
        signal-hook = \"0\"\n[target.'cfg(unix)'.dependencies]\nrustix = \"1\"\n\
        [dev-dependencies]\nproptest = \"1\"\n";
    let mut files: Vec<(&str, &str)> = vec![
        ("Cargo.toml", manifest),
        ("src/lib.rs", "pub mod cli; mod config; mod session; mod sys; mod worker; mod metrics;"),
        ("src/main.rs", ""),
        ("src/cli/mod.rs", ""),
        ("src/config/mod.rs", ""),
        ("src/metrics.rs", ""),
        ("src/session/mod.rs", "mod flow; #[cfg(test)] mod sim;"),
        ("src/session/flow.rs", ""),
        ("src/sys.rs", ""),
        ("src/worker/mod.rs", "mod conn; mod control; mod table;"),
        ("src/worker/conn.rs", ""),
        ("src/worker/control.rs", ""),
        ("src/worker/table.rs", ""),
    ];
    match files.iter_mut().find(|(known, _)| *known == path) {
        Some(file) => file.1 = text,
        None => files.push((path, text)),
    }
    let sources: Vec<Source> =
        files.iter().map(|(path, text)| Source::new(&format!("{SERVER}{path}"), text)).collect();
    for source in &sources {
        if let Some(Err(error)) = &source.syntax {
            panic!("{}: {error}: {}", source.path, source.text);
        }
    }
    let found = check_server(&sources);
    let place = format!("{SERVER}{path}");
    assert!(found.iter().all(|violation| violation.path == place), "{found:?}");
    found.into_iter().map(|violation| (violation.line, violation.reason)).collect()
}

/// Asserts that `bad`, on the second line of `path`, is found there and that `named` is blamed.
fn caught(path: &str, bad: &str, named: &str) {
    let found = server_with(path, &format!("\n{bad}\n"));
    assert!(!found.is_empty(), "not caught in {path}: {bad}");
    for (line, reason) in &found {
        assert_eq!(*line, 2, "{bad}: {reason}");
    }
    let blames = format!("may not use `{named}`");
    assert!(found.iter().any(|(_, reason)| reason.contains(&blames)), "{bad}: {found:?}");
}

fn clean(path: &str, good: &str) {
    assert_eq!(server_with(path, good), [], "{path}: {good}");
}

const FLOW: &str = "src/session/flow.rs";
const TABLE: &str = "src/worker/table.rs";
const CONN: &str = "src/worker/conn.rs";

#[test]
fn an_edge_upwards_is_caught_however_it_is_imported() {
    for bad in [
        "use crate::worker::conn::Conn;",
        "use super::super::worker::conn::Conn;",
        "use crate::worker::conn as c;",
        "use crate::worker::{conn::Conn as C};",
        "use crate::{worker::conn};",
        "use crate::{worker::{conn::{self}}};",
        "pub use crate::worker::conn::Conn;",
        "pub(crate) use crate::worker::conn::*;",
        "use self::super::super::worker::conn;",
        "fn f() { use crate::worker::conn; }",
        "mod inner { use super::super::super::worker::conn; }",
        "#[cfg(test)] mod tests { use crate::worker::conn; }",
    ] {
        caught(FLOW, bad, "worker::conn");
    }
    caught(FLOW, "use crate::worker as w;", "worker");
    caught(FLOW, "pub use crate::worker::X;", "worker");
    caught(FLOW, "use super::super::worker;", "worker");
    caught(FLOW, "use crate::{config, worker::conn};", "config");
    caught(FLOW, "use crate::{config, worker::conn};", "worker::conn");
}

#[test]
fn an_edge_upwards_is_caught_without_an_import() {
    for bad in [
        "fn f() { crate::worker::conn::Conn::new(); }",
        "fn f(x: crate::worker::conn::Conn) {}",
        "fn f(x: Option<&mut crate::worker::conn::Conn>) {}",
        "fn f() -> impl crate::worker::conn::Lend { }",
        "impl crate::worker::conn::Lend for X {}",
        "fn f(x: u8) { match x { crate::worker::conn::MAX => {} _ => {} } }",
        "fn f() { <crate::worker::conn::Conn>::new(); }",
        "fn f() { <X as crate::worker::conn::Lend>::lend(); }",
        "fn f() { super::super::worker::conn::run(); }",
        "fn f() { crate::worker::conn::log!(); }",
        "#[derive(crate::worker::conn::Lend)] struct X;",
    ] {
        caught(FLOW, bad, "worker::conn");
    }
}

#[test]
fn an_edge_upwards_is_caught_inside_a_macro() {
    for bad in [
        "fn f() { assert!(crate::worker::conn::ready()); }",
        "fn f() { assert!(a, \"{}\", [super::super::worker::conn::X]); }",
        "macro_rules! m { () => { $crate::worker::conn::run() } }",
        "m! { use crate::{config_free, worker::{conn, table}}; }",
        "m! { use crate::worker::conn::*; }",
    ] {
        let found = server_with(FLOW, &format!("\n{bad}\n"));
        let blamed = |(line, reason): &(usize, String)| {
            *line == 2 && reason.contains("may not use `worker::conn`")
        };
        assert!(found.iter().any(blamed), "{bad}: {found:?}");
    }
    clean(FLOW, "fn f() { assert!(super::Flow::ready(), \"crate::worker::conn\"); }");
}

#[test]
fn an_edge_upwards_is_caught_behind_another_name() {
    caught(FLOW, "use crate as root; fn f() { root::worker::conn::run(); }", "worker::conn");
    caught(FLOW, "use super::super as up; use up::worker as w;", "worker");
    caught(FLOW, "use crate::*; fn f() { worker::conn::run(); }", "worker::conn");
    caught(FLOW, "extern crate self as me; fn f() { me::worker::conn::run(); }", "worker::conn");
    // Through a glob of a module that may be named to one that may not.
    caught(CONN, "use super::*; fn f() { control::run(); }", "worker::control");
}

#[test]
fn what_only_looks_like_an_edge_is_clean() {
    for good in [
        "// use crate::worker::conn;\n/* crate::worker */ /// [`crate::worker::conn`]\nfn f() {}",
        "const X: &str = \"use crate::worker::conn;\";",
        "use super::Session; use crate::session::Flow; use self::inner::Y; mod inner {}",
        "pub(in crate::session) struct X; pub(super) struct Y; pub(crate) struct Z;",
        "fn f(worker: u8) -> u8 { worker }",
        "struct Worker; fn f() { Worker::new(); }",
        "#[cfg(test)] mod tests { use super::*; fn f() { super::super::Session::new(); } }",
    ] {
        clean(FLOW, good);
    }
}

#[test]
fn a_pure_module_names_ppcore_and_types_of_std_only() {
    for (bad, named) in [
        ("use mio::Poll;", "mio::Poll"),
        ("use mio;", "mio"),
        ("use ::mio::Poll;", "::mio::Poll"),
        ("extern crate mio;", "mio"),
        ("fn f() { rustix::net::send(); }", "rustix::net::send"),
        ("fn f() { signal_hook::flag::register(); }", "signal_hook::flag::register"),
        ("use mio as m; fn f() { m::Poll::new(); }", "mio::Poll::new"),
        ("#[mio::poll] fn f() {}", "mio::poll"),
        ("fn f() { assert!(mio::ready()); }", "mio::ready"),
        ("use std::net::TcpStream;", "std::net::TcpStream"),
        ("use std::net::{IpAddr, TcpStream};", "std::net::TcpStream"),
        ("use std::net::*;", "std::net"),
        ("use std::*;", "std"),
        ("use std::io;", "std::io"),
        ("fn f() -> std::io::Result<()> { }", "std::io::Result"),
        ("fn f() { std::thread::yield_now(); }", "std::thread::yield_now"),
        ("fn f() { std::fs::read(); }", "std::fs::read"),
        ("use std::time::Instant; fn f() { Instant::now(); }", "std::time::Instant::now"),
        ("use std::time::Instant as I; fn f() { I::now(); }", "std::time::Instant::now"),
        ("use std::time; fn f() { time::Instant::now(); }", "std::time::Instant::now"),
        ("use std as s; fn f() { s::time::Instant::now(); }", "std::time::Instant::now"),
        ("fn f() { <std::time::Instant>::now(); }", "std::time::Instant::now"),
        ("use std::time::SystemTime;", "std::time::SystemTime"),
        ("use std::time::*;", "std::time"),
    ] {
        caught(FLOW, bad, named.trim_start_matches("::"));
    }
    let found = server_with(FLOW, "fn f(now: Instant) { now.elapsed(); }");
    assert!(found.iter().any(|(_, reason)| reason.contains("reads the clock")), "{found:?}");
    let found = server_with(FLOW, "fn f(now: Instant) { assert!(now.elapsed() > x); }");
    assert!(found.iter().any(|(_, reason)| reason.contains("reads the clock")), "{found:?}");
}

#[test]
fn a_pure_module_may_name_types_of_std_and_its_tests_a_little_more() {
    for good in [
        "use std::net::{IpAddr, SocketAddr}; use ppcore::Header; use ppcore;",
        "use std::time::{Duration, Instant}; use std::collections::VecDeque; use core::fmt;",
        "fn f(now: std::time::Instant) -> std::time::Duration { now.duration_since(now) }",
        "#[cfg(test)] mod tests { use std::time::Instant; fn f() { Instant::now(); } }",
        "#[cfg(test)] mod tests { use proptest::prelude::*; fn f() { std::env::var(); } }",
    ] {
        clean(FLOW, good);
    }
    clean("src/session/sim.rs", "use proptest::prelude::*; fn f() { std::time::Instant::now(); }");
    caught("src/session/sim.rs", "use std::net::TcpStream;", "std::net::TcpStream");
    caught(FLOW, "use proptest::prelude::*;", "proptest::prelude");
    clean("src/worker/mod.rs", "use mio::Poll; use std::io; use std::net::TcpStream;");
}

#[test]
fn the_workers_parts_know_neither_the_session_nor_each_other() {
    caught(TABLE, "use crate::session::Session;", "session");
    caught(TABLE, "use super::conn::Conn;", "worker::conn");
    caught(TABLE, "use crate::worker::control;", "worker::control");
    caught(TABLE, "use super::Limits;", "worker");
    caught(TABLE, "use super::*;", "worker");
    clean(TABLE, "use slab::Slab; #[cfg(test)] mod tests { use super::*; }");
    clean(CONN, "use super::table::Table; use crate::session::Session; use crate::sys;");
    clean("src/worker/mod.rs", "use self::conn::Conn; fn f() { table::Table::new(); }");
    caught(CONN, "use crate::cli::run;", "cli");
}

#[test]
fn the_program_sees_the_command_line_only() {
    clean("src/main.rs", "use ppserver::cli; fn main() { ppserver::cli::run(); crate::main(); }");
    caught("src/main.rs", "fn main() { ppserver::worker::run(); }", "worker");
    caught("src/main.rs", "use ::ppserver::{cli, session::Session};", "session");
    caught("src/main.rs", "use ppserver::Session;", "lib");
}

#[test]
fn a_name_of_the_crates_root_has_no_layer_and_the_root_re_exports_nothing() {
    caught("src/worker/mod.rs", "use crate::Session;", "lib");
    caught("src/lib.rs", "mod session; pub use session::Session;", "session");
    caught("src/lib.rs", "pub use crate::worker::run;", "worker");
}

#[test]
fn a_module_without_a_layer_is_an_error_that_says_where_to_add_it() {
    for (path, text, name, line) in [
        ("src/new_thing.rs", "", "new_thing", 1),
        ("src/new_thing/mod.rs", "", "new_thing", 1),
        ("src/worker/new_thing.rs", "", "worker::new_thing", 1),
        ("src/lib.rs", "\nmod new_thing {}", "new_thing", 2),
    ] {
        let found = server_with(path, text);
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        assert_eq!(found[0].0, line);
        assert!(found[0].1.contains(&format!("`{name}` has no layer: add it to LAYERS")));
    }
    clean("src/session/new_thing.rs", "");
    clean("src/worker/mod.rs", "#[cfg(test)] mod tests {}");
}

#[test]
fn a_module_moved_by_an_attribute_is_caught() {
    let found = server_with("src/session/mod.rs", "\n#[path = \"../worker/conn.rs\"] mod conn;");
    assert!(found.iter().any(|(line, reason)| *line == 2 && reason.contains("#[path]")));
}

fn core_with(manifest: &str, text: &str) -> Vec<String> {
    let sources = [
        Source::new(&format!("{CORE}Cargo.toml"), manifest),
        Source::new(&format!("{CORE}src/lib.rs"), "#[cfg(test)] mod naive;"),
        Source::new(&format!("{CORE}src/naive.rs"), "extern crate std; use std::vec::Vec;"),
        Source::new(&format!("{CORE}src/decode.rs"), text),
    ];
    check_core(&sources).into_iter().map(|violation| violation.to_string()).collect()
}

#[test]
fn ppcore_stands_on_core_crc_and_thiserror_only() {
    let manifest = "[dependencies]\ncrc = \"3\"\nthiserror = \"2\"\n";
    for bad in [
        "extern crate std;",
        "extern crate alloc;",
        "use std::vec::Vec;",
        "fn f() -> alloc::vec::Vec<u8> {}",
        "fn f() { assert!(std::mem::drop(1)); }",
    ] {
        let found = core_with(manifest, bad);
        assert_eq!(found.len(), 1, "{bad}: {found:?}");
        assert!(found[0].starts_with("crates/ppcore/src/decode.rs:1: "), "{found:?}");
    }
    for good in [
        "use core::fmt; use crc::Crc; use thiserror::Error; use crate::header::Header;",
        "#[cfg(test)] extern crate std; #[cfg(test)] mod tests { use std::vec::Vec; }",
    ] {
        assert_eq!(core_with(manifest, good), [""; 0], "{good}");
    }
    let found = core_with(&format!("{manifest}memchr = \"2\"\n"), "");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("crates/ppcore/Cargo.toml:4: "), "{found:?}");
}

#[test]
fn the_table_names_only_its_own_modules_and_has_no_way_back_up() {
    let position = |name: &str| LAYERS.iter().position(|layer| layer.name == name);
    for (index, layer) in LAYERS.iter().enumerate() {
        assert_eq!(position(layer.name), Some(index), "`{}` stands twice", layer.name);
        for used in layer.uses {
            let lower = position(used).unwrap_or_else(|| panic!("`{used}` has no row"));
            let lends = (layer.name, *used) == ("worker::conn", "worker");
            assert!(lower > index || lends, "`{}` -> `{used}` leads up", layer.name);
        }
    }
}
