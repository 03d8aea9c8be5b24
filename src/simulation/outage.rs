//! Who goes away and when: `aws@20s`, `aws@20s..40s`.

use std::str::FromStr;
use std::time::Duration;

use crate::config::{Backend, parse_duration};

/// A failure domain or a backend that is gone for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    /// A backend's name, or a domain as `aws` or `cloud:aws`.
    pub name: String,
    /// Since the start.
    pub from: Duration,
    /// When it comes back; never where `None`.
    pub until: Option<Duration>,
}

/// Why a text names no outage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutageError {
    /// No name, or no time.
    #[error("is no outage: write NAME@TIME or NAME@TIME..TIME, as aws@20s or aws@20s..40s")]
    Form,
    /// A time that cannot be read.
    #[error("has a time that cannot be read (`{0}`): write it as 20s, 1500ms or 2m")]
    Time(String),
    /// It ends before it begins.
    #[error("comes back before it goes: write the earlier time first")]
    Order,
    /// Nobody goes by that name.
    #[error("names nobody; there are {}", .0.join(", "))]
    Unknown(Vec<String>),
}

impl FromStr for Outage {
    type Err = OutageError;

    fn from_str(text: &str) -> Result<Self, OutageError> {
        let (name, times) = text.rsplit_once('@').ok_or(OutageError::Form)?;
        let (from, until) = match times.split_once("..") {
            Some((from, until)) => (from, Some(until)),
            None => (times, None),
        };
        let time = |text: &str| parse_duration(text).map_err(|_| OutageError::Time(text.to_owned()));
        if name.trim().is_empty() || from.is_empty() {
            return Err(OutageError::Form);
        }
        let (from, until) = (time(from)?, until.map(time).transpose()?);
        if until.is_some_and(|until| until <= from) {
            return Err(OutageError::Order);
        }
        Ok(Self { name: name.trim().to_lowercase(), from, until })
    }
}

/// The backends that an outage takes away, as indices.
///
/// # Errors
/// When nobody goes by that name; the error lists who could be named.
pub fn struck(outage: &Outage, backends: &[Backend]) -> Result<Vec<usize>, OutageError> {
    let is_struck = |backend: &Backend| {
        backend.name.to_lowercase() == outage.name
            || backend
                .domains()
                .iter()
                .any(|(kind, name)| *name == outage.name || format!("{kind}:{name}") == outage.name)
    };
    let struck: Vec<usize> = (0..backends.len()).filter(|at| is_struck(&backends[*at])).collect();
    if !struck.is_empty() {
        return Ok(struck);
    }
    let mut known: Vec<String> = Vec::new();
    for backend in backends {
        known.push(backend.name.to_lowercase());
        known.extend(backend.domains().into_iter().map(|(_, name)| name));
    }
    let mut seen = std::collections::HashSet::new();
    known.retain(|name| seen.insert(name.clone()));
    Err(OutageError::Unknown(known))
}

/// One moment at which backends go or come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Since the start.
    pub at: Duration,
    /// The name that the outage was given.
    pub name: String,
    /// Backends that go, as indices.
    pub gone: Vec<usize>,
    /// Backends that come back: those that no other outage holds.
    pub back: Vec<usize>,
}

/// All turns in order. Outages may overlap: a backend is back when the last of its outages ends.
///
/// # Errors
/// When an outage names nobody.
pub fn timeline(outages: &[Outage], backends: &[Backend]) -> Result<Vec<Turn>, (Outage, OutageError)> {
    let mut edges = Vec::new();
    for outage in outages {
        let struck = struck(outage, backends).map_err(|error| (outage.clone(), error))?;
        edges.push((outage.from, true, outage, struck.clone()));
        edges.extend(outage.until.map(|until| (until, false, outage, struck)));
    }
    // At the same moment one goes before another comes back: touching outages are one.
    edges.sort_by_key(|(at, goes, ..)| (*at, !goes));
    let mut depth = vec![0_usize; backends.len()];
    let turns = edges.into_iter().map(|(at, goes, outage, struck)| {
        let mut turned = Vec::new();
        for backend in struck {
            let before = depth[backend];
            depth[backend] = if goes { before + 1 } else { before.saturating_sub(1) };
            if (before == 0) != (depth[backend] == 0) {
                turned.push(backend);
            }
        }
        let (gone, back) = if goes { (turned, Vec::new()) } else { (Vec::new(), turned) };
        Turn { at, name: outage.name.clone(), gone, back }
    });
    Ok(turns.collect())
}
