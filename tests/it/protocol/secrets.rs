//! P3: keys that lie in the addresses and headers of backends leave the process towards that backend only.
//!
//! One key is planted in each place that holds one: path, query, user, password, extra header, token. Then
//! everything that can go wrong does, and no byte of what comes out holds any of them: neither in an answer's
//! headers or body, nor on a page, nor in the log at its loudest, nor in what a command prints.
use std::time::Duration;

use serde_json::{Value, json};

use super::site::{self, Client, call};
use crate::lab::front::{Fault, Front};
use crate::lab::leash::Leash;
use crate::lab::proxy::{self, Backend, Proxy, Settings};
use crate::lab::wire::Message;

/// Name of a variable, and the key that it holds: as providers make them, and with signs that URLs escape.
const KEYS: [(&str, &str); 6] = [
    ("KEY_PATH", "9aa3d95b3bc440fa88ea12eaa4456161"),
    ("KEY_QUERY", "querykeyQ7x-only_letters"),
    ("KEY_USER", "userkey77AbCd"),
    ("KEY_PASSWORD", "pa55w0rd~of.the-backend"),
    ("KEY_HEADER", "Bearer hdr.eyJhbGciOiJub25lIn0.key"),
    ("KEY_TOKEN", "token-of-the-proxys-own-users"),
];

fn key(name: &str) -> &'static str {
    KEYS.iter().find(|(variable, _)| *variable == name).expect("such a key").1
}

/// The keys, and the forms in which they travel.
fn forms() -> Vec<String> {
    use base64::Engine;
    let pair = format!("{}:{}", key("KEY_USER"), key("KEY_PASSWORD"));
    let packed = base64::engine::general_purpose::STANDARD.encode(pair);
    KEYS.iter().map(|(_, key)| (*key).to_owned()).chain([packed]).collect()
}

/// Asserts that `text` holds no key.
fn hides(what: &str, text: &str) {
    for form in forms() {
        // a word of it is no better than all of it
        let part = form.trim_start_matches("Bearer ");
        assert!(!text.contains(part), "{what} shows {form}:\n{text}");
    }
}

fn all_of(answer: &Message) -> String {
    format!("{}\n{:?}\n{}", answer.start, answer.headers, site::text(answer))
}

/// An address with a key in each of its parts.
fn url(scheme: &str, host: &str) -> String {
    format!("{scheme}://${{KEY_USER}}:${{KEY_PASSWORD}}@{host}/v3/${{KEY_PATH}}?apikey=${{KEY_QUERY}}")
}

fn backend(name: &str, url: String) -> Backend {
    let labels = "headers = { x-api-key = \"${KEY_HEADER}\" }\n".to_owned();
    Backend { name: name.to_owned(), url, labels }
}

/// A proxy whose log is as loud as it gets.
fn settings(backends: Vec<Backend>) -> Settings {
    let mut environment: Vec<(String, String)> =
        KEYS.iter().map(|(name, key)| ((*name).to_owned(), (*key).to_owned())).collect();
    environment.push(("OUTRIGGER_LOG".to_owned(), "trace".to_owned()));
    Settings { chain_id: 1, backends, chain: String::new(), tables: String::new(), environment }
}

const SERVER: &str = "auth = { tokens = [\"${KEY_TOKEN}\"] }";

/// Makes every kind of request, and asserts that no answer holds a key.
async fn ask_everything(proxy: &Proxy, what: &str) {
    let token = format!("Bearer {}", key("KEY_TOKEN"));
    let token = ("authorization", token.as_str());
    let mut client = Client::open(proxy.address()).await;
    for body in [
        call("eth_gasPrice"),
        call("eth_blockNumber"),
        format!("[{},{}]", call("eth_gasPrice"), call("eth_syncing")),
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{},"latest"]}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_getLogs","params":[{"fromBlock":"0x0","toBlock":"latest"}]}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBlockByNumber","params":["latest",false]}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":["0xf86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83"]}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"method":"acme_unknown","params":[]}"#.to_owned(),
    ] {
        let answer = client.post("/", &[token], body.as_bytes()).await;
        hides(&format!("{what}: the answer to {body:.60}"), &all_of(&answer));
    }
    for path in ["/status", "/", "/healthz", "/readyz", "/metrics", "/nowhere"] {
        let answer = client.request(&format!("GET {path}"), &[token], b"").await;
        hides(&format!("{what}: {path}"), &all_of(&answer));
    }
    let answer =
        client.post("/", &[("authorization", "Bearer wrong")], call("eth_gasPrice").as_bytes()).await;
    hides(&format!("{what}: the answer to a wrong token"), &all_of(&answer));
}

