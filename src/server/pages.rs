//! What is not JSON-RPC: state for people, load balancers and orchestrators.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Response};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::gateway::Status;
use crate::telemetry::{Exposition, Format, process};

use super::{Shared, rpc};

/// A first page for whoever opens the address in a browser.
pub(super) async fn index(State(shared): State<Shared>) -> Html<String> {
    let status = shared.gateway.status();
    let rows: String = status
        .chains
        .iter()
        .map(|chain| {
            let usable = chain.backends.iter().filter(|backend| backend.state == "ok").count();
            format!(
                "<tr><td><code>/{}</code></td><td>{}</td><td>{} of {}</td><td>effectively {} independent</td></tr>",
                escape(&chain.name),
                chain.chain_id,
                usable,
                chain.backends.len(),
                chain.domains.effective_in_words(),
            )
        })
        .collect();
    Html(format!(include_str!("index.html"), rows = rows, version = status.version))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

pub(super) async fn status(State(shared): State<Shared>) -> Json<Status> {
    Json(shared.gateway.status())
}

/// For Prometheus and whoever reads its text; OpenMetrics for whoever asks for that.
pub(super) async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::of_accept(&accept.collect::<Vec<_>>().join(","));
    let mut exposition = Exposition::new(format);
    shared.gateway.write_metrics(&mut exposition);
    process::write(&mut exposition);
    ([(CONTENT_TYPE, format.content_type())], exposition.finish())
}

/// Why the latest requests of a chain went where they went.
pub(super) async fn decisions(State(shared): State<Shared>, Path(chain): Path<String>) -> Response {
    match shared.gateway.decisions(&chain) {
        Ok(decisions) => Json(decisions).into_response(),
        Err(not_found) => rpc::refusal(StatusCode::NOT_FOUND, &not_found.to_string()),
    }
}

/// The process lives.
pub(super) async fn healthz() -> impl IntoResponse {
    Json(json!({ "alive": true }))
}

/// The process can serve.
pub(super) async fn readyz(State(shared): State<Shared>) -> impl IntoResponse {
    let draining = shared.draining.has_begun();
    let ready = shared.gateway.is_ready() && !draining;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let reason = match (ready, draining) {
        (true, _) => None,
        (false, true) => Some("shutting down"),
        (false, false) => Some("no chain has a usable backend; /status says why"),
    };
    (status, Json(json!({ "ready": ready, "reason": reason })))
}
