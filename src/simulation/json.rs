//! Blocks, transactions and receipts as JSON-RPC shows them (execution-apis, geth's order of fields).

use alloy_consensus::{Header, Transaction as _, TxEnvelope, TxType};
use alloy_eips::Typed2718;
use alloy_primitives::{Address, B256};
use serde_json::{Map, Value, json};
use std::fmt::LowerHex;

use super::block::{Block, Transfer};
use super::transaction::Transaction;

/// A number as `0x` and hex without leading zeros.
pub fn quantity(number: impl LowerHex) -> Value {
    Value::String(format!("{number:#x}"))
}

/// A block; with `full` its transactions stand in it, else their hashes.
pub fn block(block: &Block, full: bool) -> Value {
    let transactions: Vec<Value> = match full {
        true => (0..block.transfers.len()).filter_map(|index| mined(block, index)).collect(),
        false => block.transfers.iter().map(|t| json!(t.transaction.hash)).collect(),
    };
    let mut object = header(&block.header);
    object.insert("hash".to_owned(), json!(block.hash));
    object.insert("size".to_owned(), quantity(block.size));
    object.insert("transactions".to_owned(), transactions.into());
    object.insert("uncles".to_owned(), json!([]));
    object.insert("withdrawals".to_owned(), json!([]));
    Value::Object(object)
}

/// A block that is not made yet: it has no hash, and its transactions are in no block.
pub fn pending_block(pending: &Block, full: bool) -> Value {
    let mut object = block(pending, false);
    if full {
        object["transactions"] = pending.transfers.iter().map(|t| waiting(&t.transaction)).collect();
    }
    for unknown in ["hash", "nonce", "miner"] {
        object[unknown] = Value::Null;
    }
    object
}

fn header(header: &Header) -> Map<String, Value> {
    let object = json!({
        "number": quantity(header.number),
        "parentHash": header.parent_hash,
        "nonce": header.nonce,
        "sha3Uncles": header.ommers_hash,
        "logsBloom": header.logs_bloom,
        "transactionsRoot": header.transactions_root,
        "stateRoot": header.state_root,
        "receiptsRoot": header.receipts_root,
        "miner": header.beneficiary,
        "difficulty": quantity(header.difficulty),
        "extraData": header.extra_data,
        "gasLimit": quantity(header.gas_limit),
        "gasUsed": quantity(header.gas_used),
        "timestamp": quantity(header.timestamp),
        "mixHash": header.mix_hash,
        "baseFeePerGas": header.base_fee_per_gas.map(quantity),
        "withdrawalsRoot": header.withdrawals_root,
        "blobGasUsed": header.blob_gas_used.map(quantity),
        "excessBlobGas": header.excess_blob_gas.map(quantity),
        "parentBeaconBlockRoot": header.parent_beacon_block_root,
        "requestsHash": header.requests_hash,
    });
    match object {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// A transaction that waits.
pub fn waiting(transaction: &Transaction) -> Value {
    let place = json!({ "blockHash": null, "blockNumber": null, "transactionIndex": null });
    described(transaction, transaction.envelope.max_fee_per_gas(), place)
}

/// The transaction at this index of a block.
pub fn mined(block: &Block, index: usize) -> Option<Value> {
    let transfer = block.transfers.get(index)?;
    let place = json!({
        "blockHash": block.hash,
        "blockNumber": quantity(block.header.number),
        "transactionIndex": quantity(index),
    });
    Some(described(&transfer.transaction, transfer.gas_price, place))
}

fn described(transaction: &Transaction, gas_price: u128, mut object: Value) -> Value {
    let tx = &transaction.envelope;
    let signature = tx.signature();
    let parity = u64::from(signature.v());
    object["hash"] = json!(transaction.hash);
    object["type"] = quantity(tx.ty());
    object["from"] = json!(transaction.sender);
    object["to"] = json!(transaction.to);
    object["nonce"] = quantity(tx.nonce());
    object["gas"] = quantity(tx.gas_limit());
    object["gasPrice"] = quantity(gas_price);
    object["value"] = quantity(tx.value());
    object["input"] = json!(tx.input());
    object["chainId"] = json!(tx.chain_id().map(quantity));
    object["r"] = quantity(signature.r());
    object["s"] = quantity(signature.s());
    object["v"] = match tx.tx_type() {
        TxType::Legacy => quantity(parity + tx.chain_id().map_or(27, |id| 35 + 2 * id)),
        _ => quantity(parity),
    };
    if tx.tx_type() != TxType::Legacy {
        object["yParity"] = quantity(parity);
        object["accessList"] = access_list(tx);
    }
    if let Some(tip) = tx.max_priority_fee_per_gas() {
        object["maxFeePerGas"] = quantity(tx.max_fee_per_gas());
        object["maxPriorityFeePerGas"] = quantity(tip);
    }
    object
}

fn access_list(tx: &TxEnvelope) -> Value {
    let items = tx.access_list().map(|list| list.0.as_slice()).unwrap_or_default();
    items.iter().map(|item| json!({ "address": item.address, "storageKeys": item.storage_keys })).collect()
}

/// The receipt of the transaction at this index of a block.
pub fn receipt(block: &Block, index: usize) -> Option<Value> {
    let Transfer { transaction, cumulative_gas, gas_price } = block.transfers.get(index)?;
    Some(json!({
        "transactionHash": transaction.hash,
        "transactionIndex": quantity(index),
        "blockHash": block.hash,
        "blockNumber": quantity(block.header.number),
        "from": transaction.sender,
        "to": transaction.to,
        "cumulativeGasUsed": quantity(*cumulative_gas),
        "gasUsed": quantity(transaction.gas),
        "effectiveGasPrice": quantity(*gas_price),
        "contractAddress": Option::<Address>::None,
        "logs": Vec::<B256>::new(),
        "logsBloom": block.header.logs_bloom,
        "type": quantity(transaction.envelope.ty()),
        "status": "0x1",
    }))
}
