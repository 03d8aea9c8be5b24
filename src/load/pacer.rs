//! The clock of a load: a thread of its own, which wakes when a request is due and does nothing else.
//!
//! The runtime's timers count whole milliseconds; at a thousand requests a second each would be late by half of
//! one, and its latency would say so. A sleeping thread wakes within some tens of microseconds.

use std::io;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

/// What may wait between the clock and the runtime; beyond that the clock waits, and what is due is late.
const AHEAD_MAX: usize = 1024;

/// A request is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// By the plan, since the beginning of what is measured.
    pub(super) at: Duration,
    /// By the machine's clock.
    pub(super) when: Instant,
}

/// Starts the clock: `plan` holds moments since the beginning of what is measured, and the first moment of this leg of
/// it, `from`, is at `start`. It ends with the plan, or when nobody listens.
pub(super) fn start(
    plan: impl Iterator<Item = Duration> + Send + 'static,
    from: Duration,
    start: Instant,
) -> io::Result<mpsc::Receiver<Due>> {
    let (due, receiver) = mpsc::channel(AHEAD_MAX);
    let tick = move || {
        for at in plan {
            let when = start + at.saturating_sub(from);
            let early = when.saturating_duration_since(Instant::now());
            if !early.is_zero() {
                std::thread::sleep(early);
            }
            if due.blocking_send(Due { at, when }).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("load-clock".to_owned()).spawn(tick)?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everything_that_is_planned_comes_in_order_and_never_early() {
        let from = Duration::from_secs(5);
        let plan: Vec<_> = (0..200).map(|n| from + Duration::from_micros(n * 100)).collect();
        let begin = Instant::now();
        let mut due = start(plan.clone().into_iter(), from, begin).unwrap();
        let mut seen = Vec::new();
        while let Some(one) = due.recv().await {
            assert!(Instant::now() >= one.when);
            assert_eq!(one.when - begin, one.at - from);
            seen.push(one.at);
        }
        assert_eq!(seen, plan);
    }

    #[tokio::test]
    async fn the_clock_ends_when_nobody_listens() {
        let plan = (0u64..).map(Duration::from_nanos);
        drop(start(plan, Duration::ZERO, Instant::now()).unwrap());
    }
}
