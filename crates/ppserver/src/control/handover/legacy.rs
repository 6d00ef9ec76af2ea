//! What a process finds that another one has started to take over from it.
//!
//! Invariant: the other one learns what comes of it: it serves, or why not.

use std::env;
use std::io;
use std::os::fd::RawFd;

use rustix::net::SocketType;
use tokio::time::timeout;

use super::channel::Channel;
use super::keeper::Keeper;
use super::words::{PROTOCOL, Word};
use super::{Parcel, TIMEOUT, VARIABLE};
use crate::data::sys;

/// The words of a failure that are passed on, in bytes.
const WHY_BYTES_MAX: usize = 32 * 1024;

/// What another process has left to this one.
#[derive(Debug)]
pub(in crate::control) struct Legacy {
    channel: Channel,
    /// How often there has been a handover, counted from 1.
    pub(in crate::control) generation: u32,
    is_supervised: bool,
    parcels: Vec<Parcel>,
}

impl Legacy {
    /// Takes what there is; `None` if nobody hands over. To be called once, inside of a runtime.
    ///
    /// # Errors
    /// When somebody does, and it fails.
    pub(in crate::control) async fn take() -> io::Result<Option<Self>> {
        let Some(number) = env::var_os(VARIABLE) else { return Ok(None) };
        let number = number.to_str().and_then(|number| number.parse::<RawFd>().ok());
        let broken = |why: &str| io::Error::other(format!("{VARIABLE}: {why}"));
        let number = number.ok_or_else(|| broken("it is no descriptor"))?;
        let end = sys::inherited(number, SocketType::SEQPACKET)
            .map_err(|_| broken("it is no handover's descriptor"))?;
        let channel = Channel::of(end)?;
        let taken = timeout(TIMEOUT, receive(&channel)).await;
        let taken = taken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let (generation, is_supervised, parcels) =
            taken.map_err(|error| broken(&error.to_string()))?;
        Ok(Some(Self { channel, generation, is_supervised, parcels }))
    }

    /// Whether this process is to be another one's, by this environment.
    pub(in crate::control) fn is_there() -> bool {
        env::var_os(VARIABLE).is_some()
    }

    /// Returns whoever goes on holding the sockets, if somebody does.
    pub(in crate::control) fn into_keeper(self) -> Option<Keeper> {
        self.is_supervised.then(|| Keeper::new(self.channel))
    }

    /// Returns the ports that were given.
    pub(in crate::control) fn take_parcels(&mut self) -> Vec<Parcel> {
        std::mem::take(&mut self.parcels)
    }

    /// Says that this process serves, and where.
    ///
    /// # Errors
    /// When the other one has given it up.
    pub(in crate::control) async fn serves(&self, ports: &[Parcel]) -> io::Result<()> {
        self.channel.send_parcels(ports).await?;
        self.channel.send(&Word::Ready, &[]).await
    }

    /// Says that it does not.
    pub(in crate::control) async fn fails(self, why: &str) {
        let len = (0..=WHY_BYTES_MAX.min(why.len())).rfind(|len| why.is_char_boundary(*len));
        let why = why[..len.unwrap_or_default()].to_owned();
        // The other one may have gone.
        drop(self.channel.send(&Word::Failed { why }, &[]).await);
    }
}

async fn receive(channel: &Channel) -> io::Result<(u32, bool, Vec<Parcel>)> {
    let mut terms = None;
    let mut parcels: Vec<Parcel> = Vec::new();
    while let Some((word, sockets)) = channel.receive().await? {
        match (word, terms) {
            (Word::Hello { protocol: PROTOCOL, generation, is_supervised }, None) => {
                terms = Some((generation, is_supervised));
            }
            (Word::Hello { protocol, .. }, None) => {
                let why = format!("it is spoken in version {protocol}, and this is {PROTOCOL}");
                return Err(io::Error::other(why));
            }
            (Word::Sockets(name), Some(_)) => Parcel::add(&mut parcels, name, sockets),
            (Word::Complete, Some((generation, is_supervised))) => {
                return Ok((generation, is_supervised, parcels));
            }
            (word, _) => return Err(io::Error::other(format!("{word:?} is out of place"))),
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}
