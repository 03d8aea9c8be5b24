//! JSON-RPC as one simulated node answers it. Errors are in geth's words, since wallets read them.

use std::str::FromStr;

use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{Address, B256, Bytes, U256};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::ethereum::{BlockNeeds, BlockRef, BlockTag, Method, block_refs};
use crate::jsonrpc::{self, ErrorObject, Item, Limits, Packet, Rejected, Request, code};
use crate::jsonrpc::{write_error, write_result};

use super::block::Block;
use super::chain::{Chain, Found, SAFE_DISTANCE, View};
use super::transaction::intrinsic_gas;
use super::{CHAIN_ID, fees, json};

/// Calls in one batch, as in geth.
const LIMITS: Limits = Limits { batch_items_max: 1_000 };
/// geth's code for most of what goes wrong.
const SERVER_ERROR: i64 = -32_000;

type Answer = Result<Value, ErrorObject>;

/// Answers one body as the node `view.node` called `name` would. `None`: notifications only.
pub fn converse(chain: &mut Chain, view: View, name: &str, body: &[u8]) -> Option<Vec<u8>> {
    let mut node = Node { chain, view, name };
    let mut out = Vec::new();
    match jsonrpc::parse(body, &LIMITS) {
        Err(rejected) => node.item(&mut out, Err(rejected)),
        Ok(Packet::Single(item)) => node.item(&mut out, item),
        Ok(Packet::Batch(items)) => {
            for item in items {
                let before = out.len();
                out.push(if before == 0 { b'[' } else { b',' });
                let start = out.len();
                node.item(&mut out, item);
                if out.len() == start {
                    out.truncate(before);
                }
            }
            if !out.is_empty() {
                out.push(b']');
            }
        }
    }
    (!out.is_empty()).then_some(out)
}

struct Node<'a> {
    chain: &'a mut Chain,
    view: View,
    name: &'a str,
}

/// The object of `eth_call` and `eth_estimateGas`, as far as it matters without an EVM.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CallObject {
    from: Option<Address>,
    to: Option<Address>,
    value: Option<U256>,
    data: Option<Bytes>,
    input: Option<Bytes>,
    access_list: Option<Vec<AccessItem>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccessItem {
    address: Address,
    #[serde(default)]
    storage_keys: Vec<B256>,
}

/// A state of the chain: after a block, or with all that waits.
enum At {
    Block(u64),
    Pending,
}

