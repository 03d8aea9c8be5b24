//! The chain by itself, with a hand-turned clock.

use alloy_consensus::crypto::secp256k1;
use alloy_consensus::{
    Header, SignableTransaction, Signed, TxEip1559, TxEip2930, TxEip4844, TxEip4844Variant, TxEnvelope,
    TxLegacy,
};
use alloy_eips::eip1559::{BaseFeeParams, calc_next_block_base_fee};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_eips::eip7594::BlobTransactionSidecarVariant;
use alloy_primitives::{Bytes, Signature, TxKind, U256, hex, keccak256};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::simulation::CHAIN_ID;
use crate::simulation::node::converse;
use crate::simulation::pool::GOSSIP;

const GWEI: u128 = 1_000_000_000;
/// Long enough for a block to arrive everywhere, short of the next one.
const SETTLED: Duration = Duration::from_millis(500);

fn chain() -> Chain {
    Chain::new(Genesis { timestamp: 1_700_000_000, block_time: Duration::from_secs(1), seed: 1 })
}

fn at(now: Duration) -> View {
    View { node: 0, now, behind: 0 }
}

fn after(blocks: u64) -> View {
    at(Duration::from_secs(blocks) + SETTLED)
}

fn sign<T: SignableTransaction<Signature>>(from: usize, tx: T) -> String
where
    TxEnvelope: From<Signed<T>>,
{
    let signature = secp256k1::sign_message(DEV_ACCOUNTS[from].key, tx.signature_hash()).unwrap();
    hex::encode_prefixed(TxEnvelope::from(tx.into_signed(signature)).encoded_2718())
}

fn transfer(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 2 * GWEI,
        max_priority_fee_per_gas: GWEI,
        to: TxKind::Call(DEV_ACCOUNTS[1].address),
        value: U256::from(7),
        ..TxEip1559::default()
    }
}

/// Advances, asks as one node, and returns the answer's `result`.
fn ask(chain: &mut Chain, view: View, method: &str, params: Value) -> Value {
    let mut answer = answer(chain, view, method, params);
    assert!(answer["error"].is_null(), "{method}: {answer}");
    answer["result"].take()
}

fn answer(chain: &mut Chain, view: View, method: &str, params: Value) -> Value {
    chain.advance(view.now);
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    serde_json::from_slice(&converse(chain, view, "test", body.as_bytes()).unwrap()).unwrap()
}

/// The header that a block's JSON describes, built from nothing but its JSON.
fn header(block: &Value) -> Header {
    let number = |key: &str| u64::from_str_radix(block[key].as_str().unwrap()[2..].as_ref(), 16).unwrap();
    fn field<T: serde::de::DeserializeOwned>(block: &Value, key: &str) -> T {
        serde_json::from_value(block[key].clone()).unwrap_or_else(|e| panic!("{key}: {e}"))
    }
    Header {
        parent_hash: field(block, "parentHash"),
        ommers_hash: field(block, "sha3Uncles"),
        beneficiary: field(block, "miner"),
        state_root: field(block, "stateRoot"),
        transactions_root: field(block, "transactionsRoot"),
        receipts_root: field(block, "receiptsRoot"),
        logs_bloom: field(block, "logsBloom"),
        difficulty: field(block, "difficulty"),
        number: number("number"),
        gas_limit: number("gasLimit"),
        gas_used: number("gasUsed"),
        timestamp: number("timestamp"),
        extra_data: field(block, "extraData"),
        mix_hash: field(block, "mixHash"),
        nonce: field(block, "nonce"),
        base_fee_per_gas: Some(number("baseFeePerGas")),
        withdrawals_root: field(block, "withdrawalsRoot"),
        blob_gas_used: Some(number("blobGasUsed")),
        excess_blob_gas: Some(number("excessBlobGas")),
        parent_beacon_block_root: field(block, "parentBeaconBlockRoot"),
        requests_hash: field(block, "requestsHash"),
        ..Header::default()
    }
}

