//! The facts of one method: what it reads, whether it may be repeated, cached, hedged or refused.

use std::fmt;
use std::time::Duration;

use super::block_place::BlockPlace;
use super::lookup::{aliased, by_prefix, listed};
use super::method_table::METHODS;

/// Bits of [`Method`]'s flags.
pub(super) mod flag {
    pub const IDEMPOTENT: u16 = 1;
    pub const HEDGE: u16 = 1 << 1;
    pub const RETRY: u16 = 1 << 2;
    /// An answer of null may only mean that this node lags.
    pub const NULL: u16 = 1 << 3;
    /// The answer is the node's own: never compared between backends.
    pub const LOCAL: u16 = 1 << 4;
    pub const WS: u16 = 1 << 5;
    /// Not to be put into a batch.
    pub const ALONE: u16 = 1 << 6;
    pub const CREATES: u16 = 1 << 7;
    pub const USES: u16 = 1 << 8;
    /// Speaks with a relay: bundles, private transactions, and what became of them.
    pub const RELAY: u16 = 1 << 9;
    pub const READ: u16 = IDEMPOTENT | HEDGE | RETRY;
}

/// What kind of call a method is, as a proxy must treat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MethodKind {
    /// The same for the life of the chain or the node.
    Constant,
    /// Says where the chain stands.
    Head,
    /// Fees, derived from the head.
    Fee,
    /// Reads at a block that a parameter names.
    BlockScopedRead,
    /// Executes without changing anything.
    Simulate,
    /// Reads something by its hash.
    HashScopedRead,
    /// Reads over a range of blocks.
    RangeRead,
    /// Makes a filter on one node.
    FilterCreate,
    /// Reads a filter of one node.
    FilterPoll,
    /// Removes a filter of one node.
    FilterRemove,
    /// Starts a subscription.
    Subscribe,
    /// Ends a subscription.
    Unsubscribe,
    /// Sends a signed transaction, a bundle or the like.
    TxSubmit,
    /// A provider's own method; [`Semantics`] names the behaviour to copy.
    Vendor,
    /// Controls the node.
    AdminDangerous,
    /// Concerns keys or the node's own accounts.
    LocalSensitive,
}

/// Who is served first when there is not room for all; the later, the more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Logs, traces: heavy, and asked for by programs that can wait.
    Bulk,
    /// What an application shows.
    Read,
    /// What sending a transaction, and hearing of it, takes: nonce, fees, receipt.
    FollowUp,
    /// The transaction itself.
    Transaction,
}

/// What a call does, where its kind alone does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // as in `MethodKind`, and the names of the things themselves
pub enum Semantics {
    Constant,
    Head,
    Fee,
    BlockRead,
    HashRead,
    RangeRead,
    Simulate,
    Filter,
    Subscription,
    Submit,
    /// Re-executes transactions: seconds of a node's time.
    Trace,
    /// Walks a node's database.
    DebugHeavy,
    Mempool,
    Indexer,
    Bundler,
    Paymaster,
    Vendor,
    NodeControl,
    Local,
}

/// The classes in which a backend's health is judged: a node may fail at one and serve the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum MethodClass {
    /// Head, fees and constants: answered from memory by any node in step.
    Head,
    /// State at a block: balances, calls, estimates, proofs.
    State,
    /// Blocks, transactions and receipts, by number or hash.
    History,
    /// Logs and other reads over ranges.
    Logs,
    /// Re-execution and database walks.
    Trace,
    /// Signed transactions.
    Submit,
    /// Everything else, unknown methods included.
    Other,
}

impl MethodClass {
    /// How many classes there are.
    pub const COUNT: usize = 7;

    /// All of them, in the order of [`index`](Self::index).
    pub const ALL: [Self; Self::COUNT] =
        [Self::Head, Self::State, Self::History, Self::Logs, Self::Trace, Self::Submit, Self::Other];

