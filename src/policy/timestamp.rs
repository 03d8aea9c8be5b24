//! A point in time as the pure floors see it: nanoseconds since an origin that the caller chose.
//!
//! Production counts from the gateway's start, a drill from zero. Nothing here can read a clock.

use std::ops::Add;
use std::time::Duration;

/// Nanoseconds since the caller's origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    nanos: u64,
}

impl Timestamp {
    /// The origin itself.
    pub const ZERO: Self = Self { nanos: 0 };
    /// Later than everything.
    pub const NEVER: Self = Self { nanos: u64::MAX };

    /// The point that lies `since_origin` after the origin.
    pub fn after_origin(since_origin: Duration) -> Self {
        Self { nanos: u64::try_from(since_origin.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// How long after `earlier` this is; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }

    /// The same in seconds: a decision asks for it many times.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.nanos.saturating_sub(earlier.nanos) as f64 * 1e-9
    }

    /// Nanoseconds after the origin.
    pub fn nanos(self) -> u64 {
        self.nanos
    }

    /// How long after the origin this is.
    pub fn since_origin(self) -> Duration {
        Duration::from_nanos(self.nanos)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, delay: Duration) -> Self {
        Self { nanos: self.nanos.saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_saturates_instead_of_wrapping() {
        let late = Timestamp::ZERO + Duration::MAX;
        assert_eq!(late, Timestamp::NEVER);
        assert_eq!(Timestamp::ZERO.since(late), Duration::ZERO);
        assert_eq!((Timestamp::ZERO + Duration::from_millis(3)).since_origin(), Duration::from_millis(3));
    }
}
