//! P6: HTTP as clients and proxies in between speak it.
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};

use super::site::{self, Client, PATIENCE, Site, call, text};
use crate::lab::leash::Leash;
use crate::lab::{ports, proxy, rpc};

/// A body packed as `content-encoding: gzip`.
fn pack(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(body).and_then(|()| encoder.finish()).expect("memory takes every byte")
}

/// A gzip body unpacked.
pub fn unpack(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(body).read_to_end(&mut out).expect("gzip");
    out
}

/// P6
#[tokio::test]
async fn a_packed_request_is_understood() {
    let site = Site::start().await;
    let mut client = site.connect().await;
    for body in [call("eth_gasPrice"), format!("{}{}", " ".repeat(200_000), call("eth_gasPrice"))] {
        let answer = client.post("/", &[("content-encoding", "gzip")], &pack(body.as_bytes())).await;
        assert_eq!(text(&answer), site::gas_price());
    }
    // what is not gzip, or another packing, is told so, and the connection goes on
    let answer = client.post("/", &[("content-encoding", "gzip")], b"{}").await;
    assert_eq!((answer.status(), site::code(&answer)), (400, -32600));
    site.still_serves(&mut site.connect().await, "a body that is badly packed").await;
    let answer = client_of(&site).await.post("/", &[("content-encoding", "br")], b"{}").await;
    assert_eq!(answer.status(), 415);
}

async fn client_of(site: &Site) -> Client {
    site.connect().await
}

/// P6: what unpacks to more than a body may hold is refused long before it is unpacked.
#[tokio::test]
async fn a_gzip_bomb_is_refused_and_costs_no_memory() {
    let site = Site::with("max_body = \"1MiB\"").await;
    let bomb = pack(&vec![b' '; 96 << 20]);
    assert!(bomb.len() < 1 << 20, "the bomb has to be small to get in: {} bytes", bomb.len());
    let before = peak_memory_kib(site.proxy.pid());
    for _ in 0..3 {
        let answer = client_of(&site).await.post("/", &[("content-encoding", "gzip")], &bomb).await;
        assert_eq!((answer.status(), site::code(&answer)), (413, -32600));
    }
    if let (Some(before), Some(after)) = (before, peak_memory_kib(site.proxy.pid())) {
        assert!(after < before + (24 << 10), "grew from {before} to {after} KiB");
    }
    site.still_serves(&mut site.connect().await, "a bomb").await;
}

/// The most memory that a process ever held, where the system tells.
fn peak_memory_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?
        .trim()
        .strip_suffix("kB")?
        .trim()
        .parse()
        .ok()
}

/// P6: packed for whoever accepts it and gains by it, plain for the others.
#[tokio::test]
async fn an_answer_is_packed_for_those_who_accept_it() {
    let site = Site::answering(|call| {
        let zeros = || crate::lab::front::Answer::Result(format!("\"0x{}\"", "00".repeat(50_000)));
        (call.method == "eth_getCode").then(zeros)
    })
    .await;
    let mut client = site.connect().await;
    let mut plain = None;
    for (accept, method, is_packed) in [
        (None, "eth_getCode", false),
        (Some("identity"), "eth_getCode", false),
        (Some("gzip;q=0"), "eth_getCode", false),
        (Some("gzip"), "eth_getCode", true),
        (Some("br, gzip, deflate"), "eth_getCode", true),
        (Some("gzip"), "eth_gasPrice", false),
    ] {
        let headers: Vec<_> = accept.into_iter().map(|accept| ("accept-encoding", accept)).collect();
        let answer = client.post("/", &headers, call(method).as_bytes()).await;
        assert_eq!(answer.header("content-encoding") == Some("gzip"), is_packed, "{accept:?} {method}");
        if method == "eth_getCode" {
            let body = if is_packed { unpack(&answer.body) } else { answer.body.to_vec() };
            assert!(!is_packed || answer.body.len() < 10_000, "{} bytes", answer.body.len());
            assert!(*plain.get_or_insert(body.clone()) == body, "{accept:?}: the packed answer differs");
        }
    }
}

/// P6: wallets keep a connection and send over it for minutes.
#[tokio::test]
async fn a_connection_carries_many_requests() {
    let site = Site::start().await;
    let mut client = site.connect().await;
    for n in 0..50 {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{n},"method":"eth_gasPrice"}}"#);
        let answer = client.post("/", &[], body.as_bytes()).await;
        assert!(!answer.closes() && answer.header("content-length").is_some(), "{answer:?}");
        assert_eq!(text(&answer), format!(r#"{{"jsonrpc":"2.0","id":{n},"result":"0x3b9aca00"}}"#));
    }
    assert!(
        site.front.connections().len() < 5,
        "the backend's are kept as well: {:?}",
        site.front.connections()
    );
}

