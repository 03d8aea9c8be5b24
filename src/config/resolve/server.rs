//! `[server]`.

use std::time::Duration;

use super::Resolver;
use crate::config::address::{Listen, Network};
use crate::config::file::{ServerFile, WebSocketFile};
use crate::config::secret::Secret;
use crate::config::settings::{Server, TlsFiles, WebSocket};

/// A transaction with six blobs is 1.6 MB as hex, and clients send several calls in one body.
const MAX_BODY: u64 = 16 << 20;
/// Libraries batch 100 calls, indexers a few hundred.
const MAX_BATCH: u64 = 500;
/// Four times what a busy server sees, and a tenth of what a process may open.
const MAX_CONNECTIONS: u64 = 4096;
/// A wallet needs a handful, an indexer behind one address hundreds.
const MAX_FILTERS: u64 = 1000;
/// Applications need a handful; public endpoints allow from ten to a thousand.
const MAX_SUBSCRIPTIONS: u64 = 128;
/// All logs of four busy blocks.
const MAX_QUEUE: u64 = 4 << 20;
/// A browser opens six connections with one call each; a library pipelines a few tens.
const MAX_IN_FLIGHT: u64 = 64;
/// Proxies in between cut what is idle for a minute.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Clients keep idle connections for about a minute; cutting them sooner makes requests fail.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);
/// 16 MiB at 4.5 Mbit/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest ordinary deadline.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// Whoever has this many proxies in front writes blocks, not addresses.
const TRUSTED_MAX: usize = 64;
/// As many as HTTP servers take in one header line.
const TOKEN_BYTES_MAX: usize = 4096;
/// 96 bits in base64: below that, guessing comes into reach.
const TOKEN_BYTES_FEW: usize = 16;

/// Only tests want less than a second, and nobody less than this.
const SHORTEST: Duration = Duration::from_millis(10);
const HOUR: Duration = Duration::from_secs(3600);

