//! Bearer tokens, where the configuration asks for them.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::config;

use super::{Shared, rpc};

/// Lets a request through that carries a token, or any where no token is configured.
pub(super) async fn require_token(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    match lacks_token(request.headers(), &shared.settings) {
        Some(refused) => refused,
        None => next.run(request).await,
    }
}

/// The refusal of a request without a token, where one is asked for.
pub(super) fn lacks_token(headers: &HeaderMap, settings: &config::Server) -> Option<Response> {
    if settings.tokens.is_empty() || carries_token(headers, settings) {
        return None;
    }
    let mut response = rpc::refusal(
        StatusCode::UNAUTHORIZED,
        "unauthorized: send `Authorization: Bearer TOKEN`, or put the token into the URL as password",
    );
    response
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer, Basic realm=\"outrigger\""));
    Some(response)
}

/// Whether the request carries one of the configured tokens: as bearer, or as the password of HTTP Basic,
/// which is all that a wallet can send (`https://user:token@host`).
pub(super) fn carries_token(headers: &HeaderMap, settings: &config::Server) -> bool {
    let Some(value) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) else { return false };
    let Some((scheme, credentials)) = value.split_once(' ') else { return false };
    let credentials = credentials.trim();
    let offered = if scheme.eq_ignore_ascii_case("bearer") {
        credentials.as_bytes().to_vec()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let Ok(pair) = STANDARD.decode(credentials) else { return false };
        match pair.iter().position(|byte| *byte == b':') {
            Some(at) => pair[at + 1..].to_vec(),
            None => return false,
        }
    } else {
        return false;
    };
    // Every token is compared, to its end: how long it takes tells nothing.
    settings.tokens.iter().fold(false, |found, token| found | same(token.expose().as_bytes(), &offered))
}

fn same(token: &[u8], offered: &[u8]) -> bool {
    let mut difference = token.len() ^ offered.len();
    for (at, byte) in token.iter().enumerate() {
        difference |= usize::from(byte ^ offered.get(at).copied().unwrap_or(0));
    }
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_compared_whole() {
        assert!(same(b"secret", b"secret"));
        for other in [&b"secre"[..], b"secrets", b"", b"Secret", b"secre\0"] {
            assert!(!same(b"secret", other));
        }
    }
}
