//! One true view of the chain from many feeds that may be late, forked or lying. Pure: what backends showed and `now`
//! go in, the head, who has it and what changed come out. No clock, no I/O, no task, no lock.

#![deny(clippy::disallowed_methods)]

mod block;
mod event;

pub use block::{Block, BlockId};
pub use event::ChainEvent;
