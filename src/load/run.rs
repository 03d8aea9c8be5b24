//! The load itself: a survey, a warm-up, then each target in its turns, at a pace that nothing holds up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::agreement::Answers;
use super::aim::{Aim, Board, Recent, Turn, lock};
use super::known::Known;
use super::latencies::Latencies;
use super::machine;
use super::mix::{Draws, Mix};
use super::pacer;
use super::report::{Measured, Report};
use super::schedule::{Rate, Schedule};
use super::settings::{LoadError, Settings};
use super::survey::{fit, survey};
use super::tally::Tally;
use crate::upstream::{Dns, Tls};

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(500);
/// Between the start of the clock and its first moment: the thread has to be there by then.
const RUN_UP: Duration = Duration::from_millis(5);
/// Requests of the warm-up are drawn from numbers of their own.
const WARM_UP_NUMBERS: u64 = 1 << 63;

/// What goes on.
#[derive(Clone, Debug)]
pub enum Event {
    /// The chain is looked at.
    Looking,
    /// A target is loaded, and nothing counts yet.
    WarmingUp {
        /// 0, or 1 for the one that is compared.
        target: usize,
    },
    /// A target has its turn.
    Measuring {
        /// 0, or 1 for the one that is compared.
        target: usize,
        /// Counted from 0.
        round: u32,
        /// When its first request is due.
        at: Instant,
    },
    /// How it goes, twice a second.
    Running(Progress),
}

/// How it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Of the whole load, warm-up and turns of all targets.
    pub elapsed: Duration,
    /// The whole load.
    pub length: Duration,
    /// Requests under way.
    pub under_way: usize,
    /// Requests that ended since the last time.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Of these, wrong.
    pub wrong: u64,
    /// Their latencies.
    pub p50_ms: f64,
    /// Their latencies.
    pub p99_ms: f64,
}

/// One stretch of one target's load.
struct Leg {
    aim: Arc<Aim>,
    /// 0, or 1 for the one that is compared.
    target: usize,
    round: u32,
    schedule: Schedule,
    /// The stretch of the schedule.
    from: Duration,
    until: Duration,
    counts: bool,
    /// Number of its first request.
    first: u64,
    /// Blocks are named below this height, where it is the same for two.
    head: Option<u64>,
}

