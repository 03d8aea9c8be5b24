//! What the proxy knows of Ethereum: methods, block references, raw transactions, chains.

mod block_pin;
mod block_place;
mod block_ref;
pub mod chains;
mod header;
mod log_filter;
mod log_range;
mod lookup;
mod method;
mod method_table;
mod raw_transaction;

pub use block_pin::pin_blocks;
pub use block_place::{BlockPlace, BlockRole};
pub use block_ref::{BlockNeeds, BlockRef, BlockTag, block_refs};
pub use header::{NoHeader, ReadHeader, read_header, read_number};
pub use log_filter::{LogFilter, LogFilterError};
pub use log_range::{LogQuery, LogSpan, merge_lists};
pub use method::{Archive, CacheRule, Method, MethodClass, MethodKind, Refusal, Semantics, Sticky, Urgency};
pub use raw_transaction::{MAX_RAW_TRANSACTION_BYTES, RawTransaction, RawTransactionError};
