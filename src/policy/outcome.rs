//! The typed verdict on one attempt. It is made once, by [`classify`](super::classify); health,
//! retry, metrics and logs only read it.

use std::borrow::Cow;
use std::time::Duration;

/// What one attempt came to. The names are those of the field's own error vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // each name says it; `classify` documents the rules
pub enum Class {
    Ok,
    RateLimited,
    QuotaExhausted,
    Unauthorized,
    GeoBlocked,
    MethodUnsupported,
    ExecutionReverted,
    ExecutionFailed,
    InvalidParams,
    InvalidRequest,
    ParseError,
    MissingDataArchive,
    BlockNotFound,
    AheadOfHead,
    TxNotFound,
    RangeTooLarge,
    ResponseTooLarge,
    RequestTooLarge,
    BatchTooLarge,
    BatchUnsupported,
    TimeoutUpstream,
    ExecutionTimeout,
    Overloaded,
    InternalError,
    Syncing,
    TxAlreadyKnown,
    TxNonceTooLow,
    TxNonceTooHigh,
    TxReplacementUnderpriced,
    TxUnderpriced,
    TxInsufficientFunds,
    TxIntrinsicGas,
    TxGasLimit,
    TxFeeCap,
    TxWrongChain,
    TxInvalid,
    TxSenderNotEoa,
    TxPoolFull,
    TxTypeUnsupported,
    TxOversized,
    TxPolicy,
    TxSyncTimeout,
    FilterNotFound,
    SubscriptionUnsupported,
    NotJson,
    EmptyBody,
    BadJson,
    BadEnvelope,
    WrongId,
    WrongChain,
    SilentWrong,
    ConnectionError,
    Unknown,
}

impl Class {
    /// All of them, in the order of [`index`](Self::index).
    #[rustfmt::skip]
    pub const ALL: [Self; 53] = [
        Self::Ok, Self::RateLimited, Self::QuotaExhausted, Self::Unauthorized, Self::GeoBlocked,
        Self::MethodUnsupported, Self::ExecutionReverted, Self::ExecutionFailed, Self::InvalidParams,
        Self::InvalidRequest, Self::ParseError, Self::MissingDataArchive, Self::BlockNotFound,
        Self::AheadOfHead, Self::TxNotFound, Self::RangeTooLarge, Self::ResponseTooLarge,
        Self::RequestTooLarge, Self::BatchTooLarge, Self::BatchUnsupported, Self::TimeoutUpstream,
        Self::ExecutionTimeout, Self::Overloaded, Self::InternalError, Self::Syncing, Self::TxAlreadyKnown,
        Self::TxNonceTooLow, Self::TxNonceTooHigh, Self::TxReplacementUnderpriced, Self::TxUnderpriced,
        Self::TxInsufficientFunds, Self::TxIntrinsicGas, Self::TxGasLimit, Self::TxFeeCap,
        Self::TxWrongChain, Self::TxInvalid, Self::TxSenderNotEoa, Self::TxPoolFull,
        Self::TxTypeUnsupported, Self::TxOversized, Self::TxPolicy, Self::TxSyncTimeout,
        Self::FilterNotFound, Self::SubscriptionUnsupported, Self::NotJson, Self::EmptyBody, Self::BadJson,
        Self::BadEnvelope, Self::WrongId, Self::WrongChain, Self::SilentWrong, Self::ConnectionError,
        Self::Unknown,
    ];

