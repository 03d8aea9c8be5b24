//! The programs under `examples/`, run as their users would run them, over two backends of which one can fail.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::BufReader;
use tokio::net::TcpStream;

use crate::lab::front::{Fault, Front};
use crate::lab::leash::Leash;
use crate::lab::rpc;

/// An example prints within this, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);

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

#[tokio::test]
async fn an_embedded_gateway_answers_though_its_first_backend_refuses() {
    let backends = two_backends().await;
    for refusing in [false, true] {
        if refusing {
            backends[0].set(Fault::Refuse).await;
        }
        let urls = backends.each_ref().map(Front::url);
        let mut run = Leash::start(&example("embed"), &urls, &[]).expect("it starts");
        let ended = tokio::task::spawn_blocking(move || {
            let status = run.wait(PATIENCE);
            (status, run.said().text())
        });
        let (status, said) = ended.await.expect("it is waited for");
        assert!(status.is_some_and(|status| status.success()), "{said}");
        assert!(said.contains("head \"0x10\""), "{said}");
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
    let head = || async {
        let body = br#"{"jsonrpc":"2.0","id":7,"method":"eth_blockNumber"}"#;
        let mut stream = BufReader::new(TcpStream::connect(&address).await.expect("it listens"));
        let answer = rpc::exchange(&mut stream, &address, "/eth/", &[], body).await.expect("an answer");
        serde_json::from_slice::<Value>(&answer.body).expect("JSON")
    };
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
    app.signal("INT");
    let status = tokio::task::spawn_blocking(move || app.wait(PATIENCE)).await.expect("it is waited for");
    assert!(status.is_some_and(|status| status.success()));
}