/// Loads a target, or two in turns, and says what was seen. `tell` hears how it goes. When `stop` is cancelled it ends
/// early: what is under way then is not counted.
///
/// # Errors
/// When a setting is out of bounds, or there is nothing to load; see [`LoadError`]. Requests that fail are a result.
pub async fn run(
    settings: &Settings,
    stop: &CancellationToken,
    mut tell: impl FnMut(Event),
) -> Result<Report, LoadError> {
    settings.check()?;
    tell(Event::Looking);
    let (tls, dns) = (Arc::new(Tls::new(&settings.roots)?), Arc::new(Dns::system()));
    let targets = [Some(&settings.target), settings.compare.as_ref()];
    let mut aims: Vec<Aim> = targets
        .into_iter()
        .flatten()
        .map(|target| Aim::new(target, settings, Tally::new(settings.duration, parts(settings)), &tls, &dns))
        .collect();
    let mut known = None;
    for (at, aim) in aims.iter_mut().enumerate() {
        aim.is_second = at == 1;
        let found = survey(&aim.upstream).await?;
        known = Some(match known {
            None => found,
            Some(first) => same_chain(settings, first, found)?,
        });
    }
    let known = known.unwrap_or_default();
    let (chain_id, head) = (known.chain_id, known.head);
    let mut draws = Draws::new(&settings.mix, known, settings.seed);
    let mut left_out = Vec::new();
    for aim in &aims {
        left_out.extend(fit(&aim.upstream, &mut draws).await?);
    }
    let aims: Vec<Arc<Aim>> = aims.into_iter().map(Arc::new).collect();
    let board = Arc::new(Board {
        draws,
        answers: Mutex::new(Answers::default()),
        compares: settings.compare.is_some(),
        chain_id,
        recent: Mutex::new(Recent::new()),
        late: Mutex::new(Latencies::coarse()),
        next_id: AtomicU64::new(1),
    });
    let mut load = Load {
        settings,
        stop,
        board: board.clone(),
        places: Arc::new(Semaphore::new(settings.connections)),
        done: Duration::ZERO,
        length: (settings.warm_up + settings.duration) * aims.len() as u32,
        head,
    };

    let gentle =
        Rate::constant(settings.rate.from()).map_err(|_| LoadError::Setting("the rate is no rate"))?;
    for (target, aim) in aims.iter().enumerate().filter(|_| !settings.warm_up.is_zero()) {
        tell(Event::WarmingUp { target });
        let schedule = Schedule::new(gentle, settings.arrivals, settings.warm_up, !settings.seed);
        let leg = Leg {
            aim: aim.clone(),
            target,
            round: 0,
            schedule,
            from: Duration::ZERO,
            until: settings.warm_up,
            counts: false,
            first: WARM_UP_NUMBERS,
            head: None,
        };
        load.leg(leg, &mut tell).await?;
    }

    let (cpu, began) = (machine::cpu(), Instant::now());
    let turns = settings.turns();
    let mut schedule = Schedule::new(settings.rate, settings.arrivals, settings.duration, settings.seed);
    let mut number = 0;
    for round in 0..turns {
        let (from, until) = (settings.duration / turns * round, settings.duration / turns * (round + 1));
        // Both are asked about the same blocks, which both have by now.
        let head =
            board.compares.then(|| aims.iter().map(|aim| load.head_of(aim)).min().unwrap_or(load.head));
        lock(&board.answers).forget();
        for (target, aim) in aims.iter().enumerate() {
            let leg = Leg {
                aim: aim.clone(),
                target,
                round,
                schedule: schedule.clone(),
                from,
                until,
                counts: true,
                first: number,
                head,
            };
            load.leg(leg, &mut tell).await?;
        }
        // The next round goes on in the plan where this one ended.
        loop {
            let mut next = schedule.clone();
            match next.next() {
                Some(at) if at < until => (schedule, number) = (next, number + 1),
                _ => break,
            }
        }
    }
    let measured = Measured {
        chain_id,
        took: began.elapsed(),
        cpu: machine::cpu().zip(cpu).map(|(after, before)| after.saturating_sub(before)),
        left_out,
        stopped_early: stop.is_cancelled(),
    };
    Ok(Report::new(settings, &aims, &board, measured))
}

/// Where the time of each target is split: at its turns, or at the marks.
fn parts(settings: &Settings) -> Vec<Duration> {
    match settings.turns() {
        1 => settings.marks.iter().map(|mark| mark.at).collect(),
        turns => (1..turns).map(|turn| settings.duration / turns * turn).collect(),
    }
}

fn same_chain(settings: &Settings, first: Known, second: Known) -> Result<Known, LoadError> {
    match &settings.compare {
        Some(compare) if first.chain_id != second.chain_id => Err(LoadError::TwoChains {
            target: settings.target.url.to_string(),
            chain_id: first.chain_id,
            compare: compare.url.to_string(),
            other: second.chain_id,
        }),
        _ => Ok(first.with(second)),
    }
}

struct Load<'a> {
    settings: &'a Settings,
    stop: &'a CancellationToken,
    board: Arc<Board>,
    places: Arc<Semaphore>,
    /// Legs that are over.
    done: Duration,
    length: Duration,
    /// The chain's height when it was looked at.
    head: u64,
}

