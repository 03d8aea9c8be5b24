//! The laboratory: real nodes on one chain, fronts that inject faults, the real proxy, real wallets.
//!
//! ```text
//! wallet ──> proxy (the binary under test) ──> front 0 ──> anvil 0 ┐
//!                                         ├──> front 1 ──> anvil 1 ├ one chain, in step
//!                                         └──> front 2 ──> anvil 2 ┘
//! ```
//!
//! [`bell::Bell`] rings once a block on that chain, so that every answer tells which block it is from.
//! [`feed::Feed`] listens. [`relay::Relay`] carries a backend's WebSocket until it is to fall silent or end.
//! [`world::World`] is all of it at once. Alone, [`anvil::Lab`] keeps the chain, [`front::Front`] breaks things
//! (or plays a backend without a node), [`proxy::Proxy`] runs the binary, [`wallet::Wallet`] lives a day and
//! [`rpc`] is a bare client. Everything stays on loopback and ends with the test, even when the test is killed.
#![allow(dead_code)] // every test file uses its own share of the laboratory
pub mod anvil;
pub mod bell;
pub mod clients;
pub mod feed;
pub mod front;
pub mod leash;
pub mod ports;
pub mod proxy;
pub mod relay;
pub mod rpc;
pub mod wallet;
pub mod wire;
pub mod world;
