//! The file to start from.

/// A commented configuration, as `outrigger config init` writes it. It is valid as it stands once
/// the variables it names are set.
pub fn template() -> &'static str {
    include_str!("template.toml")
}
