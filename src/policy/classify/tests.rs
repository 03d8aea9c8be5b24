//! The table of unseen wordings, properties, and one sentence for each behaviour.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::paraphrased::{AFTER, BEFORE};
use super::*;

/// A time before the vectors' dates.
pub(super) const NOW: u64 = 1_780_000_000;

#[test]
fn unseen_wordings_come_to_their_class() {
    let mut wrong = Vec::new();
    for (status, method, vendor, code, message, expected) in BEFORE.iter().chain(AFTER) {
        let outcome = error_outcome(*status, method, *vendor, *code, message, None);
        if outcome.class != *expected {
            wrong.push(format!("{status} {method} {code} {message}: {:?}, not {expected:?}", outcome.class));
        }
    }
    let count = BEFORE.len() + AFTER.len();
    assert!(wrong.is_empty(), "{} of {count} wrong\n{}", wrong.len(), wrong.join("\n"));
}

fn error_outcome(
    status: u16,
    method: &str,
    vendor: Option<&str>,
    code: i64,
    message: &str,
    data: Option<&str>,
) -> Outcome {
    let mut error = serde_json::json!({ "code": code, "message": message });
    if let Some(data) = data {
        error["data"] = serde_json::from_str(data).expect("JSON");
    }
    let body = serde_json::json!({ "jsonrpc": "2.0", "id": 9, "error": error }).to_string();
    answer(&Sent { vendor, ..Sent::new(9, method) }, status, &[], &body).outcome
}

fn answer(sent: &Sent<'_>, status: u16, headers: &[(&'static str, &str)], body: &str) -> Verdict {
    let headers = headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse::<HeaderValue>().expect("a value")))
        .collect();
    let body = Bytes::copy_from_slice(body.as_bytes());
    classify(sent, &Received::Answer { status, headers: &headers, body: &body }, NOW)
}

fn page(status: u16, body: &str) -> Outcome {
    answer(&Sent::new(1, "eth_getBalance"), status, &[], body).outcome
}

/// R1
#[test]
fn answers_that_are_no_answers_may_be_asked_for_elsewhere() {
    for status in
        [301, 302, 400, 401, 403, 404, 410, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 525, 526, 530]
    {
        for body in ["", "<html><body>sorry</body></html>", "nope", "{\"jsonrpc\":\"2.0\",\"id\":1,\"resu"] {
            let outcome = page(status, body);
            assert!(outcome.retry_elsewhere, "{status} {body}");
            assert!(matches!(outcome.told, Told::Map { .. }), "{status} {body}");
        }
    }
    for body in ["", " ", "<p>hello</p>", "{", "[]", "7", "{}", r#"{"jsonrpc":"2.0","id":2,"result":1}"#] {
        let outcome = page(200, body);
        assert!(outcome.retry_elsewhere && outcome.hurts_health, "{body}: {outcome:?}");
    }
}

