//! The rules on words, and the order in which they are tried: the most specific first.
//!
//! Phrases are grouped by what they mean, not by who says them; [`Phrase`] explains their form. The
//! sources are the error texts of geth, reth, Nethermind, Besu, Erigon, Parity, jsonrpsee, proxyd and
//! of the providers' documentation.

use std::sync::LazyLock;

use super::defaults::Twist;
use super::method::{Scope, Scopes};
use super::text::{Phrase, Text};
use super::{execution, transactions};
use crate::policy::Class::{self, *};

/// One meaning, the calls it makes sense for, and the phrases that carry it.
pub(super) struct Rule {
    pub(super) class: Class,
    pub(super) scope: Scope,
    pub(super) twist: Twist,
    pub(super) phrases: &'static [&'static str],
}

/// A rule as the class's defaults have it.
pub(super) const fn rule(class: Class, scope: Scope, phrases: &'static [&'static str]) -> Rule {
    Rule { class, scope, twist: Twist::None, phrases }
}

/// A rule that departs from the class's defaults.
pub(super) const fn twisted(
    class: Class,
    twist: Twist,
    scope: Scope,
    phrases: &'static [&'static str],
) -> Rule {
    Rule { class, scope, twist, phrases }
}

/// Searched in the message, then in the texts that stand in `data`. `true` marks groups that say something
/// about the backend itself. A text that begins as a complaint about the caller's parameters is not heard
/// on these: whatever else it says may be an echo of the parameter.
const SPECIFIC: &[(bool, &[Rule])] = &[
    (false, CALLER_FIRST),
    (false, transactions::RULES),
    (false, SIZES),
    (true, CHAIN),
    (true, SYNC),
    (false, METHOD_FIRST),
    (true, LIMITS),
    (false, DATA),
    (false, BLOCKS),
    (false, execution::RULES),
    (false, METHODS),
    (true, ACCESS),
    (true, SERVER),
];

/// Words so general that anything in `data` says more.
const GENERAL: &[(bool, &[Rule])] = &[(false, CALLER), (false, INTERNAL)];

/// Rules for plain sentences, which gateways send instead of JSON: only what speaks of the backend.
const PAGE: &[(bool, &[Rule])] =
    &[(true, SIZES), (true, METHOD_FIRST), (true, LIMITS), (true, ACCESS), (true, CONNECTION)];

/// How a complaint about parameters begins.
const CALLER_SPEAKS: &[&str] = &[
    "^ invalid argument",
    "^ invalid # argument",
    "^ invalid 1st|2nd|3rd|4th argument",
    "^ invalid param|params|parameter|parameters",
    "^ invalid address|hex|input|type|value|hash|topic|topics|filter|block",
    "^ cannot|cant|couldnt|failed|unable|error ... unmarshal|parse|parsing|decode|decoding|deserialize",
    "^ json cannot",
    "^ unknown field|variant",
    "^ missing value|field|param|parameter|argument",
    "^ bad address|param|params|parameter|argument",
    "^ hex string",
    "^ storage key",
    "^ unsupported block|tag",
];

/// A rule with its phrases taken apart.
struct Ready {
    rule: &'static Rule,
    phrases: Vec<Phrase>,
    about_backend: bool,
}

/// The tables, taken apart once for the whole process: constants, only not ones that the compiler can make.
struct Tables {
    caller_speaks: Vec<Phrase>,
    specific: Vec<Ready>,
    general: Vec<Ready>,
    page: Vec<Ready>,
    /// What makes a detail more than a repeated parameter.
    about_size: Vec<Phrase>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let ready = |groups: &'static [(bool, &'static [Rule])]| {
        let rules = groups.iter().flat_map(|(about, rules)| rules.iter().map(move |rule| (*about, rule)));
        rules
            .map(|(about_backend, rule)| Ready { rule, phrases: Phrase::all(rule.phrases), about_backend })
            .collect()
    };
    Tables {
        caller_speaks: Phrase::all(CALLER_SPEAKS),
        specific: ready(SPECIFIC),
        general: ready(GENERAL),
        page: ready(PAGE),
        about_size: Phrase::all(&["range", "limit"]),
    }
});

