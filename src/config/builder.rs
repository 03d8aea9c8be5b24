//! A configuration made by code instead of a file. The same checks apply.

use super::conform::Source;
use super::file::{BackendFile, ChainFile, File, OneOrMany, SizeFile, TierFile};
use super::mistake::{ConfigErrors, Mistake};
use super::resolve::resolve;
use super::settings::{Config, Tier};

/// Puts a configuration together; see [`Config::builder`].
#[derive(Clone, Default)]
#[must_use]
pub struct ConfigBuilder {
    file: File,
    order: Vec<String>,
    twice: Vec<String>,
}

impl Config {
    /// Starts a configuration in code. Strings are taken as they are: no `${VAR}` is filled in.
    ///
    /// ```
    /// use outrigger::config::{BackendBuilder, ChainBuilder, Config};
    ///
    /// let config = Config::builder()
    ///     .listen("127.0.0.1:0")
    ///     .chain(
    ///         ChainBuilder::new("mainnet")
    ///             .backend(BackendBuilder::new("one", "https://one.example/KEY").cloud("aws"))
    ///             .backend(BackendBuilder::new("two", "https://two.example/KEY").cloud("gcp")),
    ///     )
    ///     .build()?;
    /// assert_eq!(config.default_chain().backends.len(), 2);
    /// # Ok::<(), outrigger::config::ConfigErrors>(())
    /// ```
    pub fn builder() -> ConfigBuilder {
        ConfigBuilder::default()
    }
}

impl ConfigBuilder {
    /// Adds an address to listen on.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        let mut all = match self.file.server.listen.take() {
            Some(OneOrMany::Many(all)) => all,
            Some(OneOrMany::One(one)) => vec![one],
            None => Vec::new(),
        };
        all.push(address.into());
        self.file.server.listen = Some(OneOrMany::Many(all));
        self
    }

    /// Adds a bearer token that lets in.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.file.server.auth.tokens.push(token.into());
        self
    }

    /// Bounds a request's body, in bytes.
    pub fn max_body(mut self, bytes: u64) -> Self {
        self.file.server.max_body = Some(SizeFile::Bytes(bytes));
        self
    }

    /// Bounds the number of calls in a batch.
    pub fn max_batch(mut self, calls: u64) -> Self {
        self.file.server.max_batch = Some(calls);
        self
    }

    /// Bounds the time of an ordinary request; written as in the file, `"10s"`.
    pub fn deadline(mut self, duration: impl Into<String>) -> Self {
        self.file.routing.deadline = Some(duration.into());
        self
    }

    /// Bounds the time to connect; written as in the file, `"1s"`.
    pub fn connect_timeout(mut self, duration: impl Into<String>) -> Self {
        self.file.routing.connect_timeout = Some(duration.into());
        self
    }

    /// Whether slow reads are hedged.
    pub fn hedging(mut self, hedging: bool) -> Self {
        self.file.routing.hedging = Some(hedging);
        self
    }

    /// Bounds the attempts of one request.
    pub fn max_attempts(mut self, attempts: u64) -> Self {
        self.file.routing.max_attempts = Some(attempts);
        self
    }

    /// Bounds the blocks that one `eth_getLogs` may search in several calls; 0 never cuts it.
    pub fn logs_range_max(mut self, blocks: u64) -> Self {
        self.file.routing.logs_range_max = Some(blocks);
        self
    }

    /// Adds a file with the addresses that a cloud or CDN publishes; backends are labelled after them.
    pub fn address_ranges(mut self, file: impl Into<String>) -> Self {
        let mut all = match self.file.routing.address_ranges.take() {
            Some(OneOrMany::Many(all)) => all,
            Some(OneOrMany::One(one)) => vec![one],
            None => Vec::new(),
        };
        all.push(file.into());
        self.file.routing.address_ranges = Some(OneOrMany::Many(all));
        self
    }

    /// Trusted authorities: `webpki`, `native` or a PEM file.
    pub fn roots(mut self, roots: impl Into<String>) -> Self {
        self.file.routing.roots = Some(roots.into());
        self
    }

    /// Adds a chain; the first is the default.
    pub fn chain(mut self, chain: ChainBuilder) -> Self {
        if self.file.chains.insert(chain.name.clone(), chain.file).is_some() {
            self.twice.push(chain.name);
        } else {
            self.order.push(chain.name);
        }
        self
    }

    /// Checks everything. Without a chain, every known chain is served over public endpoints.
    pub fn build(self) -> Result<Config, ConfigErrors> {
        let source = Source::new("builder", "");
        let mut mistakes: Vec<Mistake> = Vec::new();
        for name in self.twice {
            let path = super::conform::join("chains", &name);
            mistakes.push(source.mistake(&path, "is added twice", "give each chain its own name"));
        }
        let counts = [("chains", self.file.chains.len(), super::CHAINS_MAX)].into_iter();
        let backends =
            self.file.chains.iter().map(|(name, c)| (name.as_str(), c.backends.len(), super::BACKENDS_MAX));
        for (name, count, most) in counts.chain(backends) {
            if count > most {
                mistakes.push(source.mistake(
                    name,
                    format!("has {count} entries"),
                    format!("leave at most {most}"),
                ));
            }
        }
        let routing = &self.file.routing;
        let whole = [
            ("server.max_batch", self.file.server.max_batch, 1..=10_000),
            ("routing.max_attempts", routing.max_attempts, 1..=16),
        ];
        for (path, value, bounds) in whole {
            if value.is_some_and(|value| !bounds.contains(&value)) {
                let mend = format!("write a number from {} to {}", bounds.start(), bounds.end());
                mistakes.push(source.mistake(path, "is out of range", mend));
            }
        }
        resolve(self.file, self.order, &source, mistakes)
    }
}

