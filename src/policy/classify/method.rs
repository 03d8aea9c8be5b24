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
pub(super) struct Scopes<'a>(pub(super) &'a str);

impl Scopes<'_> {
    pub(super) fn contains(&self, scope: Scope) -> bool {
        let name = self.0;
        match scope {
            Scope::Any => true,
            Scope::Broadcast => name.contains("_sendRaw") || name.contains("_sendPrivate"),
            Scope::NotBroadcast => !self.contains(Scope::Broadcast),
            Scope::Sync => name == "eth_sendRawTransactionSync",
            Scope::Simulate => name == "eth_simulateV1",
            Scope::Trace => name.starts_with("trace_") || name.starts_with("debug_trace"),
            Scope::Evm => {
                matches!(
                    name,
                    "eth_call"
                        | "eth_callMany"
                        | "eth_multicallV1"
                        | "eth_callBundle"
                        | "eth_estimateGas"
                        | "eth_createAccessList"
                        | "eth_fillTransaction"
                ) || self.contains(Scope::Simulate)
                    || self.contains(Scope::Trace)
                    || self.contains(Scope::Broadcast)
            }
            Scope::Logs => matches!(name, "eth_getLogs" | "eth_getFilterLogs" | "eth_newFilter"),
            Scope::Account => {
                matches!(name, "eth_sendTransaction" | "eth_sign" | "eth_signTransaction")
                    || name.starts_with("eth_signTypedData")
                    || name.starts_with("personal_")
            }
            Scope::UserOperation => name.contains("UserOperation"),
            Scope::Relay => {
                name.starts_with("mev_") || name.ends_with("Bundle") || name.contains("_sendPrivate")
            }
            Scope::Transaction => {
                name.contains("TransactionByHash")
                    || name.contains("TransactionReceipt")
                    || matches!(
                        name,
                        "debug_traceTransaction" | "trace_transaction" | "trace_replayTransaction"
                    )
            }
        }
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
            assert_eq!(Scopes(method).contains(scope), expected, "{method} {scope:?}");
        }
    }
}
