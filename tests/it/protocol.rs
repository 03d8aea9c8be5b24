//! What every client may rely on, whatever it speaks with: the promises P1 to P9, through the real binary.
//!
//! Backends are fixtures: what matters here is what passes between a client and the proxy, byte for byte, and
//! which bytes reach a backend. Clients are bare sockets where a library would hide what is to be seen.
mod answers;
mod browsers;
pub mod envelopes;
mod limits;
mod methods;
mod routes;
mod secrets;
pub mod site;
mod transport;
