//! The dashboard: one page, whose script asks this door for all that it shows.
//!
//! It knows nothing of the server that an answer does not say. Invariant: the page runs its own script alone and
//! asks its own door alone, whatever strangers have sent that it shows.

use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_FRAME_OPTIONS,
};
use rustix::rand::{GetRandomFlags, getrandom};

use super::answers::{Problem, typed};
use crate::control::requests::{Refusal, Why};
use crate::telemetry::hex;

const PAGE: &str = include_str!("index.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Of what a page cannot guess, in bytes: what CSP 3 asks for (7.1).
const NONCE_BYTES: usize = 16;

/// Answers with the page.
pub(super) fn page() -> Result<Response, Problem> {
    let mut nonce = [0; NONCE_BYTES];
    let len = getrandom(&mut nonce, GetRandomFlags::NONBLOCK);
    if len != Ok(NONCE_BYTES) {
        return Err(Refusal::new(Why::Failed, "the system has no random bytes yet").into());
    }
    let nonce = hex::format(&nonce);
    let page =
        PAGE.replace("{nonce}", &nonce).replace("{style}", STYLE).replace("{script}", SCRIPT);
    let mut response = typed(StatusCode::OK, "text/html; charset=utf-8", page.into());
    let policy = HeaderValue::from_str(&policy(&nonce)).expect("it is ASCII");
    let fields: [(HeaderName, HeaderValue); 3] = [
        (CONTENT_SECURITY_POLICY, policy),
        (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    response.headers_mut().extend(fields);
    Ok(response)
}

/// Lets in the page's own style and script and answers of its own door; with no type that is trusted, text that
/// came from elsewhere cannot become elements.
fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    )
}
