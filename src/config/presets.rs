//! Public endpoints of the known chains: what serves when nothing is configured.
//!
//! The list follows what third parties saw alive in autumn 2026. Left out on purpose: other names of
//! one provider (they share its fate), private relays (nobody's transactions are hidden unasked),
//! endpoints that carry somebody's key, and those that were closed. Keyless endpoints are a safety
//! net: their limits are low, and several share one CDN.
//!
//! Labels are those known with at least medium confidence. A suspected common edge is taken for
//! common: to believe two backends distant that fall together costs an outage, the reverse only a
//! longer way. What is known of a provider on one chain holds for its other chains.

use std::collections::BTreeMap;

use super::settings::Tier::{self, Backup, Primary};
use super::settings::{Backend, Chain};
use super::url::BackendUrl;
use crate::ethereum::chains::PRESETS;

struct Endpoint {
    chain_id: u64,
    url: &'static str,
    ws: Option<&'static str>,
    provider: &'static str,
    cloud: Option<&'static str>,
    edge: Option<&'static str>,
    client: Option<&'static str>,
    tier: Tier,
}

#[allow(clippy::too_many_arguments)] // a row of a table
const fn at(
    chain_id: u64,
    url: &'static str,
    ws: Option<&'static str>,
    provider: &'static str,
    cloud: Option<&'static str>,
    edge: Option<&'static str>,
    client: Option<&'static str>,
    tier: Tier,
) -> Endpoint {
    Endpoint { chain_id, url, ws, provider, cloud, edge, client, tier }
}

