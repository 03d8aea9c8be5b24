//! JSON-RPC over HTTP POST.

use std::any::Any;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};

use crate::gateway::{Answer, Packet, Pieces, Terms};
use crate::jsonrpc::{ErrorObject, code, write_error};

use super::{Connection, Shared};

const BACKEND: HeaderName = HeaderName::from_static("x-outrigger-backend");
const SOURCE: HeaderName = HeaderName::from_static("x-outrigger-source");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-outrigger-attempts");
const HINT: HeaderName = HeaderName::from_static("x-outrigger-hint");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub(super) async fn default_chain(State(shared): State<Shared>, request: Request) -> Response {
    answer(shared, None, request).await
}

pub(super) async fn named_chain(
    State(shared): State<Shared>,
    Path(chain): Path<String>,
    request: Request,
) -> Response {
    if !shared.gateway.has_chain(Some(&chain)) {
        return no_such_chain(&shared);
    }
    answer(shared, Some(chain.into()), request).await
}

async fn answer(shared: Shared, chain: Option<Arc<str>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let connection = Connection::of(&head.extensions);
    match call(&shared, chain, &head.headers, connection, body).await {
        Ok(answer) => response(HeaderMap::new(), answer)
            .map(|body| Body::from(body.map(Pieces::whole).unwrap_or_default())),
        Err(refused) => refused,
    }
}

/// Answers what is posted, or refuses to read it.
pub(super) async fn call<B>(
    shared: &Shared,
    chain: Option<Arc<str>>,
    headers: &HeaderMap,
    connection: Option<Connection>,
    body: B,
) -> Result<Answer, Response>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let started = Instant::now();
    accepts(headers).map_err(|reason| refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason))?;
    let body = read(body, headers, shared).await?;
    let bytes_in = body.len();
    let client = connection.map(|connection| connection.client(headers, &shared.settings));
    let terms = terms(headers);
    let answer = shared.gateway.answer_apart(Packet { chain: chain.clone(), body, client, terms }).await;
    tracing::debug!(
        client = client.map(|client| client.to_string()),
        chain = chain.as_deref(),
        source = answer.trail.source.as_str(),
        backends = ?answer.trail.backends,
        attempts = answer.trail.attempts,
        bytes_in,
        bytes_out = answer.len(),
        took_us = started.elapsed().as_micros() as u64,
        "answered"
    );
    Ok(answer)
}

/// How a request wants to be answered: `cache-control: no-cache` and `no-store` (and `max-age=0`, which means the same)
/// ask for a backend's own answer; with whose credentials says `authorization`.
pub(super) fn terms(headers: &HeaderMap) -> Terms {
    let mut directives = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim);
    let fresh = directives.any(|directive| {
        ["no-cache", "no-store", "max-age=0"].iter().any(|fresh| directive.eq_ignore_ascii_case(fresh))
    });
    let scope = headers.get(AUTHORIZATION).map_or(0, |value| Terms::scope_of(value.as_bytes()));
    Terms { fresh, scope }
}

/// JSON only: a form or plain text skips the browser's preflight, and so could be posted by any page.
fn accepts(headers: &HeaderMap) -> Result<(), &'static str> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return match headers.contains_key(ORIGIN) {
            true => Err("send `content-type: application/json`: a web page must name it"),
            false => Ok(()),
        };
    };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let json = ["application/json", "application/json-rpc", "application/jsonrequest"];
    match json.iter().any(|accepted| essence.eq_ignore_ascii_case(accepted)) {
        true => Ok(()),
        false => Err("send `content-type: application/json`: nothing else is understood"),
    }
}

/// Reads the body within its bounds of size and time.
async fn read<B>(body: B, headers: &HeaderMap, shared: &Shared) -> Result<Bytes, Response>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let max = shared.settings.max_body;
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > max) {
        return Err(too_large());
    }
    let mut reading = pin!(whole(body, max));
    // Nearly always it is there already. A timer inside would make room for itself in every request.
    if let Poll::Ready(read) = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await {
        return read;
    }
    match Box::pin(timeout(shared.settings.body_timeout, reading)).await {
        Ok(read) => read,
        Err(_) => Err(refusal(StatusCode::REQUEST_TIMEOUT, "the request body did not come in time")),
    }
}

/// Nearly every body comes in one piece, which is passed on as it is.
async fn whole<B>(mut body: B, max: usize) -> Result<Bytes, Response>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let broken = |_| refusal(StatusCode::BAD_REQUEST, "the request body broke off or is badly packed");
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        if data.len() > max - first.len() - all.len() {
            return Err(too_large());
        }
        if all.is_empty() && first.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn too_large() -> Response {
    refusal(StatusCode::PAYLOAD_TOO_LARGE, "request body too large")
}

/// The answer as HTTP, with these headers and its own.
pub(super) fn response(headers: HeaderMap, answer: Answer) -> http::Response<Option<Pieces>> {
    let (body, trail) = answer.in_pieces();
    let has_body = body.is_some();
    let mut response = http::Response::new(body);
    *response.headers_mut() = headers;
    let headers = response.headers_mut();
    if has_body {
        headers.insert(CONTENT_TYPE, JSON);
    }
    let named = match &*trail.backends {
        [] => None,
        [one] => HeaderValue::from_str(one).ok(),
        several => HeaderValue::from_str(&several.join(", ")).ok(),
    };
    if let Some(named) = named {
        headers.insert(BACKEND, named);
    }
    headers.insert(SOURCE, HeaderValue::from_static(trail.source.as_str()));
    headers.insert(ATTEMPTS, HeaderValue::from(trail.attempts));
    if let Some(hint) = trail.hint {
        headers.insert(HINT, HeaderValue::from_static(hint));
    }
    response
}

/// A path that names no chain.
pub(super) fn no_such_chain(shared: &Shared) -> Response {
    let known = shared.gateway.chains().take(20).collect::<Vec<_>>().join(", ");
    refusal(StatusCode::NOT_FOUND, &format!("no such chain here; there are: {known}"))
}

/// An address that is neither a chain nor a page.
pub(super) async fn no_such_page() -> Response {
    refusal(StatusCode::NOT_FOUND, "nothing here: calls are posted to `/` or `/{chain}`")
}

/// A page that is posted to, or a chain that is asked for with something else than POST.
pub(super) async fn wrong_method() -> Response {
    refusal(StatusCode::METHOD_NOT_ALLOWED, "wrong HTTP method: calls are posted, pages are read with GET")
}

/// A request that is no JSON-RPC call at all. The status says what is wrong, the body says it in JSON-RPC.
pub(super) fn refusal(status: StatusCode, message: &str) -> Response {
    let mut body = Vec::new();
    write_error(&mut body, "null", &ErrorObject::new(code::INVALID_REQUEST, message).to_json());
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// A defect of ours. The client learns that, and nothing of what the panic said.
pub(super) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    let mut body = Vec::new();
    write_error(&mut body, "null", &ErrorObject::new(code::INTERNAL_ERROR, "internal error").to_json());
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}
