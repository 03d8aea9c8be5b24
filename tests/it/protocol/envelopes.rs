//! P1, P2, P7: ids, batches and notifications; what is checked is what is sent.
use serde_json::{Value, json};

use super::site::{self, Site, call, json, text};
use crate::lab::front::{Answer, Fault, Front};

/// A transfer on mainnet, signed: the example of EIP-155.
pub const TRANSFER: &str = "0xf86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83";
pub const TRANSFER_HASH: &str = "0x33469b22e9f636356c4160a87eb19df52b7412e8eac32a4a55ffe88ea8350788";

/// P1: whatever may be an id comes back as it was written, from a backend as from the proxy itself.
#[tokio::test]
async fn ids_come_back_byte_for_byte_from_every_source() {
    let site = Site::start().await;
    let ids = [
        "0",
        "-0",
        "1.50",
        "1E+2",
        "1e400",
        "9007199254740993",
        "123456789012345678901234567890",
        "null",
        r#""""#,
        r#""1""#,
        r#""V1StGXR8_Z5jdHi6B-myT""#,
        r#""\u0041\/\ud83d\ude00é""#,
        r#""\ud800""#,
    ];
    for id in ids {
        for (method, rest) in [
            ("eth_gasPrice", r#""result":"0x3b9aca00""#),
            ("eth_chainId", r#""result":"0x1""#),
            ("eth_call", r#""error":{"code":3,"message":"execution reverted","data":"0x08c379a0"}"#),
        ] {
            let said = site.said(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#)).await;
            assert_eq!(said, format!(r#"{{"jsonrpc":"2.0","id":{id},{rest}}}"#));
        }
        let said = site.said(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"admin_peers"}}"#)).await;
        assert!(said.starts_with(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":"#)), "{said}");
    }
}

/// P1: spaces around an id, and its place among the members, do not matter.
#[tokio::test]
async fn an_id_is_found_wherever_it_stands() {
    let site = Site::start().await;
    for body in [
        "{\"method\":\"eth_gasPrice\",\"params\":[],\"id\"\t:\r\n 1 ,\"jsonrpc\":\"2.0\"}",
        r#"{"\u0069d":1,"jsonrpc":"2.0","method":"eth_gasPrice"}"#,
    ] {
        assert_eq!(site.said(body).await, site::gas_price(), "{body}");
    }
}

/// P2: one answer per call, in the client's order, whatever each comes to and wherever it comes from.
#[tokio::test]
async fn a_batch_is_answered_item_by_item_in_order() {
    let site = Site::start().await;
    let answer = site
        .post(
            r#"[{"jsonrpc":"2.0","id":"a","method":"eth_call","params":[{},"latest"]},
                {"jsonrpc":"2.0","id":1,"method":"eth_chainId"},
                7,
                {"jsonrpc":"2.0","id":1,"method":"eth_gasPrice"},
                {"jsonrpc":"2.0","method":"eth_gasPrice"},
                {"jsonrpc":"2.0","id":null,"method":"admin_peers"},
                {"jsonrpc":"2.0","id":2.0,"method":"eth_getBalance","params":["0x00","latest"]}]"#,
        )
        .await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        text(&answer),
        concat!(
            r#"[{"jsonrpc":"2.0","id":"a","error":{"code":3,"message":"execution reverted","data":"0x08c379a0"}},"#,
            r#"{"jsonrpc":"2.0","id":1,"result":"0x1"},"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"invalid request"}},"#,
            r#"{"jsonrpc":"2.0","id":1,"result":"0x3b9aca00"},"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"the method admin_peers does not exist/is not available"}},"#,
            r#"{"jsonrpc":"2.0","id":2.0,"result":"0xde0b6b3a7640000"}]"#,
        )
    );
}

/// P2: an array of one is answered by an array of one.
#[tokio::test]
async fn a_batch_of_one_stays_a_batch() {
    let site = Site::start().await;
    assert_eq!(site.said(&format!("[{}]", call("eth_gasPrice"))).await, format!("[{}]", site::gas_price()));
}

/// P2: a batch over the limit is refused item by item, one far beyond it as a whole; no backend sees it.
#[tokio::test]
async fn too_large_a_batch_is_refused_clearly() {
    let site = Site::with("max_batch = 3").await;
    let batch = |items: usize| format!("[{}]", vec![call("eth_gasPrice"); items].join(","));
    assert_eq!(json(&site.post(&batch(3)).await).as_array().map(Vec::len), Some(3));
    site.front.forget();
    let refused = json(&site.post(&batch(4)).await);
    let items = refused.as_array().expect("one error for each");
    assert_eq!(items.len(), 4);
    for item in items {
        assert_eq!((&item["error"]["code"], &item["id"]), (&json!(-32600), &json!(1)));
        assert!(item["error"]["message"].as_str().is_some_and(|m| m.contains("batch too large")));
    }
    let refused = site.post(&batch(20_000)).await;
    assert_eq!(json(&refused)["error"]["code"], -32600);
    assert!(refused.body.len() < 200, "{} bytes", refused.body.len());
    assert_eq!(site.forwarded(), Vec::<String>::new());
}

/// P2: a backend that answers a batch in part, or with a single object, is helped out by another; the client
/// sees whole answers, and only the missing items travel twice.
#[tokio::test]
async fn only_the_missing_items_of_a_batch_go_to_another_backend() {
    for (template, moved) in [
        (r#"[{"jsonrpc":"2.0","id":"$ID2","result":"0xb"}]"#, vec!["eth_gasPrice", "eth_getBalance"]),
        (
            r#"{"jsonrpc":"2.0","id":"$ID1","result":"0xa"}"#,
            vec!["eth_gasPrice", "eth_maxPriorityFeePerGas", "eth_getBalance"],
        ),
        ("[]", vec!["eth_gasPrice", "eth_maxPriorityFeePerGas", "eth_getBalance"]),
    ] {
        let (front, other) = (named("first").await, named("other").await);
        let mut settings = site::over(&[front.clone(), other.clone()]);
        settings.backends[1].labels += "tier = \"backup\"\n";
        let proxy = site::start(&settings, "").await;
        front.set(Fault::template(template).only(&["eth_gasPrice"])).await;
        let answer = proxy
            .post(
                r#"[{"jsonrpc":"2.0","id":1,"method":"eth_gasPrice"},
                    {"jsonrpc":"2.0","id":2,"method":"eth_maxPriorityFeePerGas"},
                    {"jsonrpc":"2.0","id":3,"method":"eth_feeHistory"}]"#,
            )
            .await;
        let mut expected = json!([
            {"jsonrpc": "2.0", "id": 1, "result": "other"},
            {"jsonrpc": "2.0", "id": 2, "result": "other"},
            {"jsonrpc": "2.0", "id": 3, "result": "other"},
        ]);
        if moved.len() == 2 {
            expected[1]["result"] = json!("0xb");
        }
        assert_eq!(json(&answer), expected, "{template}");
        let travelled: usize =
            other.seen().iter().filter(|seen| !site::is_own(seen)).map(|seen| seen.methods.len()).sum();
        assert_eq!(travelled, moved.len(), "{template}: {:?}", site::forwarded(&other));
    }
}

/// A backend whose every result is its name.
async fn named(name: &'static str) -> Front {
    Front::fixture(move |call| match call.method.as_str() {
        "eth_chainId" | "eth_blockNumber" => site::answers(&call.method),
        _ => Answer::result(json!(name)),
    })
    .await
}

/// P2: nothing is said to a notification, alone or in a batch, right or wrong.
#[tokio::test]
async fn notifications_are_never_answered() {
    let site = Site::start().await;
    let mut client = site.connect().await;
    let one = |method: &str| format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#);
    for body in [
        one("eth_gasPrice"),
        one("eth_chainId"),
        one("admin_peers"),
        one("no_such"),
        format!("[{},{},{}]", one("eth_chainId"), one("eth_gasPrice"), one("admin_peers")),
    ] {
        let answer = client.post("/", &[], body.as_bytes()).await;
        assert!(matches!(answer.status(), 200 | 204), "{body}: {}", answer.start);
        assert_eq!(text(&answer), "", "{body}");
        assert_eq!(answer.header("content-type"), None, "{body}");
        site.still_serves(&mut client, &body).await;
    }
}

/// P1: a transaction in a notification is published all the same, and by the end of the exchange.
#[tokio::test]
async fn a_transaction_in_a_notification_is_published() {
    let site = Site::answering(|call| {
        (call.method == "eth_sendRawTransaction").then(|| Answer::result(json!(TRANSFER_HASH)))
    })
    .await;
    let send = format!(r#"{{"jsonrpc":"2.0","method":"eth_sendRawTransaction","params":["{TRANSFER}"]}}"#);
    for body in [send.clone(), format!("[{send}]")] {
        site.front.forget();
        assert_eq!(site.said(&body).await, "");
        assert_eq!(site.front.count("eth_sendRawTransaction"), 1, "{body}");
    }
    let said = site.said(&send.replacen('{', r#"{"id":1,"#, 1)).await;
    assert_eq!(said, format!(r#"{{"jsonrpc":"2.0","id":1,"result":"{TRANSFER_HASH}"}}"#));
}

/// P7: the envelope that a backend reads is written here, with nothing in it that was not checked.
#[tokio::test]
async fn a_backend_sees_our_envelope_and_the_clients_params() {
    let site = Site::start().await;
    for (body, method, params) in [
        (r#"{"jsonrpc":"2.0","id":"x","method":"eth_gasPrice"}"#, "eth_gasPrice", "[]"),
        (r#"{"jsonrpc":"2.0","id":"x","method":"eth_gasPrice","params":null}"#, "eth_gasPrice", "[]"),
        (
            r#"{ "params" : [ "0x0" ,"latest" ], "method":"eth_getBalance", "id":7, "jsonrpc":"2.0" }"#,
            "eth_getBalance",
            r#"[ "0x0" ,"latest" ]"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"\u006dethod":"eth_g\u0061sPrice","p\u0061rams":["\u003c",1.0,1e2]}"#,
            "eth_gasPrice",
            r#"["\u003c",1.0,1e2]"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"eth_gasPrice","params":{"a":1,"a":2}}"#,
            "eth_gasPrice",
            r#"{"a":1,"a":2}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","METHOD":"admin_peers","id":1,"method":"eth_gasPrice","Params":["x"],"ID":9,"extra":{"method":"admin_peers"}}"#,
            "eth_gasPrice",
            "[]",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"eth_gasPrice","paramſ":["x"],"ıd":5,"result":1,"":2}"#,
            "eth_gasPrice",
            "[]",
        ),
    ] {
        site.front.forget();
        let answer = site.post(body).await;
        assert_eq!(json(&answer)["error"], Value::Null, "{body}");
        let [forwarded] = &site.forwarded()[..] else { panic!("{body}: {:?}", site.forwarded()) };
        let id = serde_json::from_str::<Value>(forwarded).expect("JSON")["id"].clone();
        assert!(id.is_u64(), "{forwarded}");
        let canonical = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        assert_eq!(*forwarded, canonical, "{body}");
    }
}

/// P7: parsers disagree on which of two equal members counts, so no backend gets to choose.
#[tokio::test]
async fn a_member_that_stands_twice_is_refused() {
    let site = Site::start().await;
    let whole = r#"{"jsonrpc":"2.0","id":1,"method":"eth_gasPrice","params":[]}"#;
    for again in [
        r#""method":"admin_peers""#,
        r#""\u006dethod":"admin_peers""#,
        r#""method":"eth_gasPrice""#,
        r#""id":1"#,
        r#""params":["x"]"#,
        r#""jsonrpc":"2.0""#,
    ] {
        for body in
            [whole.replacen('{', &format!("{{{again},"), 1), whole.replace('}', &format!(",{again}}}"))]
        {
            assert_eq!(site::code(&site.post(&body).await), -32600, "{body}");
        }
    }
    assert_eq!(site.forwarded(), Vec::<String>::new());
}

/// P1: a connection stays usable after every kind of bad request.
#[tokio::test]
async fn a_bad_request_does_not_cost_the_connection() {
    let site = Site::with("max_body = \"64KiB\"").await;
    let mut client = site.connect().await;
    let long = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "a".repeat(5000));
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"eth_gasPrice","params":{}1{}}}"#,
        "[".repeat(9000),
        "]".repeat(9000)
    );
    for (bad, codes) in [
        ("", -32700),
        ("{", -32700),
        ("\u{0}", -32700),
        ("[]", -32600),
        ("null", -32600),
        ("{}", -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"eth_gasPrice"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"eth_gasPrice","params":"x"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"debug_setHead","params":["0x0"]}"#, -32601),
        (&long, -32601),
        (&deep, -32600),
    ] {
        let answer = client.post("/", &[], bad.as_bytes()).await;
        assert_eq!((answer.status(), site::code(&answer)), (200, codes), "{bad:.80}");
        site.still_serves(&mut client, bad).await;
    }
    for (start, headers, body, status) in [
        ("POST /nowhere", vec![("content-type", "application/json")], "{}", 404),
        ("POST /", vec![("content-type", "text/plain")], "{}", 415),
        ("PUT /", vec![("content-type", "application/json")], "{}", 405),
        ("GET /nowhere", vec![], "", 404),
        ("DELETE /status", vec![], "", 405),
    ] {
        let answer = client.request(start, &headers, body.as_bytes()).await;
        assert!(
            answer.status() == status || (start == "GET /nowhere" && answer.status() == 405),
            "{start}: {}",
            answer.start
        );
        site.still_serves(&mut client, start).await;
    }
    // a body that is announced as too large is not waited for: that connection may end, the next one serves
    let answer = client.post("/", &[], &vec![b' '; 65 << 10]).await;
    assert_eq!(answer.status(), 413);
    site.still_serves(&mut site.connect().await, "413").await;
}
