//! The shortest way of a posted call: from hyper to the gateway, past the same guards as in the router and in the same
//! order, without its layers. What is not plainly a call to a known chain takes the router's way.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::Service;
use tower::{Layer, ServiceExt, service_fn};

use crate::config;
use crate::gateway::{Gateway, Pieces};

use super::ws::Place;
use super::{
    COMPRESS_ABOVE_BYTES, Connection, Draining, Shared, auth, compression, cors, guard, router, rpc,
};

/// A browser asks whether a public page may call into a private network.
const PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");

/// What a [`Server`](super::Server) serves: a gateway, or any router.
#[derive(Clone, Debug)]
pub struct App {
    router: Router,
    calls: Option<Arc<Calls>>,
}

impl App {
    /// Everything that [`router`] serves; calls take the shorter way.
    pub fn new(gateway: Gateway, settings: &config::Server, draining: Draining) -> Self {
        let shared = Shared {
            gateway: gateway.clone(),
            settings: Arc::new(settings.clone()),
            draining: draining.clone(),
        };
        let calls = Calls { cors: headers_of_every_answer(settings), shared };
        Self { router: router(gateway, settings, draining), calls: Some(Arc::new(calls)) }
    }
}

impl From<Router> for App {
    fn from(router: Router) -> Self {
        Self { router, calls: None }
    }
}

/// What CORS adds to an answer that is no preflight's, where it does not hang on the request.
fn headers_of_every_answer(settings: &config::Server) -> HeaderMap {
    let empty = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
    let answered = cors::layer(settings).layer(empty).oneshot(Request::new(())).now_or_never();
    answered.and_then(Result::ok).map(|answer| answer.into_parts().0.headers).unwrap_or_default()
}

/// All that a call needs.
struct Calls {
    shared: Shared,
    cors: HeaderMap,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Calls")
    }
}

impl Calls {
    /// The chain that is called, `None` being the default one; nothing where the router must look at the request.
    fn chain(&self, head: &request::Parts) -> Option<Option<Arc<str>>> {
        let headers = &head.headers;
        let any_origin = || self.shared.settings.allowed_origins.iter().any(|origin| origin == "*");
        let plain = head.method == Method::POST
            && !headers.contains_key(CONTENT_ENCODING)
            && !headers.contains_key(PRIVATE_NETWORK)
            && (!headers.contains_key(ORIGIN) || any_origin())
            // Weights may rule out an answer that is not packed.
            && headers.get_all(ACCEPT_ENCODING).iter().all(|value| !value.as_bytes().contains(&b';'));
        let path = head.uri.path().strip_prefix('/').filter(|_| plain)?;
        let name = path.strip_suffix('/').filter(|name| !name.is_empty()).unwrap_or(path);
        if name.is_empty() {
            return Some(None);
        }
        self.shared.gateway.has_chain(Some(name)).then(|| Some(name.into()))
    }

    async fn answer(
        &self,
        chain: Option<Arc<str>>,
        connection: Connection,
        head: request::Parts,
        body: Incoming,
    ) -> Response<Outgoing> {
        let answered = AssertUnwindSafe(self.guarded(chain, connection, &head, body)).catch_unwind().await;
        match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(refused)) => self.marked(refused),
            Err(panic) => self.marked(rpc::panicked(panic)),
        }
    }

    async fn guarded(
        &self,
        chain: Option<Arc<str>>,
        connection: Connection,
        head: &request::Parts,
        body: Incoming,
    ) -> Result<Response<Outgoing>, axum::response::Response> {
        let (headers, settings) = (&head.headers, &self.shared.settings);
        if let Some(refused) = guard::foreign_host(&head.uri, headers, Some(connection), settings)
            .or_else(|| auth::lacks_token(headers, settings))
        {
            return Err(refused);
        }
        let reply = rpc::call(&self.shared, chain, headers, Some(connection), body).await?;
        let answer = rpc::response(self.cors.clone(), reply);
        let may_pack = answer.body().as_ref().is_some_and(|body| body.len() as u64 >= COMPRESS_ABOVE_BYTES);
        match headers.get(ACCEPT_ENCODING).filter(|_| may_pack) {
            Some(_) => Ok(packed(headers, answer).await),
            None => Ok(answer.map(Outgoing::of)),
        }
    }

    fn marked(&self, mut refused: axum::response::Response) -> Response<Outgoing> {
        refused.headers_mut().extend(self.cors.clone());
        refused.map(Outgoing::Router)
    }
}

