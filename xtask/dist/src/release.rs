//! What is released: version, commit and date.
//!
//! Invariant: the date is the commit's, so nothing that is built knows when it was built.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::Result;
use tools::git::git;

use crate::target::Target;

/// Whom packages name. There is no address yet; docs/releasing.md says where one goes.
pub(crate) const MAINTAINER: &str = "The ppserver developers <ppserver@localhost>";

/// What this clone holds.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    pub(crate) version: &'static str,
    /// Which packing of this version it is, from 1.
    pub(crate) revision: u32,
    /// Twelve digits, as `ppserver --version` has them.
    pub(crate) commit: String,
    /// When it was committed, in seconds since 1970: SOURCE_DATE_EPOCH.
    pub(crate) epoch: u32,
    /// The same, as a changelog of Debian says it.
    pub(crate) date: String,
}

impl Release {
    /// Asks git.
    ///
    /// # Errors
    /// When this is no clone.
    pub(crate) fn of_this_clone() -> Result<Self> {
        if !git(&["status", "--porcelain"])?.is_empty() {
            eprintln!("warning: what is built has changes that are not committed");
        }
        Ok(Self {
            version: env!("CARGO_PKG_VERSION"),
            revision: 1,
            commit: git(&["rev-parse", "--short=12", "HEAD"])?,
            epoch: git(&["show", "--no-patch", "--format=%ct", "HEAD"])?.parse()?,
            date: git(&["show", "--no-patch", "--date=rfc2822-local", "--format=%cd", "HEAD"])?,
        })
    }

    /// What everything that is published for a target is named.
    pub(crate) fn name(&self, target: Target) -> String {
        format!("ppserver-{}-{}", self.version, target.triple())
    }

    /// One of them.
    pub(crate) fn file(&self, target: Target, extension: &str) -> String {
        format!("{}.{extension}", self.name(target))
    }

    /// The version of a package.
    pub(crate) fn packaged(&self) -> String {
        format!("{}-{}", self.version, self.revision)
    }

    /// As in RFC 3339.
    pub(crate) fn timestamp(&self) -> String {
        let time = UNIX_EPOCH + Duration::from_secs(self.epoch.into());
        humantime::format_rfc3339_seconds(time).to_string()
    }
}

/// The files of this clone, as git lists them.
///
/// # Errors
/// When this is no clone.
pub(crate) fn files() -> Result<Vec<String>> {
    let listed = git(&["ls-files", "--cached", "--others", "--exclude-standard", "-z"])?;
    Ok(listed.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}