    /// A number below [`COUNT`](Self::COUNT), for arrays.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name used in metrics and in the status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::State => "state",
            Self::History => "history",
            Self::Logs => "logs",
            Self::Trace => "trace",
            Self::Submit => "submit",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for MethodClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How long an answer may be kept. Null, errors and `pending` are never kept, whatever the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheRule {
    /// Not at all.
    Never,
    /// As long as there is room: the answer cannot change.
    Forever,
    /// For good once the block it speaks of is finalized; until then as [`ByHead`](Self::ByHead).
    WhenFinalized,
    /// Until the head moves.
    ByHead,
    /// For a fixed time.
    ShortTtl {
        /// Milliseconds.
        ms: u32,
    },
}

/// What a node must have kept to answer about an old block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archive {
    /// Nothing beyond the head.
    Nothing,
    /// State; other than archive nodes keep about the last 128 blocks.
    State,
    /// Bodies and receipts, which EIP-4444 lets nodes drop.
    History,
    /// State to re-execute on, as [`State`](Self::State).
    Trace,
}

/// Whether a method's handle lives on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sticky {
    /// The answer is a handle that only the answering backend knows.
    Creates,
    /// A parameter is such a handle.
    Uses,
}

/// Why a method is refused by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The consensus client's interface.
    EngineApi,
    /// Controls a node or reads its internals.
    NodeControl,
    /// Uses keys that lie on the node.
    NodeKeys,
    /// A wallet's method (EIP-1193), never a node's.
    WalletSide,
    /// Rewrites the chain of a development node.
    DevelopmentChain,
    /// Proof-of-work mining.
    Mining,
    /// Heavy, or answers in tens of megabytes.
    Heavy,
    /// Removed from every client.
    Removed,
    /// What a server sends, not a client.
    Notification,
    /// Not of the Ethereum interface, or reaches into a provider's wallet and market.
    Foreign,
    /// An unlisted method of a namespace in which dangerous ones are common.
    Unlisted,
}

impl Refusal {
    /// One line for the person who called it: what to do instead.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::EngineApi => "the Engine API belongs to the consensus client and is not proxied",
            Self::NodeControl => {
                "controls a node or shows its internals; if you mean it, list it under allow_methods of this chain"
            }
            Self::NodeKeys => {
                "would use keys held by a node; sign in your wallet and send eth_sendRawTransaction instead"
            }
            Self::WalletSide => "is answered by a wallet, not by a node; call it on the wallet's provider",
            Self::DevelopmentChain => {
                "changes a development chain; for your own, list it under allow_methods of this chain"
            }
            Self::Mining => "belongs to proof-of-work mining, which this chain does not use",
            Self::Heavy => {
                "is heavy for a shared node; if your backends offer it, list it under allow_methods of this chain"
            }
            Self::Removed => "was removed from every client",
            Self::Notification => {
                "is what a server sends to its subscribers; call eth_subscribe over WebSocket instead"
            }
            Self::Foreign => {
                "is not of the Ethereum interface; if your backends offer it, list it under allow_methods of this chain"
            }
            Self::Unlisted => {
                "is not known to be harmless; if you trust it, list it under allow_methods of this chain"
            }
        }
    }
}

/// The facts of one method. Handed out as `&'static`; two names with the same facts may share one.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// The method's name as listed; for unlisted names the rule that covers them, as `debug_*`, and
    /// `*` for unknown ones. Bounded in number, so it may label metrics. Never put it on the wire.
    pub name: &'static str,
    /// How to treat it.
    pub kind: MethodKind,
    /// What it does.
    pub semantics: Semantics,
    pub(super) flags: u16,
    /// How long an answer may be kept.
    pub cache: CacheRule,
    /// What it costs a provider; 1.0 is a plain read such as `eth_getBalance`.
    pub cost: f32,
    /// The deadline that suits it, in milliseconds; 0 for methods that are refused outright.
    pub timeout_ms: u32,
    /// What an answer about an old block needs.
    pub archive: Archive,
    /// Where it names blocks.
    pub blocks: &'static [BlockPlace],
    /// Why it is refused unless the configuration allows it; `None` lets it through.
    pub refusal: Option<Refusal>,
}

