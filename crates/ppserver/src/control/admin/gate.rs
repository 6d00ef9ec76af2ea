//! Which requests are let in, by the door they come through.
//!
//! | door | lets in |
//! |---|---|
//! | UNIX socket, mode 0600 | all |
//! | TCP on loopback | what changes nothing, and where it names clients, only under a name of this host |
//! | TCP elsewhere | what probes and scrapers ask: addresses of clients do not leave the host |
//!
//! Invariant: what changes something is never let in through TCP.

use axum::response::Response;
use hyper::body::Body;
use hyper::header::{CACHE_CONTROL, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request};

use super::answers::Problem;
use super::socket::{DoorAddr, is_own_host};
use crate::control::requests::{Refusal, Why};

/// What may be asked from anywhere.
const PUBLIC: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// Says whether a request may go on.
pub(super) fn admit<B: Body>(place: &DoorAddr, request: &Request<B>) -> Result<(), Problem> {
    // Nothing that is asked takes one, so none has to be read or bounded.
    if !request.body().is_end_stream() {
        return Err(Refusal::new(Why::Malformed, "no request here has a body").into());
    }
    let DoorAddr::Tcp(_) = place else { return Ok(()) };
    let is_reading = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_reading {
        let why = "this door only answers GET; changes go through the UNIX socket (`admin.socket`)";
        return Err(Problem::forbidden(why));
    }
    if PUBLIC.contains(&request.uri().path()) {
        return Ok(());
    }
    if !place.is_local() {
        let why = "this door is not on loopback: it answers /livez, /readyz and /metrics only";
        return Err(Problem::forbidden(why));
    }
    // A page from elsewhere, whose name has come to stand for this host, would read along.
    let host = request.headers().get(HOST);
    if host.is_some_and(|host| !host.to_str().is_ok_and(is_own_host)) {
        let why = "the Host header is neither an address nor localhost";
        return Err(Problem::forbidden(why));
    }
    Ok(())
}

/// Says what holds for every answer: it is as old as it is, and what it says it is.
pub(super) fn harden(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