#[test]
fn every_hash_is_the_keccak_of_the_header_that_the_answer_shows_and_links_to_its_parent() {
    let mut chain = chain();
    chain.submit(at(Duration::ZERO), &sign(0, transfer(0))).unwrap();
    let mut parent: Option<Value> = None;
    for number in 0..5_u64 {
        let block = ask(&mut chain, after(5), "eth_getBlockByNumber", json!([format!("{number:#x}"), false]));
        assert_eq!(json!(header(&block).hash_slow()), block["hash"], "block {number}");
        if let Some(parent) = parent {
            assert_eq!(block["parentHash"], parent["hash"]);
            let next = calc_next_block_base_fee(
                header(&parent).gas_used,
                header(&parent).gas_limit,
                header(&parent).base_fee_per_gas.unwrap(),
                BaseFeeParams::ethereum(),
            );
            assert_eq!(header(&block).base_fee_per_gas, Some(next), "EIP-1559");
            assert_eq!(header(&block).timestamp, header(&parent).timestamp + 1);
        }
        parent = Some(block);
    }
}

#[test]
fn a_transfer_is_pending_then_mined_and_moves_exactly_what_its_receipt_says() {
    let mut chain = chain();
    let [from, to] = [DEV_ACCOUNTS[0].address, DEV_ACCOUNTS[1].address];
    let balance = |chain: &mut Chain, view, who: Address, at: &str| -> U256 {
        serde_json::from_value(ask(chain, view, "eth_getBalance", json!([who, at]))).unwrap()
    };
    let start = at(Duration::from_millis(10));
    let hash = ask(&mut chain, start, "eth_sendRawTransaction", json!([sign(0, transfer(0))]));
    assert_eq!(ask(&mut chain, start, "eth_getTransactionByHash", json!([hash]))["blockNumber"], Value::Null);
    assert_eq!(ask(&mut chain, start, "eth_getTransactionReceipt", json!([hash])), Value::Null);
    assert_eq!(ask(&mut chain, start, "eth_getTransactionCount", json!([from, "pending"])), "0x1");
    assert_eq!(ask(&mut chain, start, "eth_getTransactionCount", json!([from, "latest"])), "0x0");
    let pending = ask(&mut chain, start, "eth_getBlockByNumber", json!(["pending", false]));
    assert_eq!((&pending["hash"], &pending["transactions"]), (&Value::Null, &json!([hash])));

    let end = after(1);
    let receipt = ask(&mut chain, end, "eth_getTransactionReceipt", json!([hash]));
    assert_eq!((&receipt["status"], &receipt["gasUsed"]), (&json!("0x1"), &json!("0x5208")));
    assert_eq!(ask(&mut chain, end, "eth_getTransactionCount", json!([from])), "0x1");
    let price: U256 = serde_json::from_value(receipt["effectiveGasPrice"].clone()).unwrap();
    let fee = price * U256::from(21_000);
    assert_eq!(balance(&mut chain, end, from, "latest"), GENESIS_BALANCE - fee - U256::from(7));
    assert_eq!(balance(&mut chain, end, to, "latest"), GENESIS_BALANCE + U256::from(7));
    assert_eq!(balance(&mut chain, end, to, "0x0"), GENESIS_BALANCE, "history stays");
    let block = ask(&mut chain, end, "eth_getBlockByHash", json!([receipt["blockHash"], true]));
    let transaction = ask(&mut chain, end, "eth_getTransactionByHash", json!([hash]));
    assert_eq!(block["transactions"], json!([transaction]));
    assert_eq!(ask(&mut chain, end, "eth_getBlockReceipts", json!([block["number"]])), json!([receipt]));
}

/// Everybody who owns something is known here, so the root can be computed from what the node says of them.
#[test]
fn the_state_root_is_that_of_the_accounts_as_the_node_shows_them() {
    let mut chain = chain();
    chain.submit(at(Duration::ZERO), &sign(0, transfer(0))).unwrap();
    chain.advance(after(2).now);
    for number in 0..3_u64 {
        let place = format!("{number:#x}");
        let everybody = DEV_ACCOUNTS.iter().map(|dev| dev.address).chain([PROPOSER]);
        let accounts: Vec<(Address, alloy_trie::TrieAccount)> = everybody
            .filter_map(|who| {
                let read = |chain: &mut Chain, method| -> U256 {
                    serde_json::from_value(ask(chain, after(2), method, json!([who, place]))).unwrap()
                };
                let balance = read(&mut chain, "eth_getBalance");
                let nonce = read(&mut chain, "eth_getTransactionCount").to();
                let account = alloy_trie::TrieAccount { nonce, balance, ..Default::default() };
                (!balance.is_zero()).then_some((who, account))
            })
            .collect();
        let block = ask(&mut chain, after(2), "eth_getBlockByNumber", json!([place, false]));
        let root = alloy_consensus::proofs::state_root_unhashed(accounts);
        assert_eq!(block["stateRoot"], json!(root), "block {number}");
    }
}

