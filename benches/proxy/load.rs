//! A closed loop of keep-alive connections, and what it saw. Each connection sends its next request when the
//! last one is answered: a slow subject is asked less, so that tails are flattered and only subjects compare.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::case::{Case, Request};
use crate::subject::Subject;

/// What one window saw.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub requests_per_s: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// CPU time of the subject's processes per request; NaN where they are not known.
    pub cpu_us: f64,
    /// Memory of the subject's processes at the end of the window; NaN where they are not known.
    pub rss_mib: f64,
    /// Requests without a whole, good answer.
    pub failed: u64,
}

/// Share of a window that connections and caches warm up before it.
const WARM_UP: f64 = 0.1;
/// Nothing here takes longer, unless it is broken.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Room for a head and for a piece of a large answer.
const BUFFER_BYTES: usize = 256 * 1024;

/// Numbers the requests of the whole run.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Loads a subject for one window, after a warm-up.
pub async fn measure(subject: &Subject, case: Case, connections: usize, window: Duration) -> Measured {
    lap(subject, case, connections, window.mul_f64(WARM_UP)).await;
    let cpu_before = subject.cpu();
    let started = Instant::now();
    let (mut latencies_us, failed) = lap(subject, case, connections, window).await;
    let took = started.elapsed();
    let cpu =
        subject.cpu().zip(cpu_before).map_or(f64::NAN, |(after, before)| (after - before).as_secs_f64());
    latencies_us.sort_unstable();
    let quantile = |q: f64| {
        let at = ((latencies_us.len() as f64 * q) as usize).min(latencies_us.len().saturating_sub(1));
        latencies_us.get(at).map_or(f64::NAN, |us| f64::from(*us))
    };
    Measured {
        requests_per_s: latencies_us.len() as f64 / took.as_secs_f64(),
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        cpu_us: cpu * 1e6 / latencies_us.len() as f64,
        rss_mib: subject.rss_mib().unwrap_or(f64::NAN),
        failed,
    }
}

/// One request on a connection of its own: whether it is answered as it should be.
pub async fn answers(subject: &Subject, case: Case) -> bool {
    let mut request = case.request(&subject.address, &subject.path);
    let Ok(mut stream) = TcpStream::connect(&subject.address).await else { return false };
    ask(&mut stream, &mut request, case, &mut vec![0; BUFFER_BYTES]).await.is_some()
}

async fn lap(subject: &Subject, case: Case, connections: usize, window: Duration) -> (Vec<u32>, u64) {
    let until = Instant::now() + window;
    let tasks: Vec<_> = (0..connections)
        .map(|_| {
            let request = case.request(&subject.address, &subject.path);
            tokio::spawn(client(subject.address.clone(), request, case, until))
        })
        .collect();
    let (mut all, mut failed) = (Vec::new(), 0);
    for task in tasks {
        let (latencies_us, failures) = task.await.expect("a client does not panic");
        all.extend(latencies_us);
        failed += failures;
    }
    (all, failed)
}

async fn client(address: String, mut request: Request, case: Case, until: Instant) -> (Vec<u32>, u64) {
    let (mut latencies_us, mut failed) = (Vec::new(), 0);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut kept: Option<TcpStream> = None;
    while Instant::now() < until {
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => match TcpStream::connect(&address).await {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    stream
                }
                Err(_) => return (latencies_us, failed + 1),
            },
        };
        let sent_at = Instant::now();
        match ask(&mut stream, &mut request, case, &mut buffer).await {
            Some(()) => {
                latencies_us.push(u32::try_from(sent_at.elapsed().as_micros()).unwrap_or(u32::MAX));
                kept = Some(stream);
            }
            None => failed += 1,
        }
    }
    (latencies_us, failed)
}

async fn ask(stream: &mut TcpStream, request: &mut Request, case: Case, buffer: &mut [u8]) -> Option<()> {
    let bytes = request.next(NUMBER.fetch_add(1, Ordering::Relaxed));
    let asked = async {
        stream.write_all(bytes).await.ok()?;
        read_answer(stream, case, buffer).await
    };
    tokio::time::timeout(ANSWER_LIMIT, asked).await.ok()?
}

/// Reads a whole answer; `None` for anything but a JSON-RPC result of full size in HTTP 200.
async fn read_answer(stream: &mut TcpStream, case: Case, buffer: &mut [u8]) -> Option<()> {
    let (mut filled, mut head) = (0, None);
    while head.is_none() {
        let read = stream.read(&mut buffer[filled..]).await.ok()?;
        if read == 0 {
            return None;
        }
        filled += read;
        head = memchr::memmem::find(&buffer[..filled], b"\r\n\r\n").map(|at| at + 4);
    }
    let head_end = head?;
    let head = std::str::from_utf8(&buffer[..head_end]).ok()?.to_ascii_lowercase();
    let length: usize = head.split("content-length:").nth(1)?.lines().next()?.trim().parse().ok()?;
    if !head.starts_with("http/1.1 200") || length < case.answer_bytes_min() {
        return None;
    }
    let mut left = length.checked_sub(filled - head_end)?;
    /// The envelope stands before the result, and all of it fits into this.
    const ENVELOPE_BYTES: usize = 60;
    while filled - head_end < ENVELOPE_BYTES.min(length) {
        let read = stream.read(&mut buffer[filled..]).await.ok()?;
        left = left.checked_sub(read).filter(|_| read > 0)?;
        filled += read;
    }
    memchr::memmem::find(&buffer[head_end..filled.min(head_end + ENVELOPE_BYTES)], b"\"result\"")?;
    while left > 0 {
        let part = left.min(buffer.len());
        let read = stream.read(&mut buffer[..part]).await.ok()?;
        if read == 0 {
            return None;
        }
        left -= read;
    }
    Some(())
}