impl Load<'_> {
    /// Runs a leg to its end and tells how it goes.
    async fn leg(&mut self, leg: Leg, tell: &mut impl FnMut(Event)) -> Result<(), LoadError> {
        if self.stop.is_cancelled() {
            return Ok(());
        }
        let length = leg.until - leg.from;
        let start = Instant::now() + RUN_UP;
        if leg.counts {
            tell(Event::Measuring { target: leg.target, round: leg.round, at: start });
        }
        let (first, last) = (leg.from, leg.until);
        let plan = leg.schedule.clone().skip_while(move |at| *at < first).take_while(move |at| *at < last);
        let mut due = pacer::start(plan, leg.from, start)?;
        let mut ticks = interval(TELL_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        {
            let going = self.go(&leg, &mut due, start + length);
            tokio::pin!(going);
            loop {
                tokio::select! {
                    () = &mut going => break,
                    _ = ticks.tick() => tell(Event::Running(self.progress(start.elapsed().min(length)))),
                }
            }
        }
        if leg.counts {
            *lock(&leg.aim.span) += start.elapsed().min(length);
        }
        self.done += length;
        Ok(())
    }

    async fn go(&self, leg: &Leg, due: &mut tokio::sync::mpsc::Receiver<pacer::Due>, end: Instant) {
        let mut tasks = JoinSet::new();
        let mut number = leg.first;
        // Since when the last request that had to wait for a place waits no more: those behind it are late for its sake.
        let mut held_until = Instant::now();
        loop {
            let next = tokio::select! {
                next = due.recv() => next,
                () = self.stop.cancelled() => None,
            };
            let Some(due) = next else { break };
            let picked = Instant::now();
            if leg.counts {
                lock(&self.board.late).record(picked.saturating_duration_since(due.when.max(held_until)));
            }
            let head = leg.head.unwrap_or_else(|| self.head_of(&leg.aim));
            let mut turn = Turn { number, head, due, delayed: held_until > due.when, counts: leg.counts };
            number += 1;
            let deadline = due.when + self.settings.timeout;
            let place = match self.places.clone().try_acquire_owned() {
                Ok(place) if deadline > picked => Ok(place),
                _ if deadline <= picked => Err(()),
                _ => {
                    turn.delayed = true;
                    let place = tokio::select! {
                        place = timeout_at(deadline.into(), self.places.clone().acquire_owned()) => place,
                        () = self.stop.cancelled() => break,
                    };
                    held_until = Instant::now();
                    place.map_err(|_| ()).and_then(|place| place.map_err(|_| ()))
                }
            };
            match place {
                Err(()) => leg.aim.not_started(&self.board, turn, self.settings.timeout),
                Ok(place) => {
                    let (aim, board) = (leg.aim.clone(), self.board.clone());
                    tasks.spawn(async move {
                        aim.ask(&board, turn, deadline).await;
                        drop(place);
                    });
                }
            }
            while tasks.try_join_next().is_some() {}
        }
        let rest = async {
            while tasks.join_next().await.is_some() {}
            sleep_until(end.into()).await;
        };
        tokio::select! {
            () = rest => {}
            () = self.stop.cancelled() => {}
        }
    }

    fn head_of(&self, aim: &Aim) -> u64 {
        lock(&aim.heads).highest.max(self.head)
    }

    fn progress(&self, elapsed: Duration) -> Progress {
        let recent = std::mem::replace(&mut *lock(&self.board.recent), Recent::new());
        Progress {
            elapsed: self.done + elapsed,
            length: self.length,
            under_way: self.settings.connections.saturating_sub(self.places.available_permits()),
            requests: recent.requests,
            failed: recent.failed,
            wrong: recent.wrong,
            p50_ms: recent.latency.quantile_ms(0.5),
            p99_ms: recent.latency.quantile_ms(0.99),
        }
    }
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { latency: Latencies::coarse(), requests: 0, failed: 0, wrong: 0 }
    }
}

/// Requests that were repeated on a fresh connection, in all.
pub(super) fn repeated(aim: &Aim) -> u64 {
    aim.repeated.load(Ordering::Relaxed)
}

/// Whether a mix hands transactions in.
pub(super) fn submitting(mix: &Mix) -> usize {
    match mix {
        Mix::Recorded(recorded) => recorded.submitting(),
        _ => 0,
    }
}
