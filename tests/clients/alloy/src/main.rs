//! alloy over WebSocket: `subscribe_blocks` and `subscribe_logs`.
//!
//! `alloy-feed URL --contract ADDRESS`; what it writes is said in feeds/told.mjs.
#![forbid(unsafe_code)]

use alloy_primitives::{Address, b256};
use alloy_provider::{Provider, ProviderBuilder, WsConnect};
use alloy_rpc_types_eth::Filter;
use futures_util::StreamExt;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if let Err(error) = listen().await {
        println!("{{\"error\":{:?}}}", error.to_string());
    }
}

async fn listen() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, url, option, contract] = &args[..] else { return Err("URL --contract ADDRESS".into()) };
    assert_eq!(option, "--contract");
    let contract: Address = contract.parse()?;
    // A lost connection ends the feed: what alloy does to get it back must not hide that it was lost.
    let provider =
        ProviderBuilder::new().connect_ws(WsConnect::new(url.as_str()).with_max_retries(0)).await?;
    // Rang(address indexed who, uint256 count)
    let rang = b256!("568004d1c712e9de32b6bfbe7228d41026359611c76e4d6d4c27807fd7f68a94");
    let mut blocks = provider.subscribe_blocks().await?.into_stream();
    let mut logs =
        provider.subscribe_logs(&Filter::new().address(contract).event_signature(rang)).await?.into_stream();
    println!("{{\"up\":true}}");
    loop {
        tokio::select! {
            block = blocks.next() => match block {
                Some(block) => println!("{{\"block\":{},\"hash\":\"{}\"}}", block.number, block.hash),
                None => return Err("the blocks ended".into()),
            },
            log = logs.next() => match log {
                Some(log) => println!(
                    "{{\"log\":\"{}\",\"block\":{},\"hash\":\"{}\",\"removed\":{}}}",
                    log.transaction_hash.unwrap_or_default(),
                    log.block_number.unwrap_or_default(),
                    log.block_hash.unwrap_or_default(),
                    log.removed,
                ),
                None => return Err("the logs ended".into()),
            },
        }
    }
}
