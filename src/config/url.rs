//! A backend's address that never shows its secrets: provider keys live in the path, the query or
//! the user part of the URL.

use std::fmt;

use http::Uri;
use http::uri::PathAndQuery;

/// Why an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Not a URL.
    #[error("is not a URL: write it as https://host/path")]
    Malformed,
    /// A scheme that is not spoken here.
    #[error("has the scheme `{found}`: use {expected}")]
    Scheme {
        /// What stands there.
        found: String,
        /// What is possible.
        expected: &'static str,
    },
    /// No host.
    #[error("names no host")]
    NoHost,
}

/// An `http`, `https`, `ws` or `wss` address. `Display` and `Debug` give scheme, host and port only.
#[derive(Clone, PartialEq, Eq)]
pub struct BackendUrl {
    uri: Uri,
    user: Option<Box<str>>,
}

impl BackendUrl {
    /// Parses an address for requests (`http`, `https`).
    pub fn http(text: &str) -> Result<Self, UrlError> {
        Self::parse(text, &["http", "https"], "http or https")
    }

    /// Parses an address for WebSockets (`ws`, `wss`).
    pub fn ws(text: &str) -> Result<Self, UrlError> {
        Self::parse(text, &["ws", "wss"], "ws or wss")
    }

    /// Parses an address of any of some schemes.
    pub(super) fn parse(text: &str, schemes: &[&str], expected: &'static str) -> Result<Self, UrlError> {
        let text = text.trim();
        let uri: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
        let scheme = uri.scheme_str().ok_or(UrlError::Malformed)?.to_ascii_lowercase();
        if !schemes.contains(&scheme.as_str()) {
            // A key with a colon in it would pass for a scheme: only well-known ones are named.
            let known = ["http", "https", "ws", "wss", "ftp", "file", "ipc", "tcp", "unix", "redis"];
            let found = if known.contains(&scheme.as_str()) { scheme } else { "...".to_owned() };
            return Err(UrlError::Scheme { found, expected });
        }
        let authority = uri.authority().ok_or(UrlError::NoHost)?;
        if authority.host().is_empty() {
            return Err(UrlError::NoHost);
        }
        if !is_host(authority.host()) {
            return Err(UrlError::Malformed);
        }
        let (user, bare) = match authority.as_str().rsplit_once('@') {
            Some((user, rest)) => (Some(user.into()), rest.to_owned()),
            None => (None, authority.as_str().to_owned()),
        };
        // `http` takes anything after the colon; a password whose @ got lost would pass for a port, and
        // be shown as one.
        if bare.len() != authority.host().len() && authority.port_u16().is_none() {
            return Err(UrlError::Malformed);
        }
        let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        let uri = Uri::builder()
            .scheme(scheme.as_str())
            .authority(bare)
            .path_and_query(path)
            .build()
            .map_err(|_| UrlError::Malformed)?;
        Ok(Self { uri, user })
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self.uri.scheme_str(), Some("https" | "wss"))
    }

    /// Host name or address; an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// TCP port, the scheme's own where none is written.
    pub fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    /// `host[:port]` as the `Host` header needs it.
    pub fn authority(&self) -> &str {
        self.uri.authority().map_or("", |a| a.as_str())
    }

    /// Path and query. **Secret**: goes on the wire and nowhere else.
    pub fn path_and_query(&self) -> &str {
        self.uri.path_and_query().map_or("/", PathAndQuery::as_str)
    }

    /// `user:password`, still percent-encoded. **Secret**.
    pub fn user_info(&self) -> Option<&str> {
        self.user.as_deref()
    }
}

/// A name of letters, digits, `-`, `_` and `.`, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(inside) => inside.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')),
    }
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.uri.scheme_str().unwrap_or("?"), self.authority())
    }
}

impl fmt::Debug for BackendUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_neither_key_nor_user() {
        let url = BackendUrl::http("https://me:s3cret@eth.example:8443/v3/KEY?token=T").unwrap();
        assert_eq!(format!("{url} {url:?}"), "https://eth.example:8443 https://eth.example:8443");
        assert_eq!(url.path_and_query(), "/v3/KEY?token=T");
        assert_eq!(url.user_info(), Some("me:s3cret"));
        assert_eq!((url.host(), url.port(), url.is_tls()), ("eth.example", 8443, true));
    }

    #[test]
    fn what_is_neither_host_nor_port_is_refused_rather_than_shown() {
        for text in [
            "https://me:s3cretone.example/x",
            "https://s3cret!.example",
            "https://[s3cret]/",
            "https://h:99999",
        ] {
            assert_eq!(BackendUrl::http(text), Err(UrlError::Malformed), "{text}");
        }
        let error = BackendUrl::http("s3cret://one.example").unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }

    #[test]
    fn ipv6_default_ports_and_bad_schemes() {
        let url = BackendUrl::http("http://[::1]").unwrap();
        assert_eq!((url.host(), url.port(), url.path_and_query()), ("::1", 80, "/"));
        assert!(matches!(BackendUrl::http("wss://x"), Err(UrlError::Scheme { .. })));
        assert!(BackendUrl::http("not a url").is_err());
        assert!(BackendUrl::ws("wss://x/k").is_ok());
    }
}
