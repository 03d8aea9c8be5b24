//! What the EVM did: reverts, halts and time caps.
//!
//! A revert's text belongs to the contract's author, who may write "rate limit exceeded" or
//! "unauthorized" into it. So a revert is recognised before anything else is read, and hurts nobody (R3).

use std::sync::LazyLock;

use super::Doubt;
use super::defaults::Twist;
use super::method::{Scope, Scopes};
use super::rule::{Rule, rule};
use super::text::{Phrase, Text};
use crate::jsonrpc::ErrorObject;
use crate::policy::Class::{self, *};

/// geth, reth, Nethermind and the execution API specification: reverted, with data.
const REVERT: i64 = 3;
/// Parity, Nethermind and QuickNode: any failure of the EVM; mostly a revert.
const VM_EXECUTION_ERROR: i64 = -32015;

/// How a revert is worded. What comes after these words is the contract's own.
const REVERT_WORDS: &[&str] = &[
    "execution reverted",
    "vm exception while processing",
    "vm execution error reverted|revert",
    "transaction|call|execution|tx|contract|evm|message ... reverted",
    "^ reverted",
    "^ revert",
    "reverted with|without|0x*",
    "reverted ... reason|custom|panic",
];

/// The phrases of this file, taken apart once.
struct Phrases {
    revert: Vec<Phrase>,
    revert_in_data: Phrase,
    missing_block: Vec<Phrase>,
    vm_execution_error: Phrase,
}

static PHRASES: LazyLock<Phrases> = LazyLock::new(|| Phrases {
    revert: Phrase::all(REVERT_WORDS),
    revert_in_data: Phrase::new("^ reverted|revert"),
    missing_block: Phrase::all(&["^ unknown block|header", "^ block|header not found"]),
    vm_execution_error: Phrase::new("vm execution error"),
});

/// Halts that have words of their own.
pub(super) const RULES: &[Rule] = &[
    rule(
        ExecutionTimeout,
        Scope::Any,
        &[
            "execution|trace|tracing|evm|tracer|simulation|call ... timeout|timedout",
            "execution|trace|tracing|evm|tracer|simulation timed out",
            "execution|tracing|evm|simulation ... exceed*|took ... time|long",
            "execution aborted",
        ],
    ),
    rule(
        ExecutionFailed,
        Scope::Evm,
        &[
            "out of gas",
            "invalid|bad|undefined|unknown ... opcode|instruction",
            "opcode ... not|invalid",
            "invalid jump",
            "bad jump*",
            "stack underflow|overflow|limit",
            "write protection",
            "return data out of bounds",
            "max|maximum call depth",
            "max|maximum code size",
            "call depth exceed*",
            "invalid code",
            "contract|create address|contract collision",
            "create collision",
            "evm error|halt|halted|failure",
            "evm|execution ... halted",
            "^ execution error",
            "vm execution error",
            "out of counters",
            "gas uint* overflow",
            "precompile ... failed|error",
            "processing could not be completed",
            "state modification|change ... static",
            "static call|state",
            "memory ... limit",
            "assertion failed",
        ],
    ),
];

/// Whether this is a revert or another of the EVM's own verdicts, told by code, data and the first words.
pub(super) fn verdict(
    scopes: Scopes,
    doubt: &Doubt,
    object: &ErrorObject,
    message: &Text,
    detail: &Text,
) -> Option<(Class, Twist)> {
    let code = object.code;
    let has_data = object.data.as_ref().is_some_and(|data| data.get().len() > 2);
    // MetaMask and Hardhat wrap the node's error into `data` and call it internal.
    let worded = message.has_any(&PHRASES.revert) || detail.has_any(&PHRASES.revert);
    // Alchemy gives code 3 to unknown blocks. A pool executes nothing, so its code 3 alone says little: zkSync gives it to known transactions.
    let by_code = code == REVERT
        && (has_data || !(message.has_any(&PHRASES.missing_block) || scopes.contains(Scope::Broadcast)));
    let reverted = worded || by_code || detail.has(&PHRASES.revert_in_data);
    if reverted {
        // A node whose state is pruned may run the call on nothing. Whoever knows that the block is old
        // says so, and then a revert with neither its own code nor data proves nothing.
        if doubt.old_state && code != REVERT && !has_data && message.words() == ["execution", "reverted"] {
            return Some((MissingDataArchive, Twist::None));
        }
        // A pool executes nothing: this is some provider's own trial run.
        let twist = if scopes.contains(Scope::Broadcast) { Twist::Elsewhere } else { Twist::None };
        return Some((ExecutionReverted, twist));
    }
    if code == VM_EXECUTION_ERROR && scopes.contains(Scope::Evm) && message.has(&PHRASES.vm_execution_error) {
        let class = if detail.is_empty() { ExecutionReverted } else { ExecutionFailed };
        return Some((class, Twist::None));
    }
    None
}
