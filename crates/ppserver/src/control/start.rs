//! From a configuration to a service: what may block comes first, listening last.
//!
//! ```text
//! read -> descriptors -> open the access log -> follow names -> workers | listen -> say so
//! ```
//!
//! Invariant: up to the bar a start can be dropped, and leaves nothing behind but a thread that hangs; behind
//! it clients may be there, and nothing takes long.

use super::data_plane::Service;
use super::error::{ServerError, system};
use super::handover::{Legacy, Parcel};
use super::input::Input;
use super::names::Names;
use super::prepare::{ConfigFile, Prepared, Source, WaitForNames};
use super::running::Running;
use super::workers;
use super::{announce, limits, notify, prepare, privileges, transparent};
use crate::data::sys;
use crate::telemetry::log;

/// A service that can listen.
#[derive(Debug)]
pub(super) struct Ready {
    service: Service,
    prepared: Prepared,
    names: Names,
    file: Option<ConfigFile>,
    input: Option<Input>,
}

/// Does what may take long; `parcels` are ports that another process has left.
///
/// # Errors
/// See [`ServerError`].
pub(super) async fn prepare(
    source: Source,
    wait: WaitForNames,
    parcels: Vec<Parcel>,
) -> Result<Ready, ServerError> {
    let (loaded, file, input) = match source {
        Source::File(file) => (prepare::read(&file).await?, Some(file), None),
        Source::Stdin(overrides) => {
            let input = Input::read().await?;
            (prepare::parse(&input, &overrides)?, None, Some(input))
        }
        Source::Flags(loaded) => (*loaded, None, None),
    };
    let spoofing = match transparent::is_asked_for(&loaded.config) {
        true => Ok(()),
        false => privileges::give_up_spoofing(),
    };
    log::follow(&loaded.config.log).map_err(system("cannot start the log"))?;
    workers::log_panics();
    if let Err(error) = spoofing {
        tracing::warn!(%error, "a privilege could not be given up");
    }
    announce::warnings(&loaded.warnings);
    let descriptors = sys::raise_descriptor_limit();
    let descriptors = descriptors.map_err(system("cannot raise the descriptor limit"))?;
    let count = loaded.config.server.workers.or(limits::host().cpus);
    let names = Names::new();
    let prepared = prepare::prepare(loaded.config, None, &names, wait).await?;
    let service = Service::new(count, descriptors, parcels)?;
    Ok(Ready { service, prepared, names, file, input })
}

/// Listens, and says so, first to whoever has handed over.
///
/// # Errors
/// When a port is not to be had, or a worker fails.
pub(super) async fn listen(ready: Ready, legacy: Option<&Legacy>) -> Result<Running, ServerError> {
    let Ready { mut service, prepared, names, file, input } = ready;
    let (following, replies) = service.follow(prepared)?;
    replies.all().await?;
    if let Some(legacy) = legacy {
        let parcels = service.parcels(Some(&following)).map_err(system("cannot hand over"))?;
        let served = legacy.serves(&parcels).await;
        served.map_err(system("whoever hands over has given it up"))?;
    }
    let generation = legacy.map_or(1, |legacy| legacy.generation);
    let mut running = Running::new(service, following, file, names, generation);
    running.input = input;
    if legacy.is_none() {
        notify::ready();
    }
    Ok(running)
}
