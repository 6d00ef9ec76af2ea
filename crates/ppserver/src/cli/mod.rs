//! The subcommands, one file each: arguments in, an exit code out.

pub mod check;