/// The bytes of a trie with one entry can be written down: its root is the keccak of one leaf.
#[test]
fn the_transactions_root_of_one_transaction_is_the_hash_of_its_leaf() {
    let mut chain = chain();
    let raw = sign(0, transfer(0));
    chain.submit(at(Duration::ZERO), &raw).unwrap();
    let block = ask(&mut chain, after(1), "eth_getBlockByNumber", json!(["0x1", false]));
    // [hex-prefix of the whole key 0x80 (RLP of index 0) as a leaf, value]
    let (key, value) = (Bytes::from(vec![0x20, 0x80]), Bytes::from(hex::decode(&raw).unwrap()));
    let mut leaf = Vec::new();
    alloy_rlp::encode_list::<_, Bytes>(&[key, value], &mut leaf);
    assert_eq!(block["transactionsRoot"], json!(keccak256(leaf)));
    assert_ne!(block["receiptsRoot"], block["withdrawalsRoot"], "a receipt has a root of its own");
}

#[test]
fn what_geth_would_refuse_is_refused_in_its_words() {
    let mut chain = chain();
    chain.submit(at(Duration::ZERO), &sign(0, transfer(0))).unwrap();
    chain.advance(after(1).now);
    let view = after(1);
    chain.submit(view, &sign(0, transfer(1))).unwrap();
    let blob = TxEip4844 { chain_id: CHAIN_ID, gas_limit: 21_000, ..TxEip4844::default() };
    let table = [
        (sign(0, transfer(0)), "nonce too low: next nonce 1, tx nonce 0"),
        (sign(0, transfer(1)), "already known"),
        (sign(0, TxEip1559 { value: U256::ONE, ..transfer(1) }), "replacement transaction underpriced"),
        (sign(0, TxEip1559 { chain_id: 1, ..transfer(2) }), "invalid chain id for signer: have 1 want 31337"),
        (
            sign(0, TxLegacy { to: TxKind::Call(Address::ZERO), ..TxLegacy::default() }),
            "only replay-protected (EIP-155) transactions allowed over RPC",
        ),
        (
            sign(0, TxEip1559 { gas_limit: 20_999, ..transfer(2) }),
            "intrinsic gas too low: gas 20999, minimum needed 21000",
        ),
        (sign(0, TxEip1559 { gas_limit: 30_000_001, ..transfer(2) }), "exceeds block gas limit"),
        (
            sign(0, TxEip1559 { max_fee_per_gas: 1, max_priority_fee_per_gas: 2, ..transfer(2) }),
            "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas: 2, maxFeePerGas: 1",
        ),
        (
            sign(0, TxEip1559 { value: GENESIS_BALANCE, ..transfer(2) }),
            "insufficient funds for gas * price + value: balance ",
        ),
        (
            sign(0, TxEip1559 { max_fee_per_gas: u128::MAX, value: U256::MAX, ..transfer(2) }),
            "insufficient funds",
        ),
        (sign(0, TxEip1559 { to: TxKind::Create, ..transfer(2) }), "the simulation runs no contracts"),
        (
            sign(0, TxEip4844Variant::<BlobTransactionSidecarVariant>::TxEip4844(blob)),
            "transaction type not supported",
        ),
        ("0x02".to_owned(), "the raw transaction cannot be decoded"),
    ];
    for (raw, expected) in table {
        let said = chain.submit(view, &raw).unwrap_err().to_string();
        assert!(said.starts_with(expected), "{said} != {expected}");
    }
}

