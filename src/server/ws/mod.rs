//! WebSockets: the handshake on every chain's path, behind the same guards as HTTP.

mod talk;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{
    CONNECTION, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config;
use crate::gateway::{Session, Terms};

use super::cores::Taken;
use super::{Connection, Shared, pages, rpc};

/// Until our 101 is written.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(10);
/// Held by every connection, however idle; longer messages take more while they come.
const READ_BUFFER_BYTES: usize = 8 << 10;
/// News for one client that come together go out together, some headers or logs at a time. What it has once grown to
/// stays with the connection.
const WRITE_BUFFER_BYTES: usize = 4 << 10;

/// A connection's place in the house, kept for as long as anything of it lives: HTTP's own task ends with the upgrade.
pub(super) struct Place {
    /// It counts among those of its event loop, where there are several.
    pub(super) _on_loop: Option<Taken>,
    /// It counts among the connections.
    pub(super) _slot: OwnedSemaphorePermit,
    /// It is waited for at the end.
    pub(super) connections: TaskTracker,
    /// The server is on its way out.
    pub(super) stop: CancellationToken,
    /// The grace period is over.
    pub(super) cut: CancellationToken,
}

/// The index page, or a WebSocket of the default chain.
pub(super) async fn default_chain(State(shared): State<Shared>, request: Request) -> Response {
    match asks_for_upgrade(request.headers()) {
        true => upgrade(&shared, None, request),
        false => pages::index(State(shared)).await.into_response(),
    }
}

/// A WebSocket of a named chain: nothing else is there to be read.
pub(super) async fn named_chain(
    State(shared): State<Shared>,
    Path(chain): Path<String>,
    request: Request,
) -> Response {
    match asks_for_upgrade(request.headers()) {
        true => upgrade(&shared, Some(&chain), request),
        false => rpc::wrong_method().await,
    }
}

fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, &UPGRADE, "websocket") && has_token(headers, &CONNECTION, "upgrade")
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

fn upgrade(shared: &Shared, chain: Option<&str>, mut request: Request) -> Response {
    let headers = request.headers();
    if !is_allowed_origin(headers, &shared.settings) {
        return rpc::refusal(
            StatusCode::FORBIDDEN,
            "the Origin header names a page that may not call: list it under server.allowed_origins",
        );
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut refused = rpc::refusal(StatusCode::UPGRADE_REQUIRED, "WebSocket version 13 is spoken here");
        refused.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return refused;
    }
    let accept = headers.get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let Some(accept) = accept.and_then(|accept| HeaderValue::from_str(&accept).ok()) else {
        return rpc::refusal(StatusCode::BAD_REQUEST, "the Sec-WebSocket-Key header is missing");
    };
    let client = Connection::of(request.extensions()).map(|c| c.client(headers, &shared.settings));
    // Of the handshake only who it is counts: browsers write `cache-control: no-cache` into every one.
    let terms = Terms { fresh: false, ..rpc::terms(headers) };
    let Ok(session) = shared.gateway.session_of(chain, client, terms) else {
        return rpc::no_such_chain(shared);
    };
    let place = request.extensions().get::<Arc<Place>>().cloned();
    let is_http1 = request.version() == Version::HTTP_11;
    let Some(upgraded) = request.extensions_mut().remove::<OnUpgrade>().filter(|_| is_http1) else {
        return rpc::refusal(StatusCode::BAD_REQUEST, "WebSockets are served over HTTP/1.1");
    };
    let settings = shared.settings.clone();
    match place {
        Some(place) => {
            let (stop, cut, connections) = (place.stop.clone(), place.cut.clone(), place.connections.clone());
            connections.spawn(async move {
                let _place = place;
                tokio::select! {
                    () = cut.cancelled() => {}
                    () = begin(upgraded, session, settings, stop) => {}
                }
            });
        }
        // Behind another listener the connection ends with the process.
        None => {
            tokio::spawn(begin(upgraded, session, settings, CancellationToken::new()));
        }
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// A browser keeps no page from opening a WebSocket to anywhere: only the server can look at who it is.
fn is_allowed_origin(headers: &HeaderMap, settings: &config::Server) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let origin = origin.to_str().unwrap_or_default();
    settings.allowed_origins.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin))
}

async fn begin(
    upgraded: OnUpgrade,
    session: Session,
    settings: Arc<config::Server>,
    stop: CancellationToken,
) {
    let Ok(Ok(upgraded)) = timeout(UPGRADE_PATIENCE, upgraded).await else { return };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_message_size(Some(settings.max_body))
        .max_frame_size(Some(settings.max_body));
    // The bare socket where there is one: boxes and a buffer less for each of thousands of connections.
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => {
            let (stream, read) = (parts.io.into_inner(), parts.read_buf.to_vec());
            let socket = WebSocketStream::from_partially_read(stream, read, Role::Server, Some(config)).await;
            talk::talk(socket, session, &settings, stop).await;
        }
        Err(upgraded) => {
            let stream = TokioIo::<Upgraded>::new(upgraded);
            let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
            Box::pin(talk::talk(socket, session, &settings, stop)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p5_an_origin_that_is_not_listed_may_not_open_a_websocket() {
        let mut settings = crate::Config::presets().server;
        let headers =
            |origin: &'static str| HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))]);
        assert!(is_allowed_origin(&headers("https://any.example"), &settings), "any page may, by default");
        settings.allowed_origins = vec!["https://app.example".to_owned()];
        for (origin, allowed) in [
            ("https://app.example", true),
            ("https://evil.example", false),
            ("null", false),
            ("https://app.example.evil.example", false),
        ] {
            assert_eq!(is_allowed_origin(&headers(origin), &settings), allowed, "{origin}");
        }
        assert!(is_allowed_origin(&HeaderMap::new(), &settings), "no page at all");
    }
}
