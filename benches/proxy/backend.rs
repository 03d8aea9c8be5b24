//! The fixture backend: prepared answers, as fast as one thread can write them. It is a process of its own, so
//! that its work is not taken for the load generator's.

use std::path::Path;
use std::sync::Arc;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::case::{CASES, CHAIN_ID, Case};
use crate::leash::Leash;
use crate::subject::START_LIMIT;

/// Makes this program the backend instead of the bench; the port to listen on follows, 0 for any.
pub const ARGUMENT: &str = "--fixture-backend";
/// What the backend says once it listens; its address follows.
const READY: &str = "fixture backend on ";
/// Up to here an answer is copied behind its head and sent in one piece.
const ONE_PIECE_MAX: usize = 64 * 1024;

/// A running backend.
pub struct Backend {
    pub address: String,
    _process: Leash,
}

impl Backend {
    /// Starts this program again as the backend.
    pub fn start(port: u16) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let process = Leash::start(Path::new(&program), &[ARGUMENT.to_owned(), port.to_string()], &[])
            .map_err(|error| error.to_string())?;
        let address = process.said().find(START_LIMIT, |line| line.strip_prefix(READY).map(str::to_owned));
        let address = address
            .ok_or_else(|| format!("the fixture backend does not start: {}", process.said().text()))?;
        Ok(Self { address, _process: process })
    }
}

/// One case's answer, but for its id.
struct Answer {
    case: Case,
    result: String,
}

/// Serves until the process is ended.
pub async fn serve(port: u16) -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("{READY}{}", listener.local_addr()?);
    let answers: Arc<[Answer]> = CASES.map(|case| Answer { case, result: case.result() }).into();
    loop {
        let (stream, _) = listener.accept().await?;
        let _ = stream.set_nodelay(true);
        let answers = answers.clone();
        tokio::spawn(async move {
            // A client that went away.
            let _ = converse(stream, &answers).await;
        });
    }
}

async fn converse(mut stream: TcpStream, answers: &[Answer]) -> std::io::Result<()> {
    let (mut buffer, mut out) = (Vec::with_capacity(4096), Vec::with_capacity(ONE_PIECE_MAX));
    while let Some(body) = request(&mut stream, &mut buffer).await? {
        let id = memmem::find(body, b"\"id\":").map_or(&b"null"[..], |at| {
            let rest = &body[at + b"\"id\":".len()..];
            &rest[..rest.iter().position(|b| *b == b',' || *b == b'}').unwrap_or(0)]
        });
        let known = answers.iter().find(|answer| answer.case.is(body));
        let chain_id;
        let result = match known {
            Some(answer) => answer.result.as_bytes(),
            // A proxy may look whom it talks to before it passes anything on, and again at times.
            None if memmem::find(body, b"eth_chainId").is_some() => {
                chain_id = format!("\"{CHAIN_ID:#x}\"");
                chain_id.as_bytes()
            }
            None if memmem::find(body, b"eth_blockNumber").is_some() => b"\"0xffffff\"",
            None => b"null",
        };
        let opening = [br#"{"jsonrpc":"2.0","id":"#, id, br#","result":"#].concat();
        let length = opening.len() + result.len() + 1;
        out.clear();
        out.extend_from_slice(
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")
                .as_bytes(),
        );
        out.extend_from_slice(&opening);
        if result.len() <= ONE_PIECE_MAX {
            out.extend_from_slice(result);
            out.push(b'}');
            stream.write_all(&out).await?;
        } else {
            stream.write_all(&out).await?;
            stream.write_all(result).await?;
            stream.write_all(b"}").await?;
        }
        buffer.clear();
    }
    Ok(())
}

/// Reads one request with a `content-length`; gives its body, or `None` at the end. Nobody here sends a second
/// request before the first is answered, so that what is in the buffer is this one.
async fn request<'a>(stream: &mut TcpStream, buffer: &'a mut Vec<u8>) -> std::io::Result<Option<&'a [u8]>> {
    loop {
        if let Some(head) = memmem::find(buffer, b"\r\n\r\n").map(|at| at + 4) {
            let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
            let length = text.split("content-length:").nth(1).and_then(|rest| rest.lines().next());
            let end = head + length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            if buffer.len() >= end {
                return Ok(Some(&buffer[head..end]));
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}