#[test]
fn a_nonce_too_high_waits_until_the_gap_is_filled() {
    let mut chain = chain();
    let second = chain.submit(at(Duration::ZERO), &sign(0, transfer(1))).unwrap();
    chain.advance(after(2).now);
    assert!(matches!(chain.find(after(2), &second), Some(Found::Pending(_))));
    assert_eq!(chain.account_pending(after(2), DEV_ACCOUNTS[0].address).nonce, 0);
    chain.submit(after(2), &sign(0, transfer(0))).unwrap();
    assert_eq!(chain.account_pending(after(2), DEV_ACCOUNTS[0].address).nonce, 2);
    chain.advance(after(3).now);
    assert!(
        matches!(chain.find(after(3), &second), Some(Found::Mined(block, 1)) if block.header.number == 3)
    );
}

#[test]
fn a_replacement_that_pays_a_tenth_more_takes_the_place() {
    let mut chain = chain();
    let first = chain.submit(at(Duration::ZERO), &sign(0, transfer(0))).unwrap();
    let dearer = TxEip1559 {
        max_fee_per_gas: 22 * GWEI / 10,
        max_priority_fee_per_gas: 11 * GWEI / 10,
        ..transfer(0)
    };
    let second = chain.submit(at(Duration::ZERO), &sign(0, dearer)).unwrap();
    assert!(chain.find(after(0), &first).is_none());
    chain.advance(after(1).now);
    assert!(matches!(chain.find(after(1), &second), Some(Found::Mined(..))));
}

#[test]
fn a_fee_below_the_base_fee_waits_until_that_has_fallen() {
    let mut chain = chain();
    let low = TxEip1559 { max_fee_per_gas: 8 * GWEI / 10, max_priority_fee_per_gas: 1, ..transfer(0) };
    let hash = chain.submit(at(Duration::ZERO), &sign(0, low)).unwrap();
    // 1 gwei falls by an eighth in each empty block: 0.875, 0.766
    chain.advance(after(1).now);
    assert!(matches!(chain.find(after(1), &hash), Some(Found::Pending(_))));
    chain.advance(after(2).now);
    assert!(matches!(chain.find(after(2), &hash), Some(Found::Mined(..))));
}

#[test]
fn better_tips_go_first_and_each_senders_own_order_stays() {
    let mut chain = chain();
    let tipping = |nonce, tip| TxEip1559 {
        max_fee_per_gas: 9 * GWEI,
        max_priority_fee_per_gas: tip * GWEI,
        ..transfer(nonce)
    };
    let hashes: Vec<B256> = [(0, 0, 1), (0, 1, 8), (2, 0, 4), (3, 0, 2)]
        .map(|(from, nonce, tip)| chain.submit(at(Duration::ZERO), &sign(from, tipping(nonce, tip))).unwrap())
        .into();
    chain.advance(after(1).now);
    let block = chain.head(after(1));
    let mined: Vec<B256> = block.transfers.iter().map(|t| t.transaction.hash).collect();
    assert_eq!(mined, [hashes[2], hashes[3], hashes[0], hashes[1]]);
}

#[test]
fn gas_is_21000_and_the_calldata_and_is_estimated_as_it_is_used() {
    let mut chain = chain();
    let input = Bytes::from(vec![0, 0, 1, 2]);
    let list = AccessList(vec![AccessListItem { address: Address::ZERO, storage_keys: vec![B256::ZERO; 2] }]);
    // EIP-7623: 10 gas a token, a zero byte is one token and any other four
    let with_data = TxEip1559 { gas_limit: 50_000, input: input.clone(), ..transfer(0) };
    let with_list = TxEip2930 {
        chain_id: CHAIN_ID,
        gas_price: 2 * GWEI,
        gas_limit: 50_000,
        to: TxKind::Call(Address::ZERO),
        access_list: list,
        ..TxEip2930::default()
    };
    let hashes = [sign(0, with_data), sign(1, with_list)].map(|raw| chain.submit(after(0), &raw).unwrap());
    let used = hashes
        .map(|hash| ask(&mut chain, after(1), "eth_getTransactionReceipt", json!([hash]))["gasUsed"].clone());
    assert_eq!(used, [json!("0x526c"), json!("0x6a40")], "21100, and 21000 + 2400 + 2 x 1900");
    let call = json!([{"from": DEV_ACCOUNTS[0].address, "to": Address::ZERO, "data": input}]);
    assert_eq!(ask(&mut chain, after(1), "eth_estimateGas", call.clone()), "0x526c");
    assert_eq!(ask(&mut chain, after(1), "eth_call", call), "0x");
}

