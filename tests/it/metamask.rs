//! MetaMask's own network stack through the real proxy: adding the network, switching, balances, sending.
//!
//! MetaMask retries in silence and then opens its circuit breaker for half a minute, so its day counts every
//! retry, every "degraded" and every "unavailable" as an error (tests/clients/metamask/day.mjs).
use crate::lab::wallet::Wallet;
use crate::lab::world::World;

/// R1, R2, C1, C2, T12, T13: backends flap, and MetaMask never has to retry, nor sees an old block.
#[tokio::test]
async fn metamask_never_retries_while_backends_flap() {
    let world = World::start().await;
    let mut day = Wallet::MetaMask.start(&world.proxy.url(), 20);
    let met = world.flap(|| day.runs()).await;
    world.has_served(&day.told().await, 40);
    world.was_tested(&met);
}
