//! HTTP/1.1 towards a backend, one request at a time, driven by the task that asks: nothing stands between it and
//! the socket, so that an answer costs one wake-up.
//!
//! Heads are read by `httparse`. Where a body ends follows RFC 9112, section 6.3; what is ambiguous there is an
//! error. While a connection lies idle nobody watches it: whoever takes it looks whether it was closed.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Version};
use httparse::{Status, parse_chunk_size};
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

use super::body::Collector;
use super::failure;
use super::wire::Wire;
use crate::policy::Failure;

/// Bytes of an answer's head. Edges add some 2 KiB of cookies and policies; nginx sends 32 KiB at most.
pub(super) const HEAD_MAX: usize = 64 << 10;
/// Header lines of an answer.
const HEADERS_MAX: usize = 128;
/// Bytes asked of the socket at once while heads and small bodies are read; every connection keeps so much.
const READ_BYTES: usize = 8 << 10;
/// A smaller body is copied out of the connection's buffer, which then serves the next answer.
const COPIED_MAX: usize = 4 << 10;
/// A request up to this size is written in one piece with its head.
const ONE_PIECE_MAX: usize = 16 << 10;
/// Room made in advance at most for a body whose length is told: a false one must not reserve memory.
const RESERVE_MAX: usize = 64 << 10;
/// The line in front of a chunk, extensions included.
const CHUNK_LINE_MAX: usize = 4 << 10;

/// The client's end of one connection.
pub(super) struct Client {
    wire: Wire,
    /// Read from the wire and not yet taken.
    unread: BytesMut,
    /// What is being written; kept for its room.
    out: Vec<u8>,
    /// All of the last request was written.
    complete: bool,
    /// Nothing is under way, and the last answer was read to its end.
    sound: bool,
}

/// An answer before its body.
pub(super) struct AnswerHead {
    pub(super) status: u16,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) rest: Rest,
}

/// What is still to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// So many bytes.
    Known(u64),
    /// The line that tells the next chunk's size.
    ChunkLine,
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    /// What comes until the backend closes.
    UntilClose,
    Nothing,
}

