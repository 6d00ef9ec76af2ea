//! What can be asked, and who answers: the board for what is, the loop for what is to be.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use hyper::StatusCode;
use hyper::header::{ACCEPT, HeaderMap};
use pptrust::parse_network;
use serde::{Deserialize, Serialize, Serializer};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::answers::{self, Json, Problem, typed};
use super::chunks::Chunks;
use super::dashboard;
use super::door::Closing;
use super::events::{self, Events};
use super::status::{self, Pools, Status};
use crate::config::{Choice, LogLevel, WEIGHT_MAX};
use crate::control::board::{Board, Readiness};
use crate::control::pools;
use crate::control::requests::{self, Desk, EndpointChange, EndpointSet, Refusal, Request, Why};
use crate::core::addr::{Addr, AddrError};
use crate::core::connection_id::ConnectionId;
use crate::core::pool::health::Wish;
use crate::data::listing::{Filter, View};
use crate::telemetry::exposition::{self, Format};
use crate::telemetry::ledger::Ledger;
use crate::telemetry::log;
use crate::telemetry::refusals::{self, Refusals};

/// What the routes know: whom to ask.
#[derive(Debug)]
pub(in crate::control) struct Reception {
    pub(in crate::control) desk: Desk,
    pub(in crate::control) board: Board,
    pub(in crate::control) events: Events,
    pub(in crate::control) ledger: Arc<Ledger>,
    pools: Arc<pools::Pools>,
    pub(in crate::control) refusals: Arc<[Refusals]>,
    lists: Arc<Semaphore>,
}

impl Reception {
    pub(in crate::control) fn new(
        desk: Desk,
        board: Board,
        ledger: Arc<Ledger>,
        pools: Arc<pools::Pools>,
        refusals: Arc<[Refusals]>,
    ) -> Self {
        let lists = Arc::new(Semaphore::new(LISTS_MAX));
        Self { desk, board, events: Events::new(), ledger, pools, refusals, lists }
    }
}

/// The most connections that are listed: some megabytes of text.
const LISTED_MAX: usize = 10_000;

/// Lists at a time, each of which holds what it lists; more of them wait.
const LISTS_MAX: usize = 4;

/// How long workers may take to answer: microseconds, unless one stands still.
const REPLY_TIME: Duration = Duration::from_secs(2);

/// The state of every route.
type Known = State<Arc<Reception>>;

/// What a query says, or why it cannot be read.
type Asked<T> = Result<Query<T>, QueryRejection>;

/// Text for people and probes.
const TEXT: &str = "text/plain; charset=utf-8";

/// Returns every route there is.
pub(super) fn router(reception: Arc<Reception>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v1/status", get(server_status))
        .route("/api/v1/upstreams", get(upstreams))
        .route("/api/v1/upstreams/{name}/endpoints/{addr}", post(set_endpoint))
        .route("/api/v1/connections", get(connections))
        .route("/api/v1/connections/{id}/close", post(close))
        .route("/api/v1/refusals", get(refusals))
        .route("/api/v1/config", get(config))
        .route("/api/v1/events", get(events))
        .route("/api/v1/reload", post(reload))
        .route("/api/v1/drain", post(drain))
        .route("/api/v1/upgrade", post(upgrade))
        .route("/api/v1/log", post(log_level))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(reception)
}

async fn unknown() -> Problem {
    Refusal::new(Why::Unknown, "there is no such path: docs/api.md lists those that there are")
        .into()
}

async fn wrong_method() -> Problem {
    Problem::wrong_method()
}

async fn page() -> Result<Response, Problem> {
    dashboard::page()
}

async fn livez(State(reception): Known) -> Response {
    match status::standing_still(&reception.ledger, Instant::now().into_std()) {
        still if still.is_empty() => typed(StatusCode::OK, TEXT, "ok\n".into()),
        still => typed(StatusCode::SERVICE_UNAVAILABLE, TEXT, still.into()),
    }
}

