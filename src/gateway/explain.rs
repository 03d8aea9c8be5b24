//! Why the latest requests went where they went, for whoever asks.

use serde::Serialize;

use crate::policy::{Decision, Why};

use super::chain::Chain;
use super::{Gateway, NotFound};

/// One decision.
#[derive(Clone, Debug, Serialize)]
pub struct DecisionStatus {
    /// How long ago, in seconds.
    pub seconds_ago: f64,
    /// The class of methods it was for.
    pub class: &'static str,
    /// Who was asked.
    pub chosen: String,
    /// Why, in a sentence.
    pub why: &'static str,
    /// Who could have been asked, the best first.
    pub candidates: Vec<CandidateStatus>,
}

/// One backend that could have been asked.
#[derive(Clone, Debug, Serialize)]
pub struct CandidateStatus {
    /// Its name.
    pub name: String,
    /// Expected cost in milliseconds: latency, and for its failures a second attempt.
    pub cost_ms: f64,
    /// Not well, or left out of this one by lot.
    pub doubtful: bool,
    /// Failed last time.
    pub failing: bool,
    /// Serves only when no primary can.
    pub backup: bool,
    /// Points of overlap with the failure domains of those asked before.
    pub overlap: u32,
}

impl Gateway {
    /// The latest decisions on a chain, the latest first. They are kept for some hundred requests.
    ///
    /// # Errors
    /// When there is no such chain.
    pub fn decisions(&self, chain: &str) -> Result<Vec<DecisionStatus>, NotFound> {
        let chain = self.chain(Some(chain))?;
        let now = chain.now();
        // Copied out first: the lock is what every request waits for.
        let latest: Vec<Decision> = chain.decide().fleet.decisions().iter().copied().collect();
        Ok(latest.iter().map(|decision| status(chain, now, decision)).collect())
    }
}

fn status(chain: &Chain, now: crate::policy::Timestamp, decision: &Decision) -> DecisionStatus {
    let ms = |duration: std::time::Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
    DecisionStatus {
        seconds_ago: (now.since(decision.at).as_secs_f64() * 1e3).round() / 1e3,
        class: decision.class.name(),
        chosen: chain.link(decision.chosen).name.to_string(),
        why: in_words(decision.why),
        candidates: decision
            .candidates()
            .map(|candidate| CandidateStatus {
                name: chain.link(candidate.backend).name.to_string(),
                cost_ms: ms(candidate.cost),
                doubtful: candidate.doubtful,
                failing: candidate.failing,
                backup: candidate.backup,
                overlap: candidate.overlap,
            })
            .collect(),
    }
}

fn in_words(why: Why) -> &'static str {
    match why {
        Why::Favourite => "it serves in calm weather, and nobody was clearly better",
        Why::FavouriteOfClass => "the favourite fails at such calls; this one serves them meanwhile",
        Why::Best => "it looked best, and serves from now on",
        Why::InsteadOfFavourite => {
            "the favourite sat this one out: near its limit, partly back, or without the method"
        }
        Why::KnowsMost => "it took the transaction that is asked about",
        Why::Explored => "it had not been measured lately",
        Why::Only => "it made the filter",
        Why::Another => "others had been asked before; it shares least with them",
        Why::LastResort => "nobody well was left, and it was the least bad",
    }
}
