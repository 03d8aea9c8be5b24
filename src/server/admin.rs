//! What an operator does: only from this machine or with a token, never from a web page without one.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::ORIGIN;
use serde_json::json;

use super::{Connection, Shared, auth, rpc};

const NOT_AN_ADMINISTRATOR: &str =
    "administration is for this machine itself, or for a request with a token (server.auth)";

pub(super) async fn cordon(
    State(shared): State<Shared>,
    Path((chain, backend)): Path<(String, String)>,
    request: Request,
) -> Response {
    set_cordoned(&shared, &chain, &backend, true, &request)
}

pub(super) async fn uncordon(
    State(shared): State<Shared>,
    Path((chain, backend)): Path<(String, String)>,
    request: Request,
) -> Response {
    set_cordoned(&shared, &chain, &backend, false, &request)
}

fn set_cordoned(shared: &Shared, chain: &str, backend: &str, cordoned: bool, request: &Request) -> Response {
    if !may_administrate(shared, request) {
        return rpc::refusal(StatusCode::FORBIDDEN, NOT_AN_ADMINISTRATOR);
    }
    match shared.gateway.set_cordoned(chain, backend, cordoned) {
        Ok(()) => Json(json!({ "chain": chain, "backend": backend, "cordoned": cordoned })).into_response(),
        Err(not_found) => rpc::refusal(StatusCode::NOT_FOUND, &not_found.to_string()),
    }
}

pub(super) async fn pin(
    State(shared): State<Shared>,
    Path((chain, block)): Path<(String, String)>,
    request: Request,
) -> Response {
    match block.parse() {
        Ok(block) => set_pin(&shared, &chain, Some(block), &request),
        Err(_) => {
            rpc::refusal(StatusCode::BAD_REQUEST, "pin a block by its hash: 0x and 64 hexadecimal digits")
        }
    }
}

pub(super) async fn unpin(
    State(shared): State<Shared>,
    Path(chain): Path<String>,
    request: Request,
) -> Response {
    set_pin(&shared, &chain, None, &request)
}

fn set_pin(
    shared: &Shared,
    chain: &str,
    block: Option<alloy_primitives::B256>,
    request: &Request,
) -> Response {
    if !may_administrate(shared, request) {
        return rpc::refusal(StatusCode::FORBIDDEN, NOT_AN_ADMINISTRATOR);
    }
    match shared.gateway.pin_branch(chain, block) {
        Ok(()) => Json(json!({ "chain": chain, "pinned": block })).into_response(),
        Err(not_found) => rpc::refusal(StatusCode::NOT_FOUND, &not_found.to_string()),
    }
}

pub(super) async fn cancel_held(
    State(shared): State<Shared>,
    Path(hash): Path<String>,
    request: Request,
) -> Response {
    if !may_administrate(&shared, &request) {
        return rpc::refusal(StatusCode::FORBIDDEN, NOT_AN_ADMINISTRATOR);
    }
    let Ok(hash) = hash.parse::<alloy_primitives::B256>() else {
        let message = "name a transaction by its hash: 0x and 64 hexadecimal digits";
        return rpc::refusal(StatusCode::BAD_REQUEST, message);
    };
    match shared.gateway.cancel_held(hash).await {
        Ok(true) => Json(json!({ "hash": hash, "cancelled": true })).into_response(),
        Ok(false) => rpc::refusal(StatusCode::NOT_FOUND, "no transaction of this hash is held"),
        Err(error) => rpc::refusal(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// A page in the operator's own browser also comes from this machine: it needs a token.
fn may_administrate(shared: &Shared, request: &Request) -> bool {
    let headers = request.headers();
    if !shared.settings.tokens.is_empty() {
        return auth::carries_token(headers, &shared.settings);
    }
    let from_here = Connection::of(request.extensions()).is_some_and(|c| c.is_this_machine(headers));
    from_here && !headers.contains_key(ORIGIN)
}