#[test]
fn another_node_hears_of_a_transaction_a_gossip_later() {
    let mut chain = chain();
    let raw = sign(0, transfer(0));
    let hash = chain.submit(at(Duration::ZERO), &raw).unwrap();
    let other = |now| View { node: 1, now, behind: 0 };
    let just_before = other(GOSSIP - Duration::from_millis(1));
    assert!(chain.find(just_before, &hash).is_none());
    assert_eq!(chain.account_pending(just_before, DEV_ACCOUNTS[0].address).nonce, 0);
    assert!(chain.find(other(GOSSIP), &hash).is_some());
    assert_eq!(chain.submit(just_before, &raw), Ok(hash), "what it has not heard of is new to it");
    assert_eq!(chain.submit(just_before, &raw), Err(Refused::AlreadyKnown));
}

#[test]
fn a_block_arrives_at_each_node_50_to_150_ms_after_it_was_made_and_is_pending_until_then() {
    let mut chain = chain();
    let hash = chain.submit(at(Duration::ZERO), &sign(0, transfer(0))).unwrap();
    let made = Duration::from_secs(1);
    chain.advance(made + SETTLED);
    let mut lags = Vec::new();
    for node in 0..3 {
        let view = |ms| View { node, now: made + Duration::from_millis(ms), behind: 0 };
        let lag = (0..).find(|ms| chain.head(view(*ms)).header.number == 1).unwrap();
        assert!((50..=150).contains(&lag), "{lag} ms");
        assert!(matches!(chain.find(view(lag - 1), &hash), Some(Found::Pending(_))));
        assert!(matches!(chain.find(view(lag), &hash), Some(Found::Mined(..))));
        assert_eq!(chain.account_pending(view(lag - 1), DEV_ACCOUNTS[0].address).nonce, 1);
        lags.push(lag);
    }
    lags.dedup();
    assert!(lags.len() > 1, "not all at once");
}

#[test]
fn a_lagging_node_is_behind_by_as_much_as_it_was_told() {
    let mut chain = chain();
    chain.advance(after(9).now);
    assert_eq!(chain.head(View { behind: 3, ..after(9) }).header.number, 6);
    assert_eq!(chain.head(View { behind: 99, ..after(9) }).header.number, 0);
}

#[test]
fn tags_name_the_blocks_they_promise() {
    let mut chain = chain();
    let table =
        [("latest", "0x9"), ("safe", "0x7"), ("finalized", "0x5"), ("earliest", "0x0"), ("pending", "0xa")];
    for (tag, number) in table {
        let block = ask(&mut chain, after(9), "eth_getBlockByNumber", json!([tag, false]));
        assert_eq!(block["number"], number, "{tag}");
    }
    assert_eq!(ask(&mut chain, after(9), "eth_getBlockByNumber", json!(["0xa", false])), Value::Null);
    let by_hash = ask(&mut chain, after(9), "eth_getBlockByNumber", json!(["safe", false]))["hash"].clone();
    let place = json!([DEV_ACCOUNTS[0].address, {"blockHash": by_hash}]);
    assert_eq!(ask(&mut chain, after(9), "eth_getTransactionCount", place), "0x0");
}

#[test]
fn history_is_bounded_and_what_is_beyond_it_is_said_to_be() {
    let mut chain = chain();
    chain.submit(at(Duration::ZERO), &sign(0, transfer(0))).unwrap();
    let blocks = HISTORY_MAX as u64 + 10;
    chain.advance(after(blocks).now);
    assert_eq!(chain.blocks.len(), HISTORY_MAX);
    assert_eq!((chain.mined.len(), chain.numbers.len()), (0, HISTORY_MAX));
    let account = DEV_ACCOUNTS[0].address;
    assert_eq!(chain.account(account, blocks).nonce, 1, "the state itself is not forgotten");
    let old = answer(&mut chain, after(blocks), "eth_getBalance", json!([account, "0x5"]));
    assert!(old["error"]["message"].as_str().unwrap().contains("missing trie node"), "{old}");
    let new = format!("{:#x}", blocks + 1);
    let new = answer(&mut chain, after(blocks), "eth_getBalance", json!([account, new]));
    assert_eq!(new["error"]["message"], "header not found");
}