/// R1: a gateway's own JSON
#[test]
fn errors_that_are_not_json_rpc_are_read_for_their_words() {
    for (status, body, expected) in [
        (429, r#"{"message":"API rate limit exceeded"}"#, Class::RateLimited),
        (429, r#"{"message":"You have used up your monthly quota"}"#, Class::QuotaExhausted),
        (200, r#"{"error":"Too Many Requests"}"#, Class::RateLimited),
        (200, r#"{"jsonrpc":"2.0","id":1,"error":"rate limit reached"}"#, Class::RateLimited),
        (403, r#"{"error":{"message":"Service not available in your region"}}"#, Class::GeoBlocked),
        (401, r#"{"msg":"who are you"}"#, Class::Unauthorized),
        (404, r#"{"detail":"no such page"}"#, Class::NotJson),
        (504, r#"{"message":"Endpoint request timed out"}"#, Class::TimeoutUpstream),
        (402, "{}", Class::QuotaExhausted),
    ] {
        assert_eq!(page(status, body).class, expected, "{status} {body}");
    }
}

/// R1: pages of CDNs and load balancers
#[test]
fn pages_are_judged_by_status_and_by_what_they_say_plainly() {
    for (status, body, expected) in [
        (
            429,
            "<!DOCTYPE html><title>Access denied | 1015</title><h1>You are being rate limited</h1>",
            Class::RateLimited,
        ),
        (
            403,
            "<html><h1>Access denied</h1><p>The owner has banned the country your IP is in</p></html>",
            Class::GeoBlocked,
        ),
        (403, "error code: 1009", Class::GeoBlocked),
        (403, "<html><h1>403 Forbidden</h1></html>", Class::Unauthorized),
        (503, "<html><h1>Down for maintenance</h1></html>", Class::Overloaded),
        (503, "Rate limit exceeded, retry in 5 seconds", Class::RateLimited),
        (200, "<html><title>Log in to continue</title></html>", Class::NotJson),
        (200, "Too many requests", Class::RateLimited),
        (404, "no such route", Class::NotJson),
        (500, "connect ECONNREFUSED 10.0.0.7:8545", Class::ConnectionError),
        (502, "<html><center>502 Bad Gateway</center></html>", Class::Overloaded),
        (525, "SSL handshake failed", Class::ConnectionError),
        (595, "", Class::InternalError),
        (308, "", Class::NotJson),
    ] {
        assert_eq!(page(status, body).class, expected, "{status} {body}");
    }
    assert_eq!(
        page(503, "Rate limit exceeded, retry in 5 seconds").retry_after,
        Some(Duration::from_secs(5))
    );
}

/// R2
#[test]
fn failures_without_an_answer_may_be_tried_elsewhere() {
    use Failure::*;
    for failure in [
        Dns,
        Refused,
        Unreachable,
        ConnectTimeout,
        Tls,
        Reset,
        Protocol,
        GoAway,
        Timeout,
        TooLarge,
        PoolExhausted,
    ] {
        let outcome = classify(&Sent::new(1, "eth_call"), &Received::Failed(failure), NOW).outcome;
        assert!(outcome.retry_elsewhere, "{failure:?}");
        let ours = matches!(failure, GoAway | TooLarge | PoolExhausted);
        assert_eq!(outcome.hurts_health, !ours, "{failure:?}");
    }
}

/// R3
#[test]
fn a_revert_passes_unchanged_even_when_its_text_speaks_of_rate_limits() {
    let error = r#"{"code":3,"message":"execution reverted: rate limit exceeded, unauthorized", "data":"0x08c379a0"}"#;
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#);
    let verdict = answer(&Sent::new(1, "eth_call"), 200, &[("retry-after", "60")], &body);
    assert_eq!(verdict.outcome, Outcome::of(Class::ExecutionReverted));
    let told = to_client(&verdict.outcome, verdict.payload.as_ref(), "eth_call");
    assert!(matches!(told, ToClient::ErrorBytes(raw) if raw == error));
}

/// R3: the wallets' wrapping of a node's error
#[test]
fn a_revert_wrapped_into_data_is_a_revert() {
    let data = r#"{"code":3,"message":"execution reverted: quota exceeded","data":"0x08c379a0"}"#;
    let outcome = error_outcome(200, "eth_call", None, -32603, "Internal JSON-RPC error.", Some(data));
    assert_eq!(outcome, Outcome::of(Class::ExecutionReverted));
}

/// R4
#[test]
fn a_parameter_that_is_echoed_takes_no_backend_down() {
    for message in [
        r#"invalid argument 0: cannot unmarshal "monthly quota exceeded" into Go value"#,
        "invalid address: unauthorized api key",
        "Invalid params: unknown variant rate limit exceeded",
        "invalid 1st argument: server is overloaded",
    ] {
        let outcome = error_outcome(200, "eth_getBalance", None, -32602, message, None);
        assert_eq!(outcome, Outcome::of(Class::InvalidParams), "{message}");
    }
}

/// R5
#[test]
fn missing_state_disguised_as_an_internal_error_shows_no_stack_trace() {
    let data =
        r#""Some.Trie.MissingTrieNodeException: node is missing from the DB\n at Some.Store.Get(url)""#;
    let outcome = error_outcome(200, "eth_getBalance", None, -32603, "Internal error", Some(data));
    assert_eq!(outcome.class, Class::MissingDataArchive);
    assert!(!outcome.hurts_health && outcome.retry_elsewhere);
    assert!(matches!(outcome.told, Told::Map { .. }));
}

/// R6
#[test]
fn an_empty_answer_is_doubted_only_when_the_caller_has_a_reason() {
    let body = r#"{"jsonrpc":"2.0","id":1,"result":null}"#;
    let mut sent = Sent::new(1, "eth_getTransactionReceipt");
    assert_eq!(answer(&sent, 200, &[], body).outcome, Outcome::of(Class::Ok));
    sent.doubt.empty = true;
    let doubted = answer(&sent, 200, &[], body);
    assert_eq!(doubted.outcome.class, Class::SilentWrong);
    assert!(doubted.outcome.retry_elsewhere && !doubted.outcome.hurts_health);
    let told = to_client(&doubted.outcome, doubted.payload.as_ref(), sent.method);
    assert!(matches!(told, ToClient::Result(result) if result == "null"));
}

/// R7
#[test]
fn the_most_informative_outcome_outranks_mere_failure() {
    use Class::*;
    let order = [InvalidParams, TxUnderpriced, RateLimited, ConnectionError];
    let ranks: Vec<u8> = order.iter().map(|class| Outcome::of(*class).tells()).collect();
    assert!(ranks.is_sorted_by(|a, b| a > b), "{ranks:?}");
}

/// R7 and H7
#[test]
fn rate_limits_hurt_nobody_and_say_when_to_come_back() {
    let date = "Sun, 31 May 2026 00:00:00 GMT"; // 1780185600
    for (status, headers, data, message, expected_s) in [
        (429, vec![("retry-after", "12")], None, "slow down", Some(12)),
        (429, vec![("retry-after", date)], None, "too many requests", Some(86_400)),
        (200, vec![], Some(r#"{"rate":{"backoff_seconds":30}}"#), "request rate exceeded", Some(30)),
        (200, vec![], None, "rate limit hit, try again in 3 seconds", Some(3)),
        (200, vec![], None, "throttled", None),
    ] {
        let mut error = serde_json::json!({ "code": -32005, "message": message });
        if let Some(data) = data {
            error["data"] = serde_json::from_str(data).expect("JSON");
        }
        let body = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "error": error }).to_string();
        let outcome = answer(&Sent::new(1, "eth_call"), status, &headers, &body).outcome;
        assert_eq!(outcome.class, Class::RateLimited, "{message}");
        assert!(!outcome.hurts_health && outcome.retry_elsewhere);
        assert_eq!(outcome.retry_after, expected_s.map(Duration::from_secs), "{message}");
    }
}

/// R8
#[test]
fn a_range_refusal_names_the_limit_to_the_caller() {
    for (message, blocks) in [
        (
            "the requested range of 90,000 blocks is wider than the allowed maximum of 2,500 blocks",
            Some(2500),
        ),
        ("eth_getLogs block range exceeded: at most 1k blocks per call", Some(1000)),
        ("block range too wide", None),
    ] {
        let outcome = error_outcome(200, "eth_getLogs", None, -32000, message, None);
        assert_eq!(outcome.class, Class::RangeTooLarge, "{message}");
        assert_eq!(outcome.range_limit_blocks, blocks, "{message}");
        assert_eq!(outcome.told, Told::PassAs(-32602));
    }
}

/// H8
#[test]
fn keys_and_quotas_take_a_backend_out_for_a_while() {
    for (status, body, expected) in [
        (401, "key unknown", Class::Unauthorized),
        (402, "pay", Class::QuotaExhausted),
        (410, "Gone", Class::Unauthorized),
        (
            403,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"monthly capacity used up: limit exceeded"}}"#,
            Class::QuotaExhausted,
        ),
    ] {
        let outcome = page(status, body);
        assert_eq!(outcome.class, expected, "{status} {body}");
        assert!(outcome.hurts_health && outcome.cool_down.is_some(), "{status} {body}");
        assert!(matches!(outcome.told, Told::Map { .. }), "the backend's words may hold the key");
    }
}

/// T1
#[test]
fn already_known_is_success_with_the_hash_computed_here() {
    for message in
        ["already known", "AlreadyKnown", "Transaction already exists in txpool", "tx already in mempool"]
    {
        let outcome = error_outcome(200, "eth_sendRawTransaction", None, -32000, message, None);
        assert_eq!(outcome.told, Told::TransactionHash, "{message}");
        assert!(matches!(to_client(&outcome, None, "eth_sendRawTransaction"), ToClient::TransactionHash));
        let read = error_outcome(200, "eth_getBalance", None, -32000, message, None);
        assert_ne!(read.told, Told::TransactionHash, "only a broadcast has a hash");
    }
}

/// T1: a false success is the worst of answers
#[test]
fn only_this_very_transaction_becomes_a_success() {
    for message in [
        "another transaction with this nonce already exists",
        "nonce already in mempool",
        "a different tx is already pending for this account",
        "address already reserved",
        "sender already has 16 pending transactions",
        "not a known transaction type",
        "unknown transaction",
        "account already exists in state",
        "limit already exceeded",
        "connection already closed",
    ] {
        for code in [-32000, -32603, -32010, 3] {
            let outcome = error_outcome(200, "eth_sendRawTransaction", None, code, message, None);
            assert_ne!(outcome.told, Told::TransactionHash, "{message}");
        }
    }
}

/// T2
#[test]
fn nonce_too_low_is_the_same_everywhere_and_keeps_its_words() {
    let outcome =
        error_outcome(200, "eth_sendRawTransaction", None, -32000, "nonce too low: got 4, want 5", None);
    assert_eq!(outcome, Outcome::of(Class::TxNonceTooLow));
    assert_eq!(outcome.told, Told::Pass);
}

/// T4
#[test]
fn one_pools_policy_leaves_the_others_to_decide() {
    for message in ["transaction underpriced", "txpool is full", "gas tip below minimum of this node"] {
        let outcome = error_outcome(200, "eth_sendRawTransaction", None, -32000, message, None);
        assert!(outcome.retry_elsewhere && !outcome.hurts_health, "{message}: {outcome:?}");
        assert_eq!(outcome.told, Told::Pass, "{message}");
    }
}

/// R15
#[test]
fn another_chains_answer_is_caught() {
    for (method, result, expected) in [
        ("eth_chainId", "\"0x1\"", Class::Ok),
        ("eth_chainId", "\"0x89\"", Class::WrongChain),
        ("net_version", "\"1\"", Class::Ok),
        ("net_version", "\"137\"", Class::WrongChain),
        ("eth_chainId", "null", Class::BadEnvelope),
    ] {
        let sent = Sent { chain_id: Some(1), ..Sent::new(1, method) };
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        assert_eq!(answer(&sent, 200, &[], &body).outcome.class, expected, "{method} {result}");
    }
}

/// C3
#[test]
fn an_impossible_height_is_not_believed() {
    let mut sent = Sent::new(1, "eth_blockNumber");
    sent.doubt.head = Some((100, 110));
    for (height, expected) in
        [("0x64", Class::Ok), ("0xf4240", Class::SilentWrong), ("0x0", Class::SilentWrong)]
    {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"result":"{height}"}}"#);
        assert_eq!(answer(&sent, 200, &[], &body).outcome.class, expected, "{height}");
    }
}

fn batch(body: &str) -> BatchVerdict {
    let sent = [Sent::new(10, "eth_getBalance"), Sent::new(11, "eth_call"), Sent::new(12, "eth_gasPrice")];
    let body = Bytes::copy_from_slice(body.as_bytes());
    classify_batch(&sent, &Received::Answer { status: 200, headers: &HeaderMap::new(), body: &body }, NOW)
}

fn classes(verdict: &BatchVerdict) -> Vec<Class> {
    verdict.items.iter().map(|item| item.outcome.class).collect()
}

/// P2
#[test]
fn batch_replies_find_their_calls_and_only_the_missing_ones_move() {
    let verdict = batch(
        r#"[{"jsonrpc":"2.0","id":12,"result":"0x7"},
            {"jsonrpc":"2.0","id":10,"error":{"code":-32005,"message":"rate limited"}},
            {"jsonrpc":"2.0","id":99,"result":"0x8"}]"#,
    );
    assert_eq!(classes(&verdict), [Class::RateLimited, Class::WrongId, Class::Ok]);
    assert!(verdict.items[1].outcome.retry_elsewhere && verdict.items[1].payload.is_none());
    assert!(matches!(&verdict.items[2].payload, Some(Payload::Result(result)) if result == "\"0x7\""));
    assert!(verdict.stray.is_some());
}

/// P2
#[test]
fn a_single_object_for_a_batch_is_that_backends_failure() {
    for (error, expected) in [
        (r#"{"code":-32600,"message":"Invalid Request"}"#, Class::BatchUnsupported),
        (r#"{"code":-32000,"message":"batch of 3 exceeds the limit of 2"}"#, Class::BatchTooLarge),
        (r#"{"code":-32005,"message":"too many requests"}"#, Class::RateLimited),
        (r#"{"code":3,"message":"execution reverted"}"#, Class::BadEnvelope),
    ] {
        let verdict = batch(&format!(r#"{{"jsonrpc":"2.0","id":null,"error":{error}}}"#));
        assert_eq!(classes(&verdict), [expected; 3], "{error}");
        assert!(verdict.items.iter().all(|item| item.outcome.retry_elsewhere), "{error}");
    }
}

/// P2
#[test]
fn two_replies_to_one_call_are_both_disbelieved() {
    let verdict = batch(
        r#"[{"jsonrpc":"2.0","id":10,"result":1},{"jsonrpc":"2.0","id":10,"result":2},
            {"jsonrpc":"2.0","id":11,"result":1},{"jsonrpc":"2.0","id":12,"result":1}]"#,
    );
    assert_eq!(classes(&verdict), [Class::WrongId, Class::Ok, Class::Ok]);
}

/// P3
#[test]
fn a_last_word_for_another_call_is_not_delivered() {
    let body = r#"{"jsonrpc":"2.0","id":8,"error":{"code":3,"message":"execution reverted"}}"#;
    let verdict = answer(&Sent::new(7, "eth_call"), 200, &[], body);
    assert_eq!(verdict.outcome.class, Class::WrongId);
    assert!(verdict.payload.is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_that_comes_makes_it_panic_and_waits_are_bounded(
        status in 100_u16..1000,
        retry_after in "[ -~]{0,24}",
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "[{}\\[\\]\",:a-z0-9\\\\ ]{0,120}".prop_map(String::into_bytes),
        ],
    ) {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", retry_after.parse().expect("printable"));
        let body = Bytes::from(body);
        let received = Received::Answer { status, headers: &headers, body: &body };
        for method in ["eth_call", "eth_sendRawTransaction", "eth_getLogs", "eth_chainId"] {
            let sent = Sent::new(1, method);
            let verdict = classify(&sent, &received, NOW);
            prop_assert!(verdict.outcome.retry_after.is_none_or(|wait| wait <= RETRY_AFTER_MAX));
            to_client(&verdict.outcome, verdict.payload.as_ref(), method);
            prop_assert_eq!(classify_batch(&[sent, Sent::new(2, method)], &received, NOW).items.len(), 2);
        }
    }

    #[test]
    fn no_error_text_makes_it_panic(message in "\\PC{0,300}", data in "\\PC{0,100}", code in any::<i64>()) {
        let data = serde_json::Value::String(data).to_string();
        let outcome = error_outcome(200, "eth_sendRawTransaction", Some("alchemy"), code, &message, Some(&data));
        prop_assert!(outcome.retry_after.is_none_or(|wait| wait <= RETRY_AFTER_MAX));
    }

    /// R3
    #[test]
    fn no_revert_text_changes_health(
        reason in prop_oneof![
            "\\PC{0,120}".boxed(),
            proptest::sample::select(BEFORE.iter().chain(AFTER).map(|case| case.4.to_owned()).collect::<Vec<_>>()).boxed(),
        ],
        status in prop_oneof![Just(200_u16), Just(400), Just(403), Just(429), Just(500)],
        prefix in prop_oneof![Just((3, "execution reverted: ")), Just((-32000, "execution reverted: ")),
            Just((-32603, "VM Exception while processing transaction: reverted with reason string '"))],
    ) {
        let message = format!("{}{reason}", prefix.1);
        let outcome = error_outcome(status, "eth_call", None, prefix.0, &message, Some("\"0x08c379a0\""));
        prop_assert_eq!(outcome, Outcome::of(Class::ExecutionReverted));
    }

    /// A code of 3 with data is a revert, whatever the text.
    #[test]
    fn code_three_with_data_is_a_revert(message in "\\PC{0,120}") {
        let outcome = error_outcome(200, "eth_estimateGas", None, 3, &message, Some("\"0x12345678\""));
        prop_assert_eq!(outcome, Outcome::of(Class::ExecutionReverted));
    }

    #[test]
    fn a_valid_result_is_never_an_error(text in "\\PC{0,200}", id in any::<u64>()) {
        let result = serde_json::Value::String(text).to_string();
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        let verdict = answer(&Sent::new(id, "eth_call"), 200, &[], &body);
        prop_assert_eq!(verdict.outcome, Outcome::of(Class::Ok));
        prop_assert!(matches!(verdict.payload, Some(Payload::Result(bytes)) if bytes == result));
    }
}
