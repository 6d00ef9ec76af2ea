//! The dashboard in a real browser, in front of a real server with real traffic.
//!
//! Chromium shows it; one that is missing fails the tests with the line that installs it. Pictures for the docs are
//! taken by `DASHBOARD_PHOTOS=docs/images cargo test -p ppserver --test dashboard photos`.

mod browser;
#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "shared with the interop tests, which use all of it")]
mod common;
mod looks;
mod many;
mod page;
mod served;
mod text;
