//! How the program is linked: no start files, no libraries, nothing dynamic.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=thumbv7em.ld");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo names the target to a build script");
    let package = env::var("CARGO_MANIFEST_DIR").expect("cargo names the package's directory");
    let script = format!("-T{package}/thumbv7em.ld");
    let arguments: &[&str] = match arch.as_str() {
        "x86_64" => &["-nostartfiles", "-nostdlib", "-static", "-no-pie"],
        "arm" => &[&script],
        "wasm32" => &["--export=check", "--no-entry"],
        other => panic!("there is no src/{other}.rs"),
    };
    for argument in arguments {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
