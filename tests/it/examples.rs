//! The programs under `examples/`, run as their users would run them, over two backends of which one can fail;
//! and what a program that nests the router gets without asking.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use outrigger::config::{BackendBuilder, ChainBuilder};
use outrigger::{Config, Gateway};
use serde_json::{Value, json};
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};

use crate::lab::front::{Fault, Front};
use crate::lab::leash::Leash;
use crate::lab::rpc;
use crate::lab::wire::Message;

/// An example prints within this, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);
const HEAD: &[u8] = br#"{"jsonrpc":"2.0","id":7,"method":"eth_blockNumber"}"#;

/// The example's program: cargo builds it next to the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/it-HASH");
    let program = profile.join("examples").join(name);
    assert!(program.exists(), "{} is missing: run `cargo build --examples` or all tests", program.display());
    program
}

async fn two_backends() -> [Front; 2] {
    let table = json!({ "eth_chainId": "0x7a69", "eth_blockNumber": "0x10", "eth_gasPrice": "0x3b9aca00" });
    [Front::table(table.clone()).await, Front::table(table).await]
}

/// Runs `embed` over these; gives its status and all it said.
async fn embed(backends: &[Front; 2]) -> (Option<ExitStatus>, String) {
    let urls = backends.each_ref().map(Front::url);
    let mut run = Leash::start(&example("embed"), &urls, &[]).expect("it starts");
    let ended = tokio::task::spawn_blocking(move || (run.wait(PATIENCE), run.said().text()));
    ended.await.expect("it is waited for")
}

#[tokio::test]
async fn an_embedded_gateway_answers_though_its_first_backend_refuses() {
    let backends = two_backends().await;
    for refusing in [false, true] {
        if refusing {
            backends[0].set(Fault::Refuse).await;
        }
        let (status, said) = embed(&backends).await;
        assert!(status.is_some_and(|status| status.success()), "{said}");
        assert!(said.lines().any(|line| line == "block 16"), "{said}");
        let batch = said.lines().find_map(|line| line.strip_prefix("batch ")).expect("a batch");
        let answers: Value = serde_json::from_str(batch).expect("JSON");
        assert_eq!(
            answers,
            json!([
                { "jsonrpc": "2.0", "id": 1, "result": "0x7a69" },
                { "jsonrpc": "2.0", "id": "two", "result": "0x3b9aca00" },
            ])
        );
        assert!(said.contains("backend backend-1 at http://127.0.0.1:"), "{said}");
    }
}

#[tokio::test]
async fn an_embedded_program_is_told_by_an_error_that_nobody_can_answer() {
    let backends = two_backends().await;
    for backend in &backends {
        backend.set(Fault::status(503).only(&["eth_blockNumber"])).await;
    }
    let (status, said) = embed(&backends).await;
    assert!(status.is_some_and(|status| !status.success()), "{said}");
    assert!(said.contains("Error: ErrorObject") && !said.contains("block "), "{said}");
}

#[tokio::test]
async fn an_app_with_the_router_nested_in_it_survives_the_loss_of_a_cloud() {
    let backends = two_backends().await;
    let urls = backends.each_ref().map(Front::url);
    let listen = [("LISTEN".to_owned(), "127.0.0.1:0".to_owned())];
    let mut app = Leash::start(&example("two_clouds"), &urls, &listen).expect("it starts");
    let said = app.said().clone();
    let address = tokio::task::spawn_blocking(move || {
        said.find(PATIENCE, |text| {
            let (_, rest) = text.split_once("listening on http://")?;
            Some(rest.lines().next()?.trim().to_owned())
        })
    });
    let address = address.await.expect("it is waited for").expect("it says where it listens");
    let head = || async { body(&post(&address, "/eth/", &address).await) };
    let expected = json!({ "jsonrpc": "2.0", "id": 7, "result": "0x10" });
    assert_eq!(head().await, expected);
    for lost in &backends {
        lost.set(Fault::Refuse).await;
        assert_eq!(head().await, expected);
        lost.heal().await;
    }
    let page = rpc::get(&address, "/").await.expect("the app's own page");
    let page = String::from_utf8_lossy(&page.body).into_owned();
    assert!(page.contains("near") && page.contains("far"), "{page}");
    let led_here = post(&address, "/eth/", "evil.example").await;
    assert_eq!(led_here.status(), 403, "{led_here:?}");
    app.signal("INT");
    let ended = tokio::task::spawn_blocking(move || (app.wait(PATIENCE), app.said().text()));
    let (status, said) = ended.await.expect("it is waited for");
    assert!(status.is_some_and(|status| status.success()) && said.contains("stopped"), "{said}");
}

