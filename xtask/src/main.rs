//! The project's own commands: `cargo xtask test` is the whole gate, `cargo xtask tidy` one of its
//! steps, `embed`, `api` and `package` others; `book` makes a website of the documentation, `capi` installs the C library,
//! `recipes` applies those for AWS and Kubernetes; `bench` compares us with others; `sim` and
//! `mutants` try the session's machine, `soak` and `torment` the whole server, `fuzz`, `miri` and
//! `sanitize` what chance and the compiler find.
//!
//! Not a build script and not a task runner for everything: a command lives here only when the
//! project needs it on every machine. It needs a Rust toolchain and nothing else to start.
#![expect(clippy::print_stdout, reason = "this is a command line: its output is its product")]

mod api;
mod book;
mod capi;
mod clock;
mod deny;
mod dist;
mod embed;
mod fuzz;
mod gate;
mod instructions;
mod lab;
mod markdown;
mod mutants;
mod nightly;
mod package;
mod peers;
mod recipes;
mod sim;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole gate, or the steps named
    ///
    /// Every step prints a heading and streams its output. The first step that fails ends the run
    /// with a table of times and the command that runs that step alone.
    Test {
        /// Run only this step (repeatable); without it all of them run, in the order listed
        #[arg(long = "step", value_name = "NAME")]
        steps: Vec<gate::Step>,
        /// A first look: fmt, tidy and units alone, which install nothing
        #[arg(long, conflicts_with = "steps")]
        quick: bool,
    },
    /// Check the rules of the sources that no compiler checks: layers, unsafe, text, links
    Tidy,
    /// Build the libraries for other systems and compilers, and link ppcore where there is no system
    ///
    /// rustup installs the targets and the compiler. Prints the size of a program that holds all of
    /// ppcore, for each platform, and fails if one of them can panic or allocate.
    Embed,
    Api(api::ApiArgs),
    /// Pack what would be published, and build it outside the workspace
    ///
    /// A project on the libraries runs, and the programs are checked with the oldest compiler, which rustup installs.
    Package,
    Fuzz(fuzz::FuzzArgs),
    /// Build the documentation as a website that can be searched, in target/book/html; needs mdBook
    Book,
    Capi(capi::CapiArgs),
    /// Compare ourselves with HAProxy, nginx and Envoy under the same load
    Bench(lab::LabArgs),
    /// Chaos at a constant rate: what is lost, what leaks, what drifts
    Soak(lab::LabArgs),
    /// Torment proxies with every kind of odd session, one kind at a time
    Torment(lab::LabArgs),
    Sim(sim::SimArgs),
    Mutants(mutants::MutantsArgs),
    /// Interpret ppcore, and what is pure in ppserver, with Miri; installs a nightly toolchain
    Miri,
    Sanitize(nightly::SanitizeArgs),
    Deny(deny::DenyArgs),
    /// Apply and validate the recipes for AWS and Kubernetes; takes terraform, moto, kubectl and kubernetes-validate
    ///
    /// The other recipes are run by the gate. Says how to get a program that is missing. Where Terraform's registry
    /// cannot be reached, TF_CLI_ARGS_init=-plugin-dir=DIR names a directory of providers.
    Recipes,
    /// Build what is published of ppserver: static programs, archives, packages, an image
    Dist(dist::DistArgs),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    tools::enter_workspace()?;
    match &arguments.command {
        Command::Test { quick: true, .. } => gate::run_quick(),
        Command::Test { steps, .. } => gate::run(steps),
        Command::Tidy => tidy::run(Path::new(".")),
        Command::Embed => embed::check(),
        Command::Api(args) => api::run(args),
        Command::Package => package::check(),
        Command::Fuzz(args) => fuzz::run(args),
        Command::Book => book::build(),
        Command::Capi(args) => capi::run(args),
        Command::Bench(args) => lab::become_command("bench", args).map(drop),
        Command::Soak(args) => lab::become_command("soak", args).map(drop),
        Command::Torment(args) => lab::become_command("torment", args).map(drop),
        Command::Sim(args) => sim::run(args),
        Command::Mutants(args) => mutants::run(args),
        Command::Miri => nightly::miri(),
        Command::Sanitize(args) => nightly::sanitize(args),
        Command::Deny(args) => deny::run(args),
        Command::Recipes => recipes::run(),
        Command::Dist(args) => dist::become_command(args).map(drop),
    }
}