async fn readyz(State(reception): Known) -> Response {
    let shown = reception.board.look();
    let lacking = shown.without_endpoint();
    let lacking: String =
        lacking.map(|name| format!("upstream {name} has no endpoint yet\n")).collect();
    match shown.readiness {
        Readiness::Serving if !lacking.is_empty() => {
            typed(StatusCode::SERVICE_UNAVAILABLE, TEXT, lacking.into())
        }
        Readiness::Serving => {
            let down = status::down(&reception.ledger);
            typed(StatusCode::OK, TEXT, format!("ok\n{down}").into())
        }
        Readiness::Draining => typed(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n".into()),
    }
}

async fn config(State(reception): Known) -> Json<answers::Config> {
    let shown = reception.board.look();
    Json(answers::Config {
        file: shown.file.as_deref().map(|file| file.display().to_string()),
        toml: shown.plan.config.to_string(),
    })
}

async fn metrics(State(reception): Known, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    let text = exposition::render(&reception.ledger, log::lines_dropped(), format);
    typed(StatusCode::OK, format.content_type(), text.into())
}

async fn server_status(State(reception): Known) -> Json<Status> {
    Json(Status::of(&reception.board.look(), &reception.ledger))
}

async fn upstreams(State(reception): Known) -> Json<Pools> {
    Json(Pools::of(&reception.ledger, &reception.pools))
}

/// What a POST to an endpoint says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointQuery {
    state: Option<EndpointWord>,
    weight: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EndpointWord {
    Auto,
    Up,
    Down,
    Draining,
}

impl From<EndpointWord> for Wish {
    fn from(word: EndpointWord) -> Self {
        match word {
            EndpointWord::Auto => Self::Auto,
            EndpointWord::Up => Self::Up,
            EndpointWord::Down => Self::Down,
            EndpointWord::Draining => Self::Draining,
        }
    }
}

async fn set_endpoint(
    State(reception): Known,
    Path((upstream, addr)): Path<(String, String)>,
    query: Asked<EndpointQuery>,
) -> Result<Json<EndpointChange>, Problem> {
    let EndpointQuery { state, weight } = asked(query)?;
    if state.is_none() && weight.is_none() {
        return Err(Refusal::new(Why::Malformed, "say what to set: `state` or `weight`").into());
    }
    if weight.is_some_and(|weight| weight > WEIGHT_MAX) {
        let why = format!("`weight` is {WEIGHT_MAX} at most");
        return Err(Refusal::new(Why::Malformed, why).into());
    }
    let addr: Addr =
        addr.parse().map_err(|error: AddrError| Refusal::new(Why::Malformed, error.to_string()))?;
    let set = EndpointSet { upstream, addr, wish: state.map(Wish::from), weight };
    Ok(Json(reception.desk.ask(|reply| Request::SetEndpoint(set, reply)).await?))
}

/// Which connections are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConnectionsQuery {
    client: Option<String>,
    listener: Option<String>,
    upstream: Option<String>,
    limit: Option<usize>,
}

async fn connections(
    State(reception): Known,
    query: Asked<ConnectionsQuery>,
) -> Result<Response, Problem> {
    let ConnectionsQuery { client, listener, upstream, limit } = asked(query)?;
    let client = client.map(|text| parse_network(&text)).transpose().map_err(|error| {
        Refusal::new(Why::Malformed, format!("`client` is no network: {error}"))
    })?;
    let limit = limit.unwrap_or(LISTED_MAX).min(LISTED_MAX);
    let filter = Filter { client, listener, upstream, limit };
    let permit = Arc::clone(&reception.lists).acquire_owned().await;
    let permit = permit.expect("nobody closes it");
    let replies = reception.desk.ask(|reply| Request::Connections(filter, reply)).await?;
    let until = Instant::now() + REPLY_TIME;
    let (mut total, mut silent, mut views) = (0, 0, Vec::new());
    for reply in replies {
        match timeout_at(until, reply).await {
            Ok(Ok(listing)) => {
                total += listing.matching;
                views.extend(listing.connections);
            }
            // It has ended, and its connections with it.
            Ok(Err(_)) => {}
            Err(_) => silent += 1,
        }
    }
    views.sort_by_key(|view| std::cmp::Reverse(view.age));
    views.truncate(limit);
    let head = format!("{{\"total\":{total},\"silent_workers\":{silent},\"connections\":[");
    let items = views.into_iter().map(Listed);
    let body = Body::new(Chunks::new(head, items, permit));
    Ok(typed(StatusCode::OK, "application/json", body))
}

