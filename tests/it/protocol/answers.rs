//! P3, P9: what a client reads. A result's bytes are the backend's; the frame around them is ours.
use bytes::Bytes;
use serde_json::Value;

use super::site::{self, Site, call, text};
use crate::lab::front::{Answer, Fault};

/// Values that a proxy which reads and writes JSON anew would change.
const DELICATE: [&str; 16] = [
    "null",
    "false",
    "1.0",
    "-0.0",
    "1e2",
    "1E-7",
    "12345678901234567890123",
    "0.1000000000000000055511151231257827",
    r#""\u003c\u003e\u0026""#,
    r#""\/\u00e9é\ud83d\ude00""#,
    r#""\ud800""#,
    r#"{"z":1,"a":2,"m":{"z":[],"a":{}}}"#,
    r#"{"a":1,"a":2}"#,
    r#"{ "spaced" : [ 1 , 2 ] }"#,
    "[\n\t1,\r\n 2 ]",
    r#"[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]"#,
];

/// P9
#[tokio::test]
async fn a_result_reaches_the_client_unchanged() {
    let site = Site::answering(|call| {
        let at = call.params[0].as_u64()?;
        Some(Answer::Result(DELICATE[usize::try_from(at).ok()?].to_owned()))
    })
    .await;
    let ask = |at: usize| format!(r#"{{"jsonrpc":"2.0","id":{at},"method":"trace_block","params":[{at}]}}"#);
    let answered = |at: usize| format!(r#"{{"jsonrpc":"2.0","id":{at},"result":{}}}"#, DELICATE[at]);
    for at in 0..DELICATE.len() {
        assert_eq!(site.said(&ask(at)).await, answered(at));
    }
    let batch: Vec<String> = (0..DELICATE.len()).map(ask).collect();
    let all: Vec<String> = (0..DELICATE.len()).map(answered).collect();
    assert_eq!(site.said(&format!("[{}]", batch.join(","))).await, format!("[{}]", all.join(",")));
}

/// P9: an error that is the chain's own word keeps its bytes too, members unknown to JSON-RPC included.
#[tokio::test]
async fn a_revert_reaches_the_client_unchanged() {
    const REVERT: &str =
        r#"{"data" : "0x08c379a0","message":"execution reverted: \u003cno\u003e","code":3,"extra":1.0}"#;
    let site =
        Site::answering(|call| (call.method == "eth_call").then(|| Answer::ErrorText(REVERT.to_owned())))
            .await;
    assert_eq!(site.said(&call("eth_call")).await, format!(r#"{{"jsonrpc":"2.0","id":1,"error":{REVERT}}}"#));
}

/// P9: a megabyte, however it travels on either side.
#[tokio::test]
async fn a_large_result_reaches_the_client_unchanged() {
    // not all one letter: a part that is lost, doubled or out of place shows
    let logs: Vec<String> =
        (0..50_000).map(|i| format!(r#"{{"logIndex":"{i:#x}","n":{i}.0, "x":[]}}"#)).collect();
    let result = format!("[{}]", logs.join(","));
    assert!(result.len() > 1 << 20);
    let told = result.clone();
    let site = Site::answering(move |call| {
        (call.method == "eth_getBlockReceipts").then(|| Answer::Result(told.clone()))
    })
    .await;
    let body = call("eth_getBlockReceipts");
    let expected = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
    for from_backend in [None, Some(Fault::Gzip)] {
        match from_backend {
            Some(fault) => site.front.set(fault).await,
            None => site.front.heal().await,
        }
        for accept in ["identity", "gzip"] {
            let mut client = site.connect().await;
            let answer = client.post("/", &[("accept-encoding", accept)], body.as_bytes()).await;
            let is_packed = answer.header("content-encoding") == Some("gzip");
            assert_eq!(is_packed, accept == "gzip");
            let unpacked =
                if is_packed { super::transport::unpack(&answer.body) } else { answer.body.to_vec() };
            assert!(unpacked == expected.as_bytes(), "{accept}: {} bytes", unpacked.len());
        }
    }
}

/// P3: one of the members, never both and never `error: null`, whatever the backend sends; and JSON, always.
#[tokio::test]
async fn an_answer_has_a_result_or_an_error_and_never_a_null_error() {
    let responses = [
        (200, r#"{"jsonrpc":"2.0","id":"$ID","result":"0x1","error":null}"#),
        (200, r#"{"jsonrpc":"2.0","id":"$ID","result":null,"error":null}"#),
        (200, r#"{"jsonrpc":"2.0","id":"$ID","result":null,"error":{"code":-32000,"message":"x"}}"#),
        (200, r#"{"jsonrpc":"2.0","id":"$ID","result":"0x1","error":{"code":-32000,"message":"x"}}"#),
        (200, r#"{"jsonrpc":"2.0","id":"$ID","error":null}"#),
        (200, r#"{"jsonrpc":"2.0","id":"$ID","error":"text"}"#),
        (200, r#"{"jsonrpc":"2.0","id":"$ID","error":{}}"#),
        (200, r#"{"jsonrpc":"2.0","id":"$ID"}"#),
        (200, r#"[{"jsonrpc":"2.0","id":"$ID","result":"0x1"}]"#),
        (200, "<html><body>maintenance</body></html>"),
        (502, "<html><body>Bad gateway</body></html>"),
        (500, ""),
        (200, ""),
        (429, "slow down"),
        (200, "\"0x1\""),
    ];
    for (status, body) in responses {
        let site = Site::start().await;
        site.front
            .set(Fault::respond(status, &[("content-type", "text/html")], body).only(&["eth_gasPrice"]))
            .await;
        for request in [call("eth_gasPrice"), format!("[{0},{0}]", call("eth_gasPrice"))] {
            let answer = site.post(&request).await;
            assert_eq!(answer.status(), 200, "{body}");
            assert_eq!(answer.header("content-type"), Some("application/json"), "{body}");
            assert!(!text(&answer).contains('<'), "{body}: {}", text(&answer));
            let said = site::json(&answer);
            let items = said.as_array().cloned().unwrap_or_else(|| vec![said.clone()]);
            assert_eq!(items.len(), if request.starts_with('[') { 2 } else { 1 }, "{body}: {said}");
            for item in items {
                let (result, error) = (item.get("result"), item.get("error"));
                assert!(result.is_some() != error.is_some(), "{body}: {item}");
                assert!(
                    error.is_none_or(|e| e["code"].is_i64() && e["message"].is_string()),
                    "{body}: {item}"
                );
                assert_eq!((&item["jsonrpc"], &item["id"]), (&Value::from("2.0"), &Value::from(1)), "{body}");
            }
        }
    }
}

/// P9: what surrounds a result, and how it is cut into chunks, is no part of it.
#[tokio::test]
async fn the_frame_of_an_answer_is_ours() {
    let site = Site::start().await;
    let odd = "\n { \"extra\":[1], \"result\" : {\"b\":1.0 } , \"id\":\"$ID\",\"jsonrpc\":\"2.0\" }\n\n";
    site.front.set(Fault::template(odd).only(&["eth_gasPrice"])).await;
    let answer = site.post(&call("eth_gasPrice")).await;
    assert_eq!(answer.body, Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"result":{"b":1.0 }}"#));
}
