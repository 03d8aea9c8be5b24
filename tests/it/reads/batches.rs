//! R1, P2: a batch whose first backend fails, one way after the other.

use serde_json::{Value, json};

use super::failover::failures;
use super::{GOOD, Pair, WATCHED};
use crate::lab::front::Fault;

const ITEMS: usize = 3;

/// Three calls of the watched method, with ids of three kinds.
fn batch() -> Value {
    let ids = [json!("one"), json!(2), json!(null)];
    ids.into_iter().map(|id| json!({"jsonrpc": "2.0", "id": id, "method": WATCHED, "params": []})).collect()
}

fn good() -> Value {
    let ids = [json!("one"), json!(2), json!(null)];
    ids.into_iter().map(|id| json!({"jsonrpc": "2.0", "id": id, "result": GOOD})).collect()
}

async fn answer(pair: &Pair) -> Value {
    let answer = pair.proxy.post(&batch().to_string()).await;
    assert_eq!(answer.status(), 200);
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// How many of the watched calls came in one body, body after body.
fn bodies(front: &crate::lab::front::Front) -> Vec<usize> {
    let watched = |methods: &[String]| methods.iter().filter(|method| *method == WATCHED).count();
    front.seen().iter().map(|seen| watched(&seen.methods)).filter(|count| *count > 0).collect()
}

#[tokio::test]
async fn r1_a_batch_moves_as_a_whole_when_its_backend_fails() {
    for (name, fault) in failures() {
        let pair = Pair::start().await;
        if fault == Fault::Refuse {
            pair.primary.set(fault).await;
        } else {
            pair.primary.set(fault.only(&[WATCHED])).await;
        }
        assert_eq!(answer(&pair).await, good(), "{name}");
        assert_eq!(bodies(&pair.backup), [ITEMS], "{name}: one body, asked once");
    }
}

#[tokio::test]
async fn p2_a_single_result_for_a_batch_is_nobodys_answer() {
    let pair = Pair::start().await;
    let single = Fault::template(r#"{"jsonrpc":"2.0","id":"$ID1","result":"0x666"}"#);
    pair.primary.set(single.only(&[WATCHED])).await;
    assert_eq!(answer(&pair).await, good());
    assert_eq!((bodies(&pair.primary), bodies(&pair.backup)), (vec![ITEMS], vec![ITEMS]));
}

#[tokio::test]
async fn p2_items_that_nobody_asked_for_and_items_that_came_twice_are_not_believed() {
    let table = [
        // (what came, which items another backend has to answer)
        (
            r#"[{"jsonrpc":"2.0","id":"$OTHER","result":"0x666"},{"jsonrpc":"2.0","id":"$ID2","result":"GOOD"}]"#,
            2,
        ),
        (
            r#"[{"jsonrpc":"2.0","id":"$ID1","result":"0x666"},{"jsonrpc":"2.0","id":"$ID1","result":"0x667"},
                {"jsonrpc":"2.0","id":"$ID2","result":"GOOD"},{"jsonrpc":"2.0","id":"$ID3","result":"GOOD"}]"#,
            1,
        ),
        (
            r#"[{"jsonrpc":"2.0","id":"$ID3","result":"GOOD"},{"jsonrpc":"2.0","id":"$ID2","result":"GOOD"}]"#,
            1,
        ),
        ("[]", 3),
    ];
    for (came, missing) in table {
        let pair = Pair::start().await;
        pair.primary.set(Fault::template(&came.replace("GOOD", GOOD)).only(&[WATCHED])).await;
        assert_eq!(answer(&pair).await, good(), "{came}");
        assert_eq!(bodies(&pair.backup), [missing], "{came}");
    }
}