impl Node<'_> {
    fn item(&mut self, out: &mut Vec<u8>, item: Item<'_>) {
        let (id, answer) = match item {
            Err(Rejected { id, error }) => (id, Err(error)),
            Ok(request) => {
                let answer = self.answer(&request);
                (request.id, answer)
            }
        };
        let Some(id) = id else { return };
        match answer {
            Ok(result) => write_result(out, id.as_str(), result.to_string().as_bytes()),
            Err(error) => write_error(out, id.as_str(), &error.to_json()),
        }
    }

    fn answer(&mut self, request: &Request<'_>) -> Answer {
        let params = Params::read(request.params)?;
        let name: &str = &request.method;
        let here = || self.place(name, request.params);
        Ok(match name {
            "eth_chainId" => json::quantity(CHAIN_ID),
            "net_version" => json!(CHAIN_ID.to_string()),
            "net_listening" => json!(true),
            "net_peerCount" => json!("0x2"),
            "web3_clientVersion" => {
                json!(format!("outrigger-simulation/v{}/{}", env!("CARGO_PKG_VERSION"), self.name))
            }
            "eth_syncing" => json!(false),
            "eth_accounts" => json!([]),
            "eth_blockNumber" => json::quantity(self.head().header.number),
            "eth_getBlockByNumber" => {
                let full = params.optional(1)?.unwrap_or_default();
                match here()? {
                    BlockRef::Tag(BlockTag::Pending) => {
                        json::pending_block(&self.chain.pending(self.view), full)
                    }
                    place => self.block(place).map_or(Value::Null, |block| json::block(block, full)),
                }
            }
            "eth_getBlockByHash" => {
                let full = params.optional(1)?.unwrap_or_default();
                self.by_hash(&params)?.map_or(Value::Null, |block| json::block(block, full))
            }
            "eth_getBlockReceipts" => self.block(here()?).map_or(Value::Null, |block| {
                (0..block.transfers.len()).filter_map(|index| json::receipt(block, index)).collect()
            }),
            "eth_getBlockTransactionCountByNumber" => match here()? {
                BlockRef::Tag(BlockTag::Pending) => {
                    json::quantity(self.chain.pending(self.view).transfers.len())
                }
                place => count(self.block(place)),
            },
            "eth_getBlockTransactionCountByHash" => count(self.by_hash(&params)?),
            "eth_getUncleCountByBlockNumber" => self.block(here()?).map_or(Value::Null, |_| json!("0x0")),
            "eth_getUncleCountByBlockHash" => self.by_hash(&params)?.map_or(Value::Null, |_| json!("0x0")),
            "eth_getTransactionByBlockNumberAndIndex" => nth(self.block(here()?), &params)?,
            "eth_getTransactionByBlockHashAndIndex" => nth(self.by_hash(&params)?, &params)?,
            "eth_getTransactionByHash" => match self.chain.find(self.view, &params.required(0)?) {
                Some(Found::Pending(transaction)) => json::waiting(transaction),
                Some(Found::Mined(block, index)) => json!(json::mined(block, index)),
                None => Value::Null,
            },
            "eth_getTransactionReceipt" => match self.chain.find(self.view, &params.required(0)?) {
                Some(Found::Mined(block, index)) => json!(json::receipt(block, index)),
                _ => Value::Null,
            },
            "eth_getBalance" => json::quantity(self.account(params.required(0)?, here()?)?.balance),
            "eth_getTransactionCount" => json::quantity(self.account(params.required(0)?, here()?)?.nonce),
            "eth_getCode" => {
                self.account(params.required(0)?, here()?)?;
                json!("0x")
            }
            "eth_getStorageAt" => {
                self.account(params.required(0)?, here()?)?;
                json!(B256::ZERO)
            }
            "eth_call" => self.call(params.required(0)?, here()?)?,
            "eth_estimateGas" => self.estimate(params.required(0)?, here()?)?,
            "eth_gasPrice" => json::quantity(u128::from(self.head().next_base_fee()) + fees::SUGGESTED_TIP),
            "eth_maxPriorityFeePerGas" => json::quantity(fees::SUGGESTED_TIP),
            "eth_blobBaseFee" => json!("0x1"),
            "eth_feeHistory" => self.fee_history(&params, here()?)?,
            "eth_getLogs" => self.logs(request.params)?,
            "eth_sendRawTransaction" => {
                let raw: String = params.required(0)?;
                let hash =
                    self.chain.submit(self.view, &raw).map_err(|refused| server(refused.to_string()))?;
                json!(hash)
            }
            _ => {
                let message = format!("the method {name} does not exist/is not available");
                return Err(ErrorObject::new(code::METHOD_NOT_FOUND, message));
            }
        })
    }

    fn head(&self) -> &Block {
        self.chain.head(self.view)
    }

    /// The one block that the request speaks of, by the rules that Outrigger reads it with itself.
    fn place(&self, method: &str, params: Option<&RawValue>) -> Result<BlockRef, ErrorObject> {
        match block_refs(Method::lookup(method), params) {
            BlockNeeds::At(place) => Ok(place),
            _ => Err(invalid("missing or invalid block number, tag or hash")),
        }
    }

    /// A block that the node has; `pending` is its head here.
    fn block(&self, place: BlockRef) -> Option<&Block> {
        let head = self.head().header.number;
        let settled = |distance| head.saturating_sub(distance).max(self.chain.earliest());
        let number = match place {
            BlockRef::Number(number) => number,
            BlockRef::Hash { hash, .. } => return self.chain.block_by_hash(self.view, &hash),
            BlockRef::Tag(BlockTag::Latest | BlockTag::Pending) => head,
            BlockRef::Tag(BlockTag::Safe) => settled(SAFE_DISTANCE),
            BlockRef::Tag(BlockTag::Finalized) => settled(2 * SAFE_DISTANCE),
            BlockRef::Tag(BlockTag::Earliest) => self.chain.earliest(),
        };
        self.chain.block(self.view, number)
    }

    fn by_hash(&self, params: &Params) -> Result<Option<&Block>, ErrorObject> {
        Ok(self.chain.block_by_hash(self.view, &params.required(0)?))
    }

    fn state(&self, place: BlockRef) -> Result<At, ErrorObject> {
        if place == BlockRef::Tag(BlockTag::Pending) {
            return Ok(At::Pending);
        }
        match (self.block(place), place) {
            (Some(block), _) => Ok(At::Block(block.header.number)),
            (None, BlockRef::Number(number)) if number < self.chain.earliest() => Err(server(format!(
                "missing trie node: the simulation keeps the state since block {} only",
                self.chain.earliest()
            ))),
            (None, BlockRef::Hash { .. }) => Err(server("header for hash not found")),
            (None, _) => Err(server("header not found")),
        }
    }

    fn account(&self, address: Address, place: BlockRef) -> Result<super::state::Account, ErrorObject> {
        Ok(match self.state(place)? {
            At::Block(number) => self.chain.account(address, number),
            At::Pending => self.chain.account_pending(self.view, address),
        })
    }

    /// No account has code: a call does nothing and returns nothing.
    fn call(&self, call: CallObject, place: BlockRef) -> Answer {
        if call.to.is_none() {
            return Err(server(super::transaction::Refused::Creation.to_string()));
        }
        self.can_pay(&call, place)?;
        Ok(json!("0x"))
    }

    fn estimate(&self, call: CallObject, place: BlockRef) -> Answer {
        if call.to.is_none() {
            return Err(server(super::transaction::Refused::Creation.to_string()));
        }
        self.can_pay(&call, place)?;
        let items = call.access_list.unwrap_or_default().into_iter();
        let items = items.map(|i| AccessListItem { address: i.address, storage_keys: i.storage_keys });
        let input = call.input.or(call.data).unwrap_or_default();
        Ok(json::quantity(intrinsic_gas(&input, Some(&AccessList(items.collect())))))
    }

    fn can_pay(&self, call: &CallObject, place: BlockRef) -> Result<(), ErrorObject> {
        let account = self.account(call.from.unwrap_or_default(), place)?;
        match call.value.is_some_and(|value| value > account.balance) {
            true => Err(server("insufficient funds for transfer")),
            false => Ok(()),
        }
    }

    fn fee_history(&self, params: &Params, place: BlockRef) -> Answer {
        /// geth's bound.
        const PERCENTILES_MAX: usize = 100;
        let count = params.number(0)?;
        let percentiles: Vec<f64> = params.optional(2)?.unwrap_or_default();
        let sound = percentiles.iter().all(|p| (0.0..=100.0).contains(p)) && percentiles.is_sorted();
        if !sound || percentiles.len() > PERCENTILES_MAX {
            return Err(invalid("invalid reward percentile: at most 100 of them, ascending from 0 to 100"));
        }
        let newest = self.block(place).ok_or_else(|| server("request beyond head block"))?;
        Ok(fees::history(self.chain, self.view, count, newest, &percentiles))
    }

    /// Transfers log nothing; whether the question is sound is looked at all the same.
    fn logs(&self, params: Option<&RawValue>) -> Answer {
        match block_refs(Method::lookup("eth_getLogs"), params) {
            BlockNeeds::At(place) => {
                self.block(place).ok_or_else(|| server("unknown block"))?;
            }
            BlockNeeds::Range { from, to } => {
                let head = self.head().header.number;
                let number = |place: BlockRef| match place {
                    BlockRef::Number(number) => Some(number),
                    other => self.block(other).map(|block| block.header.number),
                };
                let (Some(from), Some(to)) = (number(from), number(to)) else {
                    return Err(server("unknown block"));
                };
                if from > to {
                    return Err(invalid("invalid block range params"));
                }
                if to > head {
                    return Err(invalid("block range extends beyond current head block"));
                }
            }
            BlockNeeds::None | BlockNeeds::Unreadable => return Err(invalid("invalid filter")),
        }
        Ok(json!([]))
    }
}

