//! One true view of the chain from many feeds that may be late, forked or lying. Pure: what backends showed and `now`
//! go in, the head, who has it and what changed come out. No clock, no I/O, no task, no lock.

#![deny(clippy::disallowed_methods)]

mod abreast;
mod beat;
mod block;
mod contradiction;
mod event;
mod follower;
mod fork;
mod life;
mod look;
mod push;
mod source;
mod tempo;
mod tree;
mod weight;

pub use abreast::{Shown, Turn, denies_block};
pub use block::{Block, BlockId};
pub use contradiction::{contradict, has_one_answer, is_state};
pub use event::ChainEvent;
pub use follower::{Follower, HashCheck, Head, Quarantine, Standing, View};
pub use fork::{Branch, Fork};
pub use life::{EXPIRES_AFTER, Fate, Happened, Life, Looked, Next, next_nonce};
pub use look::Look;
pub use push::{SocketFault, SocketState, SocketView};
