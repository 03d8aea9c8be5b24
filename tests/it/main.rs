//! Integration tests, one binary: real nodes, real wallets, real sockets, the real `outrigger` binary.
//!
//! One binary links once and lets the tests share `lab`, the laboratory they all stand on. `tests/run`
//! installs what the laboratory needs.
mod cache;
mod chain;
mod check;
mod drill;
mod examples;
mod execution_apis;
mod lab;
mod load;
mod metamask;
mod metrics;
mod operation;
mod protocol;
mod ranges;
mod reads;
mod simulate;
mod transactions;
mod vectors;
mod wallets;
mod websocket;
