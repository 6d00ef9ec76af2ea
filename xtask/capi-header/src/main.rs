//! The C library's header, written anew: `cargo xtask capi header` runs it.
//!
//! A package of its own, since cbindgen takes longer to build than all of what installs the library.
//! Invariant: the checked-in header is what cbindgen makes of the sources; a test here compares.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};

const CRATE: &str = "crates/ppcapi";
const HEADER: &str = "crates/ppcapi/include/ppcapi.h";

fn main() -> Result<()> {
    tools::enter_workspace()?;
    fs::write(HEADER, header(Path::new(CRATE))?).context(HEADER)?;
    eprintln!("{HEADER} is written");
    Ok(())
}

/// Makes the header of the crate's sources.
fn header(of: &Path) -> Result<String> {
    let config = cbindgen::Config::from_file(of.join("cbindgen.toml"))
        .map_err(|error| anyhow!("cbindgen.toml: {error}"))?;
    let builder = cbindgen::Builder::new().with_config(config).with_src(of.join("src/lib.rs"));
    let bindings = builder.generate().context("cbindgen cannot read the sources")?;
    let mut text = Vec::new();
    bindings.write(&mut text);
    Ok(String::from_utf8(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_header_is_what_the_sources_say() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let made = header(&root.join(CRATE)).unwrap();
        let checked_in = fs::read_to_string(root.join(HEADER)).unwrap();
        assert!(made == checked_in, "{HEADER} is stale: cargo xtask capi header");
    }
}
