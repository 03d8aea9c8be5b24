//! R14, R15: who may serve, whatever else is down.

use serde_json::{Value, json};

use super::{GOOD, Pair, WATCHED, backend, status_of, until, watched};
use crate::lab::front::Fault;
use crate::lab::proxy::{Proxy, Settings};
use crate::lab::rpc;

#[tokio::test]
async fn r14_backups_serve_only_while_no_primary_can_and_order_in_the_file_makes_none() {
    let (primary, backup) = (backend().await, backend().await);
    // The backup stands first.
    let mut settings = Settings::over(&[backup.clone(), primary.clone()]);
    settings.backends[0].labels += "tier = \"backup\"\n";
    settings.tables = "[routing]\nhedging = false\n".to_owned();
    let mut proxy = Proxy::start(&settings).await;
    proxy.ready().await;
    until("the primary is known", async || status_of(&proxy, "gcp").await["state"] == "ok").await;
    for _ in 0..10 {
        watched(&proxy).await;
    }
    assert_eq!((primary.count(WATCHED), backup.count(WATCHED)), (10, 0));
    primary.set(Fault::Refuse).await;
    for _ in 0..10 {
        assert_eq!(watched(&proxy).await["result"], GOOD);
    }
    assert_eq!(backup.count(WATCHED), 10);
    primary.heal().await;
    let before = primary.count(WATCHED);
    until("the primary serves again", async || {
        watched(&proxy).await;
        primary.count(WATCHED) > before + 3
    })
    .await;
}

#[tokio::test]
async fn r15_a_backend_of_another_chain_answers_nothing_even_when_everything_else_is_down() {
    let (stranger, honest) = (backend().await, backend().await);
    stranger.set(Fault::ChainId(1)).await;
    let mut settings = Settings::over(&[stranger.clone(), honest.clone()]);
    settings.tables = "[routing]\nhedging = false\n".to_owned();
    let mut proxy = Proxy::start(&settings).await;
    proxy.ready().await;
    until("it is found out", async || status_of(&proxy, "aws").await["state"] == "wrong chain").await;
    assert_eq!(watched(&proxy).await["result"], GOOD);
    honest.set(Fault::Refuse).await;
    for _ in 0..5 {
        assert!(watched(&proxy).await["error"].is_object());
    }
    assert_eq!(stranger.count(WATCHED), 0);
    assert!(proxy.said().contains("another chain"), "{}", proxy.said());
}

#[tokio::test]
async fn r15_no_backend_answers_before_it_has_named_the_right_chain() {
    let stranger = backend().await;
    stranger.set(Fault::ChainId(1)).await;
    let proxy = Proxy::start(&Settings::over(std::slice::from_ref(&stranger))).await;
    // Not even the very first call, which may come before the background has asked.
    let answer = watched(&proxy).await;
    assert!(answer["error"].is_object(), "{answer}");
    assert_eq!(stranger.count(WATCHED), 0);
}

#[tokio::test]
async fn r15_a_cordoned_backend_answers_nothing_until_it_is_uncordoned() {
    let pair = Pair::start_with(|settings| settings.backends[0].labels += "cordoned = true\n").await;
    assert_eq!(watched(&pair.proxy).await["result"], GOOD);
    pair.backup.set(Fault::Refuse).await;
    assert!(watched(&pair.proxy).await["error"].is_object());
    assert_eq!(pair.primary.count(WATCHED), 0);
    let turn = async |what: &str| {
        let mut stream = tokio::io::BufReader::new(
            tokio::net::TcpStream::connect(pair.proxy.address()).await.expect("it listens"),
        );
        let path = format!("/admin/lab/aws/{what}");
        rpc::exchange(&mut stream, pair.proxy.address(), &path, &[], b"").await.expect("an answer")
    };
    let answer: Value = serde_json::from_slice(&turn("uncordon").await.body).expect("JSON");
    assert_eq!(answer, json!({"chain": "lab", "backend": "aws", "cordoned": false}));
    assert_eq!(watched(&pair.proxy).await["result"], GOOD);
    turn("cordon").await;
    assert!(watched(&pair.proxy).await["error"].is_object());
    let mut stream = tokio::io::BufReader::new(
        tokio::net::TcpStream::connect(pair.proxy.address()).await.expect("it listens"),
    );
    let from_a_page = [("origin", "https://evil.example")];
    let path = "/admin/lab/aws/uncordon";
    let refused =
        rpc::exchange(&mut stream, pair.proxy.address(), path, &from_a_page, b"").await.expect("an answer");
    assert_eq!(refused.status(), 403, "a web page must not administrate");
}

#[tokio::test]
async fn a_provider_that_fails_on_one_chain_is_doubted_on_the_others_before_it_costs_them_a_request() {
    let chain_of = async |id: &str| {
        crate::lab::front::Front::table(
            json!({ "eth_chainId": id, "eth_blockNumber": "0x10", WATCHED: GOOD }),
        )
        .await
    };
    let (one, one_other) = (chain_of("0x7a69").await, chain_of("0x7a69").await);
    let (two, two_other) = (chain_of("0x7a6a").await, chain_of("0x7a6a").await);
    let mut settings = Settings::over(&[one.clone(), one_other.clone()]);
    settings.backends[1].labels += "tier = \"backup\"\n";
    // The second chain has the same two providers, the failing one cheaper to ask.
    two_other.set(Fault::Latency(std::time::Duration::from_millis(30))).await;
    let second = |front: &crate::lab::front::Front, name: &str| {
        format!(
            "[[chains.second.backends]]\nname = \"{name}\"\nurl = \"{}\"\nprovider = \"{name}-nodes\"\n",
            front.url()
        )
    };
    settings.tables = format!(
        "[routing]\nhedging = false\n[chains.second]\nchain_id = 31338\n{}{}",
        second(&two, "aws"),
        second(&two_other, "gcp")
    );
    let mut proxy = Proxy::start(&settings).await;
    proxy.ready().await;
    let ask_second = async || {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": WATCHED}).to_string();
        let mut stream = tokio::io::BufReader::new(
            tokio::net::TcpStream::connect(proxy.address()).await.expect("it listens"),
        );
        let answer = rpc::exchange(&mut stream, proxy.address(), "/second", &[], body.as_bytes()).await;
        answer.expect("an answer").header("x-outrigger-backend").map(str::to_owned)
    };
    until("the cheaper one serves the second chain", async || ask_second().await.as_deref() == Some("aws"))
        .await;
    one.set(Fault::status(500).only(&[WATCHED])).await;
    until("the provider loses its place on the first chain", async || {
        watched(&proxy).await;
        proxy.said().contains("lost its place")
    })
    .await;
    two.set(Fault::status(500).only(&[WATCHED])).await;
    let before = two.count(WATCHED);
    for _ in 0..3 {
        assert_eq!(ask_second().await.as_deref(), Some("gcp"));
    }
    // Unwarned, each of the three would go to the failing one first; warned, one in eight does.
    assert!(two.count(WATCHED) - before < 3, "{}", two.count(WATCHED) - before);
}
