//! Every mistake of a configuration at once, each with its place and its mend.

use std::fmt;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mistake {
    /// The file, or whatever the text came from.
    pub origin: String,
    /// Line and column, from 1, counted in characters; `None` where the mistake is not in a text.
    pub place: Option<(usize, usize)>,
    /// The key, as `chains.mainnet.backends[0].url`; empty for the file as a whole.
    pub path: String,
    /// What is wrong.
    pub problem: String,
    /// How to mend it.
    pub mend: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}; {}", self.problem, self.mend)
    }
}

/// Why a configuration cannot be used: all that is wrong, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<Mistake>);

impl ConfigErrors {
    /// More are counted, not listed: a file of another kind would otherwise fill the screen.
    pub const LISTED_MAX: usize = 100;

    pub(super) fn new(mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by(|a, b| (a.place, &a.path).cmp(&(b.place, &b.path)));
        mistakes.dedup();
        Self(mistakes)
    }

    pub(super) fn one(origin: &str, problem: impl Into<String>, mend: impl Into<String>) -> Self {
        let (problem, mend) = (problem.into(), mend.into());
        Self(vec![Mistake { origin: origin.to_owned(), place: None, path: String::new(), problem, mend }])
    }

    /// The mistakes, in the order of the file.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in self.0.iter().take(Self::LISTED_MAX) {
            writeln!(f, "{mistake}")?;
        }
        match self.0.len() {
            1 => f.write_str("1 mistake"),
            n => write!(f, "{n} mistakes"),
        }
    }
}

impl std::error::Error for ConfigErrors {}