impl Resolver<'_> {
    pub(super) fn server(&mut self, file: &ServerFile) -> Server {
        let listen = self.list("server.listen", file.listen.as_ref(), |text| text.parse::<Listen>());
        let listen = match listen {
            None => Listen::default(),
            Some(all) if all.is_empty() => {
                self.fault("server.listen", "is empty", "name an address, or remove the key");
                Listen::default()
            }
            Some(all) => {
                let listen = Listen::merge(all);
                let twice = listen
                    .required
                    .iter()
                    .enumerate()
                    .any(|(i, address)| address.port() != 0 && listen.required[..i].contains(address));
                if twice {
                    self.fault("server.listen", "names an address twice", "remove one of them");
                }
                if listen.required.len() > Listen::MAX {
                    let mend = format!("leave at most {}", Listen::MAX);
                    self.fault("server.listen", "names too many addresses", mend);
                }
                listen
            }
        };
        let tokens = self.tokens(&file.auth.tokens);
        if !listen.is_loopback() && tokens.is_empty() {
            self.note(
                "server.listen",
                "other machines can reach it and no tokens are set: whoever reaches the port uses your keys; \
                 set server.auth.tokens unless something in front checks callers",
            );
        }
        let trusted = self
            .list("server.trusted_proxies", file.trusted_proxies.as_ref(), |text| text.parse::<Network>());
        if trusted.as_ref().is_some_and(|all| all.len() > TRUSTED_MAX) {
            self.fault("server.trusted_proxies", "has too many entries", "join them into larger blocks");
        }
        Server {
            listen,
            allowed_hosts: self
                .list("server.allowed_hosts", file.allowed_hosts.as_ref(), host)
                .unwrap_or_default(),
            allowed_origins: self
                .list("server.allowed_origins", file.allowed_origins.as_ref(), origin)
                .unwrap_or_else(|| vec!["*".to_owned()]),
            max_body: self.size("server.max_body", file.max_body.as_ref(), MAX_BODY, 1 << 10..=1 << 30)
                as usize,
            max_batch: file.max_batch.unwrap_or(MAX_BATCH) as usize,
            max_connections: file.max_connections.unwrap_or(MAX_CONNECTIONS) as usize,
            max_filters: file.max_filters.unwrap_or(MAX_FILTERS) as usize,
            websocket: self.websocket(&file.websocket),
            header_timeout: self.duration(
                "server.header_timeout",
                file.header_timeout.as_ref(),
                HEADER_TIMEOUT,
                SHORTEST..=HOUR,
            ),
            body_timeout: self.duration(
                "server.body_timeout",
                file.body_timeout.as_ref(),
                BODY_TIMEOUT,
                SHORTEST..=HOUR,
            ),
            tokens,
            tls: self.tls(file),
            trusted_proxies: trusted.unwrap_or_default(),
            shutdown_grace: self.duration(
                "server.shutdown_grace",
                file.shutdown_grace.as_ref(),
                SHUTDOWN_GRACE,
                Duration::ZERO..=HOUR,
            ),
        }
    }

    fn websocket(&mut self, file: &WebSocketFile) -> WebSocket {
        let queue =
            self.size("server.websocket.max_queue", file.max_queue.as_ref(), MAX_QUEUE, 1 << 10..=1 << 30);
        WebSocket {
            max_subscriptions: file.max_subscriptions.unwrap_or(MAX_SUBSCRIPTIONS) as usize,
            max_queue: queue as usize,
            max_in_flight: file.max_in_flight.unwrap_or(MAX_IN_FLIGHT) as usize,
            ping_interval: self.duration(
                "server.websocket.ping_interval",
                file.ping_interval.as_ref(),
                PING_INTERVAL,
                SHORTEST..=HOUR,
            ),
        }
    }

    fn tokens(&mut self, tokens: &[String]) -> Vec<Secret> {
        for (i, token) in tokens.iter().enumerate() {
            let path = format!("server.auth.tokens[{i}]");
            if token.is_empty() {
                self.fault(&path, "is empty", "write a token of at least 16 characters, or remove it");
            } else if !token.bytes().all(|b| b.is_ascii_graphic()) || token.len() > TOKEN_BYTES_MAX {
                self.fault(
                    &path,
                    "cannot stand in an HTTP header",
                    "use letters, digits and punctuation only",
                );
            } else if token.len() < TOKEN_BYTES_FEW {
                self.note(&path, "is short enough to be guessed; take 16 characters or more");
            }
        }
        tokens.iter().map(|token| Secret::new(token.as_str())).collect()
    }

    fn tls(&mut self, file: &ServerFile) -> Option<TlsFiles> {
        let cert = self.file_path("server.tls.cert", file.tls.cert.as_ref());
        let key = self.file_path("server.tls.key", file.tls.key.as_ref());
        match (cert, key) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            (Some(_), None) => {
                self.fault("server.tls.key", "is missing", "name the PEM file of the private key");
                None
            }
            (None, Some(_)) => {
                self.fault("server.tls.cert", "is missing", "name the PEM file of the certificate chain");
                None
            }
        }
    }
}

/// A host name as the `Host` header carries it, without its port.
fn host(text: &str) -> Result<String, &'static str> {
    let host = text.trim().to_ascii_lowercase();
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let is_address = bare.unwrap_or(&host).parse::<std::net::IpAddr>().is_ok();
    let name = host.strip_prefix("*.").unwrap_or(&host);
    let is_name = !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if host == "*" || is_address || is_name {
        Ok(bare.unwrap_or(&host).to_owned())
    } else {
        Err("is no host name: write it without scheme and port, as \"rpc.example.org\", or \"*\" for any")
    }
}

const ORIGIN: &str =
    "is no origin: write scheme and host without a path, as \"https://app.example.org\", or \"*\" for any";

/// An origin as browsers send it.
fn origin(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    if text == "*" || text == "null" {
        return Ok(text.to_owned());
    }
    let (scheme, rest) = text.split_once("://").ok_or(ORIGIN)?;
    let sound = !scheme.is_empty()
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.'))
        && !rest.is_empty()
        && rest
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':' | b'[' | b']'));
    if sound { Ok(text.to_ascii_lowercase()) } else { Err(ORIGIN) }
}
