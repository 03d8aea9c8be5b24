//! What can be wrong with a simulated backend.

use std::time::Duration;

/// One way to fail. Everything here is done to real sockets: what meets it is the whole of Outrigger.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    // --- of the way to it
    /// Its name is not found any more. Connections that were open are closed in good order.
    NameGone,
    /// Its name leads to an address where nobody is, as after a move that went wrong. At the old one nobody
    /// listens any more, and connections that were open are closed in good order.
    NameElsewhere,
    /// Its certificate is one that ended years ago. Connections that were open are closed in good order, as
    /// by the restart that put it there. Without TLS nothing else happens.
    ExpiredCertificate,

    // --- of the whole address
    /// Nobody listens, and connections that were open are reset: a cloud without power.
    Refuse,
    /// Connections are accepted by the kernel and read by nobody: a hung process.
    BlackHole,
    /// Nothing that is sent there is answered, not even a connection's first packet: a dropped route. Where
    /// the system cannot be made to do that (only Linux can), it is a [`Self::BlackHole`].
    Unanswered,

    // --- instead of an answer
    /// The request is read, then the connection is reset.
    Reset,
    /// The request is read and never answered.
    Hang,
    /// An HTTP error with an error page.
    Status(u16),
    /// HTTP 200 with a web page: a captive portal, or a CDN's challenge.
    Html,
    /// HTTP 200 with bytes that are no JSON, though they are called so.
    Garbage,
    /// So many of a hundred requests come to HTTP 500, 502 or 503, the others to an answer: a grey failure.
    Flaky(u8),

    // --- the answer is right, its delivery is not
    /// It comes that much later.
    Slow(Duration),
    /// It comes at that many bytes a second.
    Trickle(u32),
    /// The length is announced in full; the connection is closed after half of the body.
    Truncated,
    /// It carries the id of another request.
    ForeignId,

    // --- the delivery is right, the answer is not
    /// The node is that many blocks behind, and answers as fast as ever.
    Lag(u64),
}

impl Fault {
    /// Blocks that a node is behind.
    pub(super) fn blocks_behind(self) -> u64 {
        match self {
            Self::Lag(blocks) => blocks,
            _ => 0,
        }
    }

    /// Nothing is read and nothing is written any more.
    pub(super) fn is_silence(self) -> bool {
        matches!(self, Self::BlackHole | Self::Unanswered)
    }

    /// Only who connects anew meets it.
    pub(super) fn is_of_new_connections(self) -> bool {
        matches!(self, Self::NameGone | Self::NameElsewhere | Self::ExpiredCertificate)
    }
}
