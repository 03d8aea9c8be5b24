//! What the laboratory promises of its chain.
use serde_json::{Value, json};

use super::{Lab, Standing};
use crate::lab::rpc::CallError;

/// Sends one wei from a dev account through node `i`; the node signs.
async fn send(lab: &Lab, i: usize, account: usize, nonce: u64) -> String {
    let accounts = lab.rpc(i, "eth_accounts", json!([])).await.unwrap();
    let (from, to) = (&accounts[account], &accounts[9]);
    let transaction = json!({"from": from, "to": to, "value": "0x1", "nonce": format!("{nonce:#x}")});
    let hash = lab.rpc(i, "eth_sendTransaction", json!([transaction])).await;
    hash.unwrap().as_str().unwrap().to_owned()
}

async fn receipt(lab: &Lab, i: usize, hash: &str) -> Value {
    lab.rpc(i, "eth_getTransactionReceipt", json!([hash])).await.unwrap()
}

async fn all_agree(lab: &Lab, height: u64) {
    let heads = lab.heads().await;
    assert!(heads.windows(2).all(|pair| pair[0] == pair[1]), "{heads:?}");
    assert_eq!(heads[0].number, height);
}

#[tokio::test]
async fn transactions_sent_to_any_node_end_in_the_same_block_everywhere() {
    let lab = Lab::start(3).await;
    let mut hashes = Vec::new();
    for (node, account, nonce) in [(0, 0, 0), (1, 1, 0), (2, 2, 0), (2, 2, 1)] {
        hashes.push(send(&lab, node, account, nonce).await);
    }
    lab.tick().await;
    all_agree(&lab, 1).await;
    for hash in &hashes {
        for node in 0..3 {
            assert_eq!(receipt(&lab, node, hash).await["status"], "0x1");
        }
    }
}

#[tokio::test]
async fn a_lagging_node_stays_its_blocks_behind_and_catches_up_to_the_same_hash() {
    let lab = Lab::start(2).await;
    lab.stand(1, Standing::Behind(3)).await;
    lab.mine(5).await;
    assert_eq!((lab.head(0).await.number, lab.head(1).await.number), (5, 2));
    lab.stand(1, Standing::Frozen).await;
    lab.mine(1).await;
    assert_eq!(lab.head(1).await.number, 2);
    lab.stand(1, Standing::InStep).await;
    all_agree(&lab, 6).await;
}

#[tokio::test]
async fn a_forked_node_has_another_hash_at_the_same_height_until_it_is_healed() {
    let lab = Lab::start(3).await;
    lab.mine(2).await;
    lab.fork(2, 2).await;
    let hash = send(&lab, 0, 3, 0).await;
    lab.tick_only(&[0, 1]).await;
    lab.mine(1).await;
    let (ours, theirs) = (lab.head(0).await, lab.head(2).await);
    assert_eq!(ours.number, theirs.number);
    assert_ne!(ours.hash, theirs.hash);
    lab.heal(2).await;
    all_agree(&lab, 4).await;
    assert_eq!(receipt(&lab, 2, &hash).await["status"], "0x1");
    lab.mine(2).await;
    all_agree(&lab, 6).await;
}

#[tokio::test]
async fn a_killed_node_refuses_and_a_restarted_one_replays_the_chain() {
    let lab = Lab::start(2).await;
    let hash = send(&lab, 0, 4, 0).await;
    lab.tick().await;
    lab.mine(3).await;
    lab.kill(0).await;
    let refused = lab.rpc(0, "eth_chainId", json!([])).await;
    assert!(matches!(refused, Err(CallError::Io(e)) if e.kind() == std::io::ErrorKind::ConnectionRefused));
    lab.mine(2).await;
    assert_eq!(lab.head(1).await.number, 6, "another node leads meanwhile");
    lab.restart(0).await;
    all_agree(&lab, 6).await;
    assert_eq!(receipt(&lab, 0, &hash).await["status"], "0x1");
}

#[tokio::test]
async fn a_rival_grows_as_the_chain_does_and_its_blocks_are_others() {
    let lab = Lab::start(4).await;
    lab.mine(2).await;
    lab.rival(2, 1).await;
    lab.rival(3, 1).await;
    lab.mine(3).await;
    let heads = lab.heads().await;
    assert_eq!(heads[0], heads[1]);
    assert_eq!(heads[2], heads[3], "who leaves from the same block in the same way is on one branch");
    assert_eq!((heads[0].number, heads[2].number), (5, 6));
    lab.heal(2).await;
    lab.heal(3).await;
    lab.mine(1).await;
    all_agree(&lab, 6).await;
}

#[tokio::test]
async fn a_reorg_drops_blocks_for_one_more_everywhere_and_mines_their_transactions_again() {
    let lab = Lab::start(3).await;
    lab.mine(2).await;
    let hash = send(&lab, 1, 5, 0).await;
    lab.tick().await;
    lab.mine(2).await;
    let before: Vec<_> = lab.history().await;
    lab.reorg(3).await;
    all_agree(&lab, 6).await;
    let history = lab.history().await;
    assert_eq!(history.len(), before.len() + 4);
    for mined in &history {
        let kept =
            lab.rpc(0, "eth_getBlockByHash", serde_json::json!([mined.head.hash, false])).await.unwrap();
        assert_eq!(kept.is_null(), mined.dropped_at.is_some(), "{mined:?}");
        assert!(mined.settled_at.is_some_and(|at| at >= mined.mined_at));
    }
    assert_eq!(receipt(&lab, 2, &hash).await["blockNumber"], "0x3");
    lab.mine(2).await;
    all_agree(&lab, 8).await;
}
