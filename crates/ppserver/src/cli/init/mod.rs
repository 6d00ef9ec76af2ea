//! `init`: configurations to begin with, one for each place that ppserver mostly stands in.
//!
//! Each is a file beside this one. Invariant: it passes `check` without a warning, runs, and says why where it differs
//! from a default.

use std::process::ExitCode;

use clap::ValueEnum;

use crate::cli::{Exit, Failure, answer};

const HELP: &str = "\
Examples:
  ppserver init --for aws-nlb > ppserver.toml
  ppserver check -c ppserver.toml
  ppserver init --for                                # lists them

Exit codes:
  0  printed
  2  wrong arguments, or stdout cannot be written";

/// Prints a configuration to begin with
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// Where it is to stand; without a word, the list of them
    #[arg(long = "for", value_name = "PLACE", num_args = 0..=1)]
    place: Option<Option<Place>>,
}

/// Where ppserver stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Place {
    /// Behind an AWS Network Load Balancer, on ECS, Fargate or EC2
    AwsNlb,
    /// Behind Cloudflare Spectrum, TCP and UDP
    Cloudflare,
    /// In a cluster, behind a Service of type LoadBalancer
    Kubernetes,
    /// Behind HAProxy, or nginx's stream module
    Haproxy,
    /// In front of Postfix and Dovecot
    Mail,
    /// In front of sshd, which takes no header
    Ssh,
}

impl Place {
    fn configuration(self) -> &'static str {
        match self {
            Self::AwsNlb => include_str!("aws-nlb.toml"),
            Self::Cloudflare => include_str!("cloudflare.toml"),
            Self::Kubernetes => include_str!("kubernetes.toml"),
            Self::Haproxy => include_str!("haproxy.toml"),
            Self::Mail => include_str!("mail.toml"),
            Self::Ssh => include_str!("ssh.toml"),
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    match args.place.flatten() {
        Some(place) => answer(place.configuration().as_bytes())?,
        None => answer(list().as_bytes())?,
    }
    Ok(Exit::Ok.into())
}

fn list() -> String {
    let values = Place::value_variants().iter().filter_map(Place::to_possible_value);
    let lines = values.map(|value| {
        let help = value.get_help().map(ToString::to_string).unwrap_or_default();
        format!("ppserver init --for {:<12} # {help}\n", value.get_name())
    });
    lines.collect()
}