#[test]
fn a_block_holds_no_more_gas_than_its_limit_and_the_next_one_takes_the_rest() {
    let mut chain = chain();
    let fat = |from| {
        sign(from, TxEip1559 { gas_limit: 29_990_000, to: TxKind::Call(Address::ZERO), ..transfer(0) })
    };
    for from in 0..2 {
        chain.submit(at(Duration::ZERO), &fat(from)).unwrap();
    }
    chain.advance(after(2).now);
    let counts: Vec<usize> = (1..3).map(|n| chain.block(after(2), n).unwrap().transfers.len()).collect();
    assert_eq!(counts, [1, 1]);
}

#[test]
fn methods_answer_as_a_node_does() {
    let mut chain = chain();
    let view = after(6);
    let account = DEV_ACCOUNTS[0].address;
    let table = [
        ("eth_chainId", json!([]), json!("0x7a69")),
        ("net_version", json!([]), json!("31337")),
        ("eth_blockNumber", json!([]), json!("0x6")),
        ("eth_syncing", json!([]), json!(false)),
        ("eth_accounts", json!([]), json!([])),
        ("eth_getCode", json!([account, "latest"]), json!("0x")),
        ("eth_getStorageAt", json!([account, "0x0", "latest"]), json!(B256::ZERO)),
        ("eth_maxPriorityFeePerGas", json!([]), json!("0x3b9aca00")),
        ("eth_getLogs", json!([{"fromBlock": "0x0", "toBlock": "0x6"}]), json!([])),
        ("eth_getBlockTransactionCountByNumber", json!(["latest"]), json!("0x0")),
        ("eth_getBlockReceipts", json!(["latest"]), json!([])),
        ("eth_getTransactionByHash", json!([B256::ZERO]), Value::Null),
        ("eth_getTransactionReceipt", json!([B256::ZERO]), Value::Null),
    ];
    for (method, params, expected) in table {
        assert_eq!(ask(&mut chain, view, method, params), expected, "{method}");
    }
    let errors = [
        ("eth_nonsense", json!([]), -32601),
        ("eth_getBalance", json!([account, "0x"]), -32602),
        ("eth_getBalance", json!(["0x1234", "latest"]), -32602),
        ("eth_getBalance", json!([]), -32602),
        ("eth_getLogs", json!([{"fromBlock": "0x5", "toBlock": "0x4"}]), -32602),
        ("eth_getLogs", json!([{"fromBlock": "0x0", "toBlock": "0x99"}]), -32602),
        ("eth_getLogs", json!([{"blockHash": B256::ZERO}]), -32000),
        ("eth_feeHistory", json!(["0x1", "latest", [101]]), -32602),
        ("eth_estimateGas", json!([{"from": account, "data": "0x00"}]), -32000),
        ("eth_estimateGas", json!([{"from": Address::ZERO, "to": account, "value": "0x1"}]), -32000),
    ];
    for (method, params, code) in errors {
        assert_eq!(answer(&mut chain, view, method, params)["error"]["code"], code, "{method}");
    }
}

#[test]
fn fee_history_has_one_base_fee_more_than_blocks_and_the_tips_that_were_paid() {
    let mut chain = chain();
    chain.submit(at(Duration::ZERO), &sign(0, transfer(0))).unwrap();
    let history = ask(&mut chain, after(3), "eth_feeHistory", json!([2, "0x2", [50.0]]));
    assert_eq!(history["oldestBlock"], "0x1");
    assert_eq!(history["baseFeePerGas"].as_array().unwrap().len(), 3);
    assert_eq!(history["reward"], json!([["0x3b9aca00"], ["0x0"]]));
    assert_eq!(history["gasUsedRatio"][0], json!(0.0007));
    let next = ask(&mut chain, after(3), "eth_getBlockByNumber", json!(["0x3", false]));
    assert_eq!(history["baseFeePerGas"][2], next["baseFeePerGas"]);
    let all = ask(&mut chain, after(3), "eth_feeHistory", json!(["0xffffffff", "latest", []]));
    assert_eq!(all["oldestBlock"], "0x0");
}

