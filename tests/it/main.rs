//! Integration tests, one binary: real nodes, real wallets, real sockets, the real `outrigger` binary.
//!
//! One binary links once and lets the tests share `lab`, the laboratory they all stand on. `tests/run`
//! installs what the laboratory needs.
mod drill;
mod lab;
mod metamask;
mod wallets;
