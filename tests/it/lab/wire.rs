//! HTTP/1.1 on a bare socket, both ways.
//!
//! A fault injector and the client that proves its faults must see and send what a well-kept HTTP library
//! hides: half an answer, a length that lies, bytes that are no HTTP, a reset.
use std::io::{Error, ErrorKind, Result};

use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// Longest line of a head; real ones stay under 8 KiB.
const LINE_MAX: u64 = 64 << 10;
/// Most header lines of one message.
const HEADERS_MAX: usize = 256;
/// Largest body: above the biggest answer that a test asks for.
const BODY_MAX: usize = 64 << 20;

/// One request or response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The request line or the status line, without its line end.
    pub start: String,
    /// Names in lower case, values trimmed, in order.
    pub headers: Vec<(String, String)>,
    /// The body as announced, chunks already joined.
    pub body: Bytes,
}

impl Message {
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The status of a response; 0 where there is none.
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or("/")
    }

    /// Whether the sender wants the connection closed after this exchange.
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"))
    }

    /// The message as bytes, with the length of its body said in full.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = format!("{}\r\n", self.start).into_bytes();
        for (name, value) in &self.headers {
            if name != "content-length" && name != "transfer-encoding" {
                out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
        }
        out.extend_from_slice(format!("content-length: {}\r\n\r\n", self.body.len()).as_bytes());
        out.extend_from_slice(&self.body);
        out
    }
}

/// Reads the start line and the headers; `None` when the peer closed before the first byte.
pub async fn read_head(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<Message>> {
    let Some(start) = read_line(from).await? else { return Ok(None) };
    let mut headers = Vec::new();
    loop {
        let line = read_line(from).await?.ok_or(ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(Some(Message { start, headers, body: Bytes::new() }));
        }
        if headers.len() == HEADERS_MAX {
            return Err(Error::new(ErrorKind::InvalidData, "too many headers"));
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
}

/// Reads the body that `head` announces. Without a length a response goes on to the end of the connection.
pub async fn read_body(from: &mut (impl AsyncBufRead + Unpin), head: &Message) -> Result<Bytes> {
    let is_response = head.start.starts_with("HTTP/");
    if head.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        return read_chunks(from).await;
    }
    if let Some(length) = head.header("content-length") {
        let length = length.parse::<usize>().map_err(|_| ErrorKind::InvalidData)?;
        let mut body = vec![0; bounded(length)?];
        from.read_exact(&mut body).await?;
        return Ok(body.into());
    }
    let mut body = Vec::new();
    if is_response && !matches!(head.status(), 100..=199 | 204 | 304) {
        from.take(BODY_MAX as u64).read_to_end(&mut body).await?;
    }
    Ok(body.into())
}

async fn read_chunks(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Bytes> {
    let mut body = Vec::new();
    loop {
        let line = read_line(from).await?.ok_or(ErrorKind::UnexpectedEof)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| ErrorKind::InvalidData)?;
        if size == 0 {
            while !read_line(from).await?.ok_or(ErrorKind::UnexpectedEof)?.is_empty() {}
            return Ok(body.into());
        }
        let start = body.len();
        body.resize(bounded(start.saturating_add(size))?, 0);
        from.read_exact(&mut body[start..]).await?;
        read_line(from).await?;
    }
}

async fn read_line(from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<String>> {
    let mut line = Vec::new();
    let read = from.take(LINE_MAX).read_until(b'\n', &mut line).await?;
    if read == 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

fn bounded(length: usize) -> Result<usize> {
    if length > BODY_MAX {
        return Err(Error::new(ErrorKind::InvalidData, "the body is larger than any test asks for"));
    }
    Ok(length)
}
