//! `healthcheck`: is it ready? For images without curl.

use std::process::ExitCode;
use std::time::Duration;

use super::Admin;
use crate::cli::{Exit, Failure, answer};
use crate::config::Door;
use crate::control::client::{self, Verb};

/// How long an answer may take: less than any orchestrator waits.
const TIME: Duration = Duration::from_secs(3);

/// What is asked for where nothing is said.
const READY: &str = "/readyz";

const HELP: &str = "\
Without a URL it asks the admin door for /readyz. Prints the answer; exit 0 for a status of 2xx, 1 for anything \
else and where nobody answers within 3 s.

Examples:
  HEALTHCHECK CMD [\"/ppserver\", \"healthcheck\"]
  ppserver healthcheck http://127.0.0.1:9464/livez
  ppserver healthcheck http://127.0.0.1:8080          # asks for /readyz";

/// Asks whether a server is ready: exit 0 or 1
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(in crate::cli) struct Args {
    /// What to ask instead of the admin door; without a path, or with `/` alone, /readyz of it
    #[arg(value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    admin: Admin,
}

/// Runs the command.
pub(in crate::cli) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let (door, path) = match &args.url {
        Some(url) => parse(url).map_err(|why| Failure::new(Exit::Failed, why))?,
        None => (args.admin.door().clone(), READY.to_owned()),
    };
    let asked = client::ask(&door, Verb::Get, &path, TIME);
    let asked = asked.map_err(|error| super::unreachable(&door, &error))?;
    let body = String::from_utf8_lossy(&asked.body);
    // A stranger's bytes stay away from the terminal.
    let line: String = body
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    answer(format!("{} {line}\n", asked.status).as_bytes())?;
    Ok(if (200..300).contains(&asked.status) { Exit::Ok } else { Exit::Failed }.into())
}

/// Takes a URL apart: where to ask, and for what.
fn parse(url: &str) -> Result<(Door, String), String> {
    let rest = match url.split_once("://") {
        Some(("http", rest)) => rest,
        Some((scheme, _)) => return Err(format!("`{scheme}` is not asked here, only http")),
        None => url,
    };
    let (host, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    // RFC 9110, section 4.2.3: an empty path and "/" are the same.
    let path = if path == "/" { READY } else { path };
    if host.is_empty() {
        return Err(format!("`{url}` names no host: http://127.0.0.1:9464/livez, for example"));
    }
    let port = host.rsplit_once(':').map(|(_, port)| port);
    let has_port = port.is_some_and(|port| port.parse::<u16>().is_ok());
    let host = if has_port { host.to_owned() } else { format!("{host}:80") };
    Ok((Door::Address(host), path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_asks_whether_it_is_ready() {
        for (url, host, path) in [
            ("http://127.0.0.1:9464", "127.0.0.1:9464", "/readyz"),
            ("http://127.0.0.1:9464/", "127.0.0.1:9464", "/readyz"),
            ("http://127.0.0.1:9464/?", "127.0.0.1:9464", "/?"),
            ("http://[::1]:9464/livez", "[::1]:9464", "/livez"),
            ("localhost:9464/a?b", "localhost:9464", "/a?b"),
            ("http://web", "web:80", "/readyz"),
            ("http://[::1]", "[::1]:80", "/readyz"),
        ] {
            assert_eq!(parse(url), Ok((Door::Address(host.to_owned()), path.to_owned())), "{url}");
        }
        for bad in ["https://web/", "/livez", "http:///livez", ""] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
