//! What can be wrong with a simulated backend.

use std::time::Duration;

/// One way to fail. Everything here is done to real sockets: what meets it is the whole of Outrigger.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    // --- of the whole address
    /// Nobody listens, and connections that were open are reset: a cloud without power.
    Refuse,
    /// Connections are accepted by the kernel and read by nobody: a hung process, a dropped route.
    BlackHole,

    // --- instead of an answer
    /// The request is read, then the connection is reset.
    Reset,
    /// The request is read and never answered.
    Hang,
    /// An HTTP error with an error page.
    Status(u16),
    /// HTTP 200 with a web page: a captive portal, or a CDN's challenge.
    Html,

    // --- the answer is right, its delivery is not
    /// It comes that much later.
    Slow(Duration),
    /// It comes at that many bytes a second.
    Trickle(u32),
    /// The length is announced in full; the connection is closed after half of the body.
    Truncated,

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
}
