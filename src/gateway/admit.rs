//! What may pass, and what is answered before any backend is asked.

use std::borrow::Cow;

use crate::config;
use crate::ethereum::{Method, RawTransaction};
use crate::jsonrpc::{ErrorObject, Request, code};

use super::call::{Answered, Call, no_such_method};

/// What becomes of a request.
pub(super) enum Admission<'a> {
    /// It is answered already.
    Answered(Answered),
    /// It has to be carried to whoever answers it: a backend, or what stands here.
    Forward(Call<'a>),
}

/// Decides on one well-formed request.
pub(super) fn admit<'a>(chain: &config::Chain, request: Request<'a>) -> Admission<'a> {
    let Request { method: name, params, .. } = request;
    if !is_method_name(&name) {
        return Admission::Answered(Answered::refused(no_such_method(&name)));
    }
    let method = Method::lookup(&name);
    if let Err(hint) = permits(chain, &name, method) {
        return Admission::Answered(Answered::refused(no_such_method(&name)).hinting(hint));
    }
    if let Some(error) = keeps_from_relays(chain, &name, method) {
        return Admission::Answered(Answered::refused(error));
    }
    if let Some(result) = constant(chain, &name) {
        return Admission::Answered(match params {
            Some(object) if object.get().starts_with('{') => {
                Answered::refused(ErrorObject::new(code::INVALID_PARAMS, "non-array args"))
            }
            _ => Answered::local(result),
        });
    }
    let transaction = match &*name {
        "eth_sendRawTransaction" | "eth_sendRawTransactionSync" => match transaction(chain, params) {
            Ok(transaction) => Some(transaction),
            Err(error) => return Admission::Answered(Answered::refused(error)),
        },
        _ => None,
    };
    let params = params.map(Cow::Borrowed);
    Admission::Forward(Call {
        method,
        name,
        params,
        height: None,
        known_to_exist: false,
        transaction,
        logs: None,
    })
}

/// Nodes name methods with letters, digits and `_`, a few with a dot. Anything else could be read
/// differently by somebody behind us.
fn is_method_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
}

/// A name that is not listed is also judged without regard to case, since some nodes and gateways fold it;
/// unless the operator allows it as it is written.
fn permits(chain: &config::Chain, name: &str, method: &'static Method) -> Result<(), &'static str> {
    chain.permits(name, method)?;
    if method.is_listed() || chain.allow_methods.iter().any(|pattern| pattern.matches(name)) {
        return Ok(());
    }
    if let Some(twin) = Method::all().iter().find(|listed| listed.name.eq_ignore_ascii_case(name)) {
        chain.permits(twin.name, twin)?;
    }
    let folded = name.to_ascii_lowercase();
    chain.permits(&folded, Method::lookup(&folded))
}

/// Why a call about bundles or private transactions goes nowhere: there is no relay, or its name is written so that
/// nobody can tell which backend would read it as one.
fn keeps_from_relays(chain: &config::Chain, name: &str, method: &'static Method) -> Option<ErrorObject> {
    if method.is_for_relays() {
        let has_relay = chain.backends.iter().any(|backend| backend.private);
        return (!has_relay).then(|| {
            let message = format!(
                "{name} goes to private relays only, and this chain has none: configure a backend with private = true"
            );
            ErrorObject::new(code::METHOD_NOT_FOUND, message)
        });
    }
    let is_like_one = || {
        let twin = Method::all().iter().find(|listed| listed.name.eq_ignore_ascii_case(name));
        twin.unwrap_or_else(|| Method::lookup(&name.to_ascii_lowercase())).is_for_relays()
    };
    (!method.is_listed() && is_like_one()).then(|| no_such_method(name))
}

/// What the configuration knows: answered even while every backend is down (a wallet that adds a network asks for the chain id).
fn constant(chain: &config::Chain, name: &str) -> Option<String> {
    match name {
        "eth_chainId" => Some(format!("\"{:#x}\"", chain.chain_id)),
        "net_version" => Some(format!("\"{}\"", chain.network_id)),
        // A node's own accounts are nobody's business here; wallets hold their keys themselves.
        "eth_accounts" => Some("[]".to_owned()),
        _ => None,
    }
}

/// Reads the signed transaction, so that what no node can take is refused at once, and so that its
/// hash is ours and nobody's word.
fn transaction(
    chain: &config::Chain,
    params: Option<&serde_json::value::RawValue>,
) -> Result<RawTransaction, ErrorObject> {
    let invalid = |message: String| ErrorObject::new(code::INVALID_PARAMS, message);
    let values: Vec<&serde_json::value::RawValue> = params
        .and_then(|params| serde_json::from_str(params.get()).ok())
        .ok_or_else(|| invalid("missing value for required argument 0".to_owned()))?;
    let hex: &str = values
        .first()
        .and_then(|first| serde_json::from_str(first.get()).ok())
        .ok_or_else(|| invalid("argument 0 must be the signed transaction as a hex string".to_owned()))?;
    let transaction =
        RawTransaction::decode(hex).map_err(|error| invalid(format!("invalid transaction: {error}")))?;
    match transaction.chain_id() {
        Some(signed_for) if signed_for != chain.chain_id => Err(invalid(format!(
            "invalid chain id for signer: the transaction is signed for chain {signed_for}, this is chain {}",
            chain.chain_id
        ))),
        _ => Ok(transaction),
    }
}