    /// A number below the length of [`ALL`](Self::ALL), for arrays.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name in metrics, logs and status pages: snake case.
    #[rustfmt::skip]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::RateLimited => "rate_limited",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Unauthorized => "unauthorized",
            Self::GeoBlocked => "geo_blocked",
            Self::MethodUnsupported => "method_unsupported",
            Self::ExecutionReverted => "execution_reverted",
            Self::ExecutionFailed => "execution_failed",
            Self::InvalidParams => "invalid_params",
            Self::InvalidRequest => "invalid_request",
            Self::ParseError => "parse_error",
            Self::MissingDataArchive => "missing_data_archive",
            Self::BlockNotFound => "block_not_found",
            Self::AheadOfHead => "ahead_of_head",
            Self::TxNotFound => "tx_not_found",
            Self::RangeTooLarge => "range_too_large",
            Self::ResponseTooLarge => "response_too_large",
            Self::RequestTooLarge => "request_too_large",
            Self::BatchTooLarge => "batch_too_large",
            Self::BatchUnsupported => "batch_unsupported",
            Self::TimeoutUpstream => "timeout_upstream",
            Self::ExecutionTimeout => "execution_timeout",
            Self::Overloaded => "overloaded",
            Self::InternalError => "internal_error",
            Self::Syncing => "syncing",
            Self::TxAlreadyKnown => "tx_already_known",
            Self::TxNonceTooLow => "tx_nonce_too_low",
            Self::TxNonceTooHigh => "tx_nonce_too_high",
            Self::TxReplacementUnderpriced => "tx_replacement_underpriced",
            Self::TxUnderpriced => "tx_underpriced",
            Self::TxInsufficientFunds => "tx_insufficient_funds",
            Self::TxIntrinsicGas => "tx_intrinsic_gas",
            Self::TxGasLimit => "tx_gas_limit",
            Self::TxFeeCap => "tx_fee_cap",
            Self::TxWrongChain => "tx_wrong_chain",
            Self::TxInvalid => "tx_invalid",
            Self::TxSenderNotEoa => "tx_sender_not_eoa",
            Self::TxPoolFull => "tx_pool_full",
            Self::TxTypeUnsupported => "tx_type_unsupported",
            Self::TxOversized => "tx_oversized",
            Self::TxPolicy => "tx_policy",
            Self::TxSyncTimeout => "tx_sync_timeout",
            Self::FilterNotFound => "filter_not_found",
            Self::SubscriptionUnsupported => "subscription_unsupported",
            Self::NotJson => "not_json",
            Self::EmptyBody => "empty_body",
            Self::BadJson => "bad_json",
            Self::BadEnvelope => "bad_envelope",
            Self::WrongId => "wrong_id",
            Self::WrongChain => "wrong_chain",
            Self::SilentWrong => "silent_wrong",
            Self::ConnectionError => "connection_error",
            Self::Unknown => "unknown",
        }
    }
}

/// Why an attempt has no HTTP answer at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// The name does not resolve, or the resolver does not answer.
    Dns,
    /// Nobody listens.
    Refused,
    /// No route, network down.
    Unreachable,
    /// The connection was not made within the connect timeout.
    ConnectTimeout,
    /// The TLS handshake failed: expired, wrong name, unknown authority, protocol.
    Tls,
    /// The connection was reset or closed before the whole answer came.
    Reset,
    /// What came is not HTTP, or breaks its rules.
    Protocol,
    /// HTTP/2: the server goes away or refused the stream; it has not worked on the request.
    GoAway,
    /// The answer did not come, or not to its end, within the attempt's time.
    Timeout,
    /// The answer is larger than the configured bound.
    TooLarge,
    /// Every connection to this backend is in use and none came free in time.
    PoolExhausted,
}

/// What the client is told when this outcome is the one that answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Told {
    /// The backend's result or error, byte for byte.
    Pass,
    /// The backend's message and data under this code.
    PassAs(i64),
    /// Our own words: the backend's could mislead, or hold its address or key.
    Map {
        /// JSON-RPC error code.
        code: i64,
        /// One sentence, free of anything a backend said.
        message: Cow<'static, str>,
    },
    /// Success with the transaction's hash, computed here from the bytes.
    TransactionHash,
}

/// The verdict: what it was, what may be done next, and what the client hears if nothing better comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it was.
    pub class: Class,
    /// Trying the same backend again makes sense.
    pub retry_here: bool,
    /// Trying another backend makes sense.
    pub retry_elsewhere: bool,
    /// Counts against the backend's health.
    pub hurts_health: bool,
    /// Asking again mends nothing: a person must, or the end of a period.
    pub lasting: bool,
    /// Leave the backend alone for this long (class default; a known reset time is better).
    pub cool_down: Option<Duration>,
    /// The backend's own word on when to come back: `Retry-After`, backoff data or text.
    pub retry_after: Option<Duration>,
    /// The largest block range the backend says it takes, in blocks, where the text names one.
    pub range_limit_blocks: Option<u64>,
    /// What the client hears.
    pub told: Told,
}

impl Class {
    /// What it was, in words for people.
    pub fn describe(self) -> &'static str {
        use Class::*;
        match self {
            Ok => "answered",
            RateLimited => "rate limited",
            QuotaExhausted => "quota used up",
            Unauthorized => "key or origin refused",
            GeoBlocked => "refused for this region",
            MethodUnsupported => "method not offered",
            ConnectionError => "could not be reached",
            TimeoutUpstream => "did not answer in time",
            Overloaded => "overloaded or unavailable",
            InternalError => "failed internally",
            Syncing => "still syncing",
            NotJson => "answered with something that is not JSON",
            EmptyBody => "answered with nothing",
            BadJson => "answered with broken JSON",
            BadEnvelope => "answered with something that is not JSON-RPC",
            WrongId => "answered another request",
            WrongChain => "serves another chain",
            SilentWrong => "answered wrongly",
            Unknown => "failed in an unknown way",
            _ => "answered with an error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_own_place_and_name() {
        for (at, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class.index(), at);
            assert!(Class::ALL.iter().all(|other| *other == class || other.name() != class.name()));
        }
    }
}
