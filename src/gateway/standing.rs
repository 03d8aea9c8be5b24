//! Calls about what stands between calls: subscriptions, which belong to a connection, and filters.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use crate::ethereum::MethodKind;
use crate::jsonrpc::{ErrorObject, code};

use super::call::{Answered, Call};
use super::chain::Chain;
use super::outbox::Hold;
use super::packet::Terms;
use super::session::Session;

/// Who calls, where that matters.
#[derive(Clone, Copy, Default)]
pub(super) struct Caller<'a> {
    /// The client's address, whose filters are counted.
    pub(super) client: Option<IpAddr>,
    /// The connection that notifications can be sent over, and what keeps them back until the answer is out.
    pub(super) session: Option<(&'a Session, &'a OnceLock<Hold>)>,
    /// What it asks for beside its calls.
    pub(super) terms: Terms,
}

/// Whether the call is about a subscription: those are made last of a batch, so that nothing waits for the rest of it.
pub(super) fn is_of_subscriptions(call: &Call<'_>) -> bool {
    matches!(call.method.kind, MethodKind::Subscribe | MethodKind::Unsubscribe)
}

/// Answers a call about a subscription.
pub(super) fn subscribe(caller: &Caller<'_>, call: &Call<'_>) -> Answered {
    let Some((session, hold)) = caller.session else {
        let error = ErrorObject::new(code::METHOD_NOT_FOUND, "notifications not supported");
        return Answered::refused(error).hinting("subscribe over a WebSocket instead");
    };
    let said = match &*call.name {
        "eth_subscribe" => session.subscribe(call.params.as_deref(), hold),
        "eth_unsubscribe" => session.unsubscribe(call.params.as_deref()),
        _ => Err(super::call::no_such_method(&call.name)),
    };
    said.map_or_else(Answered::refused, Answered::local)
}

/// Answers any call that needs no plan of its own.
pub(super) async fn carry(chain: &Arc<Chain>, caller: &Caller<'_>, call: Call<'_>) -> Answered {
    match call.method.kind {
        MethodKind::Subscribe | MethodKind::Unsubscribe => subscribe(caller, &call),
        MethodKind::FilterCreate | MethodKind::FilterPoll | MethodKind::FilterRemove => {
            Box::pin(chain.filters.answer(chain, caller.client, call)).await
        }
        _ => super::known::carry(chain, caller.terms, call).await,
    }
}
