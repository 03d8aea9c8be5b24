//! One client's WebSocket: calls in, answers and notifications out, and nothing without a bound.
//!
//! One task does all of it. Calls go on while the client is slow to read, so that no backend is blamed for that;
//! further messages are left unread meanwhile, and notifications wait in the session's bounded queue.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{Sink, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::{self, Message, error::CapacityError};
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::gateway::{Session, SessionEnd, SessionReply};

/// What is longer goes out in pieces: a copy of a whole large answer would stay with the connection.
const FRAGMENT_BYTES: usize = 64 << 10;
/// How long a client may take to hear why its connection ends.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a close frame's reason.
const REASON_BYTES_MAX: usize = 123;

type UnderWay = FuturesUnordered<Pin<Box<dyn Future<Output = SessionReply> + Send>>>;

/// Talks until either side ends it, or `stop` is cancelled and what was asked is answered.
pub(super) async fn talk<S>(
    socket: WebSocketStream<S>,
    session: Session,
    settings: &config::Server,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut line = Line {
        socket,
        outgoing: VecDeque::new(),
        ping_due: false,
        is_flushed: true,
        moved_at: Instant::now(),
    };
    let bounds = &settings.websocket;
    let mut under_way: UnderWay = FuturesUnordered::new();
    let mut is_leaving = false;
    let every = bounds.ping_interval;
    let mut ticks = interval_at(Instant::now() + every, every);
    let mut heard_at = Instant::now();
    let (code, reason) = loop {
        let is_full = under_way.len() + line.outgoing.len() >= bounds.max_in_flight
            || line.waiting() >= bounds.max_queue;
        let event = tokio::select! {
            biased;
            () = stop.cancelled(), if !is_leaving => Event::Leave,
            Some(answer) = under_way.next(), if !under_way.is_empty() => Event::Answered(answer),
            // The line looks for what there is: this only wakes it.
            () = session.ready() => continue,
            event = poll_fn(|cx| line.poll(cx, &session, !is_full && !is_leaving)) => event,
            _ = ticks.tick() => Event::Tick,
        };
        match event {
            Event::Leave => is_leaving = true,
            Event::Answered(answer) => {
                line.outgoing.extend(answer.reply.body.clone().map(Outgoing::new));
                // What it held back is taken when it has gone out: the line keeps the order.
            }
            Event::Written => {}
            Event::Came(message) => {
                heard_at = Instant::now();
                let body: Bytes = match message {
                    Message::Text(text) => text.into(),
                    Message::Binary(bytes) => bytes,
                    Message::Close(_) => return line.close(None).await,
                    Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
                };
                let session = session.clone();
                under_way.push(Box::pin(async move { session.answer(body).await }));
            }
            Event::Tick => {
                let patience = 2 * every;
                // While its messages are left unread it cannot give a sign of life.
                if is_full || is_leaving {
                    heard_at = Instant::now();
                }
                if !line.is_idle() && line.moved_at.elapsed() > patience {
                    break (
                        CloseCode::Policy,
                        "too slow: nothing was read for two ping intervals".to_owned(),
                    );
                }
                if heard_at.elapsed() > patience {
                    break (CloseCode::Policy, "no sign of life for two ping intervals".to_owned());
                }
                line.ping_due = true;
            }
            Event::Over(end) => {
                let code = match end {
                    SessionEnd::TooSlow { .. } => CloseCode::Policy,
                    _ => CloseCode::Again,
                };
                break (code, end.to_string());
            }
            Event::Broken(error) => match blame(&error, settings) {
                Some(blame) => break blame,
                None => return,
            },
            Event::Gone => return,
        }
        if is_leaving && under_way.is_empty() && line.is_idle() {
            break (CloseCode::Away, "the server is going away".to_owned());
        }
    };
    // Nobody waits for these any more.
    drop((under_way, session));
    // A client that was cut off asks its operator why.
    match code {
        CloseCode::Policy | CloseCode::Again => {
            tracing::info!(code = u16::from(code), reason, "WebSocket closed")
        }
        _ => tracing::debug!(code = u16::from(code), reason, "WebSocket closed"),
    }
    line.close(Some((code, reason))).await;
}

/// What happens on a connection.
enum Event {
    Leave,
    Answered(SessionReply),
    /// Everything that there was has gone out.
    Written,
    Came(Message),
    Tick,
    Over(SessionEnd),
    Broken(tungstenite::Error),
    Gone,
}