/// One chain of a [`ConfigBuilder`].
#[derive(Clone)]
#[must_use]
pub struct ChainBuilder {
    name: String,
    file: ChainFile,
}

impl ChainBuilder {
    /// A chain by its name; known names need no chain id.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), file: ChainFile::default() }
    }

    /// EIP-155 chain id.
    pub fn chain_id(mut self, id: u64) -> Self {
        self.file.chain_id = Some(id);
        self
    }

    /// Time between blocks; written as in the file, `"12s"`.
    pub fn block_time(mut self, duration: impl Into<String>) -> Self {
        self.file.block_time = Some(duration.into());
        self
    }

    /// Lets methods through that are refused by default; `debug_*` covers all that begin so.
    pub fn allow_methods<S: Into<String>>(mut self, patterns: impl IntoIterator<Item = S>) -> Self {
        self.file.allow_methods = Some(OneOrMany::Many(patterns.into_iter().map(Into::into).collect()));
        self
    }

    /// Refuses methods.
    pub fn deny_methods<S: Into<String>>(mut self, patterns: impl IntoIterator<Item = S>) -> Self {
        self.file.deny_methods = Some(OneOrMany::Many(patterns.into_iter().map(Into::into).collect()));
        self
    }

    /// Adds a way in.
    pub fn backend(mut self, backend: BackendBuilder) -> Self {
        self.file.backends.push(backend.file);
        self
    }
}

/// One way into a chain of a [`ConfigBuilder`].
#[derive(Clone)]
#[must_use]
pub struct BackendBuilder {
    file: BackendFile,
}

impl BackendBuilder {
    /// A backend by its name and address.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            file: BackendFile { name: Some(name.into()), url: Some(url.into()), ..BackendFile::default() },
        }
    }

    /// Where it pushes its heads over a WebSocket: they come at once then, and it is asked for them less often.
    pub fn ws(mut self, url: impl Into<String>) -> Self {
        self.file.ws = Some(url.into());
        self
    }

    /// Failure domain: the company.
    pub fn provider(mut self, provider: impl Into<String>) -> Self {
        self.file.provider = Some(provider.into());
        self
    }

    /// Failure domain: the cloud or data centre.
    pub fn cloud(mut self, cloud: impl Into<String>) -> Self {
        self.file.cloud = Some(cloud.into());
        self
    }

    /// Failure domain: the cloud's region.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.file.region = Some(region.into());
        self
    }

    /// Failure domain: a CDN or load balancer shared with others.
    pub fn edge(mut self, edge: impl Into<String>) -> Self {
        self.file.edge = Some(edge.into());
        self
    }

    /// Node software.
    pub fn client(mut self, client: impl Into<String>) -> Self {
        self.file.client = Some(client.into());
        self
    }

    /// A further failure domain.
    pub fn label(mut self, kind: impl Into<String>, name: impl Into<String>) -> Self {
        self.file.labels.insert(kind.into(), name.into());
        self
    }

    /// Everyday or backup.
    pub fn tier(mut self, tier: Tier) -> Self {
        self.file.tier = Some(match tier {
            Tier::Primary => TierFile::Primary,
            Tier::Backup => TierFile::Backup,
        });
        self
    }

    /// Transactions only.
    pub fn private(mut self, private: bool) -> Self {
        self.file.private = private;
        self
    }

    /// A known limit; written as in the file, `"100/s"`.
    pub fn rate_limit(mut self, limit: impl Into<String>) -> Self {
        self.file.rate_limit = Some(limit.into());
        self
    }

    /// A header added to each request.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.file.headers.insert(name.into(), value.into());
        self
    }

    /// Configured, and not used.
    pub fn cordoned(mut self, cordoned: bool) -> Self {
        self.file.cordoned = cordoned;
        self
    }
}
