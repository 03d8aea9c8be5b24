//! Words about the call: its method, its parameters, its envelope.

use super::defaults::Twist;
use super::method::Scope;
use super::rule::{Rule, rule, twisted};
use crate::policy::Class::*;

pub(super) const CALLER_FIRST: &[Rule] = &[
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

/// Refusals of a method that also speak of plans, lists or unlocking.
pub(super) const METHOD_FIRST: &[Rule] = &[
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
            "not|insufficient|no enough|sufficient|permission* permission*|privilege*|for ... method|methods",
            "insufficient|missing|lack* permission*|privilege* ... method|methods",
            "custom traces",
        ],
    ),
];

/// Methods a node or a plan does not offer.
pub(super) const METHODS: &[Rule] = &[rule(
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

/// The caller's mistakes in general words.
pub(super) const CALLER: &[Rule] = &[
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
