//! The head of every request to one backend, prepared once.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TE, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::Full;

use crate::config::BackendUrl;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");
const NAME: HeaderValue = HeaderValue::from_static(concat!(
    "outrigger/",
    env!("CARGO_PKG_VERSION_MAJOR"),
    ".",
    env!("CARGO_PKG_VERSION_MINOR")
));

/// What only the connection may say: a second word on where the body ends is how requests are smuggled.
const FRAMING: [HeaderName; 5] = [CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING, UPGRADE];

/// Everything before the body. Holds secrets; it has no `Debug`.
pub(super) struct Head {
    /// Over HTTP/1.1: the request line and all headers but the body's length.
    text: Vec<u8>,
    /// Over HTTP/2.
    uri: Uri,
    headers: HeaderMap,
}

impl Head {
    pub(super) fn new(url: &BackendUrl, extra: &HeaderMap) -> Self {
        let origin: Uri = url.path_and_query().parse().unwrap_or_else(|_| Uri::from_static("/"));
        let uri = Uri::builder()
            .scheme(if url.is_tls() { "https" } else { "http" })
            .authority(url.authority())
            .path_and_query(url.path_and_query())
            .build()
            .unwrap_or_else(|_| origin.clone());
        let mut headers = HeaderMap::with_capacity(8 + extra.len());
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(ACCEPT, JSON);
        headers.insert(ACCEPT_ENCODING, GZIP);
        headers.insert(USER_AGENT, NAME);
        if let Some(value) = url.user_info().and_then(basic) {
            headers.insert(AUTHORIZATION, value);
        }
        for name in extra.keys() {
            headers.remove(name);
        }
        for (name, value) in extra.iter().filter(|(name, _)| !FRAMING.contains(name)) {
            let mut value = value.clone();
            value.set_sensitive(true); // hidden from `Debug`, and never indexed by HPACK
            headers.append(name, value);
        }
        // A `Host` of the configuration wins; HTTP/2 takes it from the URL.
        let host = headers.remove(HOST).or_else(|| HeaderValue::from_str(url.authority()).ok());
        let mut text = format!("POST {origin} HTTP/1.1\r\n").into_bytes();
        for (name, value) in host.iter().map(|host| (&HOST, host)).chain(&headers) {
            write_line(&mut text, name, value);
        }
        Self { text, uri, headers }
    }

    /// Writes the head of a request over HTTP/1.1. `trace` adds headers, and replaces none of the prepared ones.
    pub(super) fn write(&self, out: &mut Vec<u8>, body_bytes: usize, trace: Option<&HeaderMap>) {
        out.extend_from_slice(&self.text);
        for (name, value) in self.added(trace) {
            write_line(out, name, value);
        }
        out.extend_from_slice(b"content-length: ");
        out.extend_from_slice(itoa::Buffer::new().format(body_bytes).as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
    }

    /// A request over HTTP/2. `trace` adds headers, and replaces none of the prepared ones.
    pub(super) fn request(&self, body: Bytes, trace: Option<&HeaderMap>) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        for (name, value) in self.added(trace) {
            request.headers_mut().append(name, value.clone());
        }
        request
    }

    fn added<'t>(
        &self,
        trace: Option<&'t HeaderMap>,
    ) -> impl Iterator<Item = (&'t HeaderName, &'t HeaderValue)> {
        let is_prepared = |name: &HeaderName| self.headers.contains_key(name) || name == HOST;
        trace.into_iter().flatten().filter(move |(name, _)| !is_prepared(name) && !FRAMING.contains(name))
    }
}

fn write_line(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The request that opens a WebSocket, with this key; `None` where the address makes none.
pub(super) fn upgrade(url: &BackendUrl, extra: &HeaderMap, key: &str) -> Option<Request<()>> {
    let scheme = if url.is_tls() { "wss" } else { "ws" };
    let uri = Uri::builder().scheme(scheme).authority(url.authority());
    let mut request = Request::new(());
    *request.uri_mut() = uri.path_and_query(url.path_and_query()).build().ok()?;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, NAME);
    if let Some(value) = url.user_info().and_then(basic) {
        headers.insert(AUTHORIZATION, value);
    }
    for name in extra.keys() {
        headers.remove(name);
    }
    let is_own = |name: &HeaderName| FRAMING.contains(name) || name.as_str().starts_with("sec-websocket-");
    for (name, value) in extra.iter().filter(|(name, _)| !is_own(name)) {
        let mut value = value.clone();
        value.set_sensitive(true);
        headers.append(name, value);
    }
    if !headers.contains_key(HOST) {
        headers.insert(HOST, HeaderValue::from_str(url.authority()).ok()?);
    }
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_str(key).ok()?);
    Some(request)
}

/// `Authorization: Basic` from `user:password` as it stands in a URL (RFC 7617; percent-encoded there).
fn basic(user_info: &str) -> Option<HeaderValue> {
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let mut plain = percent_decoded(user);
    plain.push(b':');
    plain.extend(percent_decoded(password));
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(plain))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

pub(crate) fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).filter(|_| *byte == b'%');
        let escape = digits.and_then(|digits| Some(hex(digits[0])? << 4 | hex(digits[1])?));
        decoded.push(escape.unwrap_or(*byte));
        at += if escape.is_some() { 3 } else { 1 };
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_info_is_decoded_before_it_becomes_basic() {
        for (user_info, plain) in [
            ("me:pass", "me:pass"),
            ("me", "me:"),
            (":pass", ":pass"),
            ("m%65:p%3As%40", "me:p:s@"),
            ("me:a:b", "me:a:b"),
            ("me:100%", "me:100%"),
            ("me:%zz%4", "me:%zz%4"),
        ] {
            let value = basic(user_info).unwrap();
            assert_eq!(value.to_str().unwrap(), format!("Basic {}", STANDARD.encode(plain)));
            assert!(value.is_sensitive());
        }
    }
}
