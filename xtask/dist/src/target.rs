//! The kinds of machine that are built for, and what each format calls them.

use anyhow::{Result, bail};
use clap::ValueEnum;

/// Linux without a C library of its own: one program for every distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    #[value(name = "x86_64-unknown-linux-musl")]
    X86_64,
    #[value(name = "aarch64-unknown-linux-musl")]
    Aarch64,
}

impl Target {
    /// The one whose programs run here.
    ///
    /// # Errors
    /// On other processors, and where there is no Linux.
    pub(crate) fn of_this_machine() -> Result<Self> {
        if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            return Ok(Self::X86_64);
        }
        if cfg!(all(target_os = "linux", target_arch = "aarch64")) {
            return Ok(Self::Aarch64);
        }
        bail!("manual pages come out of the program itself: start this on Linux, x86-64 or aarch64")
    }

    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
            Self::Aarch64 => "aarch64-unknown-linux-musl",
        }
    }

    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    pub(crate) fn rpm(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// As Go calls it, whose names images have.
    pub(crate) fn image(self) -> &'static str {
        self.debian()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_named_by_its_triple() {
        for &target in Target::value_variants() {
            assert_eq!(Target::from_str(target.triple(), false), Ok(target));
        }
    }
}
