//! Listeners whose connections know the client's address, by the PROXY protocol.
//!
//! Behind a load balancer every connection comes from the balancer. Wrap the listener, say whose
//! word counts, and [`peer_addr`](Stream::peer_addr) is the client again:
//!
//! ```no_run
//! # #[cfg(feature = "std")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let trust = ppnet::Trust::networks(["10.0.0.0/8"])?; // the balancers; there is no default
//! let listener = ppnet::Listener::bind("0.0.0.0:8080", trust)?;
//! for stream in listener.incoming() {
//!     match stream {
//!         Ok(stream) => println!("{} calls", stream.peer_addr()),
//!         // Mostly for want of descriptors: connections that end give some back.
//!         Err(_) => std::thread::sleep(std::time::Duration::from_millis(100)),
//!     }
//! }
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "std"))]
//! # fn main() {}
//! ```
//!
//! | feature | brings | default |
//! |---|---|---|
//! | `std` | `Listener`, `handshake`, `connect`: blocking, on TCP and UNIX sockets of std | yes |
//! | `tokio` | `tokio::Listener`, `tokio::handshake`, `tokio::connect` | |
//! | `axum` | `axum::serve::Listener` and `ConnectInfo`; brings `tokio` | |
//! | `tonic` | `Connected`, for `serve_with_incoming` and `remote_addr()`; brings `tokio` | |
//! | `rustls` | `tls::Listener`: TLS behind the header, for all of these; brings `tokio` | |
//! | `bytes` | headers as `bytes::Bytes`; an encoded one and [`Stream::into_inner`]'s payload turn into it as they are | |
//!
//! With any of them come [`Stream`], [`Config`] and, for UDP, [`datagram`]; without, there are
//! [`Trust`], [`Networks`] and [`Greeting`]. Rust 1.85 or later; `tonic` has what it needs itself, in its later
//! versions 1.88.
//!
//! # What holds for every listener
//!
//! - **It cannot be made without a [`Trust`].** Whoever may send a header chooses the address you
//!   see (spec 2), so a peer outside is closed before a byte of it is read.
//! - **A silent client does not hold up the next one, nor does a crowd.** Headers are read beside accepting,
//!   each until [`Config::header_timeout`] after its accept; beyond [`Config::handshakes_max`] the oldest
//!   is shed.
//! - **A bad header ends its connection and nothing else**; [`Config::on_refused`] hears of it, with the first bytes
//!   and what they look like ([`Refused`]).
//! - **No address is made up.** On a UNIX socket ([`Listener::bind_unix`]) it is an [`Addr`], which may have no name.
//! - **Nobody on the way is lost either** when a server stops: [`Listener::drain`] closes the socket and hands
//!   out the rest.
//! - **No payload byte is lost.** What arrives behind the header is kept and read first, also through
//!   vectored reads, split halves and [`Stream::into_inner`].
//!
//! Headers are read in bulk, payload and all, and what is payload is kept. One `recv` takes the header
//! and a first request; reading no byte too many takes 3 for a v2 header and 5 to 9 for a v1 line, and
//! one more for the request.
//!
//! Servers made of tower services take the listeners as they are: each is a `futures_core::Stream` of connections, which
//! is what `serve_with_incoming` of tonic and others want, and what a service has to know of one, its [`Endpoints`], is
//! `Clone`: axum's `ConnectInfo`, or an extension that an accept loop of yours puts into its requests. There is no layer: a header is read once a
//! connection, in front of whatever protocol a service speaks.
//!
//! What may grow is `#[non_exhaustive]`: [`Policy`] and the errors.
//!
//! Section numbers are those of HAProxy's `doc/proxy-protocol.txt`.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "std")]
mod blocking;
#[cfg(any(feature = "std", feature = "tokio"))]
mod incoming;
#[cfg(feature = "rustls")]
pub mod tls;
#[cfg(feature = "tokio")]
pub mod tokio;
#[cfg(feature = "tonic")]
mod tonic;

#[cfg(all(feature = "std", unix))]
pub use blocking::connect_unix;
#[cfg(feature = "std")]
pub use blocking::{Drain, Incoming, Listener, Socket, connect, handshake};
#[cfg(any(feature = "std", feature = "tokio"))]
pub use incoming::{Addr, Address, Config, Endpoints, Reason, Refused, Silence, Stream, datagram};
pub use pptrust::{
    AsHeader, Greeting, NetworkError, Networks, Policy, Received, Trust, parse_network,
};

/// The decoder underneath: what a [`Received`] header says, and what a decoder accepts.
pub use ppcore;
/// The rules underneath, which need no socket: what is not a listener's comes from there.
pub use pptrust;

#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
struct Readme;

// The front pages of the repository show these listeners.
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../../../README.md")]
struct FrontPage;
#[cfg(all(doctest, feature = "axum"))]
#[doc = include_str!("../../../README.ja.md")]
struct FrontPageInJapanese;