/// A connection as it is written.
struct Listed(View);

impl Serialize for Listed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        answers::Connection::of(&self.0).serialize(serializer)
    }
}

async fn close(
    State(reception): Known,
    Path(id): Path<String>,
    query: Asked<Nothing>,
) -> Result<Json<answers::Closed>, Problem> {
    asked(query)?;
    let id = ConnectionId::parse(&id).ok_or_else(|| {
        Refusal::new(Why::Malformed, "an id is 16 hexadecimal digits, as the list shows it")
    })?;
    let closing = reception.desk.ask(|reply| Request::Close(id, reply)).await?;
    match timeout(REPLY_TIME, closing).await {
        Ok(Ok(true)) => Ok(Json(answers::Closed { id: id.to_string() })),
        Ok(Ok(false) | Err(_)) => Err(Refusal::no_connection().into()),
        Err(_) => Err(Refusal::new(Why::Failed, "its worker does not answer").into()),
    }
}

async fn refusals(State(reception): Known) -> Json<answers::Refusals> {
    let last = refusals::last(&reception.refusals);
    Json(answers::Refusals {
        refusals: last.iter().map(answers::Refusal::of).collect(),
        lost: reception.refusals.iter().map(Refusals::lost).sum(),
    })
}

async fn events(
    State(reception): Known,
    Extension(Closing(closing)): Extension<Closing>,
) -> Response {
    events::listen(&reception.events, Arc::clone(&reception.refusals), closing)
}

/// What a POST says that is all in its path: one that asks for more is not half done.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn reload(
    State(reception): Known,
    query: Asked<Nothing>,
) -> Result<Json<requests::Reloaded>, Problem> {
    asked(query)?;
    Ok(Json(reception.desk.ask(Request::Reload).await?))
}

async fn drain(
    State(reception): Known,
    query: Asked<Nothing>,
) -> Result<Json<answers::Draining>, Problem> {
    asked(query)?;
    let requests::Draining { active, grace } = reception.desk.ask(Request::Drain).await?;
    Ok(Json(answers::Draining { active, grace_seconds: grace.as_secs_f64() }))
}

/// What a POST to `upgrade` says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UpgradeQuery {
    binary: Option<std::path::PathBuf>,
}

async fn upgrade(
    State(reception): Known,
    query: Asked<UpgradeQuery>,
) -> Result<Json<requests::Upgraded>, Problem> {
    let UpgradeQuery { binary } = asked(query)?;
    let upgrade = requests::Upgrade { binary };
    let upgraded = reception.desk.ask(|reply| Request::Upgrade(upgrade, reply)).await?;
    Ok(Json(upgraded))
}

/// What a POST to `log` says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogQuery {
    level: String,
}

async fn log_level(
    State(reception): Known,
    query: Asked<LogQuery>,
) -> Result<Json<answers::Logging>, Problem> {
    let LogQuery { level } = asked(query)?;
    let found = LogLevel::WORDS.iter().find(|(word, _)| *word == level);
    let Some((_, level)) = found else {
        let words: Vec<_> = LogLevel::WORDS.iter().map(|(word, _)| *word).collect();
        let why = format!("`level` is one of {}", words.join(", "));
        return Err(Refusal::new(Why::Malformed, why).into());
    };
    let logging = reception.desk.ask(|reply| Request::Log(*level, reply)).await?;
    let requests::Logging { level, was } = logging;
    Ok(Json(answers::Logging { level: level.word(), was: was.word() }))
}

/// Takes the query, or says what is wrong with it.
fn asked<T>(query: Asked<T>) -> Result<T, Problem> {
    match query {
        Ok(Query(query)) => Ok(query),
        Err(error) => Err(Refusal::new(Why::Malformed, error.body_text()).into()),
    }
}
