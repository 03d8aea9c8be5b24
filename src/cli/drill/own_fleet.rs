//! A scenario with the user's own backends in it: would they have held?

use std::time::Duration;

use crate::config::{self, Config};
use crate::drill::{BackendSpec, Quantiles, Scenario, clean_backends, matched_backends};

/// What a hosted provider shows from another continent's edge. Nothing is asked over the network.
const LATENCY: Quantiles = Quantiles { p50: Duration::from_millis(100), p99: Duration::from_millis(320) };
const HEAD_LAG: Quantiles = Quantiles { p50: Duration::from_millis(150), p99: Duration::from_millis(900) };
const ERROR_RATE: f64 = 0.0005;
/// Calls per second where the configuration names no limit.
const RATE_LIMIT: f64 = 100.0;

/// Puts the configuration's backends into the scenario; gives what the user should know.
///
/// # Errors
/// When nobody would be left to answer reads.
pub(super) fn put(config: &Config, scenario: &mut Scenario) -> Result<Vec<String>, String> {
    let chain = config
        .chains
        .iter()
        .find(|chain| chain.chain_id == scenario.chain.id)
        .unwrap_or_else(|| config.default_chain());
    scenario.backends = chain.backends.iter().filter(|b| !b.cordoned).map(spec).collect();
    if scenario.backends.iter().all(|backend| backend.private) {
        return Err(format!("chain {} has no backend that answers reads", chain.name));
    }
    let id = &scenario.id;
    let mut remarks = Vec::new();
    let mut selectors: Vec<&str> = Vec::new();
    for fault in scenario.phases.iter().flat_map(|phase| &phase.faults) {
        if matched_backends(scenario, fault) == 0 && !selectors.contains(&fault.at.as_str()) {
            selectors.push(&fault.at);
        }
    }
    if !selectors.is_empty() {
        remarks.push(format!("{id}: none of your backends lies in {}", selectors.join(", ")));
    }
    if clean_backends(scenario).contains(&0) {
        remarks.push(format!("{id}: for a while none of your backends is untouched"));
    }
    Ok(remarks)
}

fn spec(backend: &config::Backend) -> BackendSpec {
    BackendSpec {
        name: backend.name.clone(),
        provider: Some(backend.provider.clone().unwrap_or_else(|| backend.url.host().to_owned())),
        cloud: backend.cloud.clone(),
        region: backend.region.clone(),
        edge: backend.edge.clone(),
        client: backend.client.clone(),
        labels: backend.labels.clone(),
        latency: LATENCY,
        error_rate: ERROR_RATE,
        head_lag: HEAD_LAG,
        rate_limit: backend.rate_limit.map_or(RATE_LIMIT, |limit| limit.per_second()),
        archive: true,
        private: backend.private,
        backup: backend.tier == config::Tier::Backup,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_that_match_none_of_the_users_backends_are_said() {
        let config = Config::from_toml(
            "[[chains.mainnet.backends]]\nurl = \"http://127.0.0.1:1\"\ncloud = \"aws\"\nregion = \"us-east-1\"\n\
             [[chains.mainnet.backends]]\nurl = \"http://127.0.0.1:2\"\nname = \"second\"\n",
            "test",
            &|_| None,
        )
        .unwrap();
        let mut scenario = crate::drill::find("S09").unwrap();
        let remarks = put(&config, &mut scenario).unwrap();
        assert_eq!(scenario.backends.len(), 2);
        assert_eq!(remarks, ["S09: none of your backends lies in provider:infura, provider:alchemy"]);
    }
}
