//! Real wallets through the real proxy over three real nodes: calm, and while one cloud after another fails.
//!
//! viem, ethers, web3.py and cast each live a whole day (deploy, call, revert, send, receipt, logs, fees,
//! batches) with their own retries off, at the same time, each with an account of its own. They check what
//! they get: a contract's state that must include the transaction whose receipt was just seen, revert data to
//! the last byte, a pending nonce never below the latest.
use futures_util::future::join_all;

use crate::lab::wallet::Wallet;
use crate::lab::world::World;

/// P1, P2, P9, R3, T12, T13, C2: what wallets do all day works, and means what it says.
#[tokio::test]
async fn every_wallet_has_a_calm_day() {
    let world = World::start().await;
    let days = Wallet::SIMPLE.map(|wallet| wallet.start(&world.proxy.url(), 0));
    for told in join_all(days.map(|day| day.told())).await {
        world.has_served(&told, 20);
    }
}

/// R1, R2, T3, T12, T13: while one cloud at a time refuses, hangs up, answers errors, web pages, garbage or
/// somebody else's answer, no wallet sees it.
#[tokio::test]
async fn no_wallet_notices_that_one_cloud_after_another_fails() {
    let world = World::start().await;
    let mut days = Wallet::SIMPLE.map(|wallet| wallet.start(&world.proxy.url(), 20));
    let met = world.flap(|| days.iter_mut().any(|day| day.runs())).await;
    for told in join_all(days.map(|day| day.told())).await {
        world.has_served(&told, 40);
    }
    world.was_tested(&met);
}
