//! Tests of what clients are told about transactions, over backends that say and lose things.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::super::stand_in::StandIn;
use super::super::{Gateway, GatewayError, Packet, Source};
use super::*;
use crate::config::Config;
use crate::jsonrpc::ErrorObject;

/// The example of EIP-155: nonce 9 on chain 1.
const RAW: &str = "0xf86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83";
const HASH: &str = "0x33469b22e9f636356c4160a87eb19df52b7412e8eac32a4a55ffe88ea8350788";
const SENDER: &str = "0x9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f";

/// No nonce.
const SILENT: usize = usize::MAX;

/// What a backend does with transactions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pool {
    Takes,
    TakesAfter(Duration),
    Silent,
    TooLow,
    Poor,
}

/// A backend, what it was sent, and whether it shows what it has.
struct Node {
    at: StandIn,
    sent: Arc<AtomicUsize>,
    shows: Arc<AtomicBool>,
    /// [`SILENT`]: it says nothing.
    next_nonce: Arc<AtomicUsize>,
    nonces_asked: Arc<AtomicUsize>,
    pool: Arc<Mutex<Pool>>,
}

impl Node {
    async fn start(pool: Pool) -> Self {
        let sent = Arc::new(AtomicUsize::new(0));
        let shows = Arc::new(AtomicBool::new(false));
        let next_nonce = Arc::new(AtomicUsize::new(9));
        let nonces_asked = Arc::new(AtomicUsize::new(0));
        let asked = nonces_asked.clone();
        let pool = Arc::new(Mutex::new(pool));
        let pause = match *pool.lock().unwrap() {
            Pool::TakesAfter(pause) => pause,
            _ => Duration::ZERO,
        };
        let (counter, shown, nonce, says) = (sent.clone(), shows.clone(), next_nonce.clone(), pool.clone());
        let at = StandIn::start(pause, move |method| match method {
            "eth_chainId" => Some(("result", json!("0x1"))),
            "eth_sendRawTransaction" => {
                counter.fetch_add(1, Ordering::SeqCst);
                let refuses = |message: &str| Some(("error", json!({ "code": -32000, "message": message })));
                match *says.lock().unwrap() {
                    Pool::Takes | Pool::TakesAfter(_) => Some(("result", json!(HASH))),
                    Pool::Silent => None,
                    Pool::TooLow => refuses("nonce too low"),
                    Pool::Poor => refuses("insufficient funds for gas * price + value"),
                }
            }
            "eth_getTransactionCount" => {
                asked.fetch_add(1, Ordering::SeqCst);
                let nonce = nonce.load(Ordering::SeqCst);
                (nonce != SILENT).then(|| ("result", json!(format!("{nonce:#x}"))))
            }
            "eth_getTransactionByHash" if shown.load(Ordering::SeqCst) => {
                Some(("result", json!({ "hash": HASH, "blockHash": null, "blockNumber": null })))
            }
            _ => Some(("result", Value::Null)),
        })
        .await;
        Self { at, sent, shows, next_nonce, nonces_asked, pool }
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }
}

fn over(nodes: &[(&Node, &str)], tables: &str) -> Result<Gateway, GatewayError> {
    let mut file = "[chains.mainnet]\nblock_time = \"1s\"\n".to_owned();
    for (at, (node, keys)) in nodes.iter().enumerate() {
        file += &format!(
            "[[chains.mainnet.backends]]\nname = \"b{at}\"\nurl = \"{}\"\nprovider = \"p{at}\"\n{keys}\n",
            node.at.url
        );
    }
    Gateway::new(&Config::from_toml(&(file + tables), "test", &|_| None).expect("a sound file"))
}

