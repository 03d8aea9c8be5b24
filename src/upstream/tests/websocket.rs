//! What a WebSocket says in its handshake, and when it is given up.

use base64::Engine;
use futures_util::{SinkExt, StreamExt};
use http::HeaderValue;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use std::time::Duration;

use super::super::*;
use super::fixture::resolving_to;
use super::tls::Authority;

fn address(url: &str, headers: HeaderMap) -> WebSocketAddress {
    let tls = Arc::new(Tls::new(&Roots::Webpki).expect("TLS"));
    let url = BackendUrl::ws(url).expect("an address");
    WebSocketAddress::new(url, headers, tls, &Dns::system(), CONNECT_TIMEOUT)
}

#[tokio::test]
async fn p3_the_handshake_carries_path_user_and_headers_and_nothing_shows_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let mut headers = HeaderMap::new();
    headers.insert("x-api-key", HeaderValue::from_static("headerkey"));
    headers.insert("sec-websocket-protocol", HeaderValue::from_static("other"));
    let address = address(&format!("ws://me:p%40ss@127.0.0.1:{port}/v3/KEY?token=T"), headers);
    let asked = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.expect("bytes") > 0 {}
        String::from_utf8(head).expect("text").to_ascii_lowercase()
    });
    let error = address.open().await.err();
    assert_eq!(error, Some(OpenError::Failed(Failure::Reset)));
    let head = asked.await.expect("a request");
    let basic = base64::engine::general_purpose::STANDARD.encode("me:p@ss").to_ascii_lowercase();
    for line in [
        "get /v3/key?token=t http/1.1".to_owned(),
        format!("host: 127.0.0.1:{port}"),
        "upgrade: websocket".to_owned(),
        "sec-websocket-version: 13".to_owned(),
        format!("authorization: basic {basic}"),
        "x-api-key: headerkey".to_owned(),
    ] {
        assert!(head.contains(&format!("{line}\r\n")), "{line} in {head}");
    }
    assert!(!head.contains("sec-websocket-protocol"), "{head}");
    let shown = format!("{address:?} {error:?}");
    for secret in ["KEY", "token", "me:", "p%40ss", "headerkey"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// The kernel accepts, and nobody is there.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_the_handshake_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("ws://{}", listener.local_addr().expect("an address"));
    let before = Instant::now();
    let said = address(&url, HeaderMap::new()).open().await.err();
    assert!(matches!(said, Some(OpenError::Failed(Failure::Timeout | Failure::ConnectTimeout))), "{said:?}");
    assert!(before.elapsed() <= CONNECT_TIMEOUT * 6);
}

#[tokio::test]
async fn who_says_nothing_is_pinged_and_given_up_when_it_stays_silent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("ws://{}", listener.local_addr().expect("an address"));
    let (ended, over) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let socket = tokio_tungstenite::accept_async(stream).await.expect("a handshake");
        // It is not read any more.
        let _ = over.await;
        let mut stream = socket.into_inner();
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(Duration::from_millis(200), stream.read_buf(&mut rest)).await;
        rest
    });
    let mut socket = address(&url, HeaderMap::new()).open().await.expect("a handshake");
    let before = Instant::now();
    tokio::time::pause();
    assert_eq!(socket.next().await, Err(Failure::Timeout));
    assert_eq!(before.elapsed().as_secs(), 2 * PING_AFTER.as_secs());
    tokio::time::resume();
    let _ = ended.send(());
    let rest = served.await.expect("it ends");
    assert_eq!(rest.first(), Some(&0x89), "a ping: {rest:?}");
}

#[tokio::test]
async fn a_socket_over_tls_believes_the_same_authorities_as_http() {
    let authority = Authority::new();
    for (expired, trusted, expected) in [
        (false, true, None),
        (true, true, Some(OpenError::Failed(Failure::Tls))),
        (false, false, Some(OpenError::Failed(Failure::Tls))),
    ] {
        let acceptor = authority.acceptor("node.example", &[b"h2", b"http/1.1"], expired);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let mut socket = tokio_tungstenite::accept_async(stream).await.expect("a handshake");
            socket.send(Message::text("over TLS")).await.expect("it is taken");
            let _ = socket.next().await;
        });
        let tls = if trusted { authority.tls() } else { Arc::new(Tls::new(&Roots::Webpki).expect("TLS")) };
        let url = BackendUrl::ws(&format!("wss://node.example:{port}/KEY")).expect("an address");
        let dns = resolving_to(&["127.0.0.1"]);
        let address = WebSocketAddress::new(url, HeaderMap::new(), tls, &dns, CONNECT_TIMEOUT);
        let (said, failed) = match address.open().await {
            Ok(mut socket) => (socket.next().await.expect("a message"), None),
            Err(error) => (None, Some(error)),
        };
        assert_eq!(failed, expected, "expired {expired}, trusted {trusted}");
        assert_eq!(said.as_deref(), expected.is_none().then_some(&b"over TLS"[..]));
    }
}