impl Client {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire, unread: BytesMut::new(), out: Vec::new(), complete: true, sound: true }
    }

    /// Whether it can take a request: open, as far as the kernel has told, with no byte of something that nobody
    /// asked for.
    pub(super) fn is_idle(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.sound && self.unread.is_empty() && self.poll_fill(&mut context).is_pending()
    }

    /// Writes a request and reads the head of its answer. `head` writes all before the body, the empty line included.
    pub(super) async fn ask(
        &mut self,
        head: impl FnOnce(&mut Vec<u8>),
        body: &Bytes,
    ) -> Result<AnswerHead, Failure> {
        // Until the answer is read to its end, nothing else may use this connection.
        self.sound = false;
        self.out.clear();
        head(&mut self.out);
        let mut apart = body.clone();
        if apart.len() <= ONE_PIECE_MAX {
            self.out.extend_from_slice(&apart);
            apart.clear();
        }
        let mut written = 0;
        self.complete = poll_fn(|cx| self.poll_write(cx, &mut written, &mut apart)).await?;
        loop {
            if let Some(head) = take_head(&mut self.unread)? {
                return Ok(head);
            }
            self.more().await?;
        }
    }

    /// True when all is written; false when the answer came before, after which a backend need not read on.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        written: &mut usize,
        apart: &mut Bytes,
    ) -> Poll<Result<bool, Failure>> {
        loop {
            let rest = self.out.get(*written..).unwrap_or_default();
            if rest.is_empty() && apart.is_empty() {
                let flushed = ready!(Pin::new(&mut self.wire).poll_flush(cx));
                return Poll::Ready(flushed.map(|()| true).map_err(|error| failure::of_io(&error)));
            }
            let wire = Pin::new(&mut self.wire);
            let done = match apart.is_empty() {
                true => wire.poll_write(cx, rest),
                false => wire.poll_write_vectored(cx, &[IoSlice::new(rest), IoSlice::new(apart)]),
            };
            match done {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Failure::Reset)),
                Poll::Ready(Ok(count)) => {
                    let of_out = count.min(rest.len());
                    *written += of_out;
                    apart.advance(count - of_out);
                }
                Poll::Ready(Err(error)) => {
                    // It may have said why before it hung up.
                    while matches!(self.poll_fill(cx), Poll::Ready(Ok(count)) if count > 0) {}
                    return Poll::Ready(match self.has_answer() {
                        true => Ok(false),
                        false => Err(failure::of_io(&error)),
                    });
                }
                Poll::Pending => loop {
                    match ready!(self.poll_fill(cx)) {
                        Ok(0) => return Poll::Ready(Err(Failure::Reset)),
                        Ok(_) if self.has_answer() => return Poll::Ready(Ok(false)),
                        Ok(_) => {}
                        Err(error) => return Poll::Ready(Err(failure::of_io(&error))),
                    }
                },
            }
        }
    }

    /// Reads the body of the answer whose head came last, at most `max` bytes of it, both packed and unpacked.
    pub(super) async fn body(&mut self, head: &mut AnswerHead, max: usize) -> Result<Bytes, Failure> {
        if let Rest::Known(length) = head.rest
            && usize::try_from(length).map_or(true, |length| length > max)
        {
            return Err(Failure::TooLarge);
        }
        let mut collector = Collector::new(&head.headers, max)?;
        match head.rest {
            Rest::Known(length) if collector.is_plain() => {
                let body = self.sized(length as usize).await?;
                head.rest = Rest::Nothing;
                Ok(body)
            }
            _ => {
                while let Some(piece) = self.piece(&mut head.rest).await? {
                    collector.take(piece).await?;
                }
                collector.finish(&mut head.headers)
            }
        }
    }

    /// Whether the next request may use this connection, when `rest` is what is left of the last answer. Bytes behind
    /// an answer's end are of nobody's answer: they would be taken for the next one.
    pub(super) fn is_done(&mut self, rest: Rest) -> bool {
        self.sound = self.complete && rest == Rest::Nothing && self.unread.is_empty();
        self.sound
    }

    /// The next piece of a body, and `None` at its end.
    pub(super) async fn piece(&mut self, rest: &mut Rest) -> Result<Option<Bytes>, Failure> {
        loop {
            match *rest {
                Rest::Nothing | Rest::Known(0) => {
                    *rest = Rest::Nothing;
                    return Ok(None);
                }
                Rest::Known(left) => {
                    let piece = self.data(left).await?;
                    *rest = Rest::Known(left - piece.len() as u64);
                    return Ok(Some(piece));
                }
                Rest::Chunk(0) => *rest = Rest::ChunkEnd,
                Rest::Chunk(left) => {
                    let piece = self.data(left).await?;
                    *rest = Rest::Chunk(left - piece.len() as u64);
                    return Ok(Some(piece));
                }
                Rest::ChunkEnd => {
                    while self.unread.len() < 2 {
                        self.more().await?;
                    }
                    if !self.unread.starts_with(b"\r\n") {
                        return Err(Failure::Protocol);
                    }
                    self.unread.advance(2);
                    *rest = Rest::ChunkLine;
                }
                Rest::ChunkLine => match parse_chunk_size(&self.unread).map_err(|_| Failure::Protocol)? {
                    Status::Complete((line, 0)) => {
                        self.unread.advance(line);
                        self.trailers().await?;
                        *rest = Rest::Nothing;
                    }
                    Status::Complete((line, size)) => {
                        self.unread.advance(line);
                        *rest = Rest::Chunk(size);
                    }
                    Status::Partial if self.unread.len() > CHUNK_LINE_MAX => return Err(Failure::Protocol),
                    Status::Partial => self.more().await?,
                },
                Rest::UntilClose => {
                    if self.unread.is_empty() && self.fill().await? == 0 {
                        self.complete = false;
                        *rest = Rest::Nothing;
                        return Ok(None);
                    }
                    return Ok(Some(self.unread.split().freeze()));
                }
            }
        }
    }

    /// Some bytes, `most` at most.
    async fn data(&mut self, most: u64) -> Result<Bytes, Failure> {
        if self.unread.is_empty() {
            self.more().await?;
        }
        let count = usize::try_from(most).map_or(self.unread.len(), |most| most.min(self.unread.len()));
        Ok(self.unread.split_to(count).freeze())
    }

    /// What stands behind the last chunk is read over.
    async fn trailers(&mut self) -> Result<(), Failure> {
        loop {
            if let Some(length) = trailers_length(&self.unread)? {
                self.unread.advance(length);
                return Ok(());
            }
            self.more().await?;
        }
    }

    async fn sized(&mut self, length: usize) -> Result<Bytes, Failure> {
        if length <= READ_BYTES {
            while self.unread.len() < length {
                self.more().await?;
            }
            return Ok(match length <= COPIED_MAX {
                true => {
                    let copy = Bytes::copy_from_slice(&self.unread[..length]);
                    self.unread.advance(length);
                    copy
                }
                false => self.unread.split_to(length).freeze(),
            });
        }
        // Straight into its own place: nothing of a large body goes through the connection's buffer.
        let mut body = BytesMut::with_capacity(length.min(RESERVE_MAX));
        let come = self.unread.len().min(length);
        body.extend_from_slice(&self.unread[..come]);
        self.unread.advance(come);
        while body.len() < length {
            if body.len() == body.capacity() {
                body.reserve((length - body.len()).min(body.len() * 3));
            }
            let left = length - body.len();
            let mut room = (&mut body).limit(left);
            let read = poll_fn(|cx| poll_read_buf(Pin::new(&mut self.wire), cx, &mut room)).await;
            if read.map_err(|error| failure::of_io(&error))? == 0 {
                return Err(Failure::Reset);
            }
        }
        Ok(body.freeze())
    }

    /// Reads on; the end of the stream is an error.
    async fn more(&mut self) -> Result<(), Failure> {
        match self.fill().await? {
            0 => Err(Failure::Reset),
            _ => Ok(()),
        }
    }

    async fn fill(&mut self) -> Result<usize, Failure> {
        poll_fn(|cx| self.poll_fill(cx)).await.map_err(|error| failure::of_io(&error))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.unread.reserve(READ_BYTES);
        poll_read_buf(Pin::new(&mut self.wire), cx, &mut self.unread)
    }

    /// Whether the head of an answer has come, or something that is none.
    fn has_answer(&self) -> bool {
        let mut unread = self.unread.clone();
        !matches!(take_head(&mut unread), Ok(None))
    }
}

