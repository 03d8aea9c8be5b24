//! What a simulated backend answers to one HTTP request, and how its faults spoil that.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::backend::{REST, Serving};
use super::fault::Fault;

/// Largest request that a node takes, as in geth.
const BODY_BYTES_MAX: usize = 5 * 1024 * 1024;
const JSON: &str = "application/json";
/// No JSON, no text, nothing.
const GARBAGE: &[u8] = b"\x00\x17\xff{\"jsonrpc\":\xfe\x03 2.0,,\"result\":\x9c\x80";

pub(super) type Body = StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>;

/// Answers, or cancels `cut` and never does: the connection is to be reset.
pub(super) async fn respond(
    serving: Arc<Serving>,
    request: Request<Incoming>,
    cut: CancellationToken,
) -> Response<Body> {
    if request.method() != Method::POST {
        return page(StatusCode::METHOD_NOT_ALLOWED, "text/plain", Bytes::from_static(b"POST only\n"));
    }
    let Ok(body) = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await else {
        return page(StatusCode::PAYLOAD_TOO_LARGE, "text/plain", Bytes::new());
    };
    let mut watched = serving.fault.clone();
    let mut fault = *watched.borrow_and_update();
    if let Some(Fault::Flaky(percent)) = fault {
        fault = serving.fails_as(percent).map(Fault::Status);
    }
    if fault.is_some_and(|fault| !fault.is_of_new_connections()) {
        serving.strikes();
    }
    sleep(serving.latency()).await;
    match fault {
        Some(Fault::Reset) => return cut_off(&cut).await,
        Some(Fault::Hang) => {
            let _ = watched.changed().await;
            return cut_off(&cut).await;
        }
        Some(Fault::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return page(status, "text/html", web_page(status.as_str()));
        }
        Some(Fault::Html) => return page(StatusCode::OK, "text/html", web_page("Just a moment...")),
        Some(Fault::Garbage) => return page(StatusCode::OK, JSON, Bytes::from_static(GARBAGE)),
        Some(Fault::Slow(longer)) => sleep(longer).await,
        _ => {}
    }
    let behind = fault.map_or(0, Fault::blocks_behind);
    let answer = serving.world.converse(serving.node, behind, &serving.name, &body.to_bytes());
    let answer = Bytes::from(answer.unwrap_or_default());
    match fault {
        Some(Fault::Trickle(rate)) => sent(StatusCode::OK, JSON, answer.len(), trickle(answer, rate)),
        Some(Fault::Truncated) => {
            sent(StatusCode::OK, JSON, answer.len(), truncated(answer.slice(..answer.len() / 2)))
        }
        Some(Fault::ForeignId) => page(StatusCode::OK, JSON, anothers(&answer)),
        _ => page(StatusCode::OK, JSON, answer),
    }
}

async fn cut_off(cut: &CancellationToken) -> Response<Body> {
    cut.cancel();
    std::future::pending().await
}

/// The same answer under an id that nobody used.
fn anothers(answer: &[u8]) -> Bytes {
    let mut answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let items = match &mut answer {
        Value::Array(items) => items.iter_mut().collect(),
        one => vec![one],
    };
    for item in items {
        item["id"] = json!("another request's");
    }
    answer.to_string().into()
}

fn web_page(title: &str) -> Bytes {
    format!("<!DOCTYPE html><html><title>{title}</title><body><h1>{title}</h1></body></html>\n").into()
}

fn page(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    let length = body.len();
    let whole = stream::once(async move { Ok::<_, Infallible>(Frame::data(body)) });
    sent(status, content_type, length, whole.map(|Ok(frame)| Ok(frame)).boxed())
}

fn sent(
    status: StatusCode,
    content_type: &'static str,
    length: usize,
    body: BoxStream<'static, io::Result<Frame<Bytes>>>,
) -> Response<Body> {
    let mut response = Response::new(StreamBody::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// The bytes, and then an end that was not announced. hyper drops what it has not written yet when a body
/// fails, so the end comes a little later.
fn truncated(half: Bytes) -> BoxStream<'static, io::Result<Frame<Bytes>>> {
    let end = stream::once(async {
        sleep(REST).await;
        Err(io::ErrorKind::ConnectionAborted.into())
    });
    stream::once(async { Ok(Frame::data(half)) }).chain(end).boxed()
}

/// Ten pieces a second.
fn trickle(body: Bytes, bytes_per_second: u32) -> BoxStream<'static, io::Result<Frame<Bytes>>> {
    const PIECES_PER_SECOND: u32 = 10;
    let piece = usize::try_from((bytes_per_second / PIECES_PER_SECOND).max(1)).unwrap_or(1);
    let pieces = stream::unfold(body, move |mut left| async move {
        if left.is_empty() {
            return None;
        }
        sleep(Duration::from_secs(1) / PIECES_PER_SECOND).await;
        let next = left.split_to(piece.min(left.len()));
        Some((Ok(Frame::data(next)), left))
    });
    pieces.boxed()
}
