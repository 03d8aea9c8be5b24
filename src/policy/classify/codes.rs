//! Codes: those that mean one thing, and what the others mean when the text is not understood.
//!
//! Most codes from -32000 to -32099 mean different things to different vendors (-32005 is a rate limit,
//! a log range, a gas limit, or "no batches"), so they come after the words.

use super::defaults::Twist;
use super::method::{Scope, Scopes};
use crate::policy::Class::{self, *};

type Code = (std::ops::RangeInclusive<i64>, Scope, Class, Twist);

/// Codes that are surer than any word.
#[rustfmt::skip]
const SURE: &[Code] = &[
    (4444..=4444,     Scope::Any, MissingDataArchive, Twist::None),    // EIP-4444
    (4445..=4445,     Scope::Any, InvalidParams, Twist::None),         // EIP-7928: before the fork
    (-39001..=-39001, Scope::Any, BlockNotFound, Twist::None),         // execution API: unknown block
    (4..=6,           Scope::Sync, TxSyncTimeout, Twist::None),        // EIP-7966
    (-32100..=-32100, Scope::Broadcast, TxPolicy, Twist::Final),       // proxyd: the chain's own policy
    (-32521..=-32500, Scope::UserOperation, InvalidParams, Twist::None), // ERC-4337: the operation's fault
    // execution API, eth_simulateV1: computed, so the same on every node
    (-38010..=-38010, Scope::Any, TxNonceTooLow, Twist::Final),
    (-38011..=-38011, Scope::Any, TxNonceTooHigh, Twist::Final),
    (-38012..=-38012, Scope::Any, TxUnderpriced, Twist::Final),
    (-38013..=-38013, Scope::Any, TxIntrinsicGas, Twist::Final),
    (-38014..=-38014, Scope::Any, TxInsufficientFunds, Twist::Final),
    (-38015..=-38015, Scope::Any, TxGasLimit, Twist::Final),
    (-38024..=-38020, Scope::Any, InvalidParams, Twist::Final),
    (-38025..=-38025, Scope::Any, TxOversized, Twist::Final),
    (-38026..=-38026, Scope::Any, InvalidParams, Twist::Final),
    (-32015..=-32015, Scope::Simulate, ExecutionFailed, Twist::Final),
    (-32016..=-32016, Scope::Simulate, ExecutionTimeout, Twist::Final),
    (-32005..=-32005, Scope::Simulate, TxUnderpriced, Twist::Final),
];

/// Codes of one vendor, where its words say nothing.
#[rustfmt::skip]
const VENDORS: &[(&str, i64, Scope, Class)] = &[
    ("alchemy", 429, Scope::Any, RateLimited),
    ("quicknode", -32007, Scope::Any, RateLimited),
    ("quicknode", -32009, Scope::Any, RateLimited),
    ("quicknode", -32012, Scope::Any, RateLimited),
    ("quicknode", -32003, Scope::NotBroadcast, QuotaExhausted),
    ("quicknode", -32011, Scope::Any, ConnectionError),
    ("quicknode", -32614, Scope::Any, RangeTooLarge),
    ("quicknode", -32613, Scope::Any, MethodUnsupported),
    ("infura", -32001, Scope::Any, MethodUnsupported),
    ("infura", -32002, Scope::Any, Unauthorized),
    ("drpc", 4, Scope::Any, Unauthorized),
    ("drpc", 15, Scope::Any, RateLimited),
    ("drpc", 35, Scope::Any, RangeTooLarge),
    ("drpc", 30, Scope::Any, TimeoutUpstream),
    ("ankr", -32051, Scope::Any, QuotaExhausted),
    ("ankr", -32052, Scope::Any, Unauthorized),
    ("ankr", -32055, Scope::Any, Overloaded),
    ("cloudflare", -32047, Scope::Any, RangeTooLarge),
    ("goldsky", -32012, Scope::Any, RangeTooLarge),
    ("goldsky", -32014, Scope::Any, MissingDataArchive),
    ("goldsky", -32015, Scope::Any, TimeoutUpstream),
    ("goldsky", -32016, Scope::Any, Unauthorized),
    ("besu", -32604, Scope::Any, MethodUnsupported),
];

