//! What a sound file comes to.

use std::time::Duration;

use super::*;
use crate::ethereum::Method;
use crate::ethereum::chains::Finality;

#[test]
fn without_a_file_every_known_chain_is_served_and_mainnet_is_the_default() {
    let config = Config::presets();
    assert_eq!(config.default_chain().name, "mainnet");
    assert_eq!(config.chain("eth").map(|c| c.chain_id), Some(1));
    assert_eq!(config.chain("8453").map(|c| c.name.as_str()), Some("base"));
    assert!(config.chains.iter().all(|chain| !chain.backends.is_empty()));
    for unknown in ["01", "+1", "", "Mainnet", "nowhere", "99999999999999999999"] {
        assert!(config.chain(unknown).is_none(), "{unknown}");
    }
}

#[test]
fn an_empty_file_is_as_no_file() {
    assert_eq!(format!("{:?}", sound("")), format!("{:?}", Config::presets()));
    let config = sound("[server]\nlisten = \"127.0.0.1:9000\"");
    assert_eq!(config.chains.len(), Config::presets().chains.len());
}

#[test]
fn the_template_is_valid_and_so_is_every_line_of_it_that_is_commented_out() {
    let config = sound(template());
    assert_eq!(config.default_chain().backends[0].name, "infura");
    // A commented key is `# key = value  # remark`; prose has no `=` after its first word.
    let uncommented: String = template()
        .lines()
        .map(|line| {
            let bare = line.strip_prefix("# ").unwrap_or(line);
            let is_key = bare
                .split_once('=')
                .is_some_and(|(key, _)| key.trim().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            format!("{}\n", if is_key || bare.starts_with('[') { bare } else { line })
        })
        .collect();
    let set = |name: &str| Some(format!("{name}-0123456789").to_lowercase());
    // `listen` stands there twice: as it is, and as a list.
    let uncommented = uncommented.replacen("listen = \"localhost:8545\"", "", 1);
    let url = |name: &str| if name == "NODE_URL" { None } else { set(name) };
    let config = Config::from_toml(&uncommented, "t", &url).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.server.tokens.len(), 1);
    assert_eq!(config.default_chain().backends[0].headers.len(), 1);
    assert!(!config.notes().is_empty());
}

#[test]
fn the_file_of_the_design_means_what_it_says() {
    let config = sound(
        r#"
[server]
listen = "127.0.0.1:8545"
auth = { tokens = ["0123456789abcdefghij"] }
max_body = 1_000_000
[chains.zeta]
chain_id = 4242
block_time = "500ms"
finality_depth = 20
allow_methods = "debug_*"
deny_methods = ["debug_setHead", "trace_*"]
[[chains.zeta.backends]]
url = "https://${HOST}/v3/${INFURA_KEY}"
ws = "wss://${HOST}/ws/${INFURA_KEY}"
provider = "infura"
cloud = "aws"
region = "us-east-1"
labels = { rack = "7" }
tier = "backup"
rate_limit = "6000/m"
monthly_budget = 3_000_000
headers = { X-Api-Key = "k" }
[[chains.zeta.backends]]
url = "https://node.example:8443/"
provider = "infura"
private = true
[chains.alpha]
chain_id = 4243
backends = [{ url = "http://10.0.0.7:8545" }]
[routing]
deadline = "5s"
roots = "/etc/ssl/own.pem"
budgets = { fault = 1 }
[cache]
memory = 0
"#,
    );
    assert_eq!(config.chains.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["zeta", "alpha"]);
    let zeta = config.default_chain();
    assert_eq!((zeta.chain_id, zeta.network_id), (4242, 4242));
    assert_eq!((zeta.block_time, zeta.finality), (Duration::from_millis(500), Finality::Depth(20)));
    let [first, second] = &zeta.backends[..] else { panic!("two backends") };
    assert_eq!((first.name.as_str(), second.name.as_str()), ("infura", "infura-2"));
    assert_eq!(first.url.path_and_query(), format!("/v3/{}", secrets::PLANTED));
    assert_eq!(first.tier, Tier::Backup);
    assert_eq!(first.rate_limit.map(|r| r.per_second()), Some(100.0));
    assert_eq!(first.headers[0].0.as_str(), "x-api-key");
    let domains = first.domains();
    let domains: Vec<_> = domains.iter().map(|(kind, name)| (kind.as_str(), name.as_str())).collect();
    assert_eq!(
        domains,
        [("provider", "infura"), ("cloud", "aws"), ("region", "aws/us-east-1"), ("rack", "7")]
    );
    assert_eq!(config.chains[1].backends[0].name, "10.0.0.7");
    assert_eq!(config.server.max_body, 1_000_000);
    assert_eq!(config.routing.roots, Roots::File("/etc/ssl/own.pem".into()));
    assert_eq!(config.routing.deadline_for(Method::lookup("eth_call")), Duration::from_secs(5));
    assert_eq!(config.routing.deadline_for(Method::lookup("eth_blockNumber")), Duration::from_secs(3));
    assert_eq!(
        config.routing.deadline_for(Method::lookup("debug_traceBlockByHash")),
        Duration::from_secs(120)
    );
    assert_eq!(
        config.routing.deadline_for(Method::lookup("eth_sendRawTransactionSync")),
        Duration::from_secs(35)
    );
}

