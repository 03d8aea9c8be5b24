//! Behaviour of a whole [`Upstream`] against servers on loopback that misbehave to order.

mod dns;
mod fixture;
mod http1;
mod http2;
mod pool;
mod secrets;
mod tls;
mod websocket;
