//! One target under load: asks it, judges what comes, and writes it down.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, Version};

use super::agreement::Answers;
use super::call::Request;
use super::heads::Heads;
use super::judge::{Fate, judge};
use super::latencies::Latencies;
use super::mix::Draws;
use super::pacer::Due;
use super::settings::{Settings, Target};
use super::tally::{Ended, Tally};
use crate::upstream::{Dns, Repeat, Tls, Upstream, UpstreamSettings};

/// The header in which Outrigger says who served an answer.
const SERVED_BY: &str = "x-outrigger-backend";
/// Longer names are no names.
const NAME_BYTES_MAX: usize = 64;

/// What all requests of a load share.
pub(super) struct Board {
    pub(super) draws: Draws,
    pub(super) answers: Mutex<Answers>,
    pub(super) compares: bool,
    pub(super) chain_id: u64,
    /// What was seen since progress was last told.
    pub(super) recent: Mutex<Recent>,
    /// How late requests were begun that nothing but this process kept from it.
    pub(super) late: Mutex<Latencies>,
    pub(super) next_id: AtomicU64,
}

/// See [`Board::recent`].
pub(super) struct Recent {
    pub(super) latency: Latencies,
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) wrong: u64,
}

/// A target, and what was seen of it.
pub(super) struct Aim {
    pub(super) upstream: Upstream,
    /// The second of two that are compared.
    pub(super) is_second: bool,
    pub(super) tally: Mutex<Tally>,
    pub(super) heads: Mutex<Heads>,
    pub(super) version: Mutex<Option<Version>>,
    /// How long it was measured.
    pub(super) span: Mutex<Duration>,
    /// Requests that met a connection which had gone stale, and were sent again on a fresh one.
    pub(super) repeated: AtomicU64,
}

/// What to ask, and when.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    /// Number of the request in the plan: the same for both of two that are compared.
    pub(super) number: u64,
    /// Blocks are named below this height.
    pub(super) head: u64,
    pub(super) due: Due,
    /// All places were taken when it was due.
    pub(super) delayed: bool,
    /// Nothing is written down in the warm-up.
    pub(super) counts: bool,
}

impl Aim {
    pub(super) fn new(
        target: &Target,
        settings: &Settings,
        tally: Tally,
        tls: &Arc<Tls>,
        dns: &Arc<Dns>,
    ) -> Self {
        let mut upstream = UpstreamSettings::new(target.url.clone(), tls.clone(), dns.clone());
        upstream.headers = target.headers.clone();
        upstream.max_connections = settings.connections;
        upstream.connect_timeout = settings.timeout;
        Self {
            upstream: Upstream::new(upstream),
            is_second: false,
            tally: Mutex::new(tally),
            heads: Mutex::default(),
            version: Mutex::new(None),
            span: Mutex::new(Duration::ZERO),
            repeated: AtomicU64::new(0),
        }
    }

    /// Asks, until `deadline` at the latest.
    pub(super) async fn ask(&self, board: &Board, turn: Turn, deadline: Instant) {
        let request = board.draws.nth(turn.number, turn.head);
        let first_id = board.next_id.fetch_add(request.calls.len() as u64, Ordering::Relaxed);
        // What was told by now must not be taken back.
        let floor = lock(&self.heads).floor();
        let repeat = if request.submits() { Repeat::OnlyUnsent } else { Repeat::Safe };
        let body = request.body(first_id);
        let sent = Instant::now();
        let answer = self.upstream.post(body, deadline.into(), None, repeat).await;
        let over = Instant::now();

        let none = HeaderMap::new();
        let headers = answer.as_ref().map_or(&none, |answer| &answer.headers);
        let received = answer
            .as_ref()
            .map(|answer| (answer.status, headers, &answer.body))
            .map_err(|error| error.failure);
        let judged = judge(&request, first_id, Some(board.chain_id), received, board.compares);
        let mut contradicts = false;
        for height in &judged.heights {
            contradicts |= !lock(&self.heads).tell(*height, floor);
        }
        if !turn.counts {
            return;
        }
        if board.compares {
            let mut answers = lock(&board.answers);
            for (at, digest) in &judged.settled {
                let call = (turn.number, *at);
                match self.is_second {
                    false => answers.first(call, *digest),
                    true => contradicts |= !answers.second(call, *digest),
                }
            }
        }
        if let Ok(answer) = &answer {
            lock(&self.version).get_or_insert(answer.version);
            self.repeated.fetch_add(u64::from(answer.repeated), Ordering::Relaxed);
        }
        let ended = Ended {
            due: turn.due.at,
            latency: over.saturating_duration_since(turn.due.when),
            service: Some(over.saturating_duration_since(sent)),
            fate: judged.fate,
            class: Some(judged.class),
            label: &request.label(),
            calls: request.calls.len() as u64,
            delayed: turn.delayed,
            served_by: headers.get(SERVED_BY).and_then(|name| name_of(name.as_bytes())),
            contradicts,
        };
        self.write(board, &ended);
    }

    /// The time of a request was over before it could be sent.
    pub(super) fn not_started(&self, board: &Board, turn: Turn, timeout: Duration) {
        if !turn.counts {
            return;
        }
        let request: Request = board.draws.nth(turn.number, turn.head);
        let ended = Ended {
            due: turn.due.at,
            latency: timeout,
            service: None,
            fate: Fate::Failed,
            class: None,
            label: &request.label(),
            calls: request.calls.len() as u64,
            delayed: true,
            served_by: None,
            contradicts: false,
        };
        self.write(board, &ended);
    }

    fn write(&self, board: &Board, ended: &Ended<'_>) {
        let wrong = {
            let mut tally = lock(&self.tally);
            let before = tally.whole.wrong;
            tally.add(ended);
            tally.whole.wrong - before
        };
        let mut recent = lock(&board.recent);
        recent.latency.record(ended.latency);
        recent.requests += 1;
        recent.failed += u64::from(ended.fate == Fate::Failed);
        recent.wrong += wrong;
    }
}

/// A backend's name, if it is one: it comes over the wire, and goes to a terminal and into a page.
fn name_of(bytes: &[u8]) -> Option<&str> {
    let is_name = (1..=NAME_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(bytes).ok().filter(|_| is_name)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_name_is_nobodys() {
        assert_eq!(name_of(b"simulated-aws"), Some("simulated-aws"));
        for bytes in [&b""[..], b"a b", b"\x1b[31mred", "é".as_bytes(), &[b'a'; 65]] {
            assert_eq!(name_of(bytes), None);
        }
    }
}