#[test]
fn the_most_exact_pattern_decides_whether_a_method_is_refused() {
    let config = sound(
        "[chains.mainnet]\nallow_methods = [\"debug_*\", \"eth_sendTransaction\"]\ndeny_methods = [\"debug_set*\", \"eth_call\", \"x_*\"]\n[chains.base]\nallow_methods = \"eth_*\"\ndeny_methods = \"*\"",
    );
    let table = [
        ("mainnet", "eth_getBalance", true),
        ("mainnet", "admin_peers", false),
        ("mainnet", "debug_dumpBlock", true),
        ("mainnet", "debug_setHead", false),
        ("mainnet", "eth_sendTransaction", true),
        ("mainnet", "eth_call", false),
        ("mainnet", "ETH_CALL", false), // some nodes fold case
        ("mainnet", "x_y", false),
        ("base", "eth_getBalance", true),
        ("base", "net_version", false),
    ];
    for (chain, name, permitted) in table {
        let chain = config.chain(chain).unwrap();
        assert_eq!(chain.permits(name, Method::lookup(name)).is_ok(), permitted, "{} {name}", chain.name);
    }
}

#[test]
fn a_variable_may_stand_for_an_address_or_for_any_part_of_it() {
    let env = |name: &str| {
        let table = [
            ("URL", "https://a.example/k"),
            ("HOST", "a.example"),
            ("END", ".example"),
            ("PORT", "8080"),
            ("PATH_", "/k"),
        ];
        table.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    };
    for (url, host) in [
        ("${URL}", "a.example"),
        ("${NONE:-https://a.example/k}", "a.example"),
        ("https://${HOST}/k", "a.example"),
        ("https://x.${HOST}/k", "x.a.example"),
        ("https://x.y${END}/k", "x.y.example"),
        ("https://node${PORT}.example/k", "node8080.example"),
        ("https://a.example:${PORT}/k", "a.example"),
        ("https://a.example${PATH_}", "a.example"),
    ] {
        let text = format!("[[chains.mainnet.backends]]\nurl = \"{url}\"");
        let config = Config::from_toml(&text, "t", &env).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.default_chain().backends[0].url.host(), host, "{url}");
    }
}

#[test]
fn a_file_from_another_system_is_read_as_well() {
    let config = sound("\u{feff}[server]\r\nmax_batch = 7\r\n[chains.base]\r\n");
    assert_eq!((config.server.max_batch, config.default_chain().chain_id), (7, 8453));
}