/// What the client did wrong, in the terms of RFC 6455 (section 7.4.1), if it was the client.
fn blame(error: &tungstenite::Error, settings: &config::Server) -> Option<(CloseCode, String)> {
    match error {
        tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }) => Some((
            CloseCode::Size,
            format!("message too large: at most {} bytes (server.max_body)", settings.max_body),
        )),
        tungstenite::Error::Protocol(_) => {
            Some((CloseCode::Protocol, "not the WebSocket protocol".to_owned()))
        }
        tungstenite::Error::Utf8(_) => Some((CloseCode::Invalid, "text that is no UTF-8".to_owned())),
        _ => None,
    }
}

/// A message on its way out, or what is left of it.
struct Outgoing {
    rest: Bytes,
    is_begun: bool,
}

impl Outgoing {
    fn new(body: Bytes) -> Self {
        Self { rest: body, is_begun: false }
    }

    fn next_frame(&mut self) -> Frame {
        let part = self.rest.split_to(self.rest.len().min(FRAGMENT_BYTES));
        let kind = if self.is_begun { Data::Continue } else { Data::Text };
        self.is_begun = true;
        Frame::message(part, OpCode::Data(kind), self.rest.is_empty())
    }
}

/// The socket and what waits to be written to it.
struct Line<S> {
    socket: WebSocketStream<S>,
    outgoing: VecDeque<Outgoing>,
    ping_due: bool,
    /// Nothing lies in the socket's own buffer.
    is_flushed: bool,
    /// When something was last written, or there was nothing to write.
    moved_at: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    /// Bytes that wait to be written.
    fn waiting(&self) -> usize {
        self.outgoing.iter().map(|message| message.rest.len()).sum()
    }

    fn is_idle(&self) -> bool {
        self.outgoing.is_empty() && self.is_flushed
    }

    /// Writes what there is, and reads if it may.
    fn poll(&mut self, cx: &mut Context<'_>, session: &Session, may_read: bool) -> Poll<Event> {
        match self.poll_write(cx, session) {
            Poll::Ready(Some(event)) => return Poll::Ready(event),
            Poll::Ready(None) | Poll::Pending => {}
        }
        if !may_read {
            return Poll::Pending;
        }
        match Pin::new(&mut self.socket).poll_next(cx) {
            Poll::Ready(Some(Ok(message))) => Poll::Ready(Event::Came(message)),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Event::Broken(error)),
            Poll::Ready(None) => Poll::Ready(Event::Gone),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Ready when there is nothing more to write; with an event where something came of it.
    fn poll_write(&mut self, cx: &mut Context<'_>, session: &Session) -> Poll<Option<Event>> {
        let broken = |error| Poll::Ready(Some(Event::Broken(error)));
        loop {
            // Looked at before the socket, which may be blocked: whoever is too slow is told so meanwhile.
            if self.outgoing.is_empty() {
                match session.try_next() {
                    Ok(news) => self.outgoing.extend(news.map(|news| Outgoing::new(news.to_json()))),
                    Err(end) => return Poll::Ready(Some(Event::Over(end))),
                }
            } else if let Some(end) = session.end() {
                return Poll::Ready(Some(Event::Over(end)));
            }
            let nothing = self.outgoing.is_empty() && !self.ping_due;
            if nothing && self.is_flushed {
                self.moved_at = Instant::now();
                return Poll::Ready(None);
            }
            if nothing {
                return match Pin::new(&mut self.socket).poll_flush(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Err(error)) => broken(error),
                    Poll::Ready(Ok(())) => {
                        self.is_flushed = true;
                        self.moved_at = Instant::now();
                        Poll::Ready(Some(Event::Written))
                    }
                };
            }
            match Pin::new(&mut self.socket).poll_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return broken(error),
                Poll::Ready(Ok(())) => self.moved_at = Instant::now(),
            }
            let message = match self.outgoing.front_mut() {
                _ if self.ping_due => {
                    self.ping_due = false;
                    Message::Ping(Bytes::new())
                }
                Some(first) => {
                    let frame = first.next_frame();
                    if first.rest.is_empty() {
                        self.outgoing.pop_front();
                    }
                    Message::Frame(frame)
                }
                None => continue,
            };
            self.is_flushed = false;
            if let Err(error) = Pin::new(&mut self.socket).start_send(message) {
                return broken(error);
            }
        }
    }

    /// Says why it ends, where there is a reason, and waits a moment for the client to agree.
    async fn close(mut self, why: Option<(CloseCode, String)>) {
        self.outgoing = VecDeque::new();
        let _ = timeout(FAREWELL_PATIENCE, async {
            if let Some((code, mut reason)) = why {
                reason.truncate(REASON_BYTES_MAX);
                let _ = self.socket.close(Some(CloseFrame { code, reason: reason.into() })).await;
            }
            // What the client still sends is read and dropped: unread bytes would make the kernel reset the
            // connection, and the reason would be lost with it.
            while let Some(Ok(_)) = self.socket.next().await {}
        })
        .await;
    }
}
