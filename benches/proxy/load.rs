//! A closed loop of keep-alive connections, and what it saw.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::subject::Subject;

/// What one window saw.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub requests_per_s: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// CPU time of the subject's processes per request; NaN without any.
    pub cpu_us: f64,
    pub rss_mib: f64,
    pub failed: u64,
}

/// Loads a subject for one window, after a tenth of it as warm-up.
pub async fn measure(subject: &mut Subject, method: &str, connections: usize, window: Duration) -> Measured {
    lap(subject, method, connections, window / 10).await;
    let cpu_before = subject.cpu();
    let started = Instant::now();
    let (mut latencies_us, failed) = lap(subject, method, connections, window).await;
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

async fn lap(subject: &Subject, method: &str, connections: usize, window: Duration) -> (Vec<u32>, u64) {
    let until = Instant::now() + window;
    let tasks: Vec<_> = (0..connections)
        .map(|_| {
            tokio::spawn(client(subject.address.clone(), subject.path.clone(), method.to_owned(), until))
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

async fn client(address: String, path: String, method: String, until: Instant) -> (Vec<u32>, u64) {
    let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\"params\":[]}}");
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (mut latencies_us, mut failed) = (Vec::new(), 0);
    let mut buffer = vec![0; 256 * 1024];
    let Ok(mut stream) = TcpStream::connect(&address).await else { return (latencies_us, 1) };
    let _ = stream.set_nodelay(true);
    while Instant::now() < until {
        let sent_at = Instant::now();
        match exchange(&mut stream, request.as_bytes(), &mut buffer).await {
            Some(()) => latencies_us.push(u32::try_from(sent_at.elapsed().as_micros()).unwrap_or(u32::MAX)),
            None => {
                failed += 1;
                match TcpStream::connect(&address).await {
                    Ok(again) => stream = again,
                    Err(_) => break,
                }
            }
        }
    }
    (latencies_us, failed)
}

/// One request and its whole answer; `None` for anything but a JSON-RPC result in HTTP 200.
async fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut [u8]) -> Option<()> {
    stream.write_all(request).await.ok()?;
    let (mut filled, mut head_end) = (0, 0);
    while head_end == 0 {
        let read = stream.read(&mut buffer[filled..]).await.ok()?;
        if read == 0 {
            return None;
        }
        filled += read;
        head_end = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
    }
    let head = std::str::from_utf8(&buffer[..head_end]).ok()?.to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") {
        return None;
    }
    let length: usize = head.split("content-length:").nth(1)?.lines().next()?.trim().parse().ok()?;
    let mut left = length - (filled - head_end);
    if memchr::memmem::find(&buffer[head_end..filled], b"\"result\"").is_none() && left == 0 {
        return None;
    }
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
