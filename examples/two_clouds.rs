//! An axum app of your own with the whole JSON-RPC face nested in it: two backends in two clouds behind `/eth`.
//!
//!     cargo run --example two_clouds -- http://127.0.0.1:8545 http://127.0.0.1:8546
//!     curl -s -H 'content-type: application/json' http://127.0.0.1:3000/eth/ \
//!          -d '{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber"}'
//!
//! LISTEN names another address than 127.0.0.1:3000, CHAIN_ID another chain than 31337. It ends on Ctrl-C.

use std::error::Error;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use outrigger::config::{BackendBuilder, ChainBuilder};
use outrigger::server::{Draining, router};
use outrigger::{Config, Gateway};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut urls = std::env::args().skip(1);
    let (Some(first), Some(second)) = (urls.next(), urls.next()) else {
        return Err(
            "two addresses of the same chain are needed, as http://127.0.0.1:8545 http://127.0.0.1:8546"
                .into(),
        );
    };
    let chain_id = std::env::var("CHAIN_ID").ok().and_then(|id| id.parse().ok()).unwrap_or(31337);
    let config = Config::builder()
        .chain(
            ChainBuilder::new("own")
                .chain_id(chain_id)
                .backend(BackendBuilder::new("near", first).provider("near").cloud("aws").region("us-east-1"))
                .backend(
                    BackendBuilder::new("far", second).provider("far").cloud("gcp").region("us-central1"),
                ),
        )
        .build()?;
    let gateway = Gateway::new(&config)?;

    // Kept, because `/eth/readyz` shall say no from the moment this app is told to end.
    // Where that does not matter, `gateway.router()` is all it takes.
    let draining = Draining::default();
    let app = Router::new()
        .route("/", get(summary))
        .with_state(gateway.clone())
        // Guards, limits and CORS of the configuration come along; layers around them are your own. As a nested
        // service it answers at `/eth` and `/eth/` alike.
        .nest_service("/eth", router(gateway, &config.server, draining.clone()))
        // The guards have to know who asks: a web page that was led to a local port is refused by it.
        .into_make_service_with_connect_info::<SocketAddr>();

    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let end = async move {
        let _ = tokio::signal::ctrl_c().await;
        draining.begin();
    };
    // Requests under way are finished first.
    axum::serve(listener, app).with_graceful_shutdown(end).await?;
    println!("stopped");
    Ok(())
}

/// The app's own page: the engine's state is at hand wherever the gateway is.
async fn summary(State(gateway): State<Gateway>) -> String {
    let status = gateway.status();
    let lines = status.chains.iter().flat_map(|chain| {
        chain
            .backends
            .iter()
            .map(|b| format!("{} {}: {} calls, {} failed", b.name, b.state, b.attempts, b.failures))
    });
    lines.collect::<Vec<_>>().join("\n")
}
