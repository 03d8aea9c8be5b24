//! The facts of one method: what it reads, whether it may be repeated, cached, hedged or refused.

use std::fmt;
use std::time::Duration;

use super::block_place::BlockPlace;
use super::method_table::{METHODS, no, passing};

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

    const fn has(&self, bit: u16) -> bool {
        self.flags & bit != 0
    }
}

// === Look-up ===

/// More than three times the number of lines: a probe rarely meets a second name.
const SLOTS: usize = 2048;
const EMPTY: u16 = u16::MAX;

/// Open addressing over [`METHODS`], laid out by the compiler.
static INDEX: [u16; SLOTS] = {
    let mut index = [EMPTY; SLOTS];
    let mut i = 0;
    while i < METHODS.len() {
        let mut slot = slot_of(METHODS[i].name.as_bytes());
        while index[slot] != EMPTY {
            slot = (slot + 1) % SLOTS;
        }
        index[slot] = i as u16;
        i += 1;
    }
    index
};

/// FNV-1a. The table is fixed, so a hostile name can cost a longer probe but never grows anything.
const fn slot_of(name: &[u8]) -> usize {
    let mut hash: u32 = 0x811c_9dc5;
    let mut i = 0;
    while i < name.len() {
        hash = (hash ^ name[i] as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    (hash ^ (hash >> 15)) as usize % SLOTS
}

/// No listed name is longer; anything beyond is not hashed at all.
const NAME_MAX: usize = 64;

fn listed(name: &str) -> Option<&'static Method> {
    if name.len() > NAME_MAX {
        return None;
    }
    let mut slot = slot_of(name.as_bytes());
    while INDEX[slot] != EMPTY {
        let method = &METHODS[usize::from(INDEX[slot])];
        if method.name == name {
            return Some(method);
        }
        slot = (slot + 1) % SLOTS;
    }
    None
}

/// Kaia and its predecessor Klaytn offer the whole `eth_` namespace under names of their own.
fn aliased(name: &str) -> Option<&'static Method> {
    let rest = name.strip_prefix("klay_").or_else(|| name.strip_prefix("kaia_"))?;
    let mut buffer = [0_u8; NAME_MAX];
    let length = 4 + rest.len();
    buffer[..4].copy_from_slice(b"eth_");
    buffer.get_mut(4..length)?.copy_from_slice(rest.as_bytes());
    let name = std::str::from_utf8(&buffer[..length]).ok()?;
    listed(name).or_else(|| Some(by_prefix(name)).filter(|m| m.refused_by_default()))
}

static UNKNOWN: Method = passing("*", MethodKind::Vendor, Semantics::Vendor);

use MethodKind::{AdminDangerous, LocalSensitive, Vendor};

/// Rules for names without a line, by namespace; the first that fits holds. What a namespace of
/// node control does not list is refused rather than guessed at.
static PREFIXES: [Method; 40] = [
    no("engine_*", AdminDangerous, Refusal::EngineApi),
    no("admin_*", AdminDangerous, Refusal::NodeControl),
    no("personal_*", LocalSensitive, Refusal::NodeKeys),
    no("miner_*", AdminDangerous, Refusal::NodeControl),
    no("wallet_*", LocalSensitive, Refusal::WalletSide),
    no("eth_sign*", LocalSensitive, Refusal::NodeKeys),
    no("account_*", LocalSensitive, Refusal::NodeKeys),
    no("debug_*", AdminDangerous, Refusal::Unlisted),
    passing("trace_*", Vendor, Semantics::Trace),
    passing("arbtrace_*", Vendor, Semantics::Trace),
    no("txpool_*", AdminDangerous, Refusal::Unlisted),
    no("clique_*", AdminDangerous, Refusal::NodeControl),
    no("ibft_*", AdminDangerous, Refusal::NodeControl),
    no("qbft_*", AdminDangerous, Refusal::NodeControl),
    no("perm_*", AdminDangerous, Refusal::NodeControl),
    no("plugins_*", AdminDangerous, Refusal::NodeControl),
    no("priv_*", LocalSensitive, Refusal::NodeKeys),
    no("eea_*", LocalSensitive, Refusal::NodeKeys),
    no("parity_*", AdminDangerous, Refusal::Unlisted),
    no("les_*", AdminDangerous, Refusal::NodeControl),
    no("db_*", AdminDangerous, Refusal::Removed),
    no("shh_*", AdminDangerous, Refusal::Removed),
    no("bzz_*", AdminDangerous, Refusal::Removed),
    no("evm_*", AdminDangerous, Refusal::DevelopmentChain),
    no("hardhat_*", AdminDangerous, Refusal::DevelopmentChain),
    no("anvil_*", AdminDangerous, Refusal::DevelopmentChain),
    no("ganache_*", AdminDangerous, Refusal::DevelopmentChain),
    no("testing_*", AdminDangerous, Refusal::DevelopmentChain),
    no("tenderly_set*", AdminDangerous, Refusal::DevelopmentChain),
    passing("hmy_*", Vendor, Semantics::Vendor),
    no("avax_*", Vendor, Refusal::Foreign),
    no("starknet_*", Vendor, Refusal::Foreign),
    no("Filecoin.*", Vendor, Refusal::Foreign),
    passing("alchemy_*", Vendor, Semantics::Vendor),
    passing("qn_*", Vendor, Semantics::Indexer),
    passing("ankr_*", Vendor, Semantics::Indexer),
    passing("nr_*", Vendor, Semantics::Indexer),
    passing("tenderly_*", Vendor, Semantics::Vendor),
    passing("flashbots_*", Vendor, Semantics::Vendor),
    passing("mev_*", MethodKind::TxSubmit, Semantics::Submit),
];

