//! What gas costs: suggestions, and the history that wallets make their own of.

use alloy_consensus::Transaction as _;
use serde_json::{Value, json};

use super::block::{Block, GAS_LIMIT};
use super::chain::{Chain, View};
use super::json::quantity;

/// What a node suggests to tip: 1 gwei. There is room in every block, so nobody need offer more.
pub const SUGGESTED_TIP: u128 = 1_000_000_000;
/// Most blocks of one history, as in geth.
pub const HISTORY_BLOCKS_MAX: u64 = 1_024;

/// `eth_feeHistory`: `count` blocks up to `newest`, with the tips at these percentiles of the gas used.
pub fn history(chain: &Chain, view: View, count: u64, newest: &Block, percentiles: &[f64]) -> Value {
    let newest = newest.header.number;
    let oldest = (newest + 1).saturating_sub(count.min(HISTORY_BLOCKS_MAX)).max(chain.earliest());
    let blocks: Vec<&Block> = (oldest..=newest).filter_map(|number| chain.block(view, number)).collect();
    let mut base_fees: Vec<Value> = blocks.iter().map(|block| quantity(block.base_fee())).collect();
    base_fees.extend(blocks.last().map(|block| quantity(block.next_base_fee())));
    let ratio = |block: &&Block| block.header.gas_used as f64 / GAS_LIMIT as f64;
    let mut object = json!({
        "oldestBlock": quantity(oldest),
        "baseFeePerGas": base_fees,
        "gasUsedRatio": blocks.iter().map(ratio).collect::<Vec<_>>(),
        "baseFeePerBlobGas": vec!["0x1"; blocks.len() + 1],
        "blobGasUsedRatio": vec![0.0; blocks.len()],
    });
    if !percentiles.is_empty() {
        object["reward"] = blocks.iter().map(|block| tips(block, percentiles)).collect();
    }
    object
}

/// The tip that the unit of gas at each percentile paid; zero in an empty block.
fn tips(block: &Block, percentiles: &[f64]) -> Value {
    let base_fee = block.base_fee();
    let mut paid: Vec<(u128, u64)> = block
        .transfers
        .iter()
        .map(|t| {
            (t.transaction.envelope.effective_tip_per_gas(base_fee).unwrap_or_default(), t.transaction.gas)
        })
        .collect();
    paid.sort_unstable();
    let at = |percentile: &f64| {
        let wanted = block.header.gas_used as f64 * percentile / 100.0;
        let mut gas = 0;
        let reached = paid.iter().find(|(_, used)| {
            gas += used;
            gas as f64 >= wanted
        });
        quantity(reached.map_or(0, |(tip, _)| *tip))
    };
    percentiles.iter().map(at).collect()
}
