//! Keeps web pages from reaching a local proxy under a name of their own (DNS rebinding).
//!
//! A page at `evil.example` can let that name resolve to 127.0.0.1 and then talk to us as its own origin.
//! Its requests still carry its own name in `Host`.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::HOST;
use http::{HeaderMap, StatusCode, Uri};

use crate::config;

use super::{Connection, Shared, rpc};

/// Answers 403 to a `Host` that is neither this machine's nor allowed.
pub(super) async fn refuse_foreign_hosts(
    State(shared): State<Shared>,
    request: Request,
    next: Next,
) -> Response {
    let connection = Connection::of(request.extensions());
    match foreign_host(request.uri(), request.headers(), connection, &shared.settings) {
        Some(refused) => refused,
        None => next.run(request).await,
    }
}

/// The refusal of a request that calls us by a name that is not ours.
pub(super) fn foreign_host(
    uri: &Uri,
    headers: &HeaderMap,
    connection: Option<Connection>,
    settings: &config::Server,
) -> Option<Response> {
    let on_loopback = connection.is_some_and(|c| c.is_on_loopback());
    if named_hosts(uri, headers).all(|host| is_allowed(host, on_loopback, settings)) {
        return None;
    }
    Some(rpc::refusal(
        StatusCode::FORBIDDEN,
        "the Host header names another machine: use localhost, or list the name under server.allowed_hosts",
    ))
}

/// Every name that the request calls us by; a lone `None` where it has none. HTTP/2 and absolute targets name
/// the host in the URI, and a browser that was led here cannot choose which of two names is looked at.
fn named_hosts<'r>(uri: &'r Uri, headers: &'r HeaderMap) -> impl Iterator<Item = Option<&'r str>> {
    let in_target = uri.authority().map(|authority| Some(authority.as_str()));
    // What is no text is no name of ours.
    let in_headers = headers.get_all(HOST).iter().map(|value| Some(value.to_str().unwrap_or_default()));
    let mut names = in_headers.chain(in_target).peekable();
    let nameless = names.peek().is_none().then_some(None);
    names.chain(nameless)
}

fn is_allowed(host: Option<&str>, on_loopback: bool, settings: &config::Server) -> bool {
    let Some(host) = host else { return !on_loopback && settings.allowed_hosts.is_empty() };
    let name = without_port(host).trim_end_matches('.');
    let listed = || {
        settings.allowed_hosts.iter().any(|allowed| {
            allowed == "*" || allowed.eq_ignore_ascii_case(name) || allowed.eq_ignore_ascii_case(host)
        })
    };
    let this_machine = || {
        const LOCAL: &str = "localhost";
        let parent = name.len().checked_sub(LOCAL.len()).and_then(|at| name.split_at_checked(at));
        let is_local = parent.is_some_and(|(sub, end)| {
            end.eq_ignore_ascii_case(LOCAL) && (sub.is_empty() || sub.ends_with('.'))
        });
        is_local || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
    };
    match on_loopback {
        true => this_machine() || listed(),
        false => settings.allowed_hosts.is_empty() || listed() || this_machine(),
    }
}

fn without_port(host: &str) -> &str {
    if let Some(bracketed) = host.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or_default();
    }
    host.split(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn allowed(host: &str, on_loopback: bool, list: &[&str]) -> bool {
        let mut settings = Config::presets().server;
        settings.allowed_hosts = list.iter().map(|name| (*name).to_owned()).collect();
        is_allowed(Some(host), on_loopback, &settings)
    }

    #[test]
    fn p5_a_foreign_host_is_refused_on_loopback() {
        for host in
            ["localhost", "LOCALHOST:8545", "127.0.0.1:8545", "[::1]:8545", "127.8.9.1", "eth.localhost"]
        {
            assert!(allowed(host, true, &[]), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8545",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
            "[::2]",
        ] {
            assert!(!allowed(host, true, &[]), "{host}");
        }
        assert!(allowed("rpc.example:443", true, &["rpc.example"]));
    }

    #[test]
    fn a_public_listener_takes_any_host_unless_told_otherwise() {
        assert!(allowed("rpc.example", false, &[]));
        assert!(!allowed("other.example", false, &["rpc.example"]));
    }
}
