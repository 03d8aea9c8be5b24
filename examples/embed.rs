//! The engine inside your own program: no proxy to run, no extra hop.
//!
//!     cargo run --example embed                                       # mainnet over public endpoints
//!     cargo run --example embed -- http://127.0.0.1:8545 https://...  # your own backends of one chain
//!
//! With addresses, CHAIN_ID names the chain they serve (31337, a development node, unless it is set).

use std::error::Error;

use outrigger::config::{BackendBuilder, ChainBuilder};
use outrigger::gateway::Packet;
use outrigger::{Config, Gateway};
use tower::{Service, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let urls: Vec<String> = std::env::args().skip(1).collect();
    let config = if urls.is_empty() { Config::presets() } else { own_backends(&urls)? };

    // Cheap to clone; what it runs in the background ends with the last clone.
    let mut gateway = Gateway::new(&config)?;

    // One call, its result read as the type that is asked for. Which backend answered, and how many had to be asked, is nobody's concern here.
    let head: String = gateway.call(None, "eth_blockNumber", ()).await?;
    println!("block {}", u64::from_str_radix(head.trim_start_matches("0x"), 16)?);

    // The same engine as a tower service over whole packets, batches included: what a server would send on.
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"eth_chainId"},
                    {"jsonrpc":"2.0","id":"two","method":"eth_gasPrice"}]"#;
    let reply = gateway.ready().await?.call(Packet::new(batch)).await?;
    println!("batch {}", String::from_utf8_lossy(&reply.body.unwrap_or_default()));
    println!("asked {} backends: {:?}", reply.trail.attempts, reply.trail.backends);

    // What an operator would want to know.
    for backend in &gateway.status().chains[0].backends {
        println!("backend {} at {}: {}", backend.name, backend.endpoint, backend.state);
    }
    Ok(())
}

fn own_backends(urls: &[String]) -> Result<Config, Box<dyn Error>> {
    let chain_id = std::env::var("CHAIN_ID").ok().and_then(|id| id.parse().ok()).unwrap_or(31337);
    let backends = urls.iter().enumerate();
    let chain = backends.fold(ChainBuilder::new("own").chain_id(chain_id), |chain, (n, url)| {
        // Labels tell what fails together. Here each address is taken for a cloud of its own.
        chain.backend(BackendBuilder::new(format!("backend-{n}"), url).cloud(format!("cloud-{n}")))
    });
    Ok(Config::builder().chain(chain).build()?)
}
