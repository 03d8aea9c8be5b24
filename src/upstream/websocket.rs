//! A WebSocket to a backend: opened within a bounded time, bounded in what it takes in, and known to be alive.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, error::ProtocolError};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::connect::Dialer;
use super::dns::Dns;
use super::request::upgrade;
use super::tls::{Alpn, Tls};
use super::wire::Wire;
use crate::config::BackendUrl;
use crate::policy::Failure;

/// Bytes of one message. A header is a kilobyte or two; some nodes send whole blocks of transaction hashes with it.
pub const MESSAGE_MAX: usize = 256 << 10;
/// After so long without a word from the other side it is asked whether it is there; after as long again it is not. Load
/// balancers close what is idle for a minute.
pub const PING_AFTER: Duration = Duration::from_secs(15);
/// What is sent is a few bytes: who does not take them in is gone.
const SEND_PATIENCE: Duration = Duration::from_secs(5);
/// Held by each connection; longer messages take more while they come.
const READ_BUFFER_BYTES: usize = 8 << 10;
const WRITE_BUFFER_BYTES: usize = 4 << 10;

/// Where a WebSocket leads, with all that is needed to open one. `Debug` shows no secret.
pub struct WebSocketAddress {
    url: BackendUrl,
    headers: HeaderMap,
    dialer: Dialer,
    /// For the answer to the handshake, once connected.
    patience: Duration,
}

/// Why no WebSocket was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No connection, or one that broke.
    #[error("no connection: {0:?}")]
    Failed(Failure),
    /// The server answered with this status instead.
    #[error("refused with HTTP status {0}")]
    Refused(u16),
}

/// An open WebSocket.
pub struct WebSocket {
    stream: WebSocketStream<Wire>,
    heard_at: Instant,
    is_pinged: bool,
}

impl WebSocketAddress {
    /// Prepares; nothing is resolved or connected yet. `headers` are sent with the handshake; their values are secrets.
    pub fn new(url: BackendUrl, headers: HeaderMap, tls: Arc<Tls>, dns: &Dns, connect: Duration) -> Self {
        let dialer = Dialer::new(url.clone(), tls, dns, connect);
        // A handshake is one round trip; some edges look up the account meanwhile.
        Self { url, headers, dialer, patience: connect * 5 }
    }

    /// Opens a WebSocket. Redirects are not followed: they would take the key elsewhere.
    ///
    /// # Errors
    /// When there is none within the connect timeout and a few times that for the handshake.
    pub async fn open(&self) -> Result<WebSocket, OpenError> {
        let request = upgrade(&self.url, &self.headers, &generate_key());
        let request = request.ok_or(OpenError::Failed(Failure::Protocol))?;
        let dialed = self.dialer.dial(Alpn::Http1).await.map_err(OpenError::Failed)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(MESSAGE_MAX))
            .max_frame_size(Some(MESSAGE_MAX));
        let shaken = timeout(self.patience, client_async_with_config(request, dialed.wire, Some(config)));
        match shaken.await {
            Ok(Ok((stream, _))) => Ok(WebSocket { stream, heard_at: Instant::now(), is_pinged: false }),
            Ok(Err(Error::Http(answer))) => Err(OpenError::Refused(answer.status().as_u16())),
            Ok(Err(error)) => Err(OpenError::Failed(failure(&error))),
            Err(_) => Err(OpenError::Failed(Failure::Timeout)),
        }
    }

    /// Its address; shows no secret.
    pub fn url(&self) -> &BackendUrl {
        &self.url
    }
}

impl fmt::Debug for WebSocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketAddress").field("url", &self.url).finish_non_exhaustive()
    }
}

impl WebSocket {
    /// Sends a text.
    ///
    /// # Errors
    /// When it is not taken in within a few seconds, or the connection is gone.
    pub async fn send(&mut self, text: String) -> Result<(), Failure> {
        self.write(Message::text(text)).await
    }

    /// The next message; `None` once the other side has closed. Meanwhile it is asked whether it is there, and pings are
    /// answered. May be dropped at any time, and nothing is lost.
    ///
    /// # Errors
    /// When the connection breaks, is silent for too long, or carries what is no message of a bearable length.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let wait = if self.is_pinged { 2 * PING_AFTER } else { PING_AFTER };
            match timeout_at(self.heard_at + wait, self.stream.next()).await {
                Ok(Some(Ok(message))) => {
                    (self.heard_at, self.is_pinged) = (Instant::now(), false);
                    match message {
                        Message::Text(text) => return Ok(Some(text.into())),
                        Message::Binary(bytes) => return Ok(Some(bytes)),
                        Message::Close(_) => return Ok(None),
                        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                    }
                }
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => match failure(&error) {
                    // Whether it says good-bye or not.
                    Failure::Reset => return Ok(None),
                    failure => return Err(failure),
                },
                Err(_) if self.is_pinged => return Err(Failure::Timeout),
                Err(_) => {
                    self.is_pinged = true;
                    self.write(Message::Ping(Bytes::new())).await?;
                }
            }
        }
    }

    /// Says good-bye and goes, without waiting for an answer.
    pub async fn close(mut self) {
        let _ = timeout(SEND_PATIENCE, self.stream.close(None)).await;
    }

    async fn write(&mut self, message: Message) -> Result<(), Failure> {
        match timeout(SEND_PATIENCE, self.stream.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(Failure::Timeout),
        }
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebSocket")
    }
}

/// An error as one of our failures; its own words may hold what a server wrote.
fn failure(error: &Error) -> Failure {
    match error {
        Error::Capacity(_) => Failure::TooLarge,
        Error::Io(_)
        | Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::HandshakeIncomplete | ProtocolError::ResetWithoutClosingHandshake) => {
            Failure::Reset
        }
        _ => Failure::Protocol,
    }
}
