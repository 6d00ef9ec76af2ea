//! What the names of a configuration stand for now, for who only wants to know.
//!
//! Asks as a server does, and follows nobody.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::timeout;

use super::names::{Known, Names};
use crate::config::Config;

/// How long is waited for all of them: three servers, twice each, and a search list.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What a name or file stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    /// The upstream that has it among its endpoints.
    pub upstream: String,
    /// As it is written there.
    pub name: String,
    /// What it stands for.
    pub addrs: Vec<SocketAddr>,
    /// Why it is not known, or not all of it.
    pub why: Option<String>,
}

/// Asks for all names of a configuration. Blocks.
///
/// # Errors
/// When descriptors are used up.
pub fn names(config: &Config) -> io::Result<Vec<Meaning>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let known = runtime.block_on(async {
        let followed = Names::new().follow(config);
        // Who has not answered by then has no answer.
        drop(timeout(TIMEOUT, followed.settled()).await);
        followed.known()
    });
    runtime.shutdown_background();
    let meaning = |Known { upstream, name, addrs, why }| {
        let upstream = config.upstreams[upstream].name.clone();
        let late = || addrs.is_empty().then(|| "no answer in time".to_owned());
        Meaning { upstream, name, why: why.or_else(late), addrs }
    };
    Ok(known.into_iter().map(meaning).collect())
}
