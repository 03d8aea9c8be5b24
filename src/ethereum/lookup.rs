//! From a name to its facts, without allocating: the table, then other names of whole namespaces,
//! then rules for what has no line.

use super::method::MethodKind::{self, AdminDangerous, LocalSensitive, Vendor};
use super::method::{Method, Refusal, Semantics};
use super::method_table::{METHODS, for_relays, no, passing};

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

pub(super) fn listed(name: &str) -> Option<&'static Method> {
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
pub(super) fn aliased(name: &str) -> Option<&'static Method> {
    let rest = name.strip_prefix("klay_").or_else(|| name.strip_prefix("kaia_"))?;
    let mut buffer = [0_u8; NAME_MAX];
    let length = 4 + rest.len();
    buffer[..4].copy_from_slice(b"eth_");
    buffer.get_mut(4..length)?.copy_from_slice(rest.as_bytes());
    let name = std::str::from_utf8(&buffer[..length]).ok()?;
    listed(name).or_else(|| Some(by_prefix(name)).filter(|m| m.refused_by_default()))
}

static UNKNOWN: Method = passing("*", MethodKind::Vendor, Semantics::Vendor);

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
    for_relays(passing("flashbots_*", Vendor, Semantics::Vendor)),
    for_relays(passing("mev_*", MethodKind::TxSubmit, Semantics::Submit)),
];

pub(super) fn by_prefix(name: &str) -> &'static Method {
    PREFIXES
        .iter()
        .find(|rule| rule.name.strip_suffix('*').is_some_and(|prefix| name.starts_with(prefix)))
        .unwrap_or(&UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ethereum::CacheRule;
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
}
