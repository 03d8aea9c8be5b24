//! What an answer to one HTTP request of the load came to, in the words of [`classify`](crate::policy::classify). Pure.

use bytes::Bytes;
use http::HeaderMap;

use super::agreement::digest;
use super::call::Request;
use crate::ethereum::read_number;
use crate::jsonrpc::reply::Payload;
use crate::policy::classify::{Received, Sent, Verdict, classify, classify_batch};
use crate::policy::{Class, Failure, Told};

/// How a request fared, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// A result.
    Answered,
    /// An error that is the last word on this call, whoever is asked: it reverts, its parameters are wrong.
    Refused,
    /// No answer, or an error that another backend would not have given.
    Failed,
}

/// What is known of a request once its answer is there, or is not to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    /// The worst of its calls'.
    pub(super) fate: Fate,
    /// Its class.
    pub(super) class: Class,
    /// Heights of the head that were told.
    pub(super) heights: Vec<u64>,
    /// Answers to settled calls: place in the request and digest.
    pub(super) settled: Vec<(usize, u64)>,
}

/// Judges what came. `first_id` is the one that [`Request::body`] was given; digests are made where `compares`.
pub(super) fn judge(
    request: &Request,
    first_id: u64,
    chain_id: Option<u64>,
    received: Result<(u16, &HeaderMap, &Bytes), Failure>,
    compares: bool,
) -> Judged {
    let received = match received {
        Ok((status, headers, body)) => Received::Answer { status, headers, body },
        Err(failure) => Received::Failed(failure),
    };
    let sent: Vec<Sent<'_>> = request
        .calls
        .iter()
        .zip(first_id..)
        .map(|(call, id)| Sent { chain_id, ..Sent::new(id, &call.method) })
        .collect();
    let verdicts = match (request.is_batch, sent.first()) {
        (false, Some(sent)) => vec![classify(sent, &received, 0)],
        _ => classify_batch(&sent, &received, 0).items,
    };
    let mut judged =
        Judged { fate: Fate::Answered, class: Class::Ok, heights: Vec::new(), settled: Vec::new() };
    for (at, (verdict, call)) in verdicts.iter().zip(request.calls.iter()).enumerate() {
        let fate = fate(verdict);
        if fate > judged.fate || at == 0 {
            (judged.fate, judged.class) = (fate, verdict.outcome.class);
        }
        if fate == Fate::Failed {
            continue;
        }
        let result = match &verdict.payload {
            Some(Payload::Result(result)) => Some(result),
            _ => None,
        };
        judged.heights.extend(result.and_then(|result| height(&call.method, call.params.as_deref(), result)));
        if compares && call.is_settled {
            // Of refusals the class is compared: every node has words of its own.
            let digest = match result {
                Some(result) => digest(result),
                None => digest(format!("\"refused: {}\"", verdict.outcome.class.name()).as_bytes()),
            };
            judged.settled.extend(digest.map(|digest| (at, digest)));
        }
    }
    judged
}

fn fate(verdict: &Verdict) -> Fate {
    let outcome = &verdict.outcome;
    match outcome.class {
        Class::Ok => Fate::Answered,
        // "Already known" is success.
        _ if outcome.told == Told::TransactionHash => Fate::Answered,
        Class::SilentWrong | Class::WrongChain | Class::WrongId => Fate::Failed,
        _ if outcome.retry_elsewhere || outcome.retry_here || outcome.hurts_health => Fate::Failed,
        _ => Fate::Refused,
    }
}

/// The height of the head that an answer tells.
fn height(method: &str, params: Option<&str>, result: &[u8]) -> Option<u64> {
    match method {
        "eth_blockNumber" => {
            let text: &str = serde_json::from_slice(result).ok()?;
            u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
        }
        "eth_getBlockByNumber" if params?.contains("\"latest\"") => read_number(result),
        _ => None,
    }
}

/// Whether answers of this class are worse than none.
pub(super) fn is_wrong(class: Class) -> bool {
    matches!(class, Class::SilentWrong | Class::WrongChain | Class::WrongId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Call;

    fn judged(request: &Request, status: u16, body: &str) -> Judged {
        let (headers, body) = (HeaderMap::new(), Bytes::copy_from_slice(body.as_bytes()));
        judge(request, 7, Some(1), Ok((status, &headers, &body)), true)
    }

    fn one(method: &str) -> Request {
        Request::single(Call { is_settled: true, ..Call::new(method, Some("[\"latest\",false]")) })
    }

    #[test]
    fn each_answer_has_its_fate_and_class() {
        let call = one("eth_call");
        for (status, body, fate, class) in [
            (200, r#"{"jsonrpc":"2.0","id":7,"result":"0x"}"#, Fate::Answered, "ok"),
            (200, r#"{"jsonrpc":"2.0","id":8,"result":"0x"}"#, Fate::Failed, "wrong_id"),
            (
                200,
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":3,"message":"execution reverted","data":"0x"}}"#,
                Fate::Refused,
                "execution_reverted",
            ),
            (200, "<html>busy</html>", Fate::Failed, "not_json"),
            (200, "", Fate::Failed, "empty_body"),
            (429, "", Fate::Failed, "rate_limited"),
        ] {
            let judged = judged(&call, status, body);
            assert_eq!((judged.fate, judged.class.name()), (fate, class), "{status} {body}");
        }
        let failed = judge(&call, 7, None, Err(Failure::Timeout), true);
        assert_eq!((failed.fate, failed.class), (Fate::Failed, Class::TimeoutUpstream));
    }

    #[test]
    fn another_chains_id_is_wrong() {
        let judged = judged(&one("eth_chainId"), 200, r#"{"jsonrpc":"2.0","id":7,"result":"0x2"}"#);
        assert_eq!((judged.fate, judged.class), (Fate::Failed, Class::WrongChain));
        assert!(is_wrong(judged.class) && judged.settled.is_empty());
    }

    #[test]
    fn the_worst_call_of_a_batch_is_the_batchs_fate() {
        let batch = Request::batch(vec![Call::new("eth_blockNumber", None), Call::new("eth_call", None)]);
        let fine = r#"{"jsonrpc":"2.0","id":7,"result":"0x10"}"#;
        let whole = judged(&batch, 200, &format!(r#"[{{"jsonrpc":"2.0","id":8,"result":"0x"}},{fine}]"#));
        assert_eq!((whole.fate, &whole.heights[..]), (Fate::Answered, &[16][..]));
        let half = judged(&batch, 200, &format!("[{fine}]"));
        assert_eq!((half.fate, half.class), (Fate::Failed, Class::WrongId));
        assert_eq!(half.heights, [16]);
    }

    #[test]
    fn heights_and_settled_answers_are_read() {
        let block = r#"{"jsonrpc":"2.0","id":7,"result":{"number":"0x20","hash":"0x1"}}"#;
        let found = judged(&one("eth_getBlockByNumber"), 200, block);
        assert_eq!((&found.heights[..], found.settled.len()), (&[32][..], 1));
        let reverts = |words: &str| {
            let body =
                format!(r#"{{"jsonrpc":"2.0","id":7,"error":{{"code":3,"message":"{words}","data":"0x"}}}}"#);
            judged(&one("eth_call"), 200, &body).settled
        };
        assert_eq!(reverts("execution reverted"), reverts("execution reverted: no"));
    }
}