/// Chain id, address, WebSocket, provider, cloud, edge, client, tier.
#[rustfmt::skip]
static ENDPOINTS: [Endpoint; 35] = [
    at(1, "https://ethereum-rpc.publicnode.com", Some("wss://ethereum-rpc.publicnode.com"), "publicnode", Some("metal-allnodes"), Some("cloudflare"), None, Primary),
    at(1, "https://eth.drpc.org", Some("wss://eth.drpc.org"), "drpc", Some("multi-drpc"), Some("cloudflare"), None, Primary),
    at(1, "https://gateway.tenderly.co/public/mainnet", None, "tenderly", Some("gcp"), Some("google"), None, Primary),
    at(1, "https://ethereum.reth.rs/rpc", None, "reth.rs", None, None, Some("reth"), Primary),
    at(8453, "https://base-rpc.publicnode.com", Some("wss://base-rpc.publicnode.com"), "publicnode", Some("metal-allnodes"), Some("cloudflare"), None, Primary),
    at(8453, "https://base.drpc.org", Some("wss://base.drpc.org"), "drpc", Some("multi-drpc"), Some("cloudflare"), None, Primary),
    at(8453, "https://gateway.tenderly.co/public/base", None, "tenderly", Some("gcp"), Some("google"), None, Primary),
    at(8453, "https://mainnet.base.org", None, "base-official", Some("aws"), Some("cloudflare"), None, Primary),
    at(42161, "https://arbitrum-one-rpc.publicnode.com", Some("wss://arbitrum-one-rpc.publicnode.com"), "publicnode", Some("metal-allnodes"), Some("cloudflare"), None, Primary),
    at(42161, "https://arbitrum.drpc.org", Some("wss://arbitrum.drpc.org"), "drpc", Some("multi-drpc"), Some("cloudflare"), None, Primary),
    at(42161, "https://arb1.arbitrum.io/rpc", None, "arbitrum-official", None, Some("cloudflare"), None, Primary),
    at(42161, "https://arbitrum.gateway.tenderly.co", None, "tenderly", Some("gcp"), Some("google"), None, Backup),
    at(10, "https://optimism-rpc.publicnode.com", Some("wss://optimism-rpc.publicnode.com"), "publicnode", Some("metal-allnodes"), Some("cloudflare"), None, Primary),
    at(10, "https://optimism.drpc.org", Some("wss://optimism.drpc.org"), "drpc", Some("multi-drpc"), Some("cloudflare"), None, Primary),
    at(10, "https://mainnet.optimism.io", None, "optimism-official", None, Some("cloudflare"), None, Primary),
    at(10, "https://gateway.tenderly.co/public/optimism", None, "tenderly", Some("gcp"), Some("google"), None, Backup),
    at(137, "https://polygon-bor-rpc.publicnode.com", Some("wss://polygon-bor-rpc.publicnode.com"), "publicnode", Some("metal-allnodes"), Some("cloudflare"), None, Primary),
    at(137, "https://polygon.drpc.org", Some("wss://polygon.drpc.org"), "drpc", Some("multi-drpc"), Some("cloudflare"), None, Primary),
    at(137, "https://gateway.tenderly.co/public/polygon", None, "tenderly", Some("gcp"), Some("google"), None, Backup),
    at(11155111, "https://ethereum-sepolia-rpc.publicnode.com", Some("wss://ethereum-sepolia-rpc.publicnode.com"), "publicnode", Some("metal-allnodes"), Some("cloudflare"), None, Primary),
    at(11155111, "https://sepolia.drpc.org", Some("wss://sepolia.drpc.org"), "drpc", Some("multi-drpc"), Some("cloudflare"), None, Backup),
    at(11155111, "https://gateway.tenderly.co/public/sepolia", None, "tenderly", Some("gcp"), Some("google"), None, Backup),
    at(11155111, "https://11155111.rpc.thirdweb.com", None, "thirdweb", None, None, None, Backup),
    at(11155111, "https://0xrpc.io/sep", Some("wss://0xrpc.io/sep"), "0xrpc", None, None, None, Backup),
    at(560048, "https://rpc.hoodi.ethpandaops.io", None, "ethpandaops", None, None, None, Primary),
    at(560048, "https://0xrpc.io/hoodi", None, "0xrpc", None, None, None, Backup),
    at(84532, "https://sepolia.base.org", None, "base-official", Some("aws"), Some("cloudflare"), None, Primary),
    at(84532, "https://base-sepolia.drpc.org", Some("wss://base-sepolia.drpc.org"), "drpc", Some("multi-drpc"), Some("cloudflare"), None, Primary),
    at(84532, "https://base-sepolia.gateway.tenderly.co", None, "tenderly", Some("gcp"), Some("google"), None, Backup),
    at(421614, "https://sepolia-rollup.arbitrum.io/rpc", None, "arbitrum-official", None, Some("cloudflare"), None, Primary),
    at(421614, "https://arbitrum-sepolia.drpc.org", None, "drpc", Some("multi-drpc"), Some("cloudflare"), None, Primary),
    at(11155420, "https://sepolia.optimism.io", None, "optimism-official", None, Some("cloudflare"), None, Primary),
    at(11155420, "https://optimism-sepolia.gateway.tenderly.co", None, "tenderly", Some("gcp"), Some("google"), None, Backup),
    at(80002, "https://polygon-amoy.drpc.org", None, "drpc", Some("multi-drpc"), Some("cloudflare"), None, Primary),
    at(80002, "https://polygon-bor-amoy-rpc.publicnode.com", None, "publicnode", Some("metal-allnodes"), Some("cloudflare"), None, Primary),
];

/// Hosts that stopped serving the public, with what became of them. A leading dot stands for any
/// name below.
#[rustfmt::skip]
static RETIRED: [(&str, &str); 12] = [
    ("cloudflare-eth.com", "answers every call with an error since 2025"),
    (".llamarpc.com", "closed in 2026"),
    (".public.blastapi.io", "shut on 2025-10-31"),
    ("polygon-rpc.com", "no public access since 2026-02"),
    ("rpc-amoy.polygon.technology", "sunset in 2026"),
    (".lava.build", "answers 410 since 2026-08"),
    (".public.blockpi.network", "closed in 2026"),
    (".meowrpc.com", "closed in 2026"),
    ("rpc.sepolia.org", "unreliable for years"),
    ("rpc.sepolia.dev", "unreliable for years"),
    ("eth.public-rpc.com", "closed"),
    ("rpc-mainnet.maticvigil.com", "closed"),
];

