//! Answers that are known already: what may be kept and for how long, where it is kept, and which calls can share one
//! answer that is still on its way.
//!
//! What may be kept is decided by pure functions ([`keep`], [`holds`]) of the method's rule, what was asked, and two
//! pictures of the chain: when the question was put, and when the answer came. Nothing is ever dropped in time by
//! somebody who has to hear of a reorg first: every entry says what it rests on, and is held against the present chain
//! each time it is asked for. So an answer that comes in after its block was dropped, or a reorg in the middle of a
//! read, needs no lock and no order of events.

mod disk;
mod flights;
mod keep;
mod key;
mod memory;
mod shape;
mod store;
#[cfg(test)]
mod tests;
mod view;

pub use disk::{Disk, DiskUse, Found};
pub use flights::{Flights, Follow, Lead, Seat, Share};
pub use keep::{Answer, Ask, Basis, Footing, holds, keep};
pub use key::{Key, canonical};
pub use memory::{Entry, Memory, MemoryUse};
pub use view::{Picture, Seen, Sight, View};
