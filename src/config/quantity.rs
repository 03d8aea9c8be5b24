//! Durations, sizes and rates as people write them.

use std::fmt;
use std::time::Duration;

/// Why a quantity cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantityError {
    /// Not a duration.
    #[error("is no duration: write a number with its unit, as \"250ms\", \"5s\" or \"2m\"")]
    Duration,
    /// Not a size.
    #[error("is no size: write bytes as a number or with a unit, as \"16MiB\" or \"2GB\"")]
    Size,
    /// Not a rate.
    #[error("is no rate: write requests per time, as \"100/s\", \"6000/m\" or \"50/10s\"")]
    Rate,
}

/// Reads `"250ms"`, `"5s"`, `"1m 30s"`.
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let text = text.trim();
    match text {
        "0" => Ok(Duration::ZERO),
        _ => humantime::parse_duration(text).map_err(|_| QuantityError::Duration),
    }
}

/// Units of sizes: the binary ones, and the decimal ones as makers of disks count.
const SIZES: [(&str, u64); 12] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("b", 1),
];

/// Reads `"256MiB"`, `"2GB"`, `"4096"`: bytes.
pub fn parse_size(text: &str) -> Result<u64, QuantityError> {
    let lower = text.trim().to_ascii_lowercase();
    let unit = SIZES.iter().find(|(unit, _)| lower.ends_with(unit));
    let (number, factor) = match unit {
        Some((unit, factor)) => (&lower[..lower.len() - unit.len()], *factor),
        None => (lower.as_str(), 1),
    };
    whole(number).and_then(|n| n.checked_mul(factor)).ok_or(QuantityError::Size)
}

/// A whole number, with `_` between digits as in TOML. No sign.
fn whole(text: &str) -> Option<u64> {
    let text = text.trim();
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    text.replace('_', "").parse().ok()
}

/// A known limit of a backend.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests, at least 1.
    pub requests: u64,
    /// In this time, never zero.
    pub per: Duration,
}

impl RateLimit {
    /// No provider sells more; it keeps the arithmetic of pacing exact.
    pub const REQUESTS_MAX: u64 = 1_000_000_000;
    /// A longer window is a budget: `monthly_budget`.
    pub const PER_MAX: Duration = Duration::from_secs(24 * 3600);

    /// Reads `"100/s"`, `"6000/m"`, `"50/10s"`.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let (requests, per) = text.split_once('/').ok_or(QuantityError::Rate)?;
        let requests = whole(requests).ok_or(QuantityError::Rate)?;
        let per = match per.trim() {
            "s" | "sec" | "second" => Duration::from_secs(1),
            "m" | "min" | "minute" => Duration::from_secs(60),
            "h" | "hour" => Duration::from_secs(3600),
            "d" | "day" => Self::PER_MAX,
            other => parse_duration(other).map_err(|_| QuantityError::Rate)?,
        };
        let sound = (1..=Self::REQUESTS_MAX).contains(&requests) && !per.is_zero() && per <= Self::PER_MAX;
        if sound { Ok(Self { requests, per }) } else { Err(QuantityError::Rate) }
    }

    /// Requests a second.
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.per.as_secs_f64()
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.requests, humantime::format_duration(self.per))
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_people_write_them() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration(" 1m 30s "), Ok(Duration::from_secs(90)));
        assert_eq!(parse_size("256MiB"), Ok(256 << 20));
        assert_eq!(parse_size("2 GB"), Ok(2_000_000_000));
        assert_eq!(parse_size("1_000"), Ok(1000));
        assert_eq!(RateLimit::parse("6000/m").map(|r| r.per_second()), Ok(100.0));
        assert_eq!(RateLimit::parse("50/10s").map(|r| r.to_string()), Ok("50/10s".to_owned()));
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "5", "s", "-1s", "five", "99999999999999999999s", "5 parsecs"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for text in ["", "MiB", "-1", "+1", "1.5MiB", "99999999TiB", "1XB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        for text in ["", "100", "/s", "0/s", "-1/s", "100/", "100/0s", "100/year", "2000000000/s", "1/s/s"] {
            assert!(RateLimit::parse(text).is_err(), "{text}");
        }
    }
}
