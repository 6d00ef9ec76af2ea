//! What is answered, in JSON: docs/api.schema.json has the same.
//!
//! Scripts read it, so a name or a meaning never changes. Invariant: what does not apply is `null`, never left
//! out, but for the place of an error, which only those in a file have.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use crate::control::requests::{self, Fault, Why};
use crate::core::addr::{Addr, Peer};
use crate::data::listing::View;
use crate::telemetry::hex;
use crate::telemetry::refusals::Refused;
use crate::telemetry::timestamp::Timestamp;

/// An answer that is one JSON object.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        json(StatusCode::OK, &self.0)
    }
}

/// Why there is no other answer.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    errors: Vec<Fault>,
}

impl Problem {
    /// Not through this door.
    pub(super) fn forbidden(why: &str) -> Self {
        Self { status: StatusCode::FORBIDDEN, ..requests::Refusal::new(Why::Malformed, why).into() }
    }

    /// The path is right, and GET is not what it takes, or nothing else.
    pub(super) fn wrong_method() -> Self {
        let why = "this path is not asked so: docs/api.md says GET or POST";
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            ..requests::Refusal::new(Why::Malformed, why).into()
        }
    }
}

impl From<requests::Refusal> for Problem {
    fn from(requests::Refusal { why, errors }: requests::Refusal) -> Self {
        let status = match why {
            Why::Malformed => StatusCode::BAD_REQUEST,
            Why::Unknown => StatusCode::NOT_FOUND,
            Why::Untimely => StatusCode::CONFLICT,
            Why::Unusable => StatusCode::UNPROCESSABLE_ENTITY,
            Why::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, errors }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Errors {
            errors: Vec<Fault>,
        }
        json(self.status, &Errors { errors: self.errors })
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let mut text = serde_json::to_vec(value).expect("strings, numbers and lists always serialise");
    text.push(b'\n');
    typed(status, "application/json", text.into())
}

/// An answer of a media type.
pub(super) fn typed(status: StatusCode, media: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// What is followed, and where that came from.
#[derive(Debug, Serialize)]
pub(super) struct Config {
    /// `null` where it came from flags.
    pub(super) file: Option<String>,
    pub(super) toml: String,
}

/// A connection that runs.
#[derive(Debug, Serialize)]
pub(super) struct Connection<'a> {
    id: String,
    listener: &'a str,
    upstream: &'a str,
    client: Peer,
    peer: Peer,
    /// `null` before the first attempt to connect.
    endpoint: Option<Addr>,
    bytes_in: u64,
    bytes_out: u64,
    age_seconds: f64,
    idle_seconds: f64,
    phase: &'static str,
}

impl<'a> Connection<'a> {
    pub(super) fn of(view: &'a View) -> Self {
        Self {
            id: view.id.to_string(),
            listener: &view.labels.listener,
            upstream: &view.labels.upstream,
            client: view.client,
            peer: view.peer,
            endpoint: view.endpoint,
            bytes_in: view.bytes_in,
            bytes_out: view.bytes_out,
            age_seconds: seconds(view.age),
            idle_seconds: seconds(view.idle),
            phase: view.phase,
        }
    }
}

/// To the millisecond: what is beyond it nobody reads.
pub(super) fn seconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1000.0).round() / 1000.0
}

/// The last peers that were refused.
#[derive(Debug, Serialize)]
pub(super) struct Refusals {
    /// By time.
    pub(super) refusals: Vec<Refusal>,
    /// How many could not be noted since the start.
    pub(super) lost: u64,
}

/// A peer that was refused.
#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    time: Timestamp,
    listener: String,
    peer: Peer,
    reason: &'static str,
    /// The decoder's word, where there was a header to be judged; `null` otherwise.
    error: Option<&'static str>,
    offset: Option<usize>,
    /// The first ones in lower-case hexadecimal.
    bytes: String,
    why: String,
}

impl Refusal {
    pub(super) fn of(refused: &Refused) -> Self {
        Self {
            time: Timestamp::of(refused.time),
            listener: refused.listener().to_owned(),
            peer: refused.peer,
            reason: refused.reason.name(),
            error: refused.error.map(|error| error.kind().name()),
            offset: refused.error.map(|error| error.offset()),
            bytes: hex::format(refused.bytes()),
            why: refused.why(),
        }
    }
}

/// An answer to a POST that closed a connection.
#[derive(Debug, Serialize)]
pub(super) struct Closed {
    pub(super) id: String,
}

/// An answer to a POST that drains.
#[derive(Debug, Serialize)]
pub(super) struct Draining {
    pub(super) active: u64,
    pub(super) grace_seconds: f64,
}

/// An answer to a POST that changed the level of the log.
#[derive(Debug, Serialize)]
pub(super) struct Logging {
    pub(super) level: &'static str,
    pub(super) was: &'static str,
}
