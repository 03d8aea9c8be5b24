//! P4, P5: web pages, and what keeps them where they belong.
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::time::{Instant, sleep};

use super::site::{self, Site, call, text};
use crate::lab::wire::Message;

const ORIGIN: (&str, &str) = ("origin", "https://app.example");

fn list(answer: &Message, name: &str) -> Vec<String> {
    let value = answer.header(name).unwrap_or_default().to_ascii_lowercase();
    value.split(',').map(|part| part.trim().to_owned()).collect()
}

/// P4: wallets put the endpoint at any path, and a preflight that fails looks like a dead endpoint.
#[tokio::test]
async fn every_path_answers_a_preflight() {
    let site = Site::start().await;
    let mut client = site.connect().await;
    for path in
        ["/", "/lab", "/1", "/nowhere", "/some/deep/path?x=1", "/status", "/healthz", "/admin/lab/aws/cordon"]
    {
        let headers = [
            ORIGIN,
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type, authorization, x-made-up"),
            ("access-control-request-private-network", "true"),
        ];
        let answer = client.request(&format!("OPTIONS {path}"), &headers, b"").await;
        assert_eq!((answer.status(), text(&answer).as_str()), (204, ""), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
        let methods = list(&answer, "access-control-allow-methods");
        assert!(["post", "get", "options"].iter().all(|m| methods.contains(&(*m).to_owned())), "{methods:?}");
        // `*` would not cover `authorization`
        let allowed = list(&answer, "access-control-allow-headers");
        assert_eq!(allowed, ["content-type", "authorization", "x-made-up"], "{path}");
        assert_eq!(answer.header("access-control-allow-private-network"), Some("true"), "{path}");
        assert_eq!(answer.header("access-control-max-age"), Some("86400"), "{path}");
    }
    let answer = client.request("OPTIONS /", &[ORIGIN, ("access-control-request-method", "POST")], b"").await;
    assert_eq!(answer.header("access-control-allow-private-network"), None, "it was not asked for");
    // not a browser's, but a health check's
    assert_eq!(client.request("OPTIONS /", &[], b"").await.status(), 204);
}

/// P4: without the header on an error a page learns "network error" and nothing else.
#[tokio::test]
async fn errors_carry_cors_headers_too() {
    let site =
        Site::with("max_body = \"2KiB\"\nauth = { tokens = [\"a-token-of-sufficient-length\"] }").await;
    let token = ("authorization", "Bearer a-token-of-sufficient-length");
    let json = ("content-type", "application/json");
    let large = " ".repeat(4096);
    for (start, headers, body, status) in [
        ("POST /", vec![json, token], call("eth_gasPrice"), 200),
        ("POST /", vec![json, token], "{".to_owned(), 200),
        ("POST /", vec![json], call("eth_gasPrice"), 401),
        ("POST /", vec![json, token, ("host", "evil.example")], call("eth_gasPrice"), 403),
        ("POST /nowhere", vec![json, token], call("eth_gasPrice"), 404),
        ("GET /nowhere/at/all", vec![token], String::new(), 404),
        ("PUT /", vec![json, token], String::new(), 405),
        ("POST /", vec![json, token], large, 413),
        ("POST /", vec![("content-type", "text/plain"), token], call("eth_gasPrice"), 415),
        ("POST /", vec![json, token, ("content-encoding", "br")], call("eth_gasPrice"), 415),
    ] {
        let headers: Vec<_> = [ORIGIN].into_iter().chain(headers).collect();
        let answer = site.connect().await.request(start, &headers, body.as_bytes()).await;
        assert_eq!(answer.status(), status, "{start} {headers:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{start} {headers:?}");
        let exposed = list(&answer, "access-control-expose-headers");
        assert!(exposed.contains(&"x-outrigger-hint".to_owned()), "{start}: {exposed:?}");
    }
}

/// P4: with a list of origins only those may read answers, and caches are told that it depends.
#[tokio::test]
async fn only_listed_origins_may_read() {
    let site = Site::with("allowed_origins = [\"https://app.example\", \"http://localhost:3000\"]").await;
    let mut client = site.connect().await;
    for (origin, allowed) in [
        ("https://app.example", true),
        ("http://localhost:3000", true),
        ("https://app.example.evil.example", false),
        ("https://evil.example", false),
        ("http://app.example", false),
        ("null", false),
    ] {
        let preflight = [("origin", origin), ("access-control-request-method", "POST")];
        let asked = client.request("OPTIONS /", &preflight, b"").await;
        let called = client.post("/", &[("origin", origin)], call("eth_gasPrice").as_bytes()).await;
        for answer in [asked, called] {
            assert_eq!(answer.header("access-control-allow-origin"), allowed.then_some(origin), "{origin}");
            let vary: Vec<_> = answer.headers.iter().filter(|(name, _)| name == "vary").collect();
            assert!(
                vary.iter().any(|(_, value)| value.to_ascii_lowercase().contains("origin")),
                "{origin}: {vary:?}"
            );
        }
    }
}

/// P4: what a page can post without a preflight is not taken: any page could.
#[tokio::test]
async fn forms_and_plain_text_are_not_taken() {
    let site = Site::start().await;
    let mut client = site.connect().await;
    for headers in [
        vec![("content-type", "text/plain")],
        vec![("content-type", "text/plain;charset=UTF-8"), ORIGIN],
        vec![("content-type", "application/x-www-form-urlencoded")],
        vec![("content-type", "multipart/form-data; boundary=x"), ORIGIN],
        vec![("content-type", "text/plain; x=application/json")],
        vec![("content-type", "application/jsonx")],
        vec![("content-type", "")],
        vec![ORIGIN],
    ] {
        let answer = client.request("POST /", &headers, call("eth_gasPrice").as_bytes()).await;
        assert_eq!((answer.status(), site::code(&answer)), (415, -32600), "{headers:?}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        site.still_serves(&mut client, "415").await;
    }
    site.front.forget();
    for headers in [
        vec![],
        vec![("content-type", "application/json"), ORIGIN],
        vec![("content-type", "Application/JSON ; charset=utf-8")],
        vec![("content-type", "application/json-rpc")],
    ] {
        let answer = client.request("POST /", &headers, call("eth_gasPrice").as_bytes()).await;
        assert_eq!(text(&answer), site::gas_price(), "{headers:?}");
    }
    assert_eq!(site.forwarded().len(), 4);
}

/// P5: a page that let its own name resolve to 127.0.0.1 still names itself.
#[tokio::test]
async fn a_foreign_host_gets_nothing() {
    let site = Site::start().await;
    let mut client = site.connect().await;
    for host in [
        "evil.example",
        "evil.example:8545",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.168.0.1",
        "0.0.0.0",
        "",
    ] {
        for (start, body) in [
            ("POST /", call("eth_gasPrice")),
            ("POST /lab", call("eth_chainId")),
            ("GET /status", String::new()),
            ("GET /", String::new()),
            ("GET /healthz", String::new()),
        ] {
            let headers = [("host", host), ("content-type", "application/json")];
            let answer = client.request(start, &headers, body.as_bytes()).await;
            assert_eq!((answer.status(), site::code(&answer)), (403, -32600), "{start} of {host:?}");
        }
    }
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1", "127.8.9.1:80", "[::1]:8545", "eth.localhost"] {
        let answer = client.post("/", &[("host", host)], call("eth_chainId").as_bytes()).await;
        assert_eq!(answer.status(), 200, "{host}");
    }
    let mut client = site::http2(site.proxy.address()).await;
    for (authority, status) in [
        ("evil.example", StatusCode::FORBIDDEN),
        ("127.0.0.1.evil.example:80", StatusCode::FORBIDDEN),
        ("localhost:8545", StatusCode::OK),
        ("[::1]", StatusCode::OK),
    ] {
        let request =
            Request::post(format!("http://{authority}/")).header("content-type", "application/json");
        let body = Full::new(Bytes::from(call("eth_chainId")));
        let answer = client.send_request(request.body(body).expect("a request")).await.expect("an answer");
        assert_eq!(answer.status(), status, "{authority}");
    }
    // not even to a client so old that it names no host
    let mut client = site.connect().await;
    client.send("GET /status HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 403);
    assert_eq!(site.forwarded(), Vec::<String>::new());
}

/// P5
#[tokio::test]
async fn a_listed_host_is_served() {
    let site = Site::with("allowed_hosts = [\"rpc.example\"]").await;
    let mut client = site.connect().await;
    for (host, status) in [
        ("rpc.example", 200),
        ("RPC.example:443", 200),
        ("localhost", 200),
        ("other.example", 403),
        ("x.rpc.example", 403),
    ] {
        let answer = client.post("/", &[("host", host)], call("eth_chainId").as_bytes()).await;
        assert_eq!(answer.status(), status, "{host}");
    }
}

/// P5: whoever is not a trusted proxy may write what he likes into `X-Forwarded-For`. Seen in the log.
#[tokio::test]
async fn x_forwarded_for_is_believed_from_trusted_proxies_only() {
    for (server, forwarded, client) in [
        ("", "198.51.100.7", "127.0.0.1"),
        ("trusted_proxies = \"10.0.0.0/8\"", "198.51.100.7", "127.0.0.1"),
        ("trusted_proxies = \"127.0.0.1\"", "198.51.100.7", "198.51.100.7"),
        ("trusted_proxies = \"127.0.0.0/8\"", "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        (
            "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]",
            "203.0.113.9, 198.51.100.7, 10.1.2.3",
            "198.51.100.7",
        ),
        ("trusted_proxies = \"127.0.0.1\"", "203.0.113.9, nonsense", "127.0.0.1"),
        ("trusted_proxies = \"127.0.0.1\"", "2001:db8::7", "2001:db8::7"),
    ] {
        let front = crate::lab::front::Front::fixture(|call| site::answers(&call.method)).await;
        let mut settings = site::over(std::slice::from_ref(&front));
        settings.environment.push(("OUTRIGGER_LOG".to_owned(), "debug".to_owned()));
        let proxy = site::start(&settings, server).await;
        let mut one = site::Client::open(proxy.address()).await;
        one.post("/", &[("x-forwarded-for", forwarded)], call("eth_gasPrice").as_bytes()).await;
        let end = Instant::now() + Duration::from_secs(10);
        let line = loop {
            let said = proxy.said();
            if let Some(line) = said.lines().find(|line| line.contains("\"answered\"")) {
                break line.to_owned();
            }
            assert!(Instant::now() < end, "no such line:\n{said}");
            sleep(Duration::from_millis(5)).await;
        };
        let line: serde_json::Value = serde_json::from_str(&line).expect("a line of the log is JSON");
        assert_eq!(line["client"], client, "{server} {forwarded}");
    }
}