fn count(block: Option<&Block>) -> Value {
    block.map_or(Value::Null, |block| json::quantity(block.transfers.len()))
}

fn nth(block: Option<&Block>, params: &Params) -> Answer {
    let index = usize::try_from(params.number(1)?).unwrap_or(usize::MAX);
    Ok(json!(block.and_then(|block| json::mined(block, index))))
}

fn server(message: impl Into<String>) -> ErrorObject {
    ErrorObject::new(SERVER_ERROR, message)
}

fn invalid(message: impl Into<String>) -> ErrorObject {
    ErrorObject::new(code::INVALID_PARAMS, message)
}

/// Parameters by position.
struct Params(Vec<Value>);

impl Params {
    fn read(raw: Option<&RawValue>) -> Result<Self, ErrorObject> {
        let Some(raw) = raw else { return Ok(Self(Vec::new())) };
        serde_json::from_str(raw.get()).map(Self).map_err(|_| invalid("non-array args"))
    }

    fn optional<T: DeserializeOwned>(&self, at: usize) -> Result<Option<T>, ErrorObject> {
        let Some(value) = self.0.get(at).filter(|value| !value.is_null()) else { return Ok(None) };
        T::deserialize(value).map(Some).map_err(|error| invalid(format!("invalid argument {at}: {error}")))
    }

    fn required<T: DeserializeOwned>(&self, at: usize) -> Result<T, ErrorObject> {
        self.optional(at)?.ok_or_else(|| invalid(format!("missing value for required argument {at}")))
    }

    /// A quantity; `eth_feeHistory` is called with plain numbers too.
    fn number(&self, at: usize) -> Result<u64, ErrorObject> {
        let number = match self.required(at)? {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => U256::from_str(&text).ok().map(|number| number.saturating_to()),
            _ => None,
        };
        number.ok_or_else(|| invalid(format!("invalid argument {at}: no number")))
    }
}
