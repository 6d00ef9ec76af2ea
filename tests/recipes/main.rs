//! The recipes of docs/recipes, run with the files that a reader copies.
//!
//! Each test has a network namespace of its own, with a namespace behind it for each host of the recipe, so ports are
//! free and the addresses that the files name are there. Invariant: no file is changed on its way; what a test adds, as
//! a certificate or a zone, is what a reader has already, and it lies where the page says that it does.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "shared with the interop tests, which use all of it")]
mod common;
#[path = "../e2e/support/namespace.rs"]
mod namespace;
mod rig;

mod dns;
mod ecmp;
mod fargate;
mod games;
mod in_front;
mod kubernetes;
mod mail;
mod pages;
mod spectrum;
mod ssh;
