//! What a metric is: its name, its kind, what it tells, and which labels it has. Written down once, for the scrape and for
//! the documentation.

/// What values of a metric mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Only grows; a restart begins at zero.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How many were at most so long, by upper bounds.
    Histogram,
}

impl Kind {
    /// The word of the text format.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric family. Units are base units (seconds, bytes, 0 to 1) and stand in the name; counters end in `_total`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Family {
    /// The name that queries use.
    pub name: &'static str,
    /// What its values mean.
    pub kind: Kind,
    /// What it tells, in a sentence without quotes, backslashes or line breaks.
    pub help: &'static str,
    /// Names of its labels, in the order in which their values are given.
    pub labels: &'static [&'static str],
}

impl Family {
    /// One that only grows.
    pub const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, help, labels }
    }

    /// One that goes up and down.
    pub const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, help, labels }
    }

    /// One of how long things took, in seconds.
    pub const fn histogram(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Self {
        Self { name, kind: Kind::Histogram, help, labels }
    }
}