#[test]
fn public_endpoints_can_stand_behind_ones_own() {
    let config = sound(
        "[chains.mainnet]\npublic_backup = true\n[[chains.mainnet.backends]]\nurl = \"https://eth.drpc.org/\"\nname = \"mine\"\n",
    );
    let backends = &config.default_chain().backends;
    assert_eq!((backends[0].name.as_str(), backends[0].tier), ("mine", Tier::Primary));
    assert!(backends[1..].iter().all(|b| b.tier == Tier::Backup && b.name.starts_with("public-")));
    assert!(!backends[1..].iter().any(|b| b.url.host() == "eth.drpc.org"), "the same address counts once");
}

#[test]
fn what_is_right_and_worth_knowing_is_noted() {
    let table = [
        (
            "[routing]\nread_quorum = 2",
            "o.toml:2: routing.read_quorum: accepted, takes effect in a later version",
        ),
        ("[server]\nlisten = \"0.0.0.0:8545\"", "whoever reaches the port uses your keys"),
        ("[server]\nauth = { tokens = [\"short\"] }", "short enough to be guessed"),
        ("[[chains.mainnet.backends]]\nurl = \"https://eth.llamarpc.com\"", "out of service"),
        ("[[chains.mainnet.backends]]\nurl = \"http://rpc.example.org\"", "is not encrypted"),
        (
            "[[chains.mainnet.backends]]\nurl = \"https://x.example\"\nws = \"ws://rpc.example.org\"",
            "o.toml:3: chains.mainnet.backends[0].ws: is not encrypted: keys and transactions can be read on the way; use wss",
        ),
        (
            "[[chains.mainnet.backends]]\nurl = \"https://x.example\"\nws = \"wss://x.example\"\nprivate = true\n[[chains.mainnet.backends]]\nurl = \"https://y.example\"",
            "is not used: who takes transactions only",
        ),
        (
            "[[chains.mainnet.backends]]\nurl = \"https://x.example\"\ncordoned = true",
            "all its backends are cordoned",
        ),
    ];
    for (text, expected) in table {
        let config = sound(text);
        assert!(config.notes().iter().any(|note| note.contains(expected)), "{text}: {:?}", config.notes());
    }
    assert!(sound("[[chains.mainnet.backends]]\nurl = \"http://10.1.2.3:8545\"").notes().is_empty());
}

#[test]
fn a_file_is_read_from_disk_and_one_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outrigger.toml");
    std::fs::write(&path, "[chains.base]\n").unwrap();
    assert_eq!(Config::from_file(&path).unwrap().default_chain().chain_id, 8453);
    std::fs::write(&path, b"a = 1\nb = \"\xff\"").unwrap();
    assert!(Config::from_file(&path).unwrap_err().to_string().contains("not UTF-8 text from line 2"));
    let missing = Config::from_file(folder.path().join("none.toml")).unwrap_err().to_string();
    assert!(missing.contains("none.toml: cannot be read") && missing.contains("config init"), "{missing}");
}

#[test]
fn code_can_make_a_configuration_and_the_same_rules_hold() {
    let node = |name: &str| BackendBuilder::new(name, format!("https://{name}.example/KEY"));
    let config = Config::builder()
        .listen("127.0.0.1:0")
        .chain(ChainBuilder::new("own").chain_id(7).backend(node("a")).backend(node("b").tier(Tier::Backup)))
        .chain(ChainBuilder::new("aaa").chain_id(8).backend(node("c")))
        .build()
        .unwrap();
    assert_eq!(config.default_chain().name, "own");
    let errors = Config::builder()
        .max_batch(0)
        .chain(ChainBuilder::new("own").backend(node("a")).backend(node("a")))
        .build()
        .unwrap_err();
    let text = errors.to_string();
    for expected in ["server.max_batch", "the same address", "already the name", "has no chain_id"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn the_schema_knows_every_key_and_describes_it() {
    let schema = schema();
    let tables = schema["$defs"].as_object().unwrap().values().chain([schema]);
    let mut keys = 0;
    for table in tables.filter(|table| table.get("properties").is_some()) {
        assert_eq!(table["additionalProperties"], serde_json::Value::Bool(false));
        for (key, property) in table["properties"].as_object().unwrap() {
            assert!(property.get("description").is_some(), "{key} has no description");
            keys += 1;
        }
    }
    assert!(keys > 50);
}