async fn send(gateway: &Gateway) -> Result<String, ErrorObject> {
    gateway.call(None, "eth_sendRawTransaction", (RAW,)).await
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn count(gateway: &Gateway, state: &str) -> usize {
    gateway.status().chains[0].transactions[state]
}

#[tokio::test]
async fn t8_a_silent_backend_holds_nobody_up_and_everybody_gets_the_bytes_at_once() {
    let (silent, other, third) =
        (Node::start(Pool::Silent).await, Node::start(Pool::Takes).await, Node::start(Pool::Takes).await);
    let gateway =
        over(&[(&silent, ""), (&other, "tier = \"backup\""), (&third, "tier = \"backup\"")], "").unwrap();
    let began = Instant::now();
    assert_eq!(send(&gateway).await.expect("taken"), HASH);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    until("all of them are sent it", || silent.sent() > 0 && other.sent() > 0 && third.sent() > 0).await;
    assert_eq!(count(&gateway, "pending"), 1);
}

#[tokio::test]
async fn t9_of_many_backends_fanout_ones_that_share_least_get_it() {
    let nodes = [(); 4].map(|()| Node::start(Pool::Takes));
    let [a, b, c, d] = nodes;
    let (a, b, c, d) = (a.await, b.await, c.await, d.await);
    let gateway = over(
        &[(&a, "cloud = \"aws\""), (&b, "cloud = \"aws\""), (&c, "cloud = \"aws\""), (&d, "cloud = \"gcp\"")],
        "[transactions]\nfanout = 2\n",
    )
    .unwrap();
    send(&gateway).await.expect("taken");
    let sent = || [&a, &b, &c].map(Node::sent).iter().sum::<usize>();
    until("two clouds are sent it", || d.sent() > 0 && sent() > 0).await;
    assert_eq!(sent(), 1, "one of each");
}

#[tokio::test]
async fn t8_a_client_that_hangs_up_does_not_stop_it() {
    let (a, b) = (
        Node::start(Pool::TakesAfter(Duration::from_millis(300))).await,
        Node::start(Pool::TakesAfter(Duration::from_millis(300))).await,
    );
    let gateway = over(&[(&a, ""), (&b, "")], "").unwrap();
    let gone = tokio::time::timeout(Duration::from_millis(100), send(&gateway)).await;
    assert!(gone.is_err(), "it is not answered yet");
    until("both are sent it", || a.sent() > 0 && b.sent() > 0).await;
    until("it is known to be out", || count(&gateway, "pending") == 1).await;
}

#[tokio::test]
async fn t2_a_wrong_nonce_too_low_that_comes_first_waits_for_a_second_opinion() {
    let (wrong, right) =
        (Node::start(Pool::TooLow).await, Node::start(Pool::TakesAfter(Duration::from_millis(200))).await);
    let gateway = over(&[(&wrong, ""), (&right, "tier = \"backup\"")], "").unwrap();
    assert_eq!(send(&gateway).await.expect("taken"), HASH);
}

#[tokio::test]
async fn t2_nonce_too_low_from_all_is_the_senders_error_unless_one_shows_this_very_transaction() {
    let (a, b) = (Node::start(Pool::TooLow).await, Node::start(Pool::TooLow).await);
    let gateway = over(&[(&a, ""), (&b, "")], "").unwrap();
    let error = send(&gateway).await.expect_err("another one has that nonce");
    assert!(error.message.contains("nonce too low"), "{error}");
    assert_eq!(count(&gateway, "refused"), 1);
    b.shows.store(true, Ordering::SeqCst);
    assert_eq!(send(&gateway).await.expect("it is out"), HASH);
    assert_eq!(count(&gateway, "pending"), 1);
}

#[tokio::test]
async fn t4_a_poor_sender_in_one_lagging_view_is_rich_in_another_and_poor_in_all() {
    let (poor, rich) = (Node::start(Pool::Poor).await, Node::start(Pool::Takes).await);
    let gateway = over(&[(&poor, ""), (&rich, "tier = \"backup\"")], "").unwrap();
    assert_eq!(send(&gateway).await.expect("taken"), HASH);
    let (a, b) = (Node::start(Pool::Poor).await, Node::start(Pool::Poor).await);
    let gateway = over(&[(&a, ""), (&b, "")], "").unwrap();
    let error = send(&gateway).await.expect_err("poor");
    assert!(error.message.contains("insufficient funds"), "{error}");
}

#[tokio::test]
async fn t9_a_private_transaction_goes_to_private_backends_only_and_to_all_of_them() {
    let (public, relay, other) =
        (Node::start(Pool::Takes).await, Node::start(Pool::Takes).await, Node::start(Pool::Takes).await);
    let gateway = over(
        &[(&public, ""), (&relay, "private = true"), (&other, "private = true")],
        "[transactions]\nfanout = 1\n",
    )
    .unwrap();
    assert_eq!(send(&gateway).await.expect("taken"), HASH);
    until("both relays have it", || relay.sent() > 0 && other.sent() > 0).await;
    // The pools lose it: it is looked for and sent again, and to nobody else.
    until("it is sent again", || relay.sent() + other.sent() > 2).await;
    assert_eq!(public.sent(), 0);
}

#[tokio::test]
async fn t5_the_same_bytes_many_times_at_once_are_one_transaction() {
    let (a, b) = (Node::start(Pool::Takes).await, Node::start(Pool::Takes).await);
    let gateway = over(&[(&a, ""), (&b, "")], "").unwrap();
    let all = futures_util::future::join_all((0..20).map(|_| send(&gateway))).await;
    assert!(all.iter().all(|hash| hash.as_ref().is_ok_and(|hash| hash == HASH)), "{all:?}");
    assert_eq!(count(&gateway, "pending"), 1);
}

#[tokio::test]
async fn t12_reads_agree_with_what_was_taken_though_no_backend_shows_it() {
    let (a, b) = (Node::start(Pool::Takes).await, Node::start(Pool::Takes).await);
    let gateway = over(&[(&a, ""), (&b, "")], "").unwrap();
    let pending =
        async || gateway.call::<String>(None, "eth_getTransactionCount", (SENDER, "pending")).await.unwrap();
    assert_eq!(pending().await, "0x9");
    send(&gateway).await.expect("taken");
    assert_eq!(pending().await, "0xa");
    let body =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_getTransactionByHash","params":["{HASH}"]}}"#);
    let reply = gateway.answer(Packet::new(body)).await;
    assert_eq!(reply.trail.source, Source::Journal);
    let answer: Value = serde_json::from_slice(&reply.body.expect("an answer")).expect("JSON");
    let shown = &answer["result"];
    assert_eq!((&shown["hash"], &shown["from"]), (&json!(HASH), &json!(SENDER)));
    assert_eq!((&shown["nonce"], &shown["blockHash"]), (&json!("0x9"), &Value::Null));
    assert_eq!(
        (&shown["to"], &shown["value"], &shown["gas"], &shown["gasPrice"]),
        (
            &json!("0x3535353535353535353535353535353535353535"),
            &json!("0xde0b6b3a7640000"),
            &json!("0x5208"),
            &json!("0x4a817c800")
        ),
        "{shown}"
    );
    let raw: String = gateway.call(None, "eth_getRawTransactionByHash", (HASH,)).await.expect("known");
    assert_eq!(raw, RAW);
}

async fn three_with(nonces: [usize; 3]) -> ([Node; 3], Gateway) {
    let nodes =
        [Node::start(Pool::Takes).await, Node::start(Pool::Takes).await, Node::start(Pool::Takes).await];
    let gateway = over(&[(&nodes[0], ""), (&nodes[1], ""), (&nodes[2], "")], "").unwrap();
    send(&gateway).await.expect("taken");
    for (node, nonce) in nodes.iter().zip(nonces) {
        node.next_nonce.store(nonce, Ordering::SeqCst);
    }
    (nodes, gateway)
}

async fn pending(gateway: &Gateway, sender: &str) -> String {
    gateway.call(None, "eth_getTransactionCount", (sender, "pending")).await.expect("a nonce")
}

fn nonces_asked(nodes: &[Node; 3]) -> usize {
    nodes.iter().map(|node| node.nonces_asked.load(Ordering::SeqCst)).sum()
}

/// Whoever is asked first, alone or in a batch.
#[tokio::test]
async fn c7_the_pending_nonce_of_who_sends_here_is_the_highest_that_any_backend_knows() {
    for nonces in [[10, 11, 13], [10, 13, 11], [13, 10, 11]] {
        let (_nodes, gateway) = three_with(nonces).await;
        assert_eq!(pending(&gateway, SENDER).await, "0xd");
        let (_nodes, gateway) = three_with(nonces).await;
        let call = format!(
            r#"[{{"jsonrpc":"2.0","id":1,"method":"eth_getTransactionCount","params":["{SENDER}","pending"]}}]"#
        );
        let body = gateway.answer(Packet::new(call.into_bytes())).await.body.expect("an answer");
        let answers: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answers[0]["result"], "0xd");
    }
}

