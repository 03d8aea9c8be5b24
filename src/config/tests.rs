//! Files as people write them, and what they are told.

use super::*;

fn env(name: &str) -> Option<String> {
    match name {
        "INFURA_KEY" => Some("infura-k3y-planted".to_owned()),
        "HOST" => Some("node.example".to_owned()),
        _ => None,
    }
}

fn load(text: &str) -> Result<Config, ConfigErrors> {
    Config::from_toml(text, "o.toml", &env)
}

#[test]
fn without_a_file_every_known_chain_is_served_and_mainnet_is_the_default() {
    let config = Config::presets();
    assert_eq!(config.default_chain().name, "mainnet");
    assert!(config.chains.len() >= 11);
    assert_eq!(config.chain("eth").map(|c| c.chain_id), Some(1));
    assert_eq!(config.chain("8453").map(|c| c.name.as_str()), Some("base"));
    assert!(config.chain("01").is_none() && config.chain("+1").is_none());
    println!("{config:#?}");
    println!("{}", serde_json::to_string_pretty(schema()).unwrap());
}

#[test]
fn the_template_is_valid() {
    let config = load(template()).unwrap();
    println!("{config:#?} {:?}", config.notes());
}

#[test]
fn smoke() {
    let text = r#"
[sevrer]
x = 1
[server]
listen = 8545
max_batch = 0
max_bdy = 3
deadline = "3s"
[chains.mainnet]
chain_id = 5
[[chains.mainnet.backends]]
nam = "a"
tier = "primry"
url = "https://x.example/${NOPE}"
rate_limit = "100"
[[chains.mainnet.backends]]
name = "b"
[chains.foo]
"#;
    println!("{}", load(text).unwrap_err());
    println!("{}", load("a = https://x.example/SECRETKEY\nb = [").unwrap_err());
}