/// The class that the texts call for, if any word of them is known.
pub(super) fn find(scopes: Scopes, message: &Text, detail: &Text) -> Option<(&'static Rule, Heard)> {
    let tables = &*TABLES;
    let caller_speaks = message.has_any(&tables.caller_speaks);
    let deaf_to_detail = caller_speaks && !detail.has_any(&tables.about_size);
    first(&tables.specific, scopes, message, caller_speaks)
        .map(|rule| (rule, Heard::Message))
        .or_else(|| first(&tables.specific, scopes, detail, deaf_to_detail).map(|rule| (rule, Heard::Data)))
        .or_else(|| first(&tables.general, scopes, message, false).map(|rule| (rule, Heard::Message)))
}

/// The same for a sentence that is no JSON-RPC error.
pub(super) fn find_in_page(scopes: Scopes, text: &Text) -> Option<&'static Rule> {
    first(&TABLES.page, scopes, text, false)
}

/// Where the deciding words stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// In `message`.
    Message,
    /// In `data`: the message is too general to be passed on.
    Data,
}

fn first(rules: &'static [Ready], scopes: Scopes, text: &Text, deaf: bool) -> Option<&'static Rule> {
    if text.is_empty() {
        return None;
    }
    rules
        .iter()
        .filter(|ready| !(deaf && ready.about_backend) && scopes.contains(ready.rule.scope))
        .find(|ready| text.has_any(&ready.phrases))
        .map(|ready| ready.rule)
}

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

const CALLER_FIRST: &[Rule] = &[
    twisted(InvalidParams, Twist::Elsewhere, Scope::Any, &["invalid type map expected block number"]),
    twisted(
        BlockNotFound,
        Twist::NotHere,
        Scope::Any,
        &[
            "not a supported commitment",
            "malformed blocknumber",
            "malformed block number",
            "unsupported|unknown block tag",
        ],
    ),
    rule(
        InvalidParams,
        Scope::Any,
        &[
            "empty transaction data",
            "both gas price and",
            "too many arguments",
            "exceed max topics",
            "is not a precompile",
            "invalid from and to block",
            "cannot specify both",
            "from block ... greater|higher|larger|after|bigger than to block",
            "missing value for required argument",
            "hex string|number without|with|has",
            "hex string ... length",
            "cannot unmarshal",
            "invalid ... address|hash|hex ... length",
        ],
    ),
    rule(InvalidRequest, Scope::Any, &["empty batch", "at least one batch call"]),
];

/// Ranges, results, bodies, batches.
const SIZES: &[Rule] = &[
    rule(
        BatchUnsupported,
        Scope::Any,
        &[
            "batch|batched|batching|batches ... not supported|allowed|enabled|available|permitted|accepted",
            "batch|batched|batching|batches ... unsupported|disabled|forbidden",
            "not|doesnt|does|cannot|dont support|supports|accept|accepts|allow|allows|process batch|batches|batched|batching",
        ],
    ),
    rule(
        BatchTooLarge,
        Scope::Any,
        &[
            "batch ... too large|big|long|many",
            "batch ... limit|size|length|maximum ... exceed*",
            "batch ... exceed*",
            "exceed* ... batch",
            "too many ... batch",
            "too large|big|many|long batch",
            "batch size|limit|length ... max|maximum|limit|limited|up|least|above|over|greater|larger",
            "max|maximum batch size|length|limit",
        ],
    ),
    rule(
        ResponseTooLarge,
        Scope::Any,
        &[
            "response|result|results|output|reply|answer|payload|log|logs|data|body ... size ... exceed*|limit|big|large",
            "response|result|results|output|reply|answer ... too large|big|long|many",
            "response ... exceed* ... limit|size|maximum|max",
            "too many|large logs|results|events|result|response",
            "returned|returns|return|returning ... more than # results|logs|events|records",
            "more than # results|logs|events|records",
            "exceed* max|maximum|the results|logs|result|response|number ... results|logs",
            "query ... exceed* ... results|logs",
            "logs|results|events ... exceed* ... limit|max|maximum|cap",
            "max|maximum results|logs",
            "received message larger than",
            "limit of # results|logs|events",
            "maximum|max number of logs|results|events",
        ],
    ),
    rule(
        RangeTooLarge,
        Scope::Any,
        &[
            "range ... too large|wide|big|long|many|great|broad",
            "too large|wide|big|long|many ... range",
            "range ... larger|bigger|greater|wider|longer|more|over|above than|the|limit|max|maximum",
            "exceed* ... range",
            "range ... exceed*",
            "range limit|limited|limits",
            "range ... limit|limited|max|maximum ... #",
            "limit|limited|limits|up|restricted|restrict|maximum|max|allowed ... # ... block|blocks ... range",
            "limit|limited|limits|up|restricted|restrict|maximum|max|allowed to|of|is|a # block|blocks",
            "limited to a # range",
            "max|maximum ... block|blocks ... range|allowed|per|distance",
            "maximum|max ... number|count of blocks",
            "block|blocks ... distance|span|window ... exceed*|large|big|limit|limited|max|maximum",
            "too many blocks",
            "more than # blocks",
            "range|ranges over|above|beyond # blocks",
            "at most # block|blocks",
            "only # block|blocks",
            "addresses or topics per search",
            "contains # filters",
            "too many addresses|topics|filters",
            "reduce|narrow|shrink|decrease|smaller ... range",
            "maximum|max range",
            "query ... exceed* ... blocks",
        ],
    ),
    rule(
        RequestTooLarge,
        Scope::Any,
        &[
            "request|payload|content|body|entity ... too large|big|long",
            "content length ... exceed*",
            "request|body|payload ... size|body ... exceed*",
            "request|body|payload ... exceed* ... size|bytes",
        ],
    ),
];

/// The backend belongs to another chain.
const CHAIN: &[Rule] = &[rule(
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
const SYNC: &[Rule] = &[rule(
    Syncing,
    Scope::Any,
    &[
        "^ syncing|synchronizing",
        "still|is|are|currently|being|node syncing|synchronizing|synchronising|catching|indexing",
        "sync|syncing|synchronization|synchronisation ... progress|finished|completed|complete|done",
        "not|isnt|yet ... synced|synchronized|synchronised",
        "not ... in sync",
        "out of sync",
        "unsynced|unsynchronized",
        "catching up",
        "node ... behind|lagging",
        "lagging behind",
        "during sync",
    ],
)];

/// Refusals of a method that also speak of plans, lists or unlocking.
const METHOD_FIRST: &[Rule] = &[
    twisted(
        MethodUnsupported,
        Twist::Final,
        Scope::Account,
        &["unknown account", "authentication needed", "could not unlock", "no key for", "account ... locked"],
    ),
    twisted(MethodUnsupported, Twist::Final, Scope::Any, &["^ no subscription in", "no * subscription in"]),
    rule(
        SubscriptionUnsupported,
        Scope::Any,
        &[
            "notifications|subscriptions|subscribe|subscription ... not supported|available|enabled|allowed",
            "notifications|subscriptions ... unsupported|disabled",
            "only ... over|via|through|on ... websocket|websockets|ws|wss",
        ],
    ),
    rule(MethodUnsupported, Scope::Trace, &["archiv* ... plan|tier|included", "archiv* debug"]),
    rule(
        MethodUnsupported,
        Scope::Any,
        &[
            "method|methods|rpc ... not whitelist*|allowlist*",
            "method|methods ... only ... plan|plans|tier|tiers|paid|premium",
            "method|methods ... not ... plan|plans|tier|tiers|subscription",
            "not authorized|allowed|permitted to access|use|call ... method",
            "method ... blocked|forbidden|restricted|denied|disallowed|deprecated|removed",
            "method ... requires|require ... plan|tier|upgrade|subscription",
            "upgrade ... to use|access ... method",
            "not enough|sufficient permission* ... method",
            "custom traces",
        ],
    ),
];

/// Capacity: what somebody pays for, what comes per second, and what is simply too much.
const LIMITS: &[Rule] = &[
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

/// State and history that a node does not keep.
const DATA: &[Rule] = &[
    // Waiting helps for logs: the index follows the head.
    twisted(MissingDataArchive, Twist::Here, Scope::Logs, &["requested data ... not available"]),
    rule(
        MissingDataArchive,
        Scope::Any,
        &[
            "missing trie node",
            "no historical|archive|history",
            "historical|historic|history|old|past|ancient ... state|data|block|blocks|balance|history ... unavailable|missing|pruned|supported|available|found",
            "state|states|data|history|histories|body|bodies|receipts|trie ... pruned|pruning|unavailable|missing|deleted|discarded",
            "pruned|pruning ... state|data|history|block|blocks|node|mode",
            "pruned history",
            "is pruned",
            "been pruned",
            "pruning archive",
            "state ... not available|found|exist|stored|kept|accessible|indexed",
            "state ... is unavailable",
            "no state available",
            "missing|unavailable state|data|history|historical",
            "histor* ... not|havent|hasnt|arent|isnt ... indexed|available|supported|synced",
            "archiv* ... node|nodes|data|request|requests|state|mode|plan|access|endpoint|required|needed|token",
            "archival|archive",
            "older than # blocks",
            "older than ... blocks|available|retained|oldest|earliest",
            "before|below ... earliest|oldest|lowest",
            "before|below ... first available",
            "earliest|oldest|lowest ... available|height|block",
            "maximum proof window",
            "proof window|history",
            "header|body|receipts|bodies not found for block",
            "empty reader set",
            "no transactions snapshot",
            "snapshot* ... not found|available",
            "not been|yet indexed",
            "logs are not ... recorded",
            "log|logs index|indices ... unavailable|not",
            "requested data ... not available|found",
            "metadata is not found",
            "load state tree",
            "chain exception unexpected error code 40000",
            "beyond|outside ... retention|retained|history",
            "ancient block|data|blocks",
            "required ... unavailable",
            "missing block data",
            "data not available|found|stored",
            "node is missing from the db",
            "not ... in ... database",
        ],
    ),
    rule(MissingDataArchive, Scope::Logs, &["^ block not found # $"]),
];

/// Blocks, heads, transactions, filters.
const BLOCKS: &[Rule] = &[
    twisted(TxNotFound, Twist::Final, Scope::Any, &["genesis ... not traceable"]),
    rule(
        FilterNotFound,
        Scope::Any,
        &[
            "filter ... not found|exist|exists",
            "filter ... expired|unknown|uninstalled",
            "unknown|no such filter|filters",
            "filter with|for|id ... not",
        ],
    ),
    rule(
        AheadOfHead,
        Scope::Any,
        &[
            "beyond ... head|latest|tip|current|chain",
            "ahead of ... head|latest|tip|chain|current",
            "higher|greater|larger|later|newer|above than ... latest|current|head|tip|best|chain|highest|last|known",
            "after|past|exceeds|above ... latest|current|head|tip|best|chain|last block|head|height|number",
            "after|past|above|beyond the|our|its head|tip|latest",
            "block|height|slot ... in the future",
            "future block",
            "not processed|imported|produced|mined|reached|executed|synced yet",
            "hasnt|has not been yet processed|imported|produced|mined|executed|reached",
            "block ... not yet ... available|known|produced|processed|mined|imported",
            "unfinalized data",
            "must be less than or equal to the current",
            "block is|number out of range",
        ],
    ),
    rule(
        BlockNotFound,
        Scope::Any,
        &[
            "header|headers|block|blocks ... not found",
            "header|block range not found",
            "unknown block|header",
            "block|header ... does|do not exist",
            "block|header ... doesnt|dont exist",
            "block|header ... not exist|exists|available|known|known",
            "block|header|blocks ... unavailable|missing|unknown",
            "could|can not find|get|load|retrieve block|header",
            "couldnt|cant|cannot|failed|unable ... find|get|load|retrieve|fetch ... block|header",
            "no|missing|find block|header|blocks",
            "^ # could not be found",
            "record not found",
            "no such block",
            "block hash|number not found|known",
            "not ... canonical",
            "null round",
            "height # ... not available|found",
        ],
    ),
    rule(
        TxNotFound,
        Scope::Any,
        &[
            "transaction|tx|txn|receipt|receipts|transactions ... not found|exist|known|available|indexed",
            "unknown transaction|tx|receipt",
            "no|missing transaction|receipt|tx",
            "transaction|tx|receipt ... doesnt exist",
            "cannot|cant|couldnt|could ... find transaction|receipt|tx",
            "transaction indexing is in progress",
        ],
    ),
];

/// Methods a node or a plan does not offer.
const METHODS: &[Rule] = &[rule(
    MethodUnsupported,
    Scope::Any,
    &[
        "method|methods|tracer|namespace|module|api|function|endpoint|feature ... not found|supported|available|exist|exists|implemented|enabled|allowed|recognized|recognised|defined|known|whitelisted|included|permitted|active|exposed",
        "method|methods|tracer|namespace|module|api|txpool ... unsupported|disabled|unavailable|unknown|unimplemented|doesnt",
        "unsupported|unknown|unrecognized|unimplemented|disabled|undefined|unavailable|such method|methods|tracer|namespace|rpc|procedure",
        "tx pool disabled",
        "txpool disabled",
        "not included in|with ... plan|tier|subscription",
        "not available on|in|for|with your|this|the|current|free ... plan|tier|subscription",
        "only available on|in|for|to|with|through ... plan|plans|tier|tiers|customers|users|subscribers",
        "not supported on|by|for this|the network|chain|node|backend|endpoint|provider|client",
        "not implemented",
        "_method ... not supported|available|enabled|implemented|found|allowed|exist",
        "operation not supported",
        "does not support ... method|methods|this",
    ],
)];

/// Keys, origins, regions.
const ACCESS: &[Rule] = &[
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
            "invalid|wrong|missing|unknown|expired|inactive|disabled|no|incorrect|bad|revoked|such apikey|token|credentials|credential|jwt|key|keys|signature header",
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
const SERVER: &[Rule] = &[
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
            "resource|resources exhausted|unavailable",
            "out of memory|resources",
        ],
    ),
];

/// The caller's mistakes in general words.
const CALLER: &[Rule] = &[
    rule(
        InvalidRequest,
        Scope::Any,
        &[
            "invalid json rpc|version",
            "json rpc|jsonrpc version not supported",
            "version not supported",
            "no|missing method specified|name",
            "no method",
            "^ invalid id",
            "^ invalid request $",
            "not a valid request",
        ],
    ),
    rule(
        ParseError,
        Scope::Any,
        &[
            "^ parse error",
            "parse ... request",
            "unexpected end of json",
            "invalid json",
            "malformed json|request",
            "syntax error",
        ],
    ),
    rule(
        InvalidParams,
        Scope::Any,
        &[
            "invalid|missing|bad|wrong|malformed|unexpected|incorrect|unknown|required argument|arguments|param|params|parameter|parameters|input|hex|address|value|type|length|format|topic|topics|filter|range|percentile|percentiles|blocknumber|field|quantity|encoding",
            "invalid|missing|bad|wrong|malformed|unexpected|incorrect ... percentile|percentiles|config|option|options|block number",
            "invalid block range",
            "invalid|missing ... argument|param|params|parameter|parameters",
            "param|params|parameter|parameters|argument|arguments ... invalid|missing|required|incorrect|wrong|malformed|expected",
            "non array args",
            "want at most|least|#",
            "block access list ... before fork",
            "not a valid|an valid ... address|hex|hash|number",
            "is not a valid",
        ],
    ),
];

/// Failures in general words.
const INTERNAL: &[Rule] = &[
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phrase_is_in_the_form_of_the_texts() {
        let groups = SPECIFIC.iter().chain(GENERAL).chain(PAGE);
        let phrases = groups.flat_map(|(_, rules)| *rules).flat_map(|rule| rule.phrases);
        for phrase in phrases.chain(CALLER_SPEAKS) {
            let bare = phrase.strip_prefix("^ ").unwrap_or(phrase);
            let bare = bare.strip_suffix(" $").unwrap_or(bare);
            assert!(
                !bare.starts_with("...") && !bare.ends_with("..."),
                "{phrase}: a gap at an end says nothing"
            );
            for choice in bare.split(' ').filter(|part| *part != "...").flat_map(|part| part.split('|')) {
                let word = choice.strip_suffix('*').unwrap_or(choice);
                let is_word = !word.is_empty()
                    && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
                assert!(is_word || matches!(word, "*" | "#") || choice == "*", "{phrase}: {choice:?}");
            }
        }
    }
}