/// Stops it and looks at all it said.
fn look_at_the_log(proxy: Proxy, what: &str) {
    let (_, said) = proxy.stop();
    assert!(said.contains("\"attempt ended\""), "the log is not loud: {said:.2000}");
    hides(&format!("{what}: the log"), &said);
}

/// The key does reach the backend: otherwise nothing here could fail.
fn reached_with_keys(front: &Front) {
    let seen = front.seen();
    let text = format!("{seen:?}");
    for form in forms() {
        let is_for_the_backend =
            form != key("KEY_TOKEN") && form != key("KEY_USER") && form != key("KEY_PASSWORD");
        assert!(text.contains(&form) == is_for_the_backend, "{form}: {:?}", seen.first());
    }
}

/// P3: nobody there, no such name, no TLS, a certificate for somebody else.
#[tokio::test]
async fn no_key_shows_while_backends_cannot_be_reached() {
    let plain = Front::fixture(|call| site::answers(&call.method)).await;
    let gone = Front::fixture(|call| site::answers(&call.method)).await;
    gone.set(Fault::Refuse).await;
    let proxy = site::start_unready(
        &settings(vec![
            backend("gone", url("http", gone.address())),
            backend("no-name", url("http", "no-such-host.invalid")),
            backend("no-tls", url("https", plain.address())),
        ]),
        SERVER,
    )
    .await;
    ask_everything(&proxy, "unreachable").await;
    look_at_the_log(proxy, "unreachable");
}

/// P3: providers repeat the address, or the key alone, in errors, pages, redirects and headers.
#[tokio::test]
async fn no_key_shows_when_a_backend_repeats_it() {
    let told = |text: &str| {
        let mut text = text.replace("$URL", "https://$USER:$PASSWORD@node.example/v3/$PATH?apikey=$QUERY");
        for (sign, name) in [
            ("$PATH", "KEY_PATH"),
            ("$QUERY", "KEY_QUERY"),
            ("$USER", "KEY_USER"),
            ("$PASSWORD", "KEY_PASSWORD"),
            ("$HEADER", "KEY_HEADER"),
        ] {
            text = text.replace(sign, key(name));
        }
        text
    };
    let error = |error: Value| json!({"jsonrpc": "2.0", "id": "$ID", "error": error}).to_string();
    let mut cases = vec![
        (403, "text/html", "<html>Forbidden: $URL</html>".to_owned()),
        (502, "text/html", "<html>upstream $URL failed</html>".to_owned()),
        (301, "text/plain", "moved to $URL".to_owned()),
        (401, "text/plain", "$PATH is no project".to_owned()),
        (200, "application/json", "$URL".to_owned()),
        (200, "application/json", format!("{{\"{}\":1}}", "$PATH")),
    ];
    for (code, message) in [
        (-32000, "execution reverted: see $URL"),
        (3, "execution reverted: $PATH"),
        (-32602, "invalid argument 0: posted to $URL"),
        (-32602, "invalid argument 0: key $PATH, $QUERY"),
        (-32602, "invalid argument 0 for $USER with $PASSWORD"),
        (-32602, "invalid argument 0 in $HEADER"),
        (-32602, "invalid argument 0 (/v3/$PATH?apikey=$QUERY)"),
        (-32000, "insufficient funds: project $PATH"),
        (-32005, "rate limit of $PATH exceeded, see $URL"),
        (-32601, "the method is not available for $PATH"),
        (-32000, "something nobody knows about $PATH at $URL"),
        (-32603, "internal error: dial $URL"),
    ] {
        cases.push((200, "application/json", error(json!({"code": code, "message": message}))));
        cases.push((400, "application/json", error(json!({"code": code, "message": message}))));
    }
    for data in [
        json!("$URL"),
        json!("$PATH"),
        json!({"url": "$URL"}),
        json!({"key": ["$QUERY"]}),
        json!("user $USER"),
    ] {
        cases.push((
            200,
            "application/json",
            error(json!({"code": 3, "message": "execution reverted", "data": data})),
        ));
        cases.push((
            200,
            "application/json",
            error(json!({"code": -32602, "message": "invalid argument 0", "data": data})),
        ));
    }
    let front = Front::fixture(|call| site::answers(&call.method)).await;
    let mut settings = settings(vec![backend("telling", url("http", front.address()))]);
    settings.environment.retain(|(name, _)| name != "OUTRIGGER_LOG");
    settings.environment.push(("OUTRIGGER_LOG".to_owned(), "trace".to_owned()));
    let proxy = site::start(&settings, SERVER).await;
    for (status, kind, body) in cases {
        let body = told(&body);
        let headers = [
            ("content-type", kind.to_owned()),
            ("location", told("$URL")),
            ("server", told("$PATH")),
            ("x-request-url", told("$URL")),
        ];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        front.set(Fault::respond(status, &headers, &body)).await;
        ask_everything(&proxy, &format!("{status} {body}")).await;
    }
    front.heal().await;
    reached_with_keys(&front);
    look_at_the_log(proxy, "a backend that repeats keys");
}