/// An app of its own with `gateway.router()` under `/eth`; gives its address and the gateway.
async fn nesting(backends: &[Front; 2]) -> (String, Gateway) {
    let chain = backends
        .iter()
        .enumerate()
        .fold(ChainBuilder::new("lab").chain_id(31337).block_time("250ms"), |chain, (n, front)| {
            chain.backend(BackendBuilder::new(format!("backend-{n}"), front.url()))
        });
    let config = Config::builder().chain(chain).build().expect("a sound configuration");
    let gateway = Gateway::new(&config).expect("it starts");
    let app = axum::Router::new().nest_service("/eth", gateway.router());
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, gateway)
}

async fn post(address: &str, path: &str, host: &str) -> Message {
    let mut stream = BufReader::new(TcpStream::connect(address).await.expect("it listens"));
    rpc::exchange(&mut stream, host, path, &[], HEAD).await.expect("an answer")
}

fn body(answer: &Message) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[tokio::test]
async fn a_nested_router_serves_every_path_of_its_own_below_its_prefix() {
    let backends = two_backends().await;
    let (address, _gateway) = nesting(&backends).await;
    for path in ["/eth", "/eth/", "/eth/lab", "/eth/lab/", "/eth/31337"] {
        let answer = post(&address, path, &address).await;
        assert_eq!(body(&answer)["result"], "0x10", "{path}: {answer:?}");
    }
    for path in ["/eth/status", "/eth/healthz", "/eth/readyz", "/eth/status/lab/decisions"] {
        let page = rpc::get(&address, path).await.expect("an answer");
        assert_eq!(page.status(), 200, "{path}: {page:?}");
    }
    assert_eq!(post(&address, "/", &address).await.status(), 404);
}

/// P5 behind somebody else's listener: a web page whose name was made to mean 127.0.0.1 gets nothing.
#[tokio::test]
async fn p5_a_nested_router_refuses_a_foreign_host_on_loopback() {
    let backends = two_backends().await;
    let (address, _gateway) = nesting(&backends).await;
    for (host, status) in [("localhost", 200), ("127.0.0.1:8545", 200), ("evil.example", 403)] {
        let answer = post(&address, "/eth", host).await;
        assert_eq!(answer.status(), status, "{host}: {answer:?}");
    }
}

#[tokio::test]
async fn a_call_from_code_is_read_as_the_type_asked_for() {
    let backends = two_backends().await;
    let (_, gateway) = nesting(&backends).await;
    let head: String = gateway.call(None, "eth_blockNumber", ()).await.expect("an answer");
    assert_eq!(head, "0x10");
    let error = gateway.call::<u64>(None, "eth_blockNumber", ()).await.expect_err("a string is no number");
    assert_eq!(error.code, -32603, "{error}");
    let error = gateway.call::<String>(None, "lab_unknown", ()).await.expect_err("nobody has it");
    assert_eq!(error.to_string(), "the method lab_unknown does not exist/is not available (-32601)");
}

/// Nodes refuse `"params":null`, which is what `()` serialises to.
#[tokio::test]
async fn a_call_from_code_without_params_sends_an_empty_array() {
    let backends = two_backends().await;
    let (_, gateway) = nesting(&backends).await;
    let _: String = gateway.call(None, "eth_gasPrice", ()).await.expect("an answer");
    let seen = backends.iter().flat_map(Front::seen);
    let asked: Vec<_> = seen.filter(|seen| seen.methods == ["eth_gasPrice"]).collect();
    assert!(!asked.is_empty());
    for asked in asked {
        let sent: Value = serde_json::from_slice(&asked.body).expect("JSON");
        assert_eq!(sent["params"], json!([]), "{sent}");
    }
}
