//! What goes into a gateway and what comes out: a body with one or more calls, and its answers.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

/// One body for one chain. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Name, alias or decimal id of the chain; `None` is the default chain.
    pub chain: Option<Arc<str>>,
    /// A JSON-RPC request object or an array of them.
    pub body: Bytes,
    /// Whose it is, where that is known: what a client may have standing (filters) is counted by it.
    pub client: Option<IpAddr>,
    /// How its calls want to be answered.
    pub terms: Terms,
}

/// How calls want to be answered, beyond what they ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Terms {
    /// By a backend, and for this call alone: nothing that is kept, and nothing that somebody else asked for.
    pub fresh: bool,
    /// Whose credentials they carry: a digest, 0 where they carry none. Calls of different ones share no answer.
    pub scope: u64,
}

impl Terms {
    /// The scope of what a client says to prove who it is.
    pub fn scope_of(credentials: &[u8]) -> u64 {
        let mut told = b"outrigger scope\0".to_vec();
        told.extend_from_slice(credentials);
        let digest = alloy_primitives::keccak256(told);
        u64::from_be_bytes(std::array::from_fn(|at| digest[at]))
    }
}

impl Packet {
    /// A body for the default chain.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { chain: None, body: body.into(), client: None, terms: Terms::default() }
    }

    /// The same body from a client at this address.
    #[must_use]
    pub fn sent_by(mut self, client: IpAddr) -> Self {
        self.client = Some(client);
        self
    }

    /// The same body, to be answered by a backend whatever is known: no cache, and no answer shared with others.
    #[must_use]
    pub fn fresh(mut self) -> Self {
        self.terms.fresh = true;
        self
    }

    /// The same body for another chain.
    #[must_use]
    pub fn on(mut self, chain: impl Into<Arc<str>>) -> Self {
        self.chain = Some(chain.into());
        self
    }
}

/// The answer to a [`Packet`].
#[derive(Clone, Debug)]
pub struct Reply {
    /// A JSON-RPC response object or an array of them; `None` when the packet held notifications only.
    pub body: Option<Bytes>,
    /// Where it came from.
    pub trail: Trail,
}

/// An answer on its way out, not yet put together.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) body: Option<Pieces>,
    pub(crate) trail: Trail,
}

/// The bytes of an answer. A large result stays where the backend's bytes lie, between the two ends of its envelope.
#[derive(Clone, Debug)]
pub(crate) enum Pieces {
    Whole(Bytes),
    Framed([Bytes; 3]),
}

impl Answer {
    /// In one piece.
    pub(crate) fn whole(self) -> Reply {
        Reply { body: self.body.map(Pieces::whole), trail: self.trail }
    }

    /// As it is.
    pub(crate) fn in_pieces(self) -> (Option<Pieces>, Trail) {
        (self.body, self.trail)
    }

    /// Bytes of its body.
    pub(crate) fn len(&self) -> usize {
        self.body.as_ref().map_or(0, Pieces::len)
    }
}

impl Pieces {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.len(),
            Self::Framed(pieces) => pieces.iter().map(Bytes::len).sum(),
        }
    }

    pub(crate) fn whole(self) -> Bytes {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Framed(pieces) => pieces.concat().into(),
        }
    }
}

/// Where an answer came from, and what it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// Names of the backends whose answers are in the reply, at most [`Trail::BACKENDS_MAX`].
    pub backends: Vec<Arc<str>>,
    /// What answered: the weightiest source where a batch had several.
    pub source: Source,
    /// Calls made to backends for it.
    pub attempts: u32,
    /// Why a method was refused and what to do instead, for a person who debugs.
    pub hint: Option<&'static str>,
    /// No node gave its word: what is told is why nobody could be heard.
    pub(super) unheard: bool,
}

impl Trail {
    /// More names than this say nothing to a reader.
    pub const BACKENDS_MAX: usize = 8;

    pub(super) fn merge(&mut self, other: Self) {
        for backend in other.backends {
            if self.backends.len() < Self::BACKENDS_MAX && !self.backends.contains(&backend) {
                self.backends.push(backend);
            }
        }
        self.source = self.source.max(other.source);
        self.attempts += other.attempts;
        self.hint = self.hint.or(other.hint);
    }
}

/// What answered a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Source {
    /// Outrigger itself, from its configuration; also every refusal.
    #[default]
    Local,
    /// What is known of the head, without asking anybody.
    Follower,
    /// What is known of transactions that were handed in here.
    Journal,
    /// An answer that a backend gave before, and that still holds.
    Cache,
    /// A backend.
    Backend,
}

impl Source {
    /// The word for headers and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Follower => "follower",
            Self::Journal => "journal",
            Self::Cache => "cache",
            Self::Backend => "backend",
        }
    }
}