/// P6: requests that come before the first answer went out are answered in their order.
#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let site = Site::start().await;
    let mut client = site.connect().await;
    let mut all = String::new();
    let methods = ["eth_gasPrice", "eth_chainId", "admin_peers", "eth_getBalance", "eth_chainId"];
    for (id, method) in methods.iter().enumerate() {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#);
        all += &format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
    }
    client.send(all).await;
    for id in 0..methods.len() {
        assert_eq!(site::json(&client.answer().await)["id"], id);
    }
}

/// P6: a body in pieces, with the odd spellings that HTTP allows.
#[tokio::test]
async fn a_body_may_come_in_chunks() {
    let site = Site::start().await;
    let mut client = site.connect().await;
    let body = call("eth_gasPrice");
    let (first, second) = body.split_at(17);
    let chunks =
        format!("11;name=value\r\n{first}\r\n{:X}\r\n{second}\r\n000\r\nx-trailer: 1\r\n\r\n", second.len());
    for _ in 0..2 {
        let answer = client.post("/", &[("transfer-encoding", "chunked")], chunks.as_bytes()).await;
        assert_eq!(text(&answer), site::gas_price());
    }
    // over the limit nothing is waited for, though no length was announced
    let site = Site::with("max_body = \"2KiB\"").await;
    let large = format!("1000\r\n{}\r\n0\r\n\r\n", " ".repeat(0x1000));
    let answer = site.connect().await.post("/", &[("transfer-encoding", "chunked")], large.as_bytes()).await;
    assert_eq!((answer.status(), site::code(&answer)), (413, -32600));
}

/// P6: a client that asks first is told to go on, or that it need not.
#[tokio::test]
async fn a_client_that_expects_100_is_told_to_continue() {
    let site = Site::with("max_body = \"2KiB\"").await;
    let mut client = site.connect().await;
    let body = call("eth_gasPrice");
    let head = |length: usize| {
        format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n\
             content-length: {length}\r\n\r\n"
        )
    };
    client.send(head(body.len())).await;
    assert_eq!(client.answer().await.status(), 100);
    client.send(&body).await;
    assert_eq!(text(&client.answer().await), site::gas_price());
    client.send(head(1 << 20)).await;
    assert_eq!(client.answer().await.status(), 413);
}

/// P6: HTTP/2 without TLS, as proxies inside a cluster speak it; many calls at once on one connection.
#[tokio::test]
async fn http2_is_spoken_by_prior_knowledge() {
    let site = Site::start().await;
    let mut client = site::http2(site.proxy.address()).await;
    let calls = (0..40).map(|id| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"eth_gasPrice"}}"#);
        let request = Request::post("http://localhost/lab").header("content-type", "application/json");
        let answer = client.send_request(request.body(Full::new(Bytes::from(body))).expect("a request"));
        async move {
            let answer = answer.await.expect("the proxy answers");
            assert_eq!((answer.status(), answer.version()), (StatusCode::OK, http::Version::HTTP_2));
            let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
            assert_eq!(body, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"0x3b9aca00"}}"#));
        }
    });
    let calls: Vec<_> = calls.collect();
    tokio::time::timeout(PATIENCE, join_all(calls)).await.expect("in time");
}

/// P6: `localhost` is both sides of loopback: browsers try `[::1]` first, libraries 127.0.0.1.
#[tokio::test]
async fn localhost_is_both_sides_of_loopback() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let port = ports::free();
    let file = dir.path().join("outrigger.toml");
    let toml = format!(
        "[server]\nlisten = \"localhost:{port}\"\n[chains.lab]\nchain_id = 1337\n[[chains.lab.backends]]\nurl = \"http://127.0.0.1:9\"\n"
    );
    std::fs::write(&file, toml).expect("the folder can be written");
    let args = ["serve".to_owned(), "--config".to_owned(), file.to_string_lossy().into_owned()];
    let home = [("HOME".to_owned(), dir.path().to_string_lossy().into_owned())];
    let process = Leash::start(&proxy::binary(), &args, &home).expect("the binary can be executed");
    let listens = process
        .said()
        .find(Duration::from_secs(20), |line| line.contains("listens on").then(|| line.to_owned()));
    let listens = listens.unwrap_or_else(|| panic!("it does not start: {}", process.said().text()));
    let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
    for (address, is_there) in [(format!("127.0.0.1:{port}"), true), (format!("[::1]:{port}"), has_ipv6)] {
        assert_eq!(listens.contains(&address), is_there, "{listens}");
        if is_there {
            let answer =
                rpc::post(&address, &[], call("eth_chainId").as_bytes()).await.expect("it answers there");
            assert_eq!(text(&answer), r#"{"jsonrpc":"2.0","id":1,"result":"0x539"}"#, "{address}");
        }
    }
}
