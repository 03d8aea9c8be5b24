//! The method table, block references, raw transactions and presets of chains.