#[test]
fn a_batch_is_answered_item_by_item_and_notifications_are_not() {
    let mut chain = chain();
    let mut said = |body: &str| converse(&mut chain, after(0), "test", body.as_bytes());
    let call = r#"{"jsonrpc":"2.0","id":"a","method":"eth_chainId"}"#;
    let notification = r#"{"jsonrpc":"2.0","method":"eth_chainId"}"#;
    let answered = r#"{"jsonrpc":"2.0","id":"a","result":"0x7a69"}"#;
    let batch = said(&format!("[{notification},{call},{call}]")).unwrap();
    assert_eq!(String::from_utf8(batch).unwrap(), format!("[{answered},{answered}]"));
    assert_eq!(said(&format!("[{notification}]")), None);
    assert!(String::from_utf8(said("[]").unwrap()).unwrap().contains("-32600"));
    assert!(String::from_utf8(said("{").unwrap()).unwrap().contains("-32700"));
}

/// One step of a random day: somebody sends somebody something.
#[derive(Clone, Debug)]
struct Step {
    from: usize,
    to: usize,
    nonce_off: u64,
    value: u128,
    tip: u128,
    data: usize,
    legacy: bool,
    wait: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let whom = (0_usize..4, 0_usize..12, prop_oneof![9 => Just(0_u64), 1 => 0_u64..3]);
    let what = (0_u128..4_000, 0_u128..4, 0_usize..40, any::<bool>(), any::<bool>());
    (whom, what).prop_map(|((from, to, nonce_off), (ether, tip, data, legacy, wait))| {
        let value = ether * 1_000_000_000_000_000_000;
        Step { from, to, nonce_off, value, tip, data, legacy, wait }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What anybody owns and what base fees burnt is what there was; headers stay true; nonces count.
    #[test]
    fn no_sequence_of_transactions_makes_or_loses_value(steps in prop::collection::vec(step(), 1..30)) {
        let mut chain = chain();
        let total = GENESIS_BALANCE * U256::from(DEV_ACCOUNTS.len());
        let mut now = Duration::ZERO;
        for Step { from, to, nonce_off, value, tip, data, legacy, wait } in steps {
            let to = DEV_ACCOUNTS.get(to).map_or(Address::repeat_byte(to as u8), |dev| dev.address);
            let nonce = chain.account_pending(at(now), DEV_ACCOUNTS[from].address).nonce + nonce_off;
            let (to, value, input) = (TxKind::Call(to), U256::from(value), Bytes::from(vec![1; data]));
            let raw = match legacy {
                true => sign(from, TxLegacy {
                    chain_id: Some(CHAIN_ID), nonce, to, value, input, gas_limit: 30_000, gas_price: 2 * GWEI,
                }),
                false => sign(from, TxEip1559 {
                    to, value, input, gas_limit: 30_000, max_priority_fee_per_gas: tip * GWEI,
                    max_fee_per_gas: (1 + tip) * GWEI, ..transfer(nonce)
                }),
            };
            let _ = chain.submit(at(now), &raw);
            if wait {
                now += Duration::from_secs(1);
                chain.advance(now);
            }
        }
        chain.advance(now + Duration::from_secs(3));
        let burnt: U256 = chain.blocks.iter()
            .map(|block| U256::from(block.base_fee()) * U256::from(block.header.gas_used))
            .sum();
        prop_assert_eq!(chain.state.total() + burnt, total);
        for block in &chain.blocks {
            prop_assert_eq!(block.header.hash_slow(), block.hash);
        }
        let sent: usize = chain.blocks.iter().map(|block| block.transfers.len()).sum();
        let counted: u64 = DEV_ACCOUNTS.iter().map(|dev| chain.state.latest(dev.address).nonce).sum();
        prop_assert_eq!(sent as u64, counted);
    }
}
