//! A monthly budget, spread over its month: not gone on the 3rd, and not hoarded either.
//!
//! What is left of the budget is held against what is left of the month. Where less is left than the time would
//! want, the backend loses part of its requests to others, the more the further ahead it is, so that what it still
//! serves is what it can keep up until the month ends. Whoever nobody can stand in for serves until all is used.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::fleet::Fleet;
use super::set::BackendIndex;

/// So far the budget may run ahead: where the part left of it is this much of the part left of the month, all
/// requests go to others. A fifth is six days' worth at the beginning of a month, and less and less towards its end.
const AHEAD_MAX: f64 = 0.8;

/// A calendar month (UTC), and how much of it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Month {
    /// Months since year 0: another one is another budget.
    pub number: u32,
    /// How long it is.
    pub length: Duration,
    /// How much of that is to come.
    pub left: Duration,
}

impl Month {
    /// The month of a time in seconds since 1970, in the proleptic Gregorian calendar.
    pub fn at_unix_s(unix_s: u64) -> Self {
        const DAY_S: u64 = 86_400;
        // Years that begin in March, so that the leap day ends one (H. Hinnant, "chrono-compatible low-level date
        // algorithms", civil_from_days).
        let days = (unix_s / DAY_S).min(3_000_000) + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_based = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_based + 2) / 5;
        let month = if march_based < 10 { march_based + 3 } else { march_based - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days_in_month = match month {
            2 if is_leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let gone_s = day * DAY_S + unix_s % DAY_S;
        Self {
            number: u32::try_from(year * 12 + month - 1).unwrap_or(u32::MAX),
            length: Duration::from_secs(days_in_month * DAY_S),
            left: Duration::from_secs((days_in_month * DAY_S).saturating_sub(gone_s)),
        }
    }
}

/// What one backend has used of its budget.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    budget: f64,
    used: f64,
    month: Option<(Month, Timestamp)>,
    /// What was remembered of a month that has not been said to be the present one yet.
    remembered: Option<RememberedUse>,
}

/// What was used in which month, to be written down.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RememberedUse {
    /// See [`Month::number`].
    pub month: u32,
    /// In plain reads.
    pub used: f64,
}

impl Pace {
    pub(super) fn new(budget: f64) -> Self {
        Self { budget: budget.max(1.0), used: 0.0, month: None, remembered: None }
    }

    /// The budget, in plain reads a month.
    pub fn budget(&self) -> f64 {
        self.budget
    }

    /// What is used of it this month.
    pub fn used(&self) -> f64 {
        self.used
    }

    /// The part of the month that is gone, 0 to 1; `None` until somebody has said what month it is.
    pub fn month_gone(&self, now: Timestamp) -> Option<f64> {
        let (month, said_at) = self.month?;
        let left = month.left.saturating_sub(now.since(said_at)).as_secs_f64();
        Some((1.0 - left / month.length.as_secs_f64().max(1.0)).clamp(0.0, 1.0))
    }

    /// The share of its requests that it keeps, 0 to 1, while others can serve.
    pub fn share(&self, now: Timestamp) -> f64 {
        let Some(gone) = self.month_gone(now) else { return 1.0 };
        let (time_left, budget_left) = (1.0 - gone, 1.0 - self.used / self.budget);
        if time_left <= 0.0 {
            return if budget_left > 0.0 { 1.0 } else { 0.0 };
        }
        ((budget_left / time_left - AHEAD_MAX) / (1.0 - AHEAD_MAX)).clamp(0.0, 1.0)
    }

    /// Whether all of it is used.
    pub fn is_exhausted(&self) -> bool {
        self.used >= self.budget
    }

    fn spend(&mut self, cost: f64) {
        self.used += cost.max(0.0);
    }

    fn set_month(&mut self, now: Timestamp, month: Month) {
        if self.month.is_some_and(|(before, _)| before.number != month.number) {
            self.used = 0.0;
        }
        self.month = Some((month, now));
        if let Some(remembered) = self.remembered.take().filter(|r| r.month == month.number) {
            self.used += remembered.used;
        }
    }

    fn remember(&self) -> Option<RememberedUse> {
        let (month, _) = self.month?;
        Some(RememberedUse { month: month.number, used: self.used })
    }

    fn recall(&mut self, remembered: RememberedUse) {
        if !remembered.used.is_finite() || remembered.used < 0.0 {
            return;
        }
        match self.month {
            Some((month, _)) if month.number == remembered.month => self.used += remembered.used,
            Some(_) => {}
            None => self.remembered = Some(remembered),
        }
    }
}

impl Fleet {
    /// A backend's plan allows so much a month, in plain reads.
    pub fn set_monthly_budget(&mut self, index: BackendIndex, budget: f64) {
        self.backends[index.get()].pace = Some(Pace::new(budget));
    }

    /// What month it is; to be said again every minute or so. A new one brings new budgets.
    pub fn set_month(&mut self, now: Timestamp, month: Month) {
        for pace in self.backends.iter_mut().filter_map(|backend| backend.pace.as_mut()) {
            pace.set_month(now, month);
        }
    }

    /// Something was sent to a backend that its plan charges for, in plain reads.
    pub fn spent(&mut self, index: BackendIndex, cost: f64) {
        if let Some(pace) = &mut self.backends[index.get()].pace {
            pace.spend(cost);
        }
    }