/// The answer as the router's layer would pack it.
async fn packed(headers: &HeaderMap, answer: Response<Option<Pieces>>) -> Response<Outgoing> {
    let mut asked = Request::new(());
    for encoding in headers.get_all(ACCEPT_ENCODING) {
        asked.headers_mut().append(ACCEPT_ENCODING, HeaderValue::clone(encoding));
    }
    let mut answer = Some(answer.map(|body| Full::new(body.map(Pieces::whole).unwrap_or_default())));
    let inner = service_fn(move |_: Request<()>| {
        let answer = answer.take().unwrap_or_default();
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let Ok(packed) = compression().layer(inner).oneshot(asked).await;
    packed.map(|body| Outgoing::Router(axum::body::Body::new(body)))
}

/// One client's connection as hyper sees it.
pub(super) struct Entry {
    pub(super) app: App,
    pub(super) connection: Connection,
    pub(super) place: Arc<Place>,
}

impl Service<Request<Incoming>> for Entry {
    type Response = Response<Outgoing>;
    type Error = Infallible;
    /// Boxed, so that an idle connection does not hold the room of a whole request.
    type Future = Pin<Box<dyn Future<Output = Result<Response<Outgoing>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (head, body) = request.into_parts();
        if let Some(calls) = &self.app.calls
            && let Some(chain) = calls.chain(&head)
        {
            let (calls, connection) = (calls.clone(), self.connection);
            return Box::pin(async move { Ok(calls.answer(chain, connection, head, body).await) });
        }
        let mut request = Request::from_parts(head, axum::body::Body::new(body));
        request.extensions_mut().insert(self.connection);
        request.extensions_mut().insert(self.place.clone());
        let answering = self.app.router.clone().oneshot(request);
        Box::pin(async move {
            let Ok(answer) = answering.await;
            Ok(answer.map(Outgoing::Router))
        })
    }
}

/// A body on its way to a client.
pub(super) enum Outgoing {
    /// In one piece.
    Whole(Bytes),
    /// In several, of which this is the next one.
    Framed([Bytes; 3], usize),
    /// As the router made it.
    Router(axum::body::Body),
}

impl Outgoing {
    fn of(body: Option<Pieces>) -> Self {
        match body {
            None => Self::Whole(Bytes::new()),
            Some(Pieces::Whole(bytes)) => Self::Whole(bytes),
            Some(Pieces::Framed(pieces)) => Self::Framed(pieces, 0),
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Framed(pieces, at) => {
                let piece = pieces.get_mut(*at).map(std::mem::take);
                *at += 1;
                Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
            }
            Self::Router(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Framed(pieces, at) => *at >= pieces.len(),
            Self::Router(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            // Those that are gone are empty.
            Self::Framed(pieces, _) => {
                SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum())
            }
            Self::Router(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::config::Config;
    use crate::server::Server;

    const FILE: &str = r#"
[server]
listen = "127.0.0.1:0"
max_body = "64KiB"
auth = { tokens = ["a-token-of-sufficient-length"] }
allowed_origins = ["ORIGINS"]
[chains.bench]
chain_id = 31337
[[chains.bench.backends]]
name = "nobody"
url = "http://127.0.0.1:9"
"#;

    async fn served(app: App, config: &Config, stop: &CancellationToken) -> SocketAddr {
        let server = Server::bind(&config.server).await.expect("a free port");
        let address = server.addresses()[0];
        tokio::spawn(server.serve(app, stop.clone()));
        address
    }

    /// The whole answer but for its date, headers sorted: their order says nothing.
    async fn answer(address: SocketAddr, request: &[u8]) -> (Vec<String>, Vec<u8>) {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(request).await.expect("room");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.expect("an answer");
        let end = memchr::memmem::find(&all, b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&all[..end]).into_owned();
        let mut lines: Vec<String> =
            head.lines().filter(|line| !line.starts_with("date:")).map(str::to_owned).collect();
        lines[1..].sort();
        (lines, all[end + 4..].to_vec())
    }

    #[tokio::test]
    async fn the_short_way_answers_as_the_router_does() {
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;
        let many = format!("[{}]", [call; 60].join(","));
        let notification = r#"{"jsonrpc":"2.0","method":"eth_chainId"}"#;
        let large = "x".repeat(70_000);
        let token = "authorization: Bearer a-token-of-sufficient-length\r\n";
        let json = "content-type: application/json\r\n";
        let cases = [
            ("/", format!("{token}{json}"), call),
            ("/bench", format!("{token}{json}"), call),
            ("/bench/", format!("{token}{json}"), call),
            ("/31337", format!("{token}{json}"), call),
            ("/?x=1", format!("{token}{json}"), call),
            ("/other", format!("{token}{json}"), call),
            ("/%62ench", format!("{token}{json}"), call),
            ("/status", format!("{token}{json}"), call),
            ("/", json.to_owned(), call),
            ("/", format!("{token}content-type: text/plain\r\n"), call),
            ("/", token.to_owned(), call),
            ("/", format!("{token}{json}origin: https://app.example\r\n"), call),
            ("/", format!("{token}{json}origin: https://evil.example\r\n"), call),
            ("/", format!("{token}origin: https://app.example\r\n"), call),
            ("/", format!("{token}{json}accept-encoding: gzip\r\n"), call),
            ("/", format!("{token}{json}accept-encoding: gzip, deflate, br\r\n"), &*many),
            ("/", format!("{token}{json}accept-encoding: gzip;q=0\r\n"), &*many),
            ("/", format!("{token}{json}accept-encoding: identity;q=0\r\n"), &*many),
            ("/", format!("{token}{json}content-encoding: gzip\r\n"), call),
            ("/", format!("{token}{json}access-control-request-private-network: true\r\n"), call),
            ("/", format!("{token}{json}"), notification),
            ("/", format!("{token}{json}"), "not JSON"),
            ("/", format!("{token}{json}"), ""),
            ("/", format!("{token}{json}"), &*large),
            ("/", format!("{token}{json}host: evil.example\r\n"), call),
        ];
        for origins in ["*", "https://app.example"] {
            let config =
                Config::from_toml(&FILE.replace("ORIGINS", origins), "test", &|_| None).expect("sound");
            let gateway = Gateway::new(&config).expect("a gateway");
            let stop = CancellationToken::new();
            let long =
                served(router(gateway.clone(), &config.server, Draining::default()).into(), &config, &stop)
                    .await;
            let short = served(App::new(gateway, &config.server, Draining::default()), &config, &stop).await;
            for (path, headers, body) in &cases {
                let request = format!(
                    "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let expected = answer(long, request.as_bytes()).await;
                let got = answer(short, request.as_bytes()).await;
                assert_eq!(got, expected, "origins {origins}: {path} {headers}");
            }
            stop.cancel();
        }
    }
}
