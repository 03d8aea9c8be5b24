//! No secret is ever shown: not in an error, not in a note, not in `Debug`.

use proptest::prelude::*;

use super::*;

/// What the environment holds.
pub(super) const PLANTED: &str = "Sup3rS3cretPlantedInTheEnvironment";

const TEXT: &str = r#"
[server]
auth = { tokens = ["Sup3rS3cretTokenOfTheServer00", "x${INFURA_KEY}"] }
[chains.mainnet]
block_time = "12s"
[[chains.mainnet.backends]]
name = "a"
url = "https://me:Sup3rS3cretOfTheUser0000@one.example/v3/Sup3rS3cretOfThePath0000?k=Sup3rS3cretOfTheQuery000"
ws = "wss://one.example/ws/${INFURA_KEY}"
rate_limit = "100/s"
headers = { x-api-key = "Sup3rS3cretOfTheHeader00" }
[[chains.mainnet.backends]]
url = "https://two.example/${INFURA_KEY}"
[cache]
shared = "redis://:Sup3rS3cretOfTheStore000@redis.example:6379"
[routing]
deadline = "5s"
"#;

fn assert_hidden(text: &str) {
    for (name, shown) in match load(text) {
        Ok(config) => {
            vec![("debug", format!("{config:?} {config:#?}")), ("notes", config.notes().join("\n"))]
        }
        Err(errors) => vec![("errors", errors.to_string()), ("debug", format!("{errors:?}"))],
    } {
        assert!(!shown.contains("S3cret"), "{name} shows a secret\n{shown}\n\nof\n{text}");
    }
}

#[test]
fn p3_a_sound_file_shows_none_of_its_secrets() {
    assert_hidden(TEXT);
    let config = sound(TEXT);
    assert!(config.server.tokens[1].expose().ends_with(PLANTED));
    assert!(config.cache.shared.as_ref().is_some_and(|s| s.expose().contains("S3cret")));
    assert_eq!(format!("{:?}", config.cache.shared), "Some(redis://redis.example:6379)");
}

#[test]
fn p3_neither_does_one_that_is_wrong_in_every_line() {
    for (right, wrong) in [
        ("https://", "htps://"),
        ("https://", ""),
        ("https://", "ws://"),
        ("wss://", "https://"),
        ("redis://", "http://"),
        ("one.example", "one example"),
        ("url = ", "ulr = "),
        ("tokens = ", "token = "),
        ("headers = ", "header = "),
        ("x-api-key", "host"),
        ("tokens = [", "tokens = [\"Sup3r S3cret\", "),
        ("url = \"", "url = "),
        ("/v3/", "/v3/ "),
        ("name = ", "tier = "),
        ("rate_limit = \"100/s\"", "rate_limit = \"${INFURA_KEY}\""),
        ("deadline = \"5s\"", "deadline = \"${INFURA_KEY}\""),
        ("block_time = \"12s\"", "allow_methods = [\"${INFURA_KEY} x\"]"),
        ("name = \"a\"", "name = \"${INFURA_KEY} b\""),
        ("name = \"a\"", "tier = \"${INFURA_KEY}\""),
        ("name = \"a\"", "\"https://x/Sup3rS3cretOfThePath0000\" = 1"),
    ] {
        assert!(TEXT.contains(right), "{right}");
        assert_hidden(&TEXT.replace(right, wrong));
    }
}

proptest! {
    /// A slip of the finger anywhere: a character lost, doubled or replaced.
    #[test]
    fn p3_no_slip_of_the_finger_shows_a_secret(at in 0..TEXT.len(), slip in 0..3, with in "[ -~\n]") {
        let mut text = TEXT.to_owned();
        match slip {
            0 => text.replace_range(at..at + 1, ""),
            1 => text.insert_str(at, &with),
            _ => text.replace_range(at..at + 1, &with),
        }
        // A secret that is cut in two by a quote or a bracket is no longer the planted one.
        assert_hidden(&text);
    }
}