/// P3: connections that break off, bytes that are no HTTP, answers that belong to nobody.
#[tokio::test]
async fn no_key_shows_while_backends_misbehave() {
    let front = Front::fixture(|call| site::answers(&call.method)).await;
    let proxy = site::start(&settings(vec![backend("bad", url("http", front.address()))]), SERVER).await;
    for fault in [
        Fault::Close,
        Fault::Reset,
        Fault::garbage(),
        Fault::empty(),
        Fault::not_json(),
        Fault::WrongId,
        Fault::ChainId(5),
        Fault::CutAfter(20),
        Fault::ResetAfter(20),
    ] {
        let what = format!("{fault:?}");
        front.set(fault).await;
        ask_everything(&proxy, &what).await;
    }
    reached_with_keys(&front);
    look_at_the_log(proxy, "a misbehaving backend");
}

/// P3: what the commands print, of a sound file and of one with a mistake in every line that holds a key.
#[tokio::test]
async fn no_command_prints_a_key() {
    let front = Front::fixture(|call| site::answers(&call.method)).await;
    let other = Front::fixture(|call| site::answers(&call.method)).await;
    let sound = settings(vec![
        backend("one", url("http", front.address())),
        backend("two", url("https", other.address())),
    ]);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let sound_toml = sound.to_toml(dir.path());
    let mut files = vec![sound_toml.clone()];
    for (right, wrong) in [
        ("http://", "htp://"),
        ("http://", ""),
        ("url = ", "ulr = "),
        ("headers = {", "headers = [\"${KEY_HEADER}\"] #"),
        ("x-api-key", "x api key"),
        ("@127", "127"),
        ("chain_id = 1", "chain_id = \"${KEY_PATH}\""),
        ("listen = \"127.0.0.1:0\"", "listen = \"${KEY_TOKEN}\""),
        ("name = \"one\"", "name = \"${KEY_PATH}"),
        ("[transactions]", "[transactions]\nfanout = \"${KEY_QUERY}\""),
    ] {
        assert!(sound_toml.contains(right), "{right}");
        files.push(sound_toml.replace(right, wrong));
    }
    for toml in files {
        let file = dir.path().join("outrigger.toml");
        std::fs::write(&file, &toml).expect("the folder can be written");
        let file = file.to_string_lossy().into_owned();
        for command in [
            vec!["check"],
            vec!["check", "--json"],
            vec!["check", "--probe"],
            vec!["check", "--probe", "--json"],
            vec!["serve"],
        ] {
            let is_sound = toml == sound_toml;
            if is_sound && command == ["serve"] {
                continue; // it would serve
            }
            let mut args: Vec<String> = command.iter().map(|arg| (*arg).to_owned()).collect();
            args.extend(["--config".to_owned(), file.clone()]);
            let mut process =
                Leash::start(&proxy::binary(), &args, &sound.environment).expect("it can be executed");
            let status = process.wait(Duration::from_secs(20)).expect("it ends");
            let said = process.said().text();
            assert!((status.code() == Some(2)) != is_sound, "{args:?} of\n{toml}\n{status}: {said}");
            // the backend is spoken of, so its address could have been
            assert!(!said.is_empty() && (!is_sound || said.contains(front.address())), "{args:?}: {said}");
            hides(&format!("{args:?} of\n{toml}"), &said);
        }
    }
}
