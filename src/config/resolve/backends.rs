//! `[[chains.NAME.backends]]`.

use std::collections::{BTreeMap, HashMap};

use http::{HeaderName, HeaderValue};

use super::Resolver;
use crate::config::conform::join;
use crate::config::file::{BackendFile, TierFile};
use crate::config::presets;
use crate::config::quantity::RateLimit;
use crate::config::secret::Secret;
use crate::config::settings::{Backend, Server, Tier};
use crate::config::url::{BackendUrl, UrlError};

/// Headers that say how a message is carried, which is the connection's own business.
const FORBIDDEN_HEADERS: [&str; 11] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "accept-encoding",
    "content-encoding",
];
/// Failure domains that have keys of their own.
const OWN_KEYS: [&str; 5] = ["provider", "cloud", "region", "edge", "client"];

impl Resolver<'_> {
    pub(super) fn backends(&mut self, chain: &str, files: &[BackendFile], server: &Server) -> Vec<Backend> {
        let mut backends = Vec::with_capacity(files.len());
        let mut names: HashMap<String, String> = HashMap::new();
        let mut addresses: HashMap<(String, u16, String, String), String> = HashMap::new();
        for (i, file) in files.iter().enumerate() {
            let path = format!("{chain}.backends[{i}]");
            if let Some(name) = &file.name
                && let Some(other) = names.insert(name.to_ascii_lowercase(), path.clone())
            {
                let name_path = join(&path, "name");
                let problem = format!("{} is already the name of {other}", self.source.shown(&name_path));
                self.fault(&name_path, problem, "give each backend its own name");
            }
            let Some(backend) = self.backend(&path, file, server) else { continue };
            // A cluster behind one address is one backend; twice the same would count twice.
            let address = (
                backend.url.host().to_ascii_lowercase(),
                backend.url.port(),
                backend.url.path_and_query().to_owned(),
                backend.url.user_info().unwrap_or_default().to_owned(),
            );
            if let Some(other) = addresses.insert(address, path.clone()) {
                let problem = format!("is the same address as in {other}");
                self.fault(&join(&path, "url"), problem, "remove one of the two");
            }
            backends.push((file.name.is_some(), backend));
        }
        // Names that were not given make way for those that were.
        for i in 0..backends.len() {
            if !backends[i].0 {
                let taken = |name: &str| {
                    let others =
                        backends.iter().enumerate().filter(|(j, (given, _))| *j != i && (*given || *j < i));
                    others.into_iter().any(|(_, (_, other))| other.name.eq_ignore_ascii_case(name))
                };
                let name = free_name(&backends[i].1.name, taken);
                backends[i].1.name = name;
            }
        }
        backends.into_iter().map(|(_, backend)| backend).collect()
    }

    /// Adds public endpoints behind what is configured.
    pub(super) fn add_public(&mut self, chain: &str, backends: &mut Vec<Backend>, public: Vec<Backend>) {
        if public.is_empty() {
            self.fault(
                &join(chain, "public_backup"),
                "asks for public endpoints, and none are known for this chain",
                "remove it, or add backends with tier = \"backup\"",
            );
        }
        for mut backend in public {
            let is = |other: &Backend| {
                other.url.host() == backend.url.host()
                    && other.url.path_and_query() == backend.url.path_and_query()
            };
            if backends.iter().any(is) {
                continue;
            }
            backend.tier = Tier::Backup;
            backend.name = free_name(&format!("public-{}", backend.name), |name| {
                backends.iter().any(|other| other.name.eq_ignore_ascii_case(name))
            });
            backends.push(backend);
        }
    }

    fn backend(&mut self, path: &str, file: &BackendFile, server: &Server) -> Option<Backend> {
        let url_path = join(path, "url");
        if file.url.is_none() {
            self.fault(&url_path, "is missing", "add url = \"https://...\"");
        }
        let url = file.url.as_deref().and_then(|text| self.url(&url_path, text, BackendUrl::http(text)));
        let ws_path = join(path, "ws");
        let ws = file.ws.as_deref().and_then(|text| self.url(&ws_path, text, BackendUrl::ws(text)));
        for (path, url) in [(&url_path, &url), (&ws_path, &ws)] {
            if let Some(url) = url {
                self.address(path, url, server);
            }
        }
        if ws.is_some() && file.private {
            self.note(&ws_path, "is not used: who takes transactions only is not asked for heads");
        }
        let mut label = |key: &str, text: &Option<String>| {
            let text = text.as_deref()?;
            self.label(&join(path, key), text)
        };
        let provider = label("provider", &file.provider);
        let (cloud, region) = (label("cloud", &file.cloud), label("region", &file.region));
        let (edge, client) = (label("edge", &file.edge), label("client", &file.client));
        let labels = self.labels(path, &file.labels);
        let headers = self.headers(path, &file.headers);
        let mut rate = |key: &str, text: &Option<String>| {
            let limit = RateLimit::parse(text.as_deref()?);
            if let Err(error) = &limit {
                self.fault_of(&join(path, key), error);
            }
            limit.ok()
        };
        let rate_limit = rate("rate_limit", &file.rate_limit);
        let probe_budget = rate("probe_budget", &file.probe_budget);
        let name = match &file.name {
            Some(name) => self.backend_name(&join(path, "name"), name),
            None => Some(plain_name(
                provider.as_deref().or(url.as_ref().map(BackendUrl::host)).unwrap_or("backend"),
            )),
        };
        Some(Backend {
            name: name?,
            url: url?,
            ws,
            provider,
            cloud,
            region,
            edge,
            client,
            labels,
            tier: match file.tier {
                None | Some(TierFile::Primary) => Tier::Primary,
                Some(TierFile::Backup) => Tier::Backup,
            },
            private: file.private,
            rate_limit,
            monthly_budget: file.monthly_budget,
            probe_budget,
            headers,
            max_connections: file.max_connections.map(|n| n as usize),
            cordoned: file.cordoned,
        })
    }

    fn url(&mut self, path: &str, text: &str, url: Result<BackendUrl, UrlError>) -> Option<BackendUrl> {
        let error = match url {
            Ok(_) if self.source.has_key_in_host(path, text) => {
                self.fault(path, "has a variable that runs into the host", "put a / between host and key");
                return None;
            }
            Ok(url) => return Some(url),
            Err(error) => error,
        };
        let (problem, mend) = match error {
            UrlError::Malformed => (
                "is not a URL".to_owned(),
                "write it as scheme://host/path, without blanks or <placeholders>".to_owned(),
            ),
            UrlError::NoHost => ("names no host".to_owned(), "name the host after ://".to_owned()),
            UrlError::Scheme { found, expected } => {
                // Both are addresses, and each has its key.
                let mend = match expected.starts_with("http") && found.starts_with("ws") {
                    true => "put a ws:// or wss:// address under ws, and the https:// one here".to_owned(),
                    false => format!("write an address that begins with {expected}"),
                };
                (format!("has the scheme {found}"), mend)
            }
        };
        self.fault(path, problem, mend);
        None
    }

    /// What an address says beyond its form.
    fn address(&mut self, path: &str, url: &BackendUrl, server: &Server) {
        let host = url.host();
        let ip = host.parse::<std::net::IpAddr>().ok();
        let is_loopback = host.eq_ignore_ascii_case("localhost") || ip.is_some_and(|ip| ip.is_loopback());
        let listens = server.listen.all().any(|own| {
            own.port() == url.port()
                && (Some(own.ip()) == ip
                    || is_loopback && own.ip().is_unspecified()
                    || host.eq_ignore_ascii_case("localhost") && own.ip().is_loopback())
        });
        if listens && url.port() != 0 {
            let mend = "listen on another port, or name the node's own address";
            self.fault(
                path,
                "is the address this proxy itself listens on, so that it would call itself",
                mend,
            );
        }
        if let Some(reason) = presets::retired(host) {
            self.note(path, &format!("{host} is known to be out of service ({reason}); replace it"));
        }
        let is_private = is_loopback || !host.contains('.') || ip.is_some_and(is_private);
        if !url.is_tls() && !is_private {
            let scheme = if path.ends_with(".ws") { "wss" } else { "https" };
            let text = "is not encrypted: keys and transactions can be read on the way; use";
            self.note(path, &format!("{text} {scheme}"));
        }
    }

    fn backend_name(&mut self, path: &str, name: &str) -> Option<String> {
        let sound = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !name.is_empty() && sound {
            return Some(name.to_owned());
        }
        let problem = format!("{} is no name for a backend", self.source.shown(path));
        self.fault(path, problem, "it appears in headers and metrics: use letters, digits, -, _ and .");
        None
    }

    fn label(&mut self, path: &str, text: &str) -> Option<String> {
        let text = text.trim();
        if text.is_empty() || text.chars().any(|c| c.is_control() || c == '"') {
            self.fault(
                path,
                "is empty or has characters that do not print",
                "write a word, or remove the key",
            );
            return None;
        }
        Some(text.to_owned())
    }

    fn labels(&mut self, path: &str, labels: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut kept = BTreeMap::new();
        for (key, text) in labels {
            let path_of_key = join(&join(path, "labels"), key);
            if OWN_KEYS.contains(&key.as_str()) {
                self.fault(&path_of_key, "has a key of its own", format!("write {key} = ... beside labels"));
            } else if key.is_empty()
                || key.len() > 64
                || !key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            {
                self.fault(&path_of_key, "is no name for a label", "use letters, digits, - and _");
            } else if let Some(text) = self.label(&path_of_key, text) {
                kept.insert(key.clone(), text);
            }
        }
        kept
    }

    fn headers(&mut self, path: &str, headers: &BTreeMap<String, String>) -> Vec<(HeaderName, Secret)> {
        let mut kept: Vec<(HeaderName, Secret)> = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            let path_of_key = join(&join(path, "headers"), name);
            let Ok(header) = HeaderName::try_from(name.as_str()) else {
                self.fault(&path_of_key, "is no name of a header", "use letters, digits and -");
                continue;
            };
            if FORBIDDEN_HEADERS.contains(&header.as_str()) {
                self.fault(&path_of_key, "is set by the connection itself", "remove it");
            } else if HeaderValue::from_str(value).is_err() {
                self.fault(&path_of_key, "cannot stand in an HTTP header", "use printable characters only");
            } else if kept.iter().any(|(other, _)| *other == header) {
                self.fault(&path_of_key, "is written twice, in different case", "remove one of them");
            } else {
                kept.push((header, Secret::new(value.as_str())));
            }
        }
        kept
    }
}

fn is_private(ip: std::net::IpAddr) -> bool {
    match ip {
        std::net::IpAddr::V4(ip) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        std::net::IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback() || ip.is_unicast_link_local(),
    }
}

/// A provider or host as a name.
fn plain_name(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' };
    let name: String = text.to_ascii_lowercase().chars().take(64).map(plain).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "backend".to_owned() } else { name.to_owned() }
}

fn free_name(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|n| format!("{name}-{n}"));
    // The iterator has no end, and the names that can be taken are few.
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken(name)).unwrap_or_default()
}
