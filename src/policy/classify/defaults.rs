//! What follows from a class: one table, four decisions and the client's answer.
//!
//! Where the same class calls for something else in some context, the rule that found the class says
//! so with a [`Twist`].

use std::time::Duration;

use crate::jsonrpc::code;
use crate::policy::{Class, Outcome, Told};

/// A quota comes back with the hour, the day or the month: asking more often than hourly is noise.
const QUOTA_COOL_DOWN: Duration = Duration::from_secs(3600);
/// A key is mended by a person: minutes, not seconds.
const KEY_COOL_DOWN: Duration = Duration::from_secs(600);
/// A region's block changes with the law or the firewall.
const REGION_COOL_DOWN: Duration = Duration::from_secs(3600);
/// Load shedding passes in seconds.
const LOAD_COOL_DOWN: Duration = Duration::from_secs(10);
/// A node that catches up needs some blocks' time.
const SYNC_COOL_DOWN: Duration = Duration::from_secs(30);
/// A backend of another chain is a wrong address in a file; a day is "until somebody looks".
const CHAIN_COOL_DOWN: Duration = Duration::from_secs(86_400);

/// What to do next.
#[derive(Clone, Copy)]
enum Next {
    /// The same everywhere: an answer, or the caller's mistake.
    Done,
    /// Another backend may do better; this one is well.
    Other,
    /// Another backend may do better, or this one a block later.
    Either,
    /// Another backend; this one is ill.
    Ill,
}

/// A context's departure from the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Twist {
    /// As the table says.
    None,
    /// The same everywhere.
    Final,
    /// Another backend may do better.
    Elsewhere,
    /// This backend may do better at once.
    Here,
    /// Waiting here helps nothing.
    NotHere,
    /// Not the backend's fault.
    Healthy,
    /// The backend's fault, so another one is asked and its words are not passed on.
    Ill,
    /// Whoever says it says it for good.
    Lasting,
    /// With HTTP 2xx a node's own limit on one call, not an illness; with an HTTP error a gateway's word.
    HealthyIn200,
}