/// Without an answer to these a wallet can neither send a transaction nor say what became of it.
const IN_A_TRANSACTIONS_WAY: [&str; 5] = [
    "eth_getTransactionCount",
    "eth_getTransactionReceipt",
    "eth_getTransactionByHash",
    "eth_estimateGas",
    "eth_blockNumber",
];

/// The deadline of a refused method that the configuration allows after all.
const ALLOWED_TIMEOUT: Duration = Duration::from_secs(30);

impl Method {
    /// The facts for a name: exact, case-sensitive, after JSON's escapes are decoded.
    ///
    /// Never fails and never allocates: names without a line fall under their namespace's rule, and
    /// else under one shared entry that assumes nothing in their favour.
    pub fn lookup(name: &str) -> &'static Self {
        listed(name).or_else(|| aliased(name)).unwrap_or_else(|| by_prefix(name))
    }

    /// Every listed method.
    pub fn all() -> &'static [Self] {
        &METHODS
    }

    /// Whether the method has a line of its own.
    pub fn is_listed(&self) -> bool {
        !self.name.ends_with('*')
    }

    /// Its line in the table, from 0; `None` for the rules that cover names without a line.
    pub fn place(&'static self) -> Option<usize> {
        let bytes = std::ptr::from_ref(self).addr().checked_sub(METHODS.as_ptr().addr())?;
        let place = bytes / size_of::<Self>();
        METHODS.get(place).filter(|listed| std::ptr::eq(*listed, self)).map(|_| place)
    }

    /// Executing it twice does no more than executing it once.
    pub const fn idempotent(&self) -> bool {
        self.has(flag::IDEMPOTENT)
    }

    /// May be with two backends at the same time.
    pub const fn hedgeable(&self) -> bool {
        self.has(flag::HEDGE)
    }

    /// May be sent to another backend after a failure that leaves open whether it was executed.
    /// Without this, only when no byte of it was sent.
    pub const fn retry_elsewhere(&self) -> bool {
        self.has(flag::RETRY)
    }

    /// A null answer may only mean that this backend lags: ask another.
    pub const fn null_is_suspicious(&self) -> bool {
        self.has(flag::NULL)
    }

    /// The answer is the node's own; two backends may differ and both be right.
    pub const fn node_local(&self) -> bool {
        self.has(flag::LOCAL)
    }

    /// Gives the block with a number, or all of its receipts: `null` where it is not there.
    pub fn gives_a_block(&self) -> bool {
        matches!(self.name, "eth_getBlockByNumber" | "eth_getBlockReceipts")
    }

    /// Nodes differ in whether it takes a block, and clients name none.
    pub fn may_take_no_block(&self) -> bool {
        matches!(self.name, "eth_estimateGas" | "eth_createAccessList")
    }

    /// Speaks with a relay about bundles or private transactions: no other backend may see what it carries.
    pub const fn is_for_relays(&self) -> bool {
        self.has(flag::RELAY)
    }

    /// Exists over WebSocket only.
    pub const fn ws_only(&self) -> bool {
        self.has(flag::WS)
    }

    /// May share a batch with others on its way to a backend.
    pub const fn batchable(&self) -> bool {
        !self.has(flag::ALONE)
    }

    /// Whether its handle lives on one node.
    pub const fn sticky(&self) -> Option<Sticky> {
        if self.has(flag::CREATES) {
            Some(Sticky::Creates)
        } else if self.has(flag::USES) {
            Some(Sticky::Uses)
        } else {
            None
        }
    }

    /// Refused unless the configuration allows it by name.
    pub const fn refused_by_default(&self) -> bool {
        self.refusal.is_some()
    }

    /// The deadline that suits the method; for one that is refused, the deadline it gets when the
    /// configuration allows it.
    pub const fn timeout(&self) -> Duration {
        if self.timeout_ms == 0 { ALLOWED_TIMEOUT } else { Duration::from_millis(self.timeout_ms as u64) }
    }

    /// The class in which a backend's health for this method is judged.
    pub const fn health_class(&self) -> MethodClass {
        match (self.kind, self.semantics) {
            (MethodKind::TxSubmit, _) | (_, Semantics::Submit) => MethodClass::Submit,
            (_, Semantics::Trace | Semantics::DebugHeavy) => MethodClass::Trace,
            (_, Semantics::Simulate) => MethodClass::State,
            (_, Semantics::RangeRead) => MethodClass::Logs,
            (_, Semantics::Constant | Semantics::Head | Semantics::Fee) => MethodClass::Head,
            (_, Semantics::BlockRead) => match self.archive {
                Archive::State => MethodClass::State,
                _ => MethodClass::History,
            },
            (_, Semantics::HashRead) => MethodClass::History,
            _ => MethodClass::Other,
        }
    }

    /// How long it can be kept waiting when there is not room for all.
    pub fn urgency(&self) -> Urgency {
        match self.health_class() {
            MethodClass::Submit => Urgency::Transaction,
            MethodClass::Trace | MethodClass::Logs => Urgency::Bulk,
            _ if self.kind == MethodKind::Fee || IN_A_TRANSACTIONS_WAY.contains(&self.name) => {
                Urgency::FollowUp
            }
            _ => Urgency::Read,
        }
    }

    const fn has(&self, bit: u16) -> bool {
        self.flags & bit != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_and_what_they_wait_for_come_before_reads_and_reads_before_bulk() {
        let table = [
            ("eth_getLogs", Urgency::Bulk),
            ("debug_traceTransaction", Urgency::Bulk),
            ("eth_call", Urgency::Read),
            ("eth_getBlockByNumber", Urgency::Read),
            ("eth_nobodyKnowsIt", Urgency::Read),
            ("eth_getTransactionReceipt", Urgency::FollowUp),
            ("eth_feeHistory", Urgency::FollowUp),
            ("eth_sendRawTransaction", Urgency::Transaction),
        ];
        for (name, urgency) in table {
            assert_eq!(Method::lookup(name).urgency(), urgency, "{name}");
        }
        assert!(IN_A_TRANSACTIONS_WAY.iter().all(|name| Method::lookup(name).is_listed()));
    }

    #[test]
    fn health_is_judged_where_a_node_really_fails_alone() {
        let table = [
            ("eth_blockNumber", MethodClass::Head),
            ("eth_gasPrice", MethodClass::Head),
            ("eth_getBalance", MethodClass::State),
            ("eth_call", MethodClass::State),
            ("eth_estimateGas", MethodClass::State),
            ("eth_getBlockByNumber", MethodClass::History),
            ("eth_getTransactionReceipt", MethodClass::History),
            ("eth_getLogs", MethodClass::Logs),
            ("debug_traceTransaction", MethodClass::Trace),
            ("trace_filter", MethodClass::Trace),
            ("eth_sendRawTransaction", MethodClass::Submit),
            ("qn_broadcastRawTransaction", MethodClass::Submit),
            ("eth_subscribe", MethodClass::Other),
            ("nobody_knows", MethodClass::Other),
        ];
        for (name, class) in table {
            assert_eq!(Method::lookup(name).health_class(), class, "{name}");
        }
        for (i, class) in MethodClass::ALL.into_iter().enumerate() {
            assert_eq!(class.index(), i);
        }
    }

    #[test]
    fn what_is_not_refused_has_a_deadline_and_what_submits_is_never_cached_or_hedged() {
        for method in Method::all() {
            assert!(!method.timeout().is_zero());
            assert!(method.refused_by_default() || method.timeout_ms > 0, "{}", method.name);
            assert!(method.cost > 0.0, "{}", method.name);
            assert!(method.blocks.iter().all(|place| place.index <= BlockPlace::INDEX_MAX));
            if method.kind == MethodKind::TxSubmit {
                assert_eq!(method.cache, CacheRule::Never, "{}", method.name);
            }
            if method.sticky().is_some() {
                assert!(!method.hedgeable(), "{}", method.name);
            }
        }
    }
}