/// Why a host is out of service, if it is.
pub(super) fn retired(host: &str) -> Option<&'static str> {
    let host = host.to_ascii_lowercase();
    let is =
        |name: &str| host == name || name.starts_with('.') && (host.ends_with(name) || host == name[1..]);
    RETIRED.iter().find(|(name, _)| is(name)).map(|(_, reason)| *reason)
}

/// The public endpoints of a chain; empty where none are known.
pub(super) fn backends(chain_id: u64) -> Vec<Backend> {
    ENDPOINTS.iter().filter(|endpoint| endpoint.chain_id == chain_id).filter_map(backend).collect()
}

/// Every known chain that has public endpoints.
pub(super) fn chains() -> Vec<Chain> {
    let mut chains = Vec::with_capacity(PRESETS.len());
    for preset in &PRESETS {
        let backends = backends(preset.chain_id);
        if backends.is_empty() {
            continue;
        }
        chains.push(Chain {
            name: preset.name.to_owned(),
            chain_id: preset.chain_id,
            network_id: preset.network_id,
            block_time: preset.block_time(),
            finality: preset.finality,
            preset: Some(preset),
            allow_methods: Vec::new(),
            deny_methods: Vec::new(),
            backends,
        });
    }
    chains
}

fn backend(endpoint: &Endpoint) -> Option<Backend> {
    let text = |label: Option<&str>| label.map(str::to_owned);
    Some(Backend {
        name: endpoint.provider.to_owned(),
        // Every address is tested; one that did not parse would be missing, not a panic.
        url: BackendUrl::http(endpoint.url).ok()?,
        ws: endpoint.ws.and_then(|ws| BackendUrl::ws(ws).ok()),
        provider: Some(endpoint.provider.to_owned()),
        cloud: text(endpoint.cloud),
        region: None,
        edge: text(endpoint.edge),
        client: text(endpoint.client),
        labels: BTreeMap::new(),
        tier: endpoint.tier,
        private: false,
        rate_limit: None,
        monthly_budget: None,
        probe_budget: None,
        headers: Vec::new(),
        max_connections: None,
        cordoned: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_public_endpoint_parses_and_has_a_name_of_its_own_on_its_chain() {
        let chains = chains();
        assert_eq!(chains[0].name, "mainnet");
        assert_eq!(chains.iter().map(|c| c.backends.len()).sum::<usize>(), ENDPOINTS.len());
        for chain in &chains {
            let names: HashSet<_> = chain.backends.iter().map(|b| &b.name).collect();
            assert_eq!(names.len(), chain.backends.len(), "{}", chain.name);
            assert!(chain.backends.iter().any(|b| b.tier == Primary), "{}", chain.name);
        }
        for endpoint in &ENDPOINTS {
            assert!(endpoint.ws.is_none_or(|ws| BackendUrl::ws(ws).is_ok()), "{}", endpoint.provider);
            assert!(!endpoint.url.contains("/v2/") && !endpoint.url.contains("/v3/"), "no keys of others");
        }
    }

    #[test]
    fn no_public_endpoint_is_retired_or_a_private_relay() {
        for endpoint in &ENDPOINTS {
            let url = BackendUrl::http(endpoint.url).unwrap();
            assert_eq!(retired(url.host()), None, "{}", endpoint.url);
            assert!(!url.host().contains("flashbots") && !url.host().contains("mevblocker"));
        }
        assert!(retired("eth.llamarpc.com").is_some() && retired("llamarpc.com").is_some());
        assert!(retired("notllamarpc.com").is_none());
    }
}