impl Outcome {
    /// The outcome that the class alone calls for.
    #[rustfmt::skip]
    pub fn of(class: Class) -> Self {
        use Class::*;
        use Next::{Done, Either, Ill, Other};
        let invalid = || map(code::INTERNAL_ERROR, "invalid response from upstream");
        let (next, cool_down, told) = match class {
            Ok                                      => (Done, None, Told::Pass),
            ExecutionReverted | ExecutionFailed     => (Done, None, Told::Pass),
            InvalidParams | InvalidRequest          => (Done, None, Told::Pass),
            FilterNotFound | TxSyncTimeout          => (Done, None, Told::Pass),
            TxNonceTooLow | TxReplacementUnderpriced | TxInsufficientFunds | TxIntrinsicGas | TxGasLimit
            | TxWrongChain | TxInvalid | TxSenderNotEoa | TxOversized
                                                    => (Done, None, Told::Pass),
            TxAlreadyKnown                          => (Done, None, Told::TransactionHash),
            TxNonceTooHigh | TxUnderpriced | TxFeeCap | TxPoolFull | TxTypeUnsupported | TxPolicy
                                                    => (Other, None, Told::Pass),
            MissingDataArchive | TxNotFound | ExecutionTimeout | SilentWrong
                                                    => (Other, None, Told::Pass),
            BlockNotFound | AheadOfHead             => (Either, None, Told::Pass),
            // -32005 would make client libraries repeat the same too wide query.
            RangeTooLarge | ResponseTooLarge        => (Other, None, Told::PassAs(code::INVALID_PARAMS)),
            RateLimited            => (Other, None, map(code::LIMIT_EXCEEDED, "rate limit exceeded on all upstreams")),
            QuotaExhausted         => (Ill, Some(QUOTA_COOL_DOWN), map(code::LIMIT_EXCEEDED, "request quota exhausted on all upstreams")),
            Unauthorized           => (Ill, Some(KEY_COOL_DOWN), map(code::INTERNAL_ERROR, "no upstream accepted the request")),
            GeoBlocked             => (Ill, Some(REGION_COOL_DOWN), map(code::INTERNAL_ERROR, "no upstream accepted the request")),
            MethodUnsupported      => (Other, None, map(code::METHOD_NOT_FOUND, "the method {method} does not exist/is not available")),
            SubscriptionUnsupported => (Other, None, map(code::METHOD_NOT_FOUND, "notifications not supported")),
            ParseError             => (Other, None, invalid()),
            RequestTooLarge        => (Other, None, map(code::INVALID_REQUEST, "request body too large")),
            // These two are undone by sending the calls apart; a client hears them only if that fails too.
            BatchTooLarge          => (Other, None, map(code::INVALID_REQUEST, "batch too large for every upstream")),
            BatchUnsupported       => (Other, None, map(code::INVALID_REQUEST, "no upstream takes batches")),
            TimeoutUpstream        => (Ill, None, map(code::INTERNAL_ERROR, "upstream timeout")),
            Overloaded             => (Ill, Some(LOAD_COOL_DOWN), map(code::INTERNAL_ERROR, "upstream overloaded")),
            InternalError          => (Ill, None, map(code::INTERNAL_ERROR, "internal error")),
            Syncing                => (Ill, Some(SYNC_COOL_DOWN), map(code::INTERNAL_ERROR, "no synced upstream available")),
            NotJson | EmptyBody | BadJson | BadEnvelope | WrongId
                                                    => (Ill, None, invalid()),
            WrongChain             => (Ill, Some(CHAIN_COOL_DOWN), map(code::INTERNAL_ERROR, "no upstream on the requested chain")),
            ConnectionError        => (Ill, None, map(code::INTERNAL_ERROR, "upstream unreachable")),
            Unknown                                 => (Ill, None, Told::Pass),
        };
        Self {
            class,
            retry_here: matches!(next, Either),
            retry_elsewhere: !matches!(next, Done),
            hurts_health: matches!(next, Ill),
            lasting: matches!(class, QuotaExhausted | Unauthorized | GeoBlocked),
            cool_down,
            retry_after: None,
            range_limit_blocks: None,
            told,
        }
    }

    /// How much this tells a client, when nobody could answer and one of several outcomes must be chosen:
    /// the highest, not the last. A verdict on the call (3) before what a node said about it (2), before
    /// what is known of capacity or methods (1), before mere failure (0).
    pub fn tells(&self) -> u8 {
        use Class::*;
        match (self.class, &self.told) {
            _ if !self.retry_elsewhere => 3,
            (Unknown, _) => 1,
            (_, Told::Pass | Told::PassAs(_)) => 2,
            (
                MethodUnsupported | SubscriptionUnsupported | RequestTooLarge | RateLimited | QuotaExhausted,
                _,
            ) => 1,
            _ => 0,
        }
    }

    /// Applies a context's departure. `status` is the HTTP status.
    pub(super) fn twisted(mut self, twist: Twist, status: u16) -> Self {
        match twist {
            Twist::None => {}
            Twist::Final => (self.retry_here, self.retry_elsewhere) = (false, false),
            Twist::Elsewhere => self.retry_elsewhere = true,
            Twist::Here => self.retry_here = true,
            Twist::NotHere => self.retry_here = false,
            Twist::Lasting => self.lasting = true,
            Twist::Healthy => self.hurts_health = false,
            Twist::Ill => {
                (self.hurts_health, self.retry_elsewhere) = (true, true);
                self.told = Self::of(Class::BadEnvelope).told;
            }
            Twist::HealthyIn200 => self.hurts_health &= !(200..300).contains(&status),
        }
        self
    }
}

fn map(code: i64, message: &'static str) -> Told {
    Told::Map { code, message: message.into() }
}