    /// What a backend has used this month, to be written down; `None` where nothing is paced.
    pub fn remember_use(&self, index: BackendIndex) -> Option<RememberedUse> {
        self.backend(index).pace.as_ref()?.remember()
    }

    /// Takes up what was used before a restart.
    pub fn recall_use(&mut self, index: BackendIndex, remembered: RememberedUse) {
        if let Some(pace) = &mut self.backends[index.get()].pace {
            pace.recall(remembered);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: u64 = 86_400;

    fn june(day: u64) -> Month {
        let length = Duration::from_secs(30 * DAY_S);
        Month { number: 24_317, length, left: length - Duration::from_secs(day * DAY_S) }
    }

    fn at_day(day: f64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs_f64(day * DAY_S as f64)
    }

    /// Lets it serve a month of so many requests a day, of which it takes its share; gives what is used each day.
    fn a_month(budget: f64, wanted_a_day: f64) -> Vec<f64> {
        const LOOKS_A_DAY: u32 = 96;
        let mut pace = Pace::new(budget);
        pace.set_month(Timestamp::ZERO, june(0));
        let mut used = Vec::new();
        for look in 0..30 * LOOKS_A_DAY {
            let now = at_day(f64::from(look) / f64::from(LOOKS_A_DAY));
            if !pace.is_exhausted() {
                pace.spend(wanted_a_day / f64::from(LOOKS_A_DAY) * pace.share(now));
            }
            if look % LOOKS_A_DAY == LOOKS_A_DAY - 1 {
                used.push(pace.used());
            }
        }
        used
    }

    #[test]
    fn a_budget_that_is_a_tenth_of_what_is_wanted_lasts_the_month_and_is_used() {
        let used = a_month(3_000_000.0, 1_000_000.0);
        assert!(used[2] < 0.3 * 3_000_000.0, "on the third day: {}", used[2]);
        assert!(used[28] < 0.99 * 3_000_000.0, "on the last but one: {}", used[28]);
        assert!(used[29] > 0.97 * 3_000_000.0, "at the end: {}", used[29]);
        // From the second week on every day gets about the same.
        let days: Vec<f64> = used.windows(2).skip(6).map(|pair| pair[1] - pair[0]).collect();
        assert!(days.iter().all(|day| (60_000.0..115_000.0).contains(day)), "{days:?}");
    }

    #[test]
    fn who_is_behind_its_pace_serves_everything_it_is_asked() {
        let used = a_month(3_000_000.0, 90_000.0);
        assert!((used[29] - 2_700_000.0).abs() < 1.0, "{}", used[29]);
    }

    #[test]
    fn the_share_falls_smoothly_as_the_budget_runs_ahead_and_never_rises_with_use() {
        let mut pace = Pace::new(1_000.0);
        pace.set_month(Timestamp::ZERO, june(15));
        let mut before = 1.0;
        for _ in 0..1_000 {
            let share = pace.share(Timestamp::ZERO);
            assert!(share <= before && before - share < 0.02, "{before} {share}");
            before = share;
            pace.spend(1.0);
        }
        assert_eq!(before, 0.0);
        assert!(pace.is_exhausted());
    }

    #[test]
    fn a_new_month_brings_a_new_budget_and_what_was_used_survives_a_restart_within_it() {
        let mut pace = Pace::new(100.0);
        pace.set_month(Timestamp::ZERO, june(20));
        pace.spend(70.0);
        let remembered = pace.remember().expect("a month is known");
        let (mut same, mut next) = (Pace::new(100.0), Pace::new(100.0));
        same.recall(remembered);
        same.set_month(Timestamp::ZERO, june(21));
        next.recall(remembered);
        next.set_month(Timestamp::ZERO, Month { number: june(0).number + 1, ..june(1) });
        assert_eq!((same.used(), next.used()), (70.0, 0.0));
        pace.set_month(Timestamp::ZERO, Month { number: june(0).number + 1, ..june(0) });
        assert_eq!(pace.used(), 0.0);
        pace.recall(RememberedUse { used: f64::NAN, ..remembered });
        assert_eq!(pace.used(), 0.0);
    }

    #[test]
    fn months_are_those_of_the_calendar() {
        #[rustfmt::skip]
        let cases = [
            // Unix time, year, month, days in it, seconds left.
            (0u64,             1970, 1, 31, 31 * DAY_S),
            (951_782_400,      2000, 2, 29, DAY_S),          // 29 February 2000
            (1_709_251_199,    2024, 2, 29, 1),              // the last second of February 2024
            (1_709_251_200,    2024, 3, 31, 31 * DAY_S),
            (1_798_761_599,    2026, 12, 31, 1),
            (4_107_542_400,    2100, 3, 31, 31 * DAY_S),     // 2100 is no leap year
        ];
        for (unix_s, year, month, days, left_s) in cases {
            let expected = Month {
                number: year * 12 + month - 1,
                length: Duration::from_secs(days * DAY_S),
                left: Duration::from_secs(left_s),
            };
            assert_eq!(Month::at_unix_s(unix_s), expected, "{unix_s}");
        }
        assert!(Month::at_unix_s(u64::MAX).length > Duration::ZERO);
    }
}
