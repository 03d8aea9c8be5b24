//! The HTTP face of a gateway: an axum router with its guards, and a listener that serves it.
//!
//! [`Gateway::router`] can be nested in another program's app; [`Server`] is what the binary runs.

mod admin;
mod auth;
mod connection;
mod cores;
mod cors;
mod direct;
mod guard;
mod listen;
mod loopback;
mod pages;
mod rpc;
mod tls;
mod ws;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::predicate::{Predicate, SizeAbove};
use tower_http::compression::{CompressionLayer, DefaultPredicate};
use tower_http::decompression::RequestDecompressionLayer;

use crate::config;
use crate::gateway::Gateway;

pub use connection::Connection;
pub use cores::Cores;
pub use direct::App;
pub use listen::{Server, ServerError};
pub use loopback::Loopback;

/// Packing an answer smaller than a network packet gains nothing.
const COMPRESS_ABOVE_BYTES: u64 = 1024;

/// What every handler sees.
#[derive(Clone)]
struct Shared {
    gateway: Gateway,
    settings: Arc<config::Server>,
    draining: Draining,
}

/// Whether the process is on its way out: load balancers are told before connections close.
#[derive(Clone, Debug, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    /// From now on `/readyz` says no.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gateway {
    /// [`router`] with the server settings that the gateway was made with, to be nested in an app:
    ///
    /// ```no_run
    /// # async fn example(gateway: outrigger::Gateway) -> std::io::Result<()> {
    /// let app = axum::Router::new().nest_service("/eth", gateway.router());
    /// let app = app.into_make_service_with_connect_info::<std::net::SocketAddr>();
    /// axum::serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?, app).await
    /// # }
    /// ```
    ///
    /// `nest_service` answers at `/eth` and at `/eth/`; `nest` at the first alone. The connect info is what tells
    /// the guards who is asking: without it a foreign `Host` is refused only where `server.allowed_hosts` names
    /// the own ones, and administration needs a token. `/readyz` does not know when the app is about to end;
    /// [`router`] with a [`Draining`] does.
    pub fn router(&self) -> Router {
        router(self.clone(), self.server_settings(), Draining::default())
    }
}

/// Everything that is served: JSON-RPC on `/`, `/{chain name}` and `/{chain id}`, posted or over a WebSocket, and the pages.
pub fn router(gateway: Gateway, settings: &config::Server, draining: Draining) -> Router {
    let shared = Shared { gateway, settings: Arc::new(settings.clone()), draining };
    let guarded = Router::new()
        .route("/", post(rpc::default_chain).get(ws::default_chain))
        .route("/{chain}", post(rpc::named_chain).get(ws::named_chain))
        .route("/{chain}/", post(rpc::named_chain).get(ws::named_chain))
        .route("/status", get(pages::status))
        .route("/metrics", get(pages::metrics))
        .route("/status/{chain}/decisions", get(pages::decisions))
        .route("/admin/{chain}/{backend}/cordon", post(admin::cordon))
        .route("/admin/{chain}/{backend}/uncordon", post(admin::uncordon))
        .route("/admin/{chain}/pin/{block}", post(admin::pin))
        .route("/admin/{chain}/unpin", post(admin::unpin))
        .route("/admin/transactions/{hash}/cancel", post(admin::cancel_held))
        .method_not_allowed_fallback(rpc::wrong_method)
        .layer(from_fn_with_state(shared.clone(), auth::require_token));
    Router::new()
        .route("/healthz", get(pages::healthz))
        .route("/readyz", get(pages::readyz))
        .method_not_allowed_fallback(rpc::wrong_method)
        .merge(guarded)
        .fallback(rpc::no_such_page)
        .layer(DefaultBodyLimit::disable())
        .layer(RequestDecompressionLayer::new())
        .layer(from_fn_with_state(shared.clone(), guard::refuse_foreign_hosts))
        .layer(CatchPanicLayer::custom(rpc::panicked))
        .layer(compression())
        .layer(cors::layer(settings))
        .layer(axum::middleware::from_fn(cors::preflight_is_204))
        .with_state(shared)
}

/// Answers are packed for those who take it, where that gains something.
fn compression() -> CompressionLayer<impl Predicate> {
    let compress = DefaultPredicate::new().and(SizeAbove::new(COMPRESS_ABOVE_BYTES));
    CompressionLayer::new().compress_when(compress)
}
