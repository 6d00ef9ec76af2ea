//! Arguments in, an exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    ppserver::cli::main()
}
