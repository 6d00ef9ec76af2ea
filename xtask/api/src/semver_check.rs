//! What a version promises: nothing of the last release's public API is gone, or the version says so.
//!
//! Reads two listings and two versions. What came is not judged: that an enum which is not `non_exhaustive` has one more
//! variant, or a trait one more method to write, breaks users and is not seen here.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use semver::{Version, VersionReq};
use tools::git::git;

use crate::missing;

/// That of the workspace, which is this package's too.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Holds docs/public-api against what the last tag `vX.Y.Z` before this commit has there.
///
/// # Errors
/// When something is gone and this version does not say so, or git does not answer.
pub(crate) fn run(libraries: &[&str]) -> Result<()> {
    let Some(tag) = last_release()? else {
        println!("no tag vX.Y.Z before this commit: no release whose API must stay");
        return Ok(());
    };
    let mut gone = Vec::new();
    for library in libraries {
        let file = Path::new("docs/public-api").join(library).with_extension("txt");
        let before = git(&["show", &format!("{tag}:{}", file.display())])?;
        let now = fs::read_to_string(&file);
        let now = now.with_context(|| format!("reading {}", file.display()))?;
        gone.extend(missing(&before, &now).into_iter().map(str::to_owned));
    }
    judge(&tag, VERSION, &gone)?;
    println!("{VERSION} keeps what users of {tag} were promised");
    Ok(())
}

/// Returns the newest tag of a release that this commit has behind it, if there is one.
fn last_release() -> Result<Option<String>> {
    let merged = git(&["tag", "--list", "v[0-9]*", "--merged", "HEAD", "--sort=-version:refname"])?;
    Ok(merged.lines().next().map(str::to_owned))
}

/// Judges whether a version may have lost these items of a release's.
fn judge(tag: &str, version: &str, gone: &[String]) -> Result<()> {
    let released = tag.strip_prefix('v').unwrap_or(tag);
    let compatible = VersionReq::parse(&format!("^{released}"));
    let compatible = compatible.with_context(|| format!("the tag {tag} is no version"))?;
    let version = Version::parse(version).context("the workspace's version")?;
    if gone.is_empty() || !compatible.matches(&version) {
        return Ok(());
    }
    bail!(
        "{version} counts as compatible with {tag}, whose users lose this; raise the version in Cargo.toml, or bring it \
         back:\n{}",
        gone.join("\n")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_or_another_needs_a_version_that_says_so() {
        let gone = missing("fn a(u8)\nfn b()\n", "fn a(u16)\nfn b()\nfn c()\n");
        assert_eq!(gone, ["fn a(u8)"]);
        let gone: Vec<_> = gone.into_iter().map(str::to_owned).collect();
        for (tag, version, is_fine) in [
            ("v0.1.0", "0.1.0", false),
            ("v0.1.0", "0.1.1", false),
            ("v0.1.9", "0.2.0", true),
            ("v1.2.0", "1.3.0", false),
            ("v1.2.0", "2.0.0", true),
        ] {
            assert_eq!(judge(tag, version, &gone).is_ok(), is_fine, "{tag} {version}");
            assert!(judge(tag, version, &[]).is_ok());
        }
        assert!(judge("vnext", "0.1.0", &gone).is_err());
    }
}
