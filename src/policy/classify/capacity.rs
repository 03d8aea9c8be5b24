//! Words about the backend: its limits, its keys, its health, its way to the node.

use super::defaults::Twist;
use super::method::Scope;
use super::rule::{Rule, rule, twisted};
use crate::policy::Class::*;

/// What Node.js and other gateways say when their own connection to the node failed.
pub(super) const CONNECTION: &[Rule] = &[rule(
    ConnectionError,
    Scope::Any,
    &[
        "econnrefused|econnreset|enotfound|etimedout|ehostunreach|epipe|eai",
        "self signed cert*",
        "certificate ... expired|invalid",
        "cert has expired",
        "connection refused",
        "connection reset by peer",
        "no such host",
        "dial tcp",
        "getaddrinfo",
        "socket hang up",
        "broken pipe",
    ],
)];

/// The backend belongs to another chain.
pub(super) const CHAIN: &[Rule] = &[rule(
    WrongChain,
    Scope::NotBroadcast,
    &[
        "on|for another|different chain|network",
        "chain|network ... is not supported $",
        "chain|network * * not supported $",
        "wrong|unsupported|unknown chain|network",
        "^ chain|network ... not found $",
    ],
)];

/// The node is not at the head. Said by pools and modules that are off for that reason, too.
pub(super) const SYNC: &[Rule] = &[rule(
    Syncing,
    Scope::Any,
    &[
        "^ syncing|synchronizing",
        "still|is|are|currently|being|node syncing|synchronizing|synchronising|catching|indexing",
        "sync|syncing|synchronization|synchronisation ... progress|finished|completed|complete|done",
        "not|isnt|yet ... synced|synchronized|synchronised",
        "not ... in sync",
        "out of sync",
        "not|hasnt|havent|yet|didnt finished|completed|finish|complete sync|syncing|synchronizing",
        "unsynced|unsynchronized",
        "catching up",
        "node ... behind|lagging",
        "lagging behind",
        "during sync",
    ],
)];

