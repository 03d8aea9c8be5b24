//! Ports that nobody takes away while we let go of them for a moment.
//!
//! A front that refuses connections closes its listener and opens it again later; a node that is killed
//! comes back on its port. A port from the ephemeral range would not wait: the kernel may hand it to any
//! outgoing connection meanwhile, and a client that connects to a closed ephemeral port of its own host can
//! even be connected to itself (TCP simultaneous open). So ports are taken below that range.
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// First port considered; below it live the services people know.
const FIRST: u32 = 12_000;
/// One past the last port considered: Linux hands out ephemeral ports from 32768 on.
const END: u32 = 32_000;
/// How far two processes start apart, so that parallel test runs seldom meet.
const STRIDE: u32 = 97;

static TAKEN: AtomicU32 = AtomicU32::new(0);

/// A loopback port that is free now and was not given out before by this process.
///
/// Another process may still grab it before the caller binds it: whoever starts something on it looks
/// whether that worked and asks again.
pub fn free() -> u16 {
    let start = std::process::id().wrapping_mul(STRIDE) % (END - FIRST);
    for _ in 0..(END - FIRST) {
        let step = TAKEN.fetch_add(1, Ordering::Relaxed);
        let candidate = FIRST + (start + step) % (END - FIRST);
        let port = u16::try_from(candidate).expect("END fits in 16 bits");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free loopback port between {FIRST} and {END}");
}
