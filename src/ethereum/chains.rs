//! The chains that are known by name.

use std::time::Duration;

/// How a chain settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finality {
    /// Nodes answer the tags `safe` and `finalized`.
    Tags,
    /// Nodes have no such tags, or none worth following: a block this deep is taken for final.
    Depth(u64),
}

/// What is known of a chain before asking anybody.
#[derive(Debug, PartialEq, Eq)]
pub struct ChainPreset {
    /// The name, as it stands in a URL path.
    pub name: &'static str,
    /// Other names it goes by.
    pub aliases: &'static [&'static str],
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// What `net_version` answers, as a number.
    pub network_id: u64,
    /// Symbol of the native currency. All of them have 18 decimals.
    pub currency: &'static str,
    /// Time between blocks, in milliseconds.
    pub block_time_ms: u32,
    /// How it settles.
    pub finality: Finality,
    /// A block explorer.
    pub explorer: Option<&'static str>,
    /// Made for trying things out.
    pub testnet: bool,
}

impl ChainPreset {
    /// Decimals of the native currency.
    pub const DECIMALS: u8 = 18;

    /// Time between blocks.
    pub const fn block_time(&self) -> Duration {
        Duration::from_millis(self.block_time_ms as u64)
    }
}

const fn chain(
    name: &'static str,
    aliases: &'static [&'static str],
    chain_id: u64,
    currency: &'static str,
    block_time_ms: u32,
    explorer: Option<&'static str>,
    testnet: bool,
) -> ChainPreset {
    let finality = Finality::Tags;
    ChainPreset {
        name,
        aliases,
        chain_id,
        network_id: chain_id,
        currency,
        block_time_ms,
        finality,
        explorer,
        testnet,
    }
}

/// All presets; the main networks first, since without a file the first one is the default chain.
#[rustfmt::skip]
pub static PRESETS: [ChainPreset; 13] = [
    chain("mainnet", &["ethereum", "eth", "homestead"], 1, "ETH", 12_000, Some("https://etherscan.io"), false),
    chain("base", &[], 8453, "ETH", 2_000, Some("https://basescan.org"), false),
    chain("arbitrum", &["arbitrum-one", "arb1"], 42_161, "ETH", 250, Some("https://arbiscan.io"), false),
    chain("optimism", &["op", "op-mainnet"], 10, "ETH", 2_000, Some("https://optimistic.etherscan.io"), false),
    chain("polygon", &["matic", "polygon-pos"], 137, "POL", 2_000, Some("https://polygonscan.com"), false),
    chain("sepolia", &[], 11_155_111, "ETH", 12_000, Some("https://sepolia.etherscan.io"), true),
    chain("hoodi", &[], 560_048, "ETH", 12_000, Some("https://hoodi.etherscan.io"), true),
    chain("holesky", &[], 17_000, "ETH", 12_000, Some("https://holesky.etherscan.io"), true),
    chain("base-sepolia", &[], 84_532, "ETH", 2_000, Some("https://sepolia.basescan.org"), true),
    chain("arbitrum-sepolia", &["arb-sepolia"], 421_614, "ETH", 250, Some("https://sepolia.arbiscan.io"), true),
    chain("optimism-sepolia", &["op-sepolia"], 11_155_420, "ETH", 2_000, Some("https://sepolia-optimism.etherscan.io"), true),
    chain("amoy", &["polygon-amoy"], 80_002, "POL", 2_000, Some("https://amoy.polygonscan.com"), true),
    // One block a transaction and no consensus: a second is what its users expect of "a block".
    ChainPreset { finality: Finality::Depth(64), ..chain("anvil", &["hardhat", "localhost", "dev"], 31_337, "ETH", 1_000, None, true) },
];

/// The preset with this chain id.
pub fn by_id(chain_id: u64) -> Option<&'static ChainPreset> {
    PRESETS.iter().find(|preset| preset.chain_id == chain_id)
}

/// The preset of this name or alias; exact.
pub fn by_name(name: &str) -> Option<&'static ChainPreset> {
    PRESETS.iter().find(|preset| preset.name == name || preset.aliases.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_chains_share_a_name_or_an_id() {
        let mut names = HashSet::new();
        let mut ids = HashSet::new();
        for preset in &PRESETS {
            assert!(ids.insert(preset.chain_id));
            for name in preset.aliases.iter().chain([&preset.name]) {
                assert!(names.insert(*name), "{name}");
                assert!(name.parse::<u64>().is_err());
                assert!(std::ptr::eq(by_name(name).unwrap(), preset));
            }
            assert!(std::ptr::eq(by_id(preset.chain_id).unwrap(), preset));
            assert!(!preset.block_time().is_zero());
        }
        assert!(by_name("Mainnet").is_none() && by_id(0).is_none());
    }
}