/// Capacity: what somebody pays for, what comes per second, and what is simply too much.
pub(super) const LIMITS: &[Rule] = &[
    rule(
        Overloaded,
        Scope::Any,
        &[
            "high|heavy|unusual ... traffic|load",
            "too much load",
            "over capacity",
            "no|none ... nodes|node|backend|backends|server|servers|upstream|upstreams|provider|providers|endpoint|endpoints|peers ... available|found|healthy",
            "cant|cannot|couldnt|could|unable|failed ... find ... node|backend|upstream|server|provider|endpoint",
            "no healthy|available|working|live|suitable|eligible|alive|active upstream*|backend*|node*|server*|provider*|endpoint*",
            "all upstreams|backends|nodes|providers|servers ... failed|down|unavailable|offline|unhealthy|exhausted",
            "upstream|backend|node|server|service|endpoint ... unavailable|offline|down|unhealthy",
            "upstream connect error",
            "overload*",
            "server|node|backend|service|system|we ... busy",
            "shutting down",
            "not healthy to serve",
            "load shed*",
            "maintenance",
        ],
    ),
    // A limit for the whole chain: every other way in meets it too.
    twisted(
        RateLimited,
        Twist::Final,
        Scope::Any,
        &["sequencer ... global ... limit", "limit ... at the chain level"],
    ),
    // "Upgrade" is what they sell; what happened is the time-out.
    rule(
        TimeoutUpstream,
        Scope::Any,
        &["timeout|timeouts ... upgrade|tier|plan", "timed out ... upgrade|tier|plan"],
    ),
    rule(
        QuotaExhausted,
        Scope::Any,
        &[
            "monthly|daily|weekly|yearly|month|day|week ... limit|limits|capacity|units|compute|credits|calls|requests|quota|usage|allowance|cap|budget|count ... exceed*|reach*|exhaust*|hit|used|surpass*|over",
            "exceed*|reach*|exhaust*|hit|used|surpass*|out|over|consumed ... monthly|daily|weekly|month|months|day|days|week",
            "daily|monthly request|requests|credit|credits|quota|limit|capacity",
            "limit|limits|quota|requests per day|month|week",
            "# day|month|24h",
        ],
    ),
    rule(
        RateLimited,
        Scope::Any,
        &[
            "per second|sec|minute|min|hour",
            "# requests|request|req|calls|reqs second|sec|s|minute|min|hour|h",
            "# second|sec|s|minute|min request|requests|trace|limit",
            "rps|qps|tps|cups ... limit*|exceed*|reach*|capacity",
            "limit|limits|max|maximum|exceed*|enough rps|qps|cups",
        ],
    ),
    rule(
        QuotaExhausted,
        Scope::Any,
        &[
            "payment required",
            "quota",
            "not|no|insufficient|out|without|zero|exhausted|used|enough ... credit|credits",
            "credit|credits ... exhausted|exceeded|depleted|used|insufficient|out|run|ran|consumed|limit|remaining",
            "usage limit|cap",
            "out of compute|requests|units|calls",
            "account|project|team|app|application|user|workspace ... suspended|overdue|delinquent|frozen",
            "suspended",
            "free tier|plan|trial limit|ended|expired|exhausted|exceeded|over",
            "subscription|plan|trial ... expired|ended|cancelled|canceled|lapsed|inactive",
            "invoice|payment ... overdue|failed|unpaid|due",
            "top up",
            "insufficient balance|funds to|for make|process|request|requests|api|the request",
        ],
    ),
    rule(
        RateLimited,
        Scope::Any,
        &[
            "rate limit*|limits",
            "rate|rates ... exceed*|limit*|too",
            "ratelimit*",
            "too many open|active|simultaneous|parallel",
            "too many|much request*|calls|queries|concurrent|connections|subscriptions|traffic",
            "throttl*",
            "slow down",
            "throughput ... limit|exceed*|surpass*",
            "request|requests|call|calls|connection|connections|concurrency|compute|bandwidth|api ... limit|limits|limited|capacity ... reach*|exceed*|hit|surpass*",
            "exceed*|reach*|hit|surpass*|over ... request|requests|calls|compute|concurrency|concurrent|connection|throughput|bandwidth ... limit*|capacity|rate|allowance",
            "request|requests ... limited",
            "concurrent request|requests|connections|calls",
            "your app has exceeded",
            "transaction limit exceeded",
            "back off",
            "limit will reset",
            "reduce ... request|requests|calls|rate|frequency",
            "requests too fast|frequent|frequently|often",
            "cooldown|cool down",
        ],
    ),
    rule(
        QuotaExhausted,
        Scope::Any,
        &[
            "upgrade ... to ... paid|premium|higher",
            "free tier|plan|trial ... limit|ended|expired|exhausted",
            "capacity limit exceeded",
        ],
    ),
];

/// Said of a key, "not recognized" is no word on a method.
pub(super) const KEYS: &[Rule] = &[rule(Unauthorized, Scope::Any, &["api key|keys", "apikey|apikeys"])];

