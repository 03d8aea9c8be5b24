//! Each mistake is named with its place and its mend, and all of them at once.

use proptest::prelude::*;

use super::*;

/// A file, and what must be said of it: one line each, in order.
#[rustfmt::skip]
const FILES: &[(&str, &[&str])] = &[
    ("listen = 1", &["o.toml:1:1: listen: is not a known key; it belongs under [server]"]),
    ("lisen = 1", &["o.toml:1:1: lisen: is not a known key; did you mean `listen` under [server]?"]),
    ("[server]\nlistn = \"x\"", &["o.toml:2:1: server.listn: is not a known key; did you mean `listen`?"]),
    ("[server]\nmaxBody = 1", &["o.toml:2:1: server.maxBody: is not a known key; did you mean `max_body`?"]),
    ("[server]\ndeadline = \"1s\"", &["o.toml:2:1: server.deadline: is not a known key; it belongs under [routing]"]),
    ("[server]\nnonsense_of_mine = 1", &["server.nonsense_of_mine: is not a known key; remove it; known here are allowed_hosts"]),
    ("[server]\nmax_batch = \"10\"", &["o.toml:2:13: server.max_batch: is a text in quotes, and a whole number is wanted; write a whole number"]),
    ("[server]\nmax_batch = 1.5", &["o.toml:2:13: server.max_batch: is a number, and a whole number is wanted"]),
    ("[server]\nmax_batch = -5", &["o.toml:2:13: server.max_batch: is -5, which is out of range; write a number from 1 to 10000"]),
    ("[server]\nmax_body = -5", &["server.max_body: is -5, which is out of range; write 0 or more"]),
    ("[server]\nmax_body = \"16 parsecs\"", &["server.max_body: \"16 parsecs\" is no size; write bytes as a number or with a unit"]),
    ("[server]\nmax_body = \"1TiB\"", &["server.max_body: 1TiB is out of range; write 1KiB to 1GiB"]),
    ("[server]\nheader_timeout = 75", &["server.header_timeout: is a whole number, and a text in quotes is wanted; write it as \"75s\""]),
    ("[server]\nheader_timeout = \"75\"", &["server.header_timeout: \"75\" is no duration; write a number with its unit"]),
    ("[server]\nheader_timeout = \"5ms\"", &["server.header_timeout: \"5ms\" is out of range; write 10ms to 1h"]),
    ("[server]\nlisten = [\"127.0.0.1:1\", \":8545\", 7]", &[
        "o.toml:2:26: server.listen[1]: \":8545\" is no address to listen on; write \"127.0.0.1:8545\"",
        "o.toml:2:35: server.listen[2]: is a whole number, and a text in quotes is wanted"]),
    ("[server]\nlisten = []", &["server.listen: is empty; name an address, or remove the key"]),
    ("[server]\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:1\"]", &["server.listen: names an address twice"]),
    ("[server]\nallowed_hosts = \"https://x\"", &["server.allowed_hosts: the value is no host name; write it without scheme"]),
    ("[server]\nallowed_origins = [\"app.example\"]", &["server.allowed_origins[0]: \"app.example\" is no origin; write scheme and host"]),
    ("[server]\ntrusted_proxies = \"10.0.0.0/40\"", &["server.trusted_proxies: \"10.0.0.0/40\" is no network; write an address or a CIDR block"]),
    ("[server]\ntls = { cert = \"a.pem\" }", &["server.tls.key: is missing; name the PEM file"]),
    ("[server]\nauth = { tokens = [\"\", \"a b\"] }", &[
        "server.auth.tokens[0]: is empty; write a token",
        "server.auth.tokens[1]: cannot stand in an HTTP header"]),
    ("[routing]\nhedge_delay_min = \"1s\"", &["routing.hedge_delay_min: leaves no delay between"]),
    ("[routing]\nbudgets.calm = 2.5", &["routing.budgets.calm: is 2.5, which is out of range; write a number from 0.0 to 1.0"]),
    ("[routing]\nbudgets.calm = 0.5", &["routing.budgets.calm: allows more extra calls in calm"]),
    ("[routing]\nbudgets.calm = nan", &["routing.budgets.calm: is NaN, which is out of range"]),
    ("[routing]\nroots = \" \"", &["routing.roots: is empty; write a path"]),
    ("[transactions]\nwhen_unreachable = \"holt\"", &["transactions.when_unreachable: \"holt\" is not possible here; did you mean \"hold\"? possible are \"reject\" or \"hold\""]),
    ("[cache]\nshared = \"memcached://x\"", &["cache.shared: is no address of a shared store; write it as redis://"]),
    ("chains = 3", &["o.toml:1:10: chains: is a whole number, and a table is wanted"]),
    ("[chains.foo]\n", &["o.toml:1:9: chains.foo: has no chain_id and is not a known chain; add chain_id = N"]),
    ("[chains.foo]\nchain_id = 777", &["chains.foo: has no backends, and no public endpoints are known for it; add one with [[chains.foo.backends]]"]),
    ("[chains.mainnet]\nchain_id = 8453", &["o.toml:2:12: chains.mainnet.chain_id: is 8453, but the chain named mainnet has 1; remove it, or name the chain base"]),
    ("[chains.mainnet]\n[chains.eth]", &["o.toml:2:9: chains.eth: has the same chain id 1 as chains.mainnet; put the backends of both under one name"]),
    ("[chains.status]\nchain_id = 1", &["chains.status: cannot be named status, since /status is taken; choose another name"]),
    ("[chains.\"a/b\"]\nchain_id = 1", &["chains.\"a/b\": is no name for a chain; it becomes the path of a URL"]),
    ("[chains.10]\nchain_id = 1", &["chains.10: is named 10 and has chain id 1; a number as a name must be the chain's own id"]),
    ("[chains.mainnet]\nallow_methods = [\"de*bug\"]", &["chains.mainnet.allow_methods[0]: \"de*bug\" is no method; write a name"]),
    ("[chains.mainnet]\nbackends = [{ name = \"a\" }]", &["o.toml:2:13: chains.mainnet.backends[0]: has no url; add url = \"https://"]),
    ("[[chains.mainnet.backends]]\nname = \"a\"\n", &["o.toml:1:1: chains.mainnet.backends[0]: has no url"]),
    ("[[chains.mainnet.backends]]\nurl = \"not a url\"", &["o.toml:2:7: chains.mainnet.backends[0].url: is not a URL; write it as scheme://host/path"]),
    ("[[chains.mainnet.backends]]\nurl = \"wss://x.example\"", &["chains.mainnet.backends[0].url: has the scheme wss; put a ws:// or wss:// address under ws"]),
    ("[[chains.mainnet.backends]]\nurl = \"https://x.example\"\nws = \"https://x.example\"", &["chains.mainnet.backends[0].ws: has the scheme https; write an address that begins with ws or wss"]),
    ("[server]\nlisten = \"127.0.0.1:8545\"\n[[chains.mainnet.backends]]\nurl = \"https://x.example\"\nws = \"ws://127.0.0.1:8545\"", &["chains.mainnet.backends[0].ws: is the address this proxy itself listens on"]),
    ("[[chains.mainnet.backends]]\nurl = \"http://127.0.0.1:8545\"", &["chains.mainnet.backends[0].url: is the address this proxy itself listens on, so that it would call itself; listen on another port"]),
    ("[[chains.mainnet.backends]]\nurl = \"https://${NOPE}/${NADA}\"", &[
        "o.toml:2:7: chains.mainnet.backends[0].url: the environment variable NOPE is not set; set it, or give a default: ${NOPE:-value}",
        "o.toml:2:7: chains.mainnet.backends[0].url: the environment variable NADA is not set"]),
    ("[[chains.mainnet.backends]]\nurl = \"https://x.example/${INFURA_KEY\"", &["chains.mainnet.backends[0].url: a ${ has no closing }; close it"]),
    ("[[chains.mainnet.backends]]\nurl = \"https://x.example${INFURA_KEY}\"", &["chains.mainnet.backends[0].url: has a variable that runs into the host; put a / between host and key"]),
    ("[[chains.mainnet.backends]]\nurl = \"https://x.example\"\nprivate = true", &["chains.mainnet: has only private backends, and those serve no reads; add a backend without private = true"]),
    ("[[chains.mainnet.backends]]\nurl = \"https://x.example\"\nrate_limit = \"100\"\nlabels = { cloud = \"aws\" }\nheaders = { host = \"x\", \"b c\" = \"y\" }\nname = \"a b\"", &[
        "o.toml:3:14: chains.mainnet.backends[0].rate_limit: \"100\" is no rate; write requests per time",
        "o.toml:4:20: chains.mainnet.backends[0].labels.cloud: has a key of its own; write cloud = ... beside labels",
        "o.toml:5:20: chains.mainnet.backends[0].headers.host: is set by the connection itself; remove it",
        "chains.mainnet.backends[0].headers.\"b c\": is no name of a header",
        "o.toml:6:8: chains.mainnet.backends[0].name: \"a b\" is no name for a backend"]),
    ("[[chains.mainnet.backends]]\nname = \"a\"\nurl = \"https://x.example/1\"\n[[chains.mainnet.backends]]\nname = \"A\"\nurl = \"https://X.example/1\"", &[
        "o.toml:5:8: chains.mainnet.backends[1].name: \"A\" is already the name of chains.mainnet.backends[0]; give each backend its own name",
        "o.toml:6:7: chains.mainnet.backends[1].url: is the same address as in chains.mainnet.backends[0]; remove one of the two"]),
    ("a = \nb = [1\n", &["o.toml:1:", "o.toml:2:"]),
    ("[server]\nlisten = \"a\"\nlisten = \"b\"", &["o.toml:3:1: is not TOML: duplicate key"]),
    // Columns count characters, not bytes.
    ("[server]\ntls = { cert = \"ü\", kye = \"x\" }", &["o.toml:2:1: server.tls.key: is missing", "o.toml:2:21: server.tls.kye: is not a known key; did you mean `key`?"]),
];

