//! From a configuration to a service: what may block comes first, listening last.
//!
//! ```text
//! read -> descriptors -> open the access log -> resolve names -> workers -> listen -> say so
//! ```
//!
//! Invariant: no client is let in who might wait for anything of this, and a start that is dropped on its way
//! leaves nothing behind but a thread that hangs.

use super::error::{ServerError, system};
use super::prepare::Source;
use super::running::Running;
use super::service::Service;
use super::workers::Workers;
use super::{announce, limits, prepare};
use crate::data::sys;
use crate::telemetry::log;

/// Starts to serve.
///
/// # Errors
/// See [`ServerError`].
pub(super) async fn start(source: Source) -> Result<Running, ServerError> {
    let (loaded, file) = match source {
        Source::File(file) => (prepare::read(&file).await?, Some(file)),
        Source::Flags(loaded) => (*loaded, None),
    };
    log::follow(&loaded.config.log).map_err(system("cannot start the log"))?;
    announce::warnings(&loaded.warnings);
    let descriptors = sys::raise_descriptor_limit();
    let descriptors = descriptors.map_err(system("cannot raise the descriptor limit"))?;
    let count = loaded.config.server.workers.or(limits::host().cpus);
    let prepared = prepare::prepare(loaded.config, None).await?;
    let mut service = Service::new(Workers::start(count)?, descriptors);
    let (following, replies) = service.follow(prepared)?;
    replies.all().await?;
    service.announce(&following);
    Ok(Running { service, plan: following.plan, file })
}