/// How long the lines behind the last chunk are, the empty one included; `None` while it has not come.
fn trailers_length(unread: &[u8]) -> Result<Option<usize>, Failure> {
    let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
    match httparse::parse_headers(unread, &mut lines).map_err(|_| Failure::Protocol)? {
        Status::Complete((length, _)) => Ok(Some(length)),
        Status::Partial if unread.len() > HEAD_MAX => Err(Failure::Protocol),
        Status::Partial => Ok(None),
    }
}

/// Takes the head of an answer out of what has come; `None` while it is not whole. Interim answers (103) are read over.
fn take_head(unread: &mut BytesMut) -> Result<Option<AnswerHead>, Failure> {
    while !unread.is_empty() {
        let mut lines = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut response, unread, &mut lines)
            .map_err(|_| Failure::Protocol)?;
        let Status::Complete(length) = parsed else {
            return if unread.len() >= HEAD_MAX { Err(Failure::Protocol) } else { Ok(None) };
        };
        let status = response.code.ok_or(Failure::Protocol)?;
        if (100..200).contains(&status) && status != 101 {
            unread.advance(length);
            continue;
        }
        let version = if response.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
        // One copy of all lines, which the values share.
        let text = Bytes::copy_from_slice(&unread[..length]);
        let start = unread.as_ptr() as usize;
        let mut headers = HeaderMap::with_capacity(response.headers.len());
        for line in response.headers.iter() {
            let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| Failure::Protocol)?;
            let at = line.value.as_ptr() as usize - start;
            let value =
                if line.value.is_empty() { Bytes::new() } else { text.slice(at..at + line.value.len()) };
            let value = HeaderValue::from_maybe_shared(value).map_err(|_| Failure::Protocol)?;
            headers.append(name, value);
        }
        unread.advance(length);
        let rest = rest(status, version, &headers)?;
        return Ok(Some(AnswerHead { status, version, headers, rest }));
    }
    Ok(None)
}

/// Where the body ends (RFC 9112, section 6.3).
fn rest(status: u16, version: Version, headers: &HeaderMap) -> Result<Rest, Failure> {
    if matches!(status, 101 | 204 | 304) {
        return Ok(Rest::Nothing);
    }
    if let Some(last) = headers.get_all(TRANSFER_ENCODING).iter().next_back() {
        if version == Version::HTTP_10 {
            return Err(Failure::Protocol);
        }
        let last = last.to_str().unwrap_or_default().rsplit(',').next().unwrap_or_default();
        return Ok(match last.trim().eq_ignore_ascii_case("chunked") {
            true => Rest::ChunkLine,
            false => Rest::UntilClose,
        });
    }
    let mut told = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for number in value.to_str().map_err(|_| Failure::Protocol)?.split(',').map(str::trim) {
            let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            let length = number.parse::<u64>().ok().filter(|_| digits).ok_or(Failure::Protocol)?;
            if told.replace(length).is_some_and(|before| before != length) {
                return Err(Failure::Protocol);
            }
        }
    }
    Ok(told.map_or(Rest::UntilClose, Rest::Known))
}