fn by_prefix(name: &str) -> &'static Method {
    PREFIXES
        .iter()
        .find(|rule| rule.name.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix)))
        .unwrap_or(&UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_listed_method_is_found_under_its_exact_name_and_only_once() {
        let mut seen = HashSet::new();
        for method in Method::all() {
            assert!(std::ptr::eq(Method::lookup(method.name), method), "{}", method.name);
            assert!(seen.insert(method.name), "{} has two lines", method.name);
            assert!(method.name.len() <= NAME_MAX && method.is_listed());
        }
    }

    #[test]
    fn p7_another_case_is_another_name() {
        for name in
            ["eth_chainid", "ETH_CHAINID", "Eth_chainId", "eth_chainId ", " eth_chainId", "eth_chainId\0"]
        {
            assert_eq!(Method::lookup(name).name, "*", "{name:?}");
        }
    }

    #[test]
    fn p8_dangerous_namespaces_are_refused_listed_or_not() {
        let names = [
            "admin_addPeer",
            "admin_somethingNew",
            "personal_sign",
            "personal_x",
            "miner_start",
            "engine_newPayloadV9",
            "debug_setHead",
            "debug_setSomething",
            "eth_sign",
            "eth_signTransaction",
            "eth_signTypedData_v5",
            "eth_sendTransaction",
            "wallet_switchEthereumChain",
            "klay_sign",
            "kaia_sendTransaction",
            "klay_signFuture",
            "anvil_setBalance",
            "txpool_flush",
        ];
        for name in names {
            let method = Method::lookup(name);
            let refusal = method.refusal.unwrap_or_else(|| panic!("{name} goes through"));
            assert!(!refusal.hint().is_empty() && !refusal.hint().contains('\n'));
            assert!(!method.hedgeable() && method.cache == CacheRule::Never, "{name}");
        }
    }

    #[test]
    fn what_wallets_and_libraries_call_every_day_goes_through() {
        for name in "eth_chainId net_version eth_blockNumber eth_getBlockByNumber eth_call eth_getLogs eth_estimateGas \
            eth_sendRawTransaction eth_getTransactionReceipt eth_feeHistory eth_accounts web3_clientVersion \
            eth_subscribe eth_newFilter debug_traceTransaction trace_block"
            .split_whitespace()
        {
            assert!(!Method::lookup(name).refused_by_default(), "{name}");
        }
    }

    #[test]
    fn an_unknown_method_gets_nothing_in_its_favour() {
        for name in ["eth_somethingNew", "", "trace_new", "x".repeat(100_000).as_str(), "klay_somethingNew"] {
            let method = Method::lookup(name);
            assert!(!method.is_listed() && !method.refused_by_default(), "{}", method.name);
            assert!(!method.idempotent() && !method.hedgeable() && !method.retry_elsewhere());
            assert_eq!(method.cache, CacheRule::Never);
        }
    }

    #[test]
    fn a_longer_rule_of_a_namespace_is_seen_before_the_shorter() {
        assert!(Method::lookup("tenderly_setAnything").refused_by_default());
        assert_eq!(Method::lookup("tenderly_anything").name, "tenderly_*");
    }

    #[test]
    fn an_alias_namespace_has_the_facts_of_the_original() {
        assert_eq!(Method::lookup("klay_getBalance").name, "eth_getBalance");
        assert_eq!(Method::lookup("kaia_sendRawTransaction").kind, MethodKind::TxSubmit);
        assert_eq!(Method::lookup(&format!("klay_{}", "x".repeat(300))).name, "*");
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
