//! What is shown while a load runs: on standard error, and only where somebody looks.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::load::{Event, Progress, Settings};

/// The bar, and what it says of the moment.
pub(super) struct Watch {
    bar: ProgressBar,
    compares: bool,
    rounds: u32,
}

impl Watch {
    pub(super) fn new(quiet: bool, settings: &Settings) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(1), target);
        if let Ok(look) = ProgressStyle::with_template("{prefix} {bar:24} {msg} {eta}") {
            bar.set_style(look);
        }
        Self { bar, compares: settings.compare.is_some(), rounds: settings.rounds }
    }

    pub(super) fn tell(&self, event: &Event) {
        let of = |target: usize| match (self.compares, target) {
            (false, _) => "",
            (true, 0) => " the first",
            (true, _) => " the second",
        };
        match event {
            Event::Looking => self.bar.set_prefix("looking at the chain"),
            Event::WarmingUp { target } => self.bar.set_prefix(format!("warming up{}", of(*target))),
            Event::Measuring { target, round, .. } => self.bar.set_prefix(match self.compares {
                true => format!("measuring{} {}/{}", of(*target), round + 1, self.rounds),
                false => "measuring".to_owned(),
            }),
            Event::Running(progress) => self.running(progress),
        }
    }

    fn running(&self, progress: &Progress) {
        let Progress { elapsed, length, under_way, requests, failed, wrong, p50_ms, p99_ms } = progress;
        self.bar.set_length(u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
        self.bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
        let mut said = match requests {
            0 => format!("{under_way} under way"),
            _ => format!("{under_way} under way, p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms"),
        };
        for (count, what) in [(failed, "failed"), (wrong, "wrong")] {
            if *count > 0 {
                said.push_str(&format!(", {count} {what}"));
            }
        }
        self.bar.set_message(said);
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
