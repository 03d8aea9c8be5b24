//! Reads an answer's body to its end, unpacks gzip on the way, and stops at the bound.

use std::io::{self, Write};

use bytes::{Bytes, BytesMut};
use flate2::write::MultiGzDecoder;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body::Body;
use http_body_util::BodyExt;

use super::failure;
use crate::policy::Failure;

/// Room made in advance at most; a false `content-length` must not reserve memory.
const RESERVE_MAX: usize = 64 << 10;

/// Packed bytes that are unpacked in one go. They can grow a thousandfold, which takes some 15 ms; other
/// requests of the same thread have their turn between two pieces.
const PIECE: usize = 16 << 10;

/// The whole body, at most `max` bytes of it, both packed and unpacked. `headers` lose what no longer holds
/// once the body is unpacked.
pub(super) async fn whole<B>(mut body: B, headers: &mut HeaderMap, max: usize) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let hint = body.size_hint();
    if hint.lower() > max as u64 {
        return Err(Failure::TooLarge);
    }
    let mut collector = Collector::new(headers, max)?;
    collector.reserve = RESERVE_MAX.min(usize::try_from(hint.lower()).unwrap_or(RESERVE_MAX));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|e| failure::of(&e))?.into_data() else { continue };
        collector.take(data).await?;
    }
    collector.finish(headers)
}

/// Takes a body piece by piece.
pub(super) struct Collector {
    sink: Sink,
    /// A body of one piece is passed on without a copy.
    first: Option<Bytes>,
    arrived: usize,
    reserve: usize,
    max: usize,
}

impl Collector {
    pub(super) fn new(headers: &HeaderMap, max: usize) -> Result<Self, Failure> {
        let room = Bounded { bytes: BytesMut::new(), max };
        let sink = match is_gzip(headers)? {
            true => Sink::Gzip(Box::new(MultiGzDecoder::new(room))),
            false => Sink::Plain(room),
        };
        Ok(Self { sink, first: None, arrived: 0, reserve: 0, max })
    }

    /// Nothing is to be unpacked.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.sink, Sink::Plain(_))
    }

    pub(super) async fn take(&mut self, data: Bytes) -> Result<(), Failure> {
        self.arrived = self.arrived.saturating_add(data.len());
        if self.arrived > self.max {
            return Err(Failure::TooLarge);
        }
        match (&mut self.sink, self.first.take()) {
            (Sink::Plain(room), None) if room.bytes.is_empty() => self.first = Some(data),
            (Sink::Plain(room), Some(held)) => {
                room.bytes.reserve(self.reserve.max(held.len() + data.len()));
                room.bytes.extend_from_slice(&held);
                room.bytes.extend_from_slice(&data);
            }
            (Sink::Plain(room), None) => room.bytes.extend_from_slice(&data),
            (Sink::Gzip(decoder), _) => {
                for (place, piece) in data.chunks(PIECE).enumerate() {
                    if place > 0 {
                        tokio::task::yield_now().await;
                    }
                    decoder.write_all(piece).map_err(|e| gzip_failure(&e))?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn finish(self, headers: &mut HeaderMap) -> Result<Bytes, Failure> {
        if let Some(only) = self.first {
            return Ok(only);
        }
        match self.sink {
            Sink::Plain(room) => Ok(room.bytes.freeze()),
            Sink::Gzip(_) if self.arrived == 0 => Ok(Bytes::new()), // 204 and 304 carry the header and no body
            Sink::Gzip(decoder) => {
                let room = decoder.finish().map_err(|e| gzip_failure(&e))?;
                headers.remove(CONTENT_ENCODING);
                headers.remove(CONTENT_LENGTH);
                Ok(room.bytes.freeze())
            }
        }
    }
}

enum Sink {
    Plain(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
}

/// Takes `max` bytes and no more: a few kilobytes of gzip can unpack to gigabytes.
struct Bounded {
    bytes: BytesMut,
    max: usize,
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() > self.max - self.bytes.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gzip_failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::FileTooLarge => Failure::TooLarge,
        _ => Failure::Protocol,
    }
}

/// Only gzip is asked for; anything else that comes cannot be read.
fn is_gzip(headers: &HeaderMap) -> Result<bool, Failure> {
    let mut gzip = false;
    for value in headers.get_all(CONTENT_ENCODING) {
        let value = value.as_bytes().trim_ascii();
        if value.eq_ignore_ascii_case(b"gzip") || value.eq_ignore_ascii_case(b"x-gzip") {
            if gzip {
                return Err(Failure::Protocol);
            }
            gzip = true;
        } else if !value.is_empty() && !value.eq_ignore_ascii_case(b"identity") {
            return Err(Failure::Protocol);
        }
    }
    Ok(gzip)
}