/// Keys, origins, regions.
pub(super) const ACCESS: &[Rule] = &[
    rule(
        GeoBlocked,
        Scope::Any,
        &[
            "country|countries|region|regions|jurisdiction|jurisdictions|territory|geography|geographic|location ... block*|restrict*|not|unavailable|denied|prohibit*|supported|allowed|banned",
            "block*|restrict*|unavailable|prohibit*|denied|not|access ... country|countries|region|jurisdiction|territory|location",
            "legal reasons",
            "sanction*",
            "embargo*",
            "geo|geoblock*|geofenc*|georestrict* block*|restrict*|fenc*",
            "geoblock*|georestrict*|geofenc*",
            "error code 1009",
        ],
    ),
    rule(
        Unauthorized,
        Scope::Any,
        &[
            "unauthorized|unauthorised|unauthenticated|authenticated|authenticate",
            "authentication|authorization|authorisation ... failed|required|error|invalid|missing|failure|needed|expired|denied",
            "not authorized|authorised|authenticated",
            "invalid|wrong|missing|unknown|expired|inactive|disabled|no|incorrect|bad|unrecognized|revoked|unregistered|without|valid|nonexistent ... api|access|project|app|application|jwt|bearer|auth|rpc|account|secret ... key|keys|id|token|secret|credentials|credential",
            "invalid|wrong|missing|unknown|expired|inactive|disabled|no|incorrect|bad|revoked|such apikey|token|credentials|credential|jwt|key|keys",
            "apikey|key|token|jwt|credentials|secret ... invalid|inactive|expired|disabled|revoked|missing|required|found|allowed|recognized|unknown|blocked|deleted|wrong|incorrect|exist|deactivated|rejected|valid|supported",
            "api key",
            "access key",
            "personal token",
            "project id ... invalid|settings|not|disabled|unknown",
            "origin|origins|referer|referrer|domain|ip|host|agent|address ... whitelist*|allowlist*",
            "origin|origins|referer|referrer|domain|ip|host|agent|address ... allow|white list",
            "origin|origins|referer|ip|host|domain ... not allowed|permitted|authorized|accepted",
            "origin|ip|host|domain|account|user|app|project|address ... blocked|banned|blacklist*|denylist*",
            "app|application|project|account|user ... inactive|disabled|deactivated|deleted|closed|terminated",
            "invalid host specified",
            "access ... denied|forbidden",
            "access to ... is forbidden|denied|restricted",
            "permission denied",
            "forbidden",
            "error code 1006|1007|1008|1010|1012|1020|1106",
            "sign up|register|login|log in ... to|for",
        ],
    ),
];

/// Time, and the connection behind a gateway.
pub(super) const SERVER: &[Rule] = &[
    twisted(
        TimeoutUpstream,
        Twist::Healthy,
        Scope::Any,
        &["context|request|call|operation canceled|cancelled"],
    ),
    rule(
        TimeoutUpstream,
        Scope::Any,
        &[
            "gateway|upstream|node|backend|server|endpoint|proxy|origin|cluster ... timeout|timeouted|timedout",
            "gateway|upstream|node|backend|server|endpoint|proxy|origin ... timed|time out",
            "deadline exceeded|has",
            "deadline ... exceed*|expired|elapsed",
            "no|without response|answer|reply from",
            "not|didnt|doesnt respond|answer|reply",
        ],
    ),
    twisted(
        TimeoutUpstream,
        Twist::HealthyIn200,
        Scope::Any,
        &[
            "timed out",
            "time out",
            "timeout|timeouts|timedout|timeouted",
            "took too long",
            "takes too long",
            "too long to",
        ],
    ),
    twisted(InternalError, Twist::Healthy, Scope::Any, &["transaction simulation failed"]),
    rule(
        ConnectionError,
        Scope::Any,
        &[
            "network error",
            "connection refused|reset|closed|failed|error|aborted|lost",
            "econnrefused|econnreset|enotfound|etimedout|ehostunreach|epipe",
            "no such host",
            "dial tcp",
            "getaddrinfo",
            "socket hang up",
            "broken pipe",
            "unexpected eof",
            "failed|unable|cannot|could ... to|not connect",
        ],
    ),
    rule(
        Overloaded,
        Scope::Any,
        &[
            "try|retry again|later ... later",
            "try again later",
            "temporarily unavailable",
            "service|currently unavailable",
            "at capacity",
            "bad gateway",
            "transport is closing",
            "code unavailable",
            "resource|resources exhausted|unavailable",
            "out of memory|resources",
        ],
    ),
];

/// Failures in general words.
pub(super) const INTERNAL: &[Rule] = &[
    twisted(InternalError, Twist::Here, Scope::Any, &["temporary|transient ... retry|again"]),
    rule(
        InternalError,
        Scope::Any,
        &[
            "internal ... error|failure|exception|server",
            "unable to complete",
            "cannot|cant|could not|unable ... fulfill|execute|complete|process|serve",
            "something|somethings|went wrong",
            "invalid response",
            "unexpected error|failure",
            "server error",
            "panic",
            "null pointer",
            "runtime error",
            "unhandled|uncaught exception|error",
        ],
    ),
];
