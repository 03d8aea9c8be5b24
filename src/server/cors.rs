//! Cross-origin rules: web pages use the proxy as they use any public endpoint.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::config;

/// A browser asks again after a day.
const MAX_AGE: Duration = Duration::from_secs(86_400);

/// Answers every preflight and marks every answer, errors included.
pub(super) fn layer(settings: &config::Server) -> CorsLayer {
    let origins = &settings.allowed_origins;
    let allow_origin = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    let exposed = ["x-outrigger-backend", "x-outrigger-source", "x-outrigger-attempts", "x-outrigger-hint"];
    CorsLayer::new()
        .allow_origin(allow_origin)
        .allow_methods([Method::POST, Method::GET, Method::OPTIONS])
        // `*` would not cover `Authorization`, so the asked-for names are echoed.
        .allow_headers(AllowHeaders::mirror_request())
        .allow_private_network(true)
        .expose_headers(exposed.map(HeaderName::from_static))
        .max_age(MAX_AGE)
}

/// A preflight has nothing to say but its headers.
pub(super) async fn preflight_is_204(request: Request, next: Next) -> Response {
    let is_options = request.method() == Method::OPTIONS;
    let mut response = next.run(request).await;
    if is_options && response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    response
}
