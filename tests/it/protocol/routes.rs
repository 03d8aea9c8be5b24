//! Which address is what: chains by name, alias and number; pages; tokens.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::site::{self, Client, Site, call, json, text};
use crate::lab::front::Front;

/// The first chain of the file is at `/`; each goes by its name, its preset's aliases and its id.
#[tokio::test]
async fn a_chain_is_found_by_name_alias_and_id() {
    let front = Front::fixture(|call| site::answers(&call.method)).await;
    let mut settings = site::over(std::slice::from_ref(&front));
    settings.tables += "[chains.mainnet]\n[[chains.mainnet.backends]]\nurl = \"http://127.0.0.1:9\"\n\
                        [chains.sepolia]\n[[chains.sepolia.backends]]\nurl = \"http://127.0.0.1:9\"\n";
    settings.chain_id = 1337;
    let proxy = site::start_unready(&settings, "").await;
    let mut client = Client::open(proxy.address()).await;
    for (path, id) in [
        ("/", "0x539"),
        ("/lab", "0x539"),
        ("/1337", "0x539"),
        ("/mainnet", "0x1"),
        ("/ethereum", "0x1"),
        ("/1", "0x1"),
        ("/sepolia", "0xaa36a7"),
        ("/11155111", "0xaa36a7"),
    ] {
        let answer = client.post(path, &[], call("eth_chainId").as_bytes()).await;
        assert_eq!(json(&answer)["result"], id, "{path}: {}", text(&answer));
    }
    for path in ["/nowhere", "/2", "/0x1", "/lab/x", "/%00", "/..", "/Lab", "/-1", "/99999999999999999999"] {
        let answer = client.post(path, &[], call("eth_chainId").as_bytes()).await;
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!((site::code(&answer), &json(&answer)["id"]), (-32600, &serde_json::Value::Null), "{path}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}");
    }
}

/// A browser that opens the address sees a page; what is neither call nor page is told so in JSON-RPC.
#[tokio::test]
async fn pages_are_read_and_calls_are_posted() {
    let site = Site::start().await;
    let mut client = site.connect().await;
    for (start, status, content) in [
        ("GET /", 200, "text/html"),
        ("GET /status", 200, "application/json"),
        ("GET /healthz", 200, "application/json"),
        ("GET /readyz", 200, "application/json"),
        ("PUT /", 405, "application/json"),
        ("DELETE /", 405, "application/json"),
        ("PATCH /lab", 405, "application/json"),
        ("PUT /status", 405, "application/json"),
        ("GET /nowhere/at/all", 404, "application/json"),
    ] {
        let answer = client.request(start, &[("content-type", "application/json")], b"").await;
        assert_eq!(answer.status(), status, "{start}");
        assert!(answer.header("content-type").is_some_and(|c| c.starts_with(content)), "{start}: {answer:?}");
        if status >= 400 {
            assert_eq!(site::code(&answer), -32600, "{start}: {}", text(&answer));
        }
        if status == 405 {
            assert!(answer.header("allow").is_some(), "{start}: {answer:?}");
        }
    }
}

/// Headers say which backend answered, and that the proxy did where it did.
#[tokio::test]
async fn an_answer_says_where_it_came_from() {
    let site = Site::start().await;
    for (method, source, backend, attempts) in [
        ("eth_gasPrice", "backend", Some("aws"), "1"),
        ("eth_chainId", "local", None, "0"),
        ("admin_peers", "local", None, "0"),
    ] {
        let answer = site.post(&call(method)).await;
        assert_eq!(answer.header("x-outrigger-source"), Some(source), "{method}");
        assert_eq!(answer.header("x-outrigger-backend"), backend, "{method}");
        assert_eq!(answer.header("x-outrigger-attempts"), Some(attempts), "{method}");
    }
}

/// With tokens configured every call and page needs one; a load balancer's questions and preflights do not.
#[tokio::test]
async fn tokens_are_asked_for_where_they_are_configured() {
    const TOKEN: &str = "a-token-of-sufficient-length";
    let site =
        Site::with(&format!("auth = {{ tokens = [\"another-token-of-that-kind\", \"{TOKEN}\"] }}")).await;
    let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    let body = call("eth_gasPrice");
    let mut client = site.connect().await;
    for allowed in [
        format!("Bearer {TOKEN}"),
        format!("bearer {TOKEN}"),
        "Bearer another-token-of-that-kind".to_owned(),
        basic(&format!("me:{TOKEN}")),
        basic(&format!(":{TOKEN}")),
    ] {
        let answer = client.post("/", &[("authorization", &allowed)], body.as_bytes()).await;
        assert_eq!((answer.status(), text(&answer)), (200, site::gas_price().to_owned()), "{allowed}");
    }
    site.front.forget();
    let refused = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer {TOKEN}x"),
        format!("Bearer {}", TOKEN.to_uppercase()),
        TOKEN.to_owned(),
        format!("Token {TOKEN}"),
        basic(TOKEN),
        basic(&format!("{TOKEN}:me")),
        "Basic !!!".to_owned(),
    ];
    for wrong in &refused {
        for (start, sent) in [("POST /", &body[..]), ("POST /lab", &body), ("GET /status", ""), ("GET /", "")]
        {
            let headers = [("content-type", "application/json"), ("authorization", wrong.as_str())];
            let answer = client
                .request(start, &headers[..if wrong.is_empty() { 1 } else { 2 }], sent.as_bytes())
                .await;
            assert_eq!((answer.status(), site::code(&answer)), (401, -32600), "{start} with {wrong:?}");
            assert!(answer.header("www-authenticate").is_some_and(|w| w.contains("Bearer")), "{start}");
            assert!(!text(&answer).contains(TOKEN));
        }
    }
    for (start, status) in
        [("GET /healthz", 200), ("GET /readyz", 200), ("OPTIONS /", 204), ("OPTIONS /lab", 204)]
    {
        let headers = [("origin", "https://app.example"), ("access-control-request-method", "POST")];
        assert_eq!(client.request(start, &headers, b"").await.status(), status, "{start}");
    }
    assert_eq!(site.forwarded(), Vec::<String>::new());
}