#[test]
fn every_mistake_is_named_with_its_place_and_its_mend() {
    for (text, expected) in FILES {
        let errors = load(text).err().unwrap_or_else(|| panic!("nothing is said of {text}"));
        let said: Vec<String> = errors.mistakes().iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), expected.len(), "{text}\n{said:#?}");
        for (said, expected) in said.iter().zip(*expected) {
            assert!(said.contains(expected), "{text}\nsaid:   {said}\nwanted: {expected}");
        }
    }
}

#[test]
fn o6_all_mistakes_of_a_file_come_at_once_in_its_order_and_are_counted() {
    let whole: String = FILES
        .iter()
        .filter(|(text, _)| text.starts_with("[server]\nmax_batch = "))
        .map(|(t, _)| *t)
        .collect();
    assert!(load(&whole).is_err());
    let errors =
        load("[routing]\ndedline = 1\nconnect_timeout = \"9h\"\n[chains.foo]\n[server]\nmax_batch = 0\n")
            .unwrap_err();
    let lines: Vec<_> = errors.mistakes().iter().filter_map(|m| m.place).map(|(line, _)| line).collect();
    assert_eq!(lines, [2, 3, 4, 6]);
    assert!(errors.to_string().ends_with("4 mistakes"), "{errors}");
}

#[test]
fn everything_has_a_limit() {
    let many =
        |n: usize| (0..n).map(|i| format!("[chains.c{i}]\nchain_id = {}\n", i + 1000)).collect::<String>();
    let table = [
        ("#".repeat(FILE_BYTES_MAX + 1), "has more than"),
        ((0..100_000).map(|i| format!("strange{i} = 1\n")).collect(), "100000 mistakes"),
        (many(CHAINS_MAX + 1), "chains: has 65 entries; leave at most 64"),
        (format!("[[chains.mainnet.backends]]\nurl = \"https://x/{}\"", "y".repeat(5000)), "is too long"),
        (
            format!("[[chains.mainnet.backends]]\nurl = \"https://x\"\nprovider = \"{}\"", "y".repeat(65)),
            "is too long",
        ),
        (format!("[server]\nallowed_hosts = [{}]", "\"a\",".repeat(65)), "has 65 entries; leave at most 64"),
        (format!("a = {}1{}", "[".repeat(10_000), "]".repeat(10_000)), "is not TOML"),
        ("[[chains.mainnet.backends]]\nurl = \"https://x\"\n".repeat(BACKENDS_MAX + 1), "has 65 entries"),
    ];
    for (text, expected) in table {
        let errors = load(&text).unwrap_err().to_string();
        assert!(errors.contains(expected), "{}", &errors[..errors.len().min(400)]);
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}", lines in prop::collection::vec(line(), 0..12)) {
        let _ = load(&text).map_err(|errors| errors.to_string());
        let _ = load(&lines.join("\n")).map_err(|errors| errors.to_string());
    }
}

/// A line that could stand in a configuration, with a value that often does not fit.
fn line() -> impl Strategy<Value = String> {
    let keys = "listen|max_body|max_batch|tls|auth|chain_id|block_time|url|ws|name|tier|labels|headers|rate_limit|deadline|roots|memory|shared|x";
    let value = prop_oneof![
        "\"[ -~&&[^\"\\\\]]{0,30}\"",
        "\"(https?|wss?)://[a-z$\\{\\}A-Z:@/.0-9\\[\\]-]{0,20}\"",
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:?}")),
        Just("[]".to_owned()),
        Just("{ a = 1 }".to_owned()),
        Just("[\"a\", 1, {}]".to_owned()),
        Just("1979-05-27".to_owned()),
        Just("true".to_owned()),
    ];
    prop_oneof![
        (keys, value).prop_map(|(key, value)| format!("{key} = {value}")),
        "\\[(server|routing|cache|transactions|chains|chains\\.(mainnet|a b|\"é\"|9))\\]",
        "\\[\\[chains\\.(mainnet|x)(\\.backends)?\\]\\]",
    ]
}
