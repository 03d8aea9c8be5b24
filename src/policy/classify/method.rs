//! What kind of call an error answers: the same words mean different things to a pool, to the EVM and
//! to a log index.

/// A kind of call that a rule applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Every call.
    Any,
    /// Hands a transaction to a pool.
    Broadcast,
    /// Everything but that.
    NotBroadcast,
    /// Hands a transaction to a pool and waits for its receipt (EIP-7966).
    Sync,
    /// Runs or replays the EVM, or hands a transaction to a pool.
    Evm,
    /// `eth_simulateV1`.
    Simulate,
    /// `trace_*` and `debug_trace*`.
    Trace,
    /// Log queries.
    Logs,
    /// Needs a key that the node holds.
    Account,
    /// ERC-4337 bundler methods.
    UserOperation,
    /// Bound to the relay that was asked: bundles and private transactions.
    Relay,
    /// Asks for one transaction or receipt.
    Transaction,
}

/// The kinds that one method belongs to. Names are compared as they are sent (P7).
#[derive(Clone, Copy, Debug)]
pub(super) struct Scopes(u16);

/// `trace_*` and `debug_trace*`: runs that happened are run again.
pub(super) fn is_replay(method: &str) -> bool {
    method.starts_with("trace_") || method.starts_with("debug_trace")
}

impl Scopes {
    pub(super) fn of(method: &str) -> Self {
        let broadcast = method.contains("_sendRaw") || method.contains("_sendPrivate");
        let simulate = method == "eth_simulateV1";
        let trace = is_replay(method);
        let call = matches!(
            method,
            "eth_call"
                | "eth_callMany"
                | "eth_multicallV1"
                | "eth_callBundle"
                | "eth_estimateGas"
                | "eth_createAccessList"
                | "eth_fillTransaction"
        );
        let account = matches!(method, "eth_sendTransaction" | "eth_sign" | "eth_signTransaction")
            || method.starts_with("eth_signTypedData")
            || method.starts_with("personal_");
        let relay =
            method.starts_with("mev_") || method.ends_with("Bundle") || method.contains("_sendPrivate");
        let transaction = method.contains("TransactionByHash")
            || method.contains("TransactionReceipt")
            || matches!(method, "debug_traceTransaction" | "trace_transaction" | "trace_replayTransaction");
        let kinds = [
            (Scope::Any, true),
            (Scope::Broadcast, broadcast),
            (Scope::NotBroadcast, !broadcast),
            (Scope::Sync, method == "eth_sendRawTransactionSync"),
            (Scope::Evm, broadcast || simulate || trace || call),
            (Scope::Simulate, simulate),
            (Scope::Trace, trace),
            (Scope::Logs, matches!(method, "eth_getLogs" | "eth_getFilterLogs" | "eth_newFilter")),
            (Scope::Account, account),
            (Scope::UserOperation, method.contains("UserOperation")),
            (Scope::Relay, relay),
            (Scope::Transaction, transaction),
        ];
        Self(kinds.iter().filter(|(_, is)| *is).fold(0, |set, (scope, _)| set | 1 << *scope as u16))
    }

    pub(super) fn contains(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u16) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_methods() {
        for (method, scope, expected) in [
            ("eth_sendRawTransaction", Scope::Broadcast, true),
            ("zks_sendRawTransactionWithDetailedOutput", Scope::Broadcast, true),
            ("eth_sendTransaction", Scope::Broadcast, false),
            ("eth_sendTransaction", Scope::Account, true),
            ("debug_traceCall", Scope::Evm, true),
            ("debug_getRawBlock", Scope::Trace, false),
            ("eth_sendPrivateTransaction", Scope::Relay, true),
            ("eth_sendBundle", Scope::Relay, true),
            ("ETH_CALL", Scope::Evm, false),
        ] {
            assert_eq!(Scopes::of(method).contains(scope), expected, "{method} {scope:?}");
        }
    }
}
