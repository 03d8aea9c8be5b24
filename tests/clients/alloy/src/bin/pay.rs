//! alloy over WebSocket: sends one transfer, and waits for its receipt.
//!
//! `pay URL KEY`; what it writes is said in pay/viem.mjs.
#![forbid(unsafe_code)]

use std::time::Duration;

use alloy_network::TransactionBuilder;
use alloy_primitives::U256;
use alloy_provider::{Provider, ProviderBuilder, WsConnect};
use alloy_rpc_types_eth::TransactionRequest;
use alloy_signer_local::PrivateKeySigner;

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if let Err(error) = pay().await {
        println!("{{\"error\":{:?}}}", error.to_string());
    }
}

async fn pay() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, url, key] = &args[..] else { return Err("URL KEY".into()) };
    let signer: PrivateKeySigner = key.parse()?;
    let own = signer.address();
    let connect = WsConnect::new(url.replacen("http", "ws", 1)).with_max_retries(0);
    let provider = ProviderBuilder::new().wallet(signer).connect_ws(connect).await?;
    let transfer = TransactionRequest::default().with_to(own).with_value(U256::from(1));
    let pending = provider.send_transaction(transfer).await?;
    println!("{{\"sent\":\"{}\"}}", pending.tx_hash());
    let receipt = pending.with_timeout(Some(PATIENCE)).get_receipt().await?;
    println!("{{\"mined\":\"{}\",\"success\":{}}}", receipt.transaction_hash, receipt.status());
    Ok(())
}
