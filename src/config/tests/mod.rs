//! Files as people write them, and what they are told.

mod mistakes;
mod secrets;
mod sound;

use super::*;

fn env(name: &str) -> Option<String> {
    match name {
        "INFURA_KEY" => Some(secrets::PLANTED.to_owned()),
        "HOST" => Some("node.example".to_owned()),
        _ => None,
    }
}

fn load(text: &str) -> Result<Config, ConfigErrors> {
    Config::from_toml(text, "o.toml", &env)
}

/// Loads what must be sound.
fn sound(text: &str) -> Config {
    load(text).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}
