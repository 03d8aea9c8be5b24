//! The client: sends at its own pace whatever becomes of what it sent before, and checks every answer.
//!
//! Latency counts from when a request was due, so that a client that is held up cannot hide it (coordinated
//! omission).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Settings;
use super::log::{Asked, Fate, Log};
use super::mix::{Call, Mix, Transactions};
use crate::simulation::Simulation;

/// Longer than any deadline of the gateway's: who waits that long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// Requests under way; what is due beyond them waits, and its latency counts.
const UNDER_WAY_MAX: usize = 8192;
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Most blocks that an answer may be behind the truth when it comes, besides those made meanwhile. A cloud may
/// be one late, and so may what is left of its answer's way.
const BEHIND_MAX: u64 = 2;
/// Characters of an answer that stand in a report.
const SAID_MAX: usize = 200;

type Http = legacy::Client<HttpConnector, Full<Bytes>>;

/// A client at work.
pub(super) struct Client {
    stop: CancellationToken,
    tasks: TaskTracker,
    mix: Arc<Mutex<Mix>>,
}

/// What its requests share.
struct Asking {
    http: Http,
    url: String,
    simulation: Arc<Simulation>,
    block_time: Duration,
    mix: Arc<Mutex<Mix>>,
    log: Log,
}

impl Client {
    pub(super) fn start(
        address: SocketAddr,
        simulation: Arc<Simulation>,
        settings: &Settings,
        log: Log,
    ) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = legacy::Client::builder(TokioExecutor::new()).build(connector);
        let mix = Arc::new(Mutex::new(Mix::new(settings.seed)));
        let asking = Arc::new(Asking {
            http,
            url: format!("http://{address}/"),
            block_time: simulation.block_time(),
            simulation,
            mix: mix.clone(),
            log,
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let gap = Duration::from_secs(1) / settings.rate.max(1);
        tasks.spawn(stop.clone().run_until_cancelled_owned(pace(asking, gap, tasks.clone())));
        Self { stop, tasks, mix }
    }

    /// Sends nothing more, and waits for what is under way.
    pub(super) async fn finish(self) -> Transactions {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let mut mix = lock(&self.mix);
        std::mem::replace(&mut *mix, Mix::new(0)).into_transactions()
    }
}

async fn pace(asking: Arc<Asking>, gap: Duration, tasks: TaskTracker) {
    let places = Arc::new(Semaphore::new(UNDER_WAY_MAX));
    let mut due = Instant::now();
    loop {
        sleep_until(due).await;
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let head = asking.simulation.head();
        let call = lock(&asking.mix).next(head);
        let asking = asking.clone();
        tasks.spawn(async move {
            let asked = asking.ask(call, due).await;
            asking.log.asked(asked);
            drop(place);
        });
        due += gap;
    }
}

impl Asking {
    async fn ask(&self, call: Call, due: Instant) -> Asked {
        let answer = timeout_at(due + PATIENCE, self.post(&call.body)).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer for 20 s".to_owned()));
        let took = due.elapsed();
        let fate = match answer {
            Err(why) => Fate::Failed(why),
            Ok(result) if self.is_true(&call, &result, took) => Fate::Answered,
            Ok(result) => Fate::Wrong(cut(&format!("{} {result}", String::from_utf8_lossy(&call.body)))),
        };
        if let (Fate::Answered, Some(hash)) = (&fate, call.hash) {
            lock(&self.mix).acknowledged(hash);
        }
        Asked { due: self.log.since_origin(due), took, method: call.method, fate }
    }

    /// The result, or what came instead of it.
    async fn post(&self, body: &[u8]) -> Result<Value, String> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::copy_from_slice(body)))
            .map_err(|error| error.to_string())?;
        let response = self.http.request(request).await.map_err(|error| format!("no answer: {error}"))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| format!("half an answer: {error}"))?.to_bytes();
        let answer: Option<Value> = serde_json::from_slice(&body).ok();
        match answer {
            Some(Value::Object(mut answer)) if status == StatusCode::OK && answer.contains_key("result") => {
                Ok(answer.remove("result").unwrap_or_default())
            }
            _ => Err(cut(&format!("HTTP {} {}", status.as_u16(), String::from_utf8_lossy(&body)))),
        }
    }

    fn is_true(&self, call: &Call, result: &Value, took: Duration) -> bool {
        if let Some(hash) = call.hash {
            return result.as_str() == Some(&hash.to_string());
        }
        let meanwhile = (took.as_secs_f64() / self.block_time.as_secs_f64()).ceil() as u64;
        self.simulation.could_answer(&call.body, result, BEHIND_MAX + meanwhile)
    }
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SAID_MAX).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