/// R11: what it costs.
#[tokio::test]
async fn c7_everybody_elses_pending_nonce_is_one_read_and_one_that_is_polled_asks_around_seldom() {
    let (nodes, gateway) = three_with([10, 10, 10]).await;
    let before = nonces_asked(&nodes);
    pending(&gateway, "0x00000000000000000000000000000000000000aa").await;
    assert_eq!(nonces_asked(&nodes) - before, 1);
    let (before, began) = (nonces_asked(&nodes), Instant::now());
    for _ in 0..20 {
        pending(&gateway, SENDER).await;
    }
    let rounds = 1 + began.elapsed().as_millis() as usize / 500;
    let asked = nonces_asked(&nodes) - before;
    assert!((22..=20 + 2 * rounds).contains(&asked), "{asked} in {rounds} rounds");
}

#[tokio::test]
async fn c7_who_is_silent_holds_nobody_up() {
    for silent in 0..3 {
        let (nodes, gateway) = three_with([12, 12, 12]).await;
        nodes[silent].next_nonce.store(SILENT, Ordering::SeqCst);
        let began = Instant::now();
        assert_eq!(pending(&gateway, SENDER).await, "0xc");
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn t13_no_receipt_beside_a_used_nonce_is_not_told() {
    let a = Node::start(Pool::Takes).await;
    let gateway = over(&[(&a, "")], "").unwrap();
    send(&gateway).await.expect("taken");
    let receipt = async || gateway.call::<Option<Value>>(None, "eth_getTransactionReceipt", (HASH,)).await;
    assert_eq!(receipt().await.expect("none yet"), None);
    a.next_nonce.store(10, Ordering::SeqCst);
    let _: String = gateway.call(None, "eth_getTransactionCount", (SENDER, "latest")).await.unwrap();
    let error = receipt().await.expect_err("a wallet would call it dropped");
    assert!(error.message.contains("ask again"), "{error}");
}

fn journal(path: &Path) -> String {
    format!("[transactions]\njournal = '{}'\n", path.display())
}

/// The file is free once the tasks of the gateway before are gone.
async fn resume(nodes: &[(&Node, &str)], tables: &str) -> Gateway {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match over(nodes, tables) {
            Ok(gateway) => return gateway,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn t10_after_a_restart_it_is_known_at_once_and_sent_again_to_those_who_lack_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let tables = journal(&folder.path().join("journal"));
    let (a, b) = (Node::start(Pool::Takes).await, Node::start(Pool::Takes).await);
    let gateway = over(&[(&a, ""), (&b, "")], &tables).unwrap();
    send(&gateway).await.expect("taken");
    let in_use = over(&[(&a, "")], &tables).expect_err("two on one file").to_string();
    assert!(in_use.contains("in use by another process"), "{in_use}");
    drop(gateway);
    let (c, d) = (Node::start(Pool::Takes).await, Node::start(Pool::Takes).await);
    let gateway = resume(&[(&c, ""), (&d, "")], &tables).await;
    let nonce: String = gateway.call(None, "eth_getTransactionCount", (SENDER, "pending")).await.unwrap();
    assert_eq!(nonce, "0xa");
    let shown: Value = gateway.call(None, "eth_getTransactionByHash", (HASH,)).await.unwrap();
    assert_eq!(shown["hash"], HASH);
    until("it is sent again", || c.sent() > 0 && d.sent() > 0).await;
}

#[tokio::test]
async fn t11_what_the_pools_have_lost_is_sent_again_until_somebody_shows_it() {
    let (a, b) = (Node::start(Pool::Takes).await, Node::start(Pool::Takes).await);
    let gateway = over(&[(&a, ""), (&b, "")], "").unwrap();
    send(&gateway).await.expect("taken");
    until("it is sent again", || a.sent() > 1 && b.sent() > 1).await;
    a.shows.store(true, Ordering::SeqCst);
    b.shows.store(true, Ordering::SeqCst);
    until("it is seen", || count(&gateway, "pending") == 1).await;
}

#[tokio::test]
async fn t11_who_lacks_it_gets_it_while_another_has_it() {
    let (a, b) = (Node::start(Pool::Takes).await, Node::start(Pool::Takes).await);
    let gateway = over(&[(&a, ""), (&b, "")], "[transactions]\nfanout = 1\n").unwrap();
    let (taker, other) = {
        send(&gateway).await.expect("taken");
        if a.sent() > 0 { (&a, &b) } else { (&b, &a) }
    };
    taker.shows.store(true, Ordering::SeqCst);
    until("the other one is sent it", || other.sent() > 0).await;
    assert_eq!((taker.sent(), count(&gateway, "pending")), (1, 1));
}

#[tokio::test]
async fn t14_what_was_rejected_is_not_sent_later_not_even_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let tables = journal(&folder.path().join("journal")) + "[routing]\ndeadline = \"500ms\"\n";
    let a = Node::start(Pool::Silent).await;
    let gateway = over(&[(&a, "")], &tables).unwrap();
    send(&gateway).await.expect_err("nobody answers");
    assert_eq!(count(&gateway, "refused"), 1);
    *a.pool.lock().unwrap() = Pool::Takes;
    let sent = a.sent();
    sleep(Duration::from_millis(1500)).await;
    drop(gateway);
    let gateway = resume(&[(&a, "")], &tables).await;
    sleep(Duration::from_millis(2500)).await;
    assert_eq!((a.sent(), count(&gateway, "refused")), (sent, 1));
}

#[tokio::test]
async fn t16_the_synchronous_form_says_in_its_own_words_that_there_is_no_receipt_yet() {
    let a = Node::start(Pool::Takes).await;
    let gateway = over(&[(&a, "")], "").unwrap();
    let error =
        gateway.call::<Value>(None, "eth_sendRawTransactionSync", (RAW, 300)).await.expect_err("not mined");
    assert_eq!((error.code, error.data.map(|data| data.get().to_owned())), (4, Some(format!("\"{HASH}\""))));
    assert_eq!(count(&gateway, "pending"), 1);
}

#[test]
fn t3_a_refusal_is_doubted_while_another_answer_is_lost() {
    let index = crate::policy::Fleet::new(vec![crate::policy::BackendSpec {
        name: "a".into(),
        tier: crate::policy::Tier::Primary,
        private: false,
        labels: crate::policy::DomainLabels::new(),
        limit_per_s: None,
    }])
    .index(0)
    .expect("one backend");
    for (class, in_the_dark, expected) in [
        (Class::TxInsufficientFunds, true, true),
        (Class::TxUnderpriced, true, true),
        (Class::TxInsufficientFunds, false, false),
        (Class::TxNonceTooLow, false, true),
    ] {
        let mut hearing = Hearing { in_the_dark, ..Hearing::default() };
        hearing.hear(crate::policy::Outcome::of(class).into(), index);
        assert_eq!(hearing.is_in_doubt(), expected, "{class:?} {in_the_dark}");
    }
}

#[test]
fn t2_only_the_same_hash_proves_that_a_transaction_is_known() {
    assert!(is_transaction(br#"{"blockHash":null,"hash":"0xAB"}"#, "0xab"));
    for other in ["null", "{}", r#"{"hash":"0xac"}"#, r#"{"hash":null}"#, "[]", "\"0xab\"", "{"] {
        assert!(!is_transaction(other.as_bytes(), "0xab"), "{other}");
    }
}
