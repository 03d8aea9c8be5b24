//! The JSON Schema of the file.

use std::sync::LazyLock;

use serde_json::Value;

use super::file::File;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(File).to_value());

/// The JSON Schema (2020-12) of `outrigger.toml`, for editors and for generators of references.
pub fn schema() -> &'static Value {
    &SCHEMA
}