/// The last resort.
#[rustfmt::skip]
const PLAIN: &[Code] = &[
    // execution API error groups, transactions
    (1..=1,           Scope::Broadcast, TxNonceTooLow, Twist::None),
    (2..=2,           Scope::Broadcast, TxNonceTooHigh, Twist::None),
    (800..=801,       Scope::Broadcast, TxIntrinsicGas, Twist::None),
    (802..=802,       Scope::Broadcast, TxUnderpriced, Twist::None),
    (803..=804,       Scope::Broadcast, TxGasLimit, Twist::None),
    (805..=805,       Scope::Broadcast, TxInvalid, Twist::None),
    (806..=806,       Scope::Broadcast, TxUnderpriced, Twist::None),
    (809..=809,       Scope::Broadcast, TxInsufficientFunds, Twist::None),
    (1000..=1001,     Scope::Broadcast, TxWrongChain, Twist::None),
    (3..=3,           Scope::Broadcast, ExecutionReverted, Twist::Elsewhere), // some provider's trial run
    (429..=429,       Scope::Any, RateLimited, Twist::None),           // HTTP's number inside a batch
    (401..=401,       Scope::Any, Unauthorized, Twist::None),
    (403..=403,       Scope::Any, Unauthorized, Twist::None),
    (1008..=1008,     Scope::Any, RateLimited, Twist::None),           // WebSocket's policy violation
    (-40100..=-40100, Scope::Any, Unauthorized, Twist::None),
    (-32700..=-32700, Scope::Any, ParseError, Twist::None),
    (-32601..=-32601, Scope::Any, MethodUnsupported, Twist::None),
    (-32602..=-32602, Scope::Any, InvalidParams, Twist::None),
    (-32600..=-32600, Scope::Any, InvalidRequest, Twist::None),
    (-32604..=-32604, Scope::Any, MethodUnsupported, Twist::None),     // Besu: not enabled
    (-32010..=-32010, Scope::Broadcast, TxPolicy, Twist::None),        // Parity, Nethermind
    (-32003..=-32003, Scope::Broadcast, TxPolicy, Twist::None),        // EIP-1474: rejected
    (-32005..=-32005, Scope::NotBroadcast, RateLimited, Twist::None),  // EIP-1474: limit exceeded
    (-32029..=-32029, Scope::Any, RateLimited, Twist::None),
    (-32016..=-32016, Scope::Any, RateLimited, Twist::None),           // proxyd, Base
    (-32004..=-32004, Scope::NotBroadcast, MethodUnsupported, Twist::None), // EIP-1474
    (-32006..=-32006, Scope::NotBroadcast, InvalidRequest, Twist::None),    // EIP-1474: version
    (-32001..=-32001, Scope::Transaction, TxNotFound, Twist::None),    // EIP-1474: resource not found
    (-32001..=-32001, Scope::NotBroadcast, BlockNotFound, Twist::None),
    (-32055..=-32055, Scope::Any, Overloaded, Twist::None),
    (-32046..=-32046, Scope::Any, InternalError, Twist::Lasting),      // Cloudflare's gateway, since it was shut down
    (-32603..=-32603, Scope::Any, InternalError, Twist::None),
];

/// A code that means one thing whatever the text.
pub(super) fn sure(scopes: Scopes, code: i64) -> Option<(Class, Twist)> {
    find(SURE, scopes, code)
}

/// What a vendor's documentation says of its code.
pub(super) fn of_vendor(scopes: Scopes, vendor: Option<&str>, code: i64) -> Option<Class> {
    let vendor = vendor?;
    VENDORS
        .iter()
        .find(|(name, number, scope, _)| {
            *number == code && vendor.starts_with(name) && scopes.contains(*scope)
        })
        .map(|(.., class)| *class)
}

/// What is left when neither text nor status says anything.
pub(super) fn plain(scopes: Scopes, code: i64) -> Option<(Class, Twist)> {
    find(PLAIN, scopes, code)
}

/// JSON-RPC's own codes speak of the call; an HTTP status beside them only of the way.
pub(super) fn speaks_of_the_call(code: i64) -> bool {
    matches!(code, -32602..=-32601)
}

fn find(table: &[Code], scopes: Scopes, code: i64) -> Option<(Class, Twist)> {
    table
        .iter()
        .find(|(codes, scope, ..)| codes.contains(&code) && scopes.contains(*scope))
        .map(|(_, _, class, twist)| (*class, *twist))
}
