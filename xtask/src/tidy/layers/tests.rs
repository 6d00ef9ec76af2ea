//! Planted violations of the layers, each with the clean twin that must pass.

use super::*;

/// A small ppserver with a source in `path`; returns (line, reason) of what is found there.
fn server_with(path: &str, text: &str) -> Vec<(usize, String)> {
    let manifest = "[dependencies]\nmio = \"1\"\nppcore = { path = \"x\" }\nslab = \"0\"\n\
        signal-hook = \"0\"\ntokio = \"1\"\n[target.'cfg(unix)'.dependencies]\nrustix = \"1\"\n\
        [dev-dependencies]\nproptest = \"1\"\n";
    let mut files: Vec<(&str, &str)> = vec![
        ("Cargo.toml", manifest),
        ("src/lib.rs", "pub mod cli; mod config; mod control; mod core; mod data; mod telemetry;"),
        ("src/main.rs", ""),
        ("src/cli/mod.rs", ""),
        ("src/config/mod.rs", ""),
        ("src/core/mod.rs", "mod session; #[cfg(test)] mod sim;"),
        ("src/core/session/mod.rs", "mod flow;"),
        ("src/core/session/flow.rs", ""),
        ("src/data/mod.rs", "mod conn; mod orders; mod sys; mod table; mod worker;"),
        ("src/data/conn.rs", ""),
        ("src/data/orders.rs", ""),
        ("src/data/sys.rs", ""),
        ("src/data/table.rs", ""),
        ("src/data/worker.rs", ""),
        ("src/control/mod.rs", "mod serve; mod signals;"),
        ("src/control/event_loop.rs", ""),
        ("src/control/signals.rs", ""),
        ("src/telemetry/mod.rs", "mod summary;"),
        ("src/telemetry/summary.rs", ""),
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

const FLOW: &str = "src/core/session/flow.rs";
const TABLE: &str = "src/data/table.rs";
const CONN: &str = "src/data/conn.rs";

#[test]
fn an_edge_upwards_is_caught_however_it_is_imported() {
    for bad in [
        "use crate::data::conn::Conn;",
        "use super::super::super::data::conn::Conn;",
        "use crate::data::conn as c;",
        "use crate::data::{conn::Conn as C};",
        "use crate::{data::conn};",
        "use crate::{data::{conn::{self}}};",
        "pub use crate::data::conn::Conn;",
        "pub(crate) use crate::data::conn::*;",
        "use self::super::super::super::data::conn;",
        "fn f() { use crate::data::conn; }",
        "mod inner { use super::super::super::super::data::conn; }",
        "#[cfg(test)] mod tests { use crate::data::conn; }",
    ] {
        caught(FLOW, bad, "data::conn");
    }
    caught(FLOW, "use crate::data as d;", "data");
    caught(FLOW, "pub use crate::data::X;", "data");
    caught(FLOW, "use super::super::super::data;", "data");
    caught(FLOW, "use crate::{config, data::conn};", "config");
    caught(FLOW, "use crate::{config, data::conn};", "data::conn");
}

#[test]
fn an_edge_upwards_is_caught_without_an_import() {
    for bad in [
        "fn f() { crate::data::conn::Conn::new(); }",
        "fn f(x: crate::data::conn::Conn) {}",
        "fn f(x: Option<&mut crate::data::conn::Conn>) {}",
        "fn f() -> impl crate::data::conn::Lend { }",
        "impl crate::data::conn::Lend for X {}",
        "fn f(x: u8) { match x { crate::data::conn::MAX => {} _ => {} } }",
        "fn f() { <crate::data::conn::Conn>::new(); }",
        "fn f() { <X as crate::data::conn::Lend>::lend(); }",
        "fn f() { super::super::super::data::conn::run(); }",
        "fn f() { crate::data::conn::log!(); }",
        "#[derive(crate::data::conn::Lend)] struct X;",
    ] {
        caught(FLOW, bad, "data::conn");
    }
}

#[test]
fn an_edge_upwards_is_caught_inside_a_macro() {
    for bad in [
        "fn f() { assert!(crate::data::conn::ready()); }",
        "fn f() { assert!(a, \"{}\", [super::super::super::data::conn::X]); }",
        "macro_rules! m { () => { $crate::data::conn::run() } }",
        "m! { use crate::{config_free, data::{conn, table}}; }",
        "m! { use crate::data::conn::*; }",
    ] {
        let found = server_with(FLOW, &format!("\n{bad}\n"));
        let blamed = |(line, reason): &(usize, String)| {
            *line == 2 && reason.contains("may not use `data::conn`")
        };
        assert!(found.iter().any(blamed), "{bad}: {found:?}");
    }
    clean(FLOW, "fn f() { assert!(super::Flow::ready(), \"crate::data::conn\"); }");
}

#[test]
fn an_edge_upwards_is_caught_behind_another_name() {
    caught(FLOW, "use crate as root; fn f() { root::data::conn::run(); }", "data::conn");
    caught(FLOW, "use super::super::super as up; use up::data as d;", "data");
    caught(FLOW, "use crate::*; fn f() { data::conn::run(); }", "data::conn");
    caught(FLOW, "extern crate self as me; fn f() { me::data::conn::run(); }", "data::conn");
    // Through a glob of a module that may be named to one that may not.
    caught(CONN, "use super::*; fn f() { worker::run(); }", "data::worker");
}

#[test]
fn what_only_looks_like_an_edge_is_clean() {
    for good in [
        "// use crate::data::conn;\n/* crate::data */ /// [`crate::data::conn`]\nfn f() {}",
        "const X: &str = \"use crate::data::conn;\";",
        "use super::Session; use crate::core::session::Flow; use self::inner::Y; mod inner {}",
        "pub(in crate::core::session) struct X; pub(super) struct Y; pub(crate) struct Z;",
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
fn an_async_runtime_is_for_the_control_plane_alone() {
    clean("src/control/signals.rs", "use tokio::signal::unix; fn f() { tokio::spawn(g()); }");
    for path in ["src/data/worker.rs", "src/telemetry/summary.rs", "src/cli/mod.rs", FLOW] {
        caught(path, "use tokio::sync::oneshot;", "tokio::sync::oneshot");
    }
    caught("src/data/worker.rs", "use tokio as t; fn f() { t::spawn(g()); }", "tokio::spawn");
    caught("src/data/worker.rs", "fn f() { tokio::select!(); }", "tokio::select");
    caught("src/data/worker.rs", "#[cfg(test)] mod tests { use tokio::time; }", "tokio::time");
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
    clean("src/core/sim.rs", "use proptest::prelude::*; fn f() { std::time::Instant::now(); }");
    caught("src/core/sim.rs", "use std::net::TcpStream;", "std::net::TcpStream");
    caught(FLOW, "use proptest::prelude::*;", "proptest::prelude");
    clean("src/data/worker.rs", "use mio::Poll; use std::io; use std::net::TcpStream;");
}

#[test]
fn the_parts_of_the_data_plane_know_neither_the_session_nor_each_other() {
    caught(TABLE, "use crate::core::session::Session;", "core::session");
    caught(TABLE, "use super::conn::Conn;", "data::conn");
    caught(TABLE, "use crate::data::orders;", "data::orders");
    caught(TABLE, "use super::Limits;", "data");
    caught(TABLE, "use super::*;", "data");
    clean(TABLE, "use slab::Slab; #[cfg(test)] mod tests { use super::*; }");
    clean(
        CONN,
        "use super::table::Table; use crate::core::session::Session; use crate::data::sys;",
    );
    clean(
        "src/data/worker.rs",
        "use super::conn::Conn; use super::table; fn f() { table::Table::new(); }",
    );
    caught(CONN, "use crate::cli::run;", "cli");
}

#[test]
fn the_program_sees_the_command_line_only() {
    clean("src/main.rs", "use ppserver::cli; fn main() { ppserver::cli::run(); crate::main(); }");
    caught("src/main.rs", "fn main() { ppserver::data::worker::run(); }", "data::worker");
    caught("src/main.rs", "use ::ppserver::{cli, core::session::Session};", "core::session");
    caught("src/main.rs", "use ppserver::Session;", "lib");
}

#[test]
fn a_name_of_the_crates_root_has_no_layer_and_the_root_re_exports_nothing() {
    caught("src/data/worker.rs", "use crate::Session;", "lib");
    caught("src/lib.rs", "mod core; pub use core::session::Session;", "core::session");
    caught("src/lib.rs", "pub use crate::data::worker::run;", "data::worker");
}

#[test]
fn a_module_without_a_layer_is_an_error_that_says_where_to_add_it() {
    for (path, text, name, line) in [
        ("src/new_thing.rs", "", "new_thing", 1),
        ("src/new_thing/mod.rs", "", "new_thing", 1),
        ("src/data/new_thing.rs", "", "data::new_thing", 1),
        ("src/lib.rs", "\nmod new_thing {}", "new_thing", 2),
    ] {
        let found = server_with(path, text);
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        assert_eq!(found[0].0, line);
        assert!(found[0].1.contains(&format!("`{name}` has no layer: add it to")));
    }
    clean("src/core/session/new_thing.rs", "");
    clean("src/data/worker.rs", "#[cfg(test)] mod tests {}");
}

#[test]
fn a_module_moved_by_an_attribute_is_caught() {
    let found =
        server_with("src/core/session/mod.rs", "\n#[path = \"../../data/conn.rs\"] mod conn;");
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
fn pptrust_has_no_socket_and_no_clock() {
    let trust_with = |text: &str| {
        let manifest = Source::new("crates/pptrust/Cargo.toml", "[dependencies]\nppcore = \"1\"\n");
        let sources = [manifest, Source::new("crates/pptrust/src/intro.rs", text)];
        check_trust(&sources).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for bad in [
        "use std::net::TcpStream;",
        "use std::io::Read;",
        "fn f() { std::io::Error::last_os_error(); }",
        "fn f() { std::thread::yield_now(); }",
        "fn f() -> std::time::Instant { std::time::Instant::now() }",
    ] {
        let found = trust_with(bad);
        assert_eq!(found.len(), 1, "{bad}: {found:?}");
        assert!(found[0].starts_with("crates/pptrust/src/intro.rs:1: "), "{found:?}");
    }
    for good in [
        "use std::net::SocketAddr; use std::sync::Arc; use ppcore::Header; use crate::policy::Trust;",
        "use std::io::{Error, ErrorKind}; fn f() -> ErrorKind { ErrorKind::Interrupted }",
        "#[cfg(test)] mod tests { use std::net::UdpSocket; }",
    ] {
        assert_eq!(trust_with(good), [""; 0], "{good}");
    }
}

#[test]
fn the_table_names_only_its_own_modules_and_has_no_way_back_up() {
    let position = |name: &str| layers().position(|layer| layer.name == name);
    for (index, layer) in layers().enumerate() {
        assert_eq!(position(layer.name), Some(index), "`{}` stands twice", layer.name);
        for used in layer.uses {
            let lower = position(used).unwrap_or_else(|| panic!("`{used}` has no row"));
            assert!(lower > index, "`{}` -> `{used}` leads up", layer.name);
        }
    }
}
