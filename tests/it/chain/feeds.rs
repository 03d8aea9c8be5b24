//! S1, S2, S3, S5: real clients that listen, by WebSocket and by filters, hear every block and every log once and in
//! order, whoever of the backends dies meanwhile.
use std::collections::HashMap;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::{BLOCK_TIME, PATIENCE, Stage};
use crate::lab::anvil::Lab;
use crate::lab::bell::{Bell, Facts};
use crate::lab::feed::{Feed, Heard, Listener};
use crate::lab::front::Fault;

/// Blocks for which a backend is gone, and after which the next one goes.
const GONE_BLOCKS: u64 = 3;
const BACK_BLOCKS: u64 = 2;

/// Starts clients against `host:port`; the height from which on they must not miss anything.
async fn listen(feeds: &[Feed], address: &str, lab: &Lab, bell: &Bell) -> (Vec<Listener>, u64) {
    let listeners = join_all(feeds.iter().map(|feed| feed.start(address, &bell.address))).await;
    (listeners, lab.height().await)
}

/// The canonical blocks above a height, with their logs.
async fn canonical(lab: &Lab, bell: &Bell, above: u64) -> Vec<Facts> {
    let mut blocks = Vec::new();
    for mined in lab.history().await.iter().filter(|m| m.head.number > above && m.dropped_at.is_none()) {
        blocks.push(bell.facts(&mined.head.hash).await);
    }
    blocks
}

/// What a client of this kind tells of these blocks, apart from how blocks and logs mix.
fn expected(feed: Feed, blocks: &[Facts]) -> (Vec<Heard>, Vec<Heard>) {
    let block = |facts: &Facts| match feed {
        Feed::Viem | Feed::Web3py | Feed::Alloy => Some((Some(facts.number), Some(facts.hash.clone()))),
        Feed::Ethers => Some((Some(facts.number), None)),
        Feed::ViemFilters => Some((None, Some(facts.hash.clone()))),
        Feed::EthersFilter => None,
    };
    let block = |facts: &Facts| block(facts).map(|(number, hash)| Heard::Block { number, hash });
    let logs = |facts: &Facts| {
        let log = |transaction: &String| Heard::Log {
            block: facts.hash.clone(),
            transaction: transaction.clone(),
            removed: false,
        };
        facts.logs.iter().map(log).collect::<Vec<_>>()
    };
    (blocks.iter().filter_map(block).collect(), blocks.iter().flat_map(logs).collect())
}

/// Blocks and logs of what a client heard, without what came before everybody listened.
fn apart(heard: Vec<Heard>, first: &(Vec<Heard>, Vec<Heard>)) -> (Vec<Heard>, Vec<Heard>) {
    let from = |heard: Vec<Heard>, first: Option<&Heard>| {
        let at = heard.iter().position(|one| Some(one) == first).unwrap_or(0);
        heard[at..].to_vec()
    };
    let (blocks, logs) = heard.into_iter().partition(|one| matches!(one, Heard::Block { .. }));
    (from(blocks, first.0.first()), from(logs, first.1.first()))
}

/// Waits until every client has heard of the newest block, and holds all it heard against the chain. An error that a
/// client told stands among the logs and is none of them.
async fn hears_all(listeners: &[Listener], lab: &Lab, bell: &Bell, above: u64, context: impl Fn() -> String) {
    let blocks = canonical(lab, bell, above).await;
    assert!(blocks.len() >= 4, "too little happened");
    let end = Instant::now() + PATIENCE;
    for listener in listeners {
        let wanted = expected(listener.feed, &blocks);
        loop {
            let heard = apart(listener.heard(), &wanted);
            if heard == wanted {
                break;
            }
            let is_over =
                Instant::now() > end || listener.heard().iter().any(|one| matches!(one, Heard::Error(_)));
            assert!(!is_over, "{:?} heard {heard:#?}\nand not {wanted:#?}\n{}", listener.feed, context());
            sleep(BLOCK_TIME / 10).await;
        }
    }
    // whatever comes twice may come late
    sleep(BLOCK_TIME).await;
    for listener in listeners {
        let wanted = expected(listener.feed, &blocks);
        assert_eq!(apart(listener.heard(), &wanted), wanted, "{:?}, later: {}", listener.feed, context());
    }
}

/// One backend after the other is killed, process and all, and comes back with an empty memory.
async fn kill_one_after_another(stage: &Stage) {
    for front in 0..stage.fronts.len() {
        stage.fronts[front].set(Fault::Refuse).await;
        stage.lab.kill(stage.node(front)).await;
        stage.bell.blocks(GONE_BLOCKS).await;
        stage.lab.restart(stage.node(front)).await;
        stage.fronts[front].heal().await;
        stage.bell.blocks(BACK_BLOCKS).await;
    }
}

/// The scripts themselves, with nothing between them and a node.
#[tokio::test]
async fn every_client_hears_each_block_and_log_once_from_a_node_itself() {
    let lab = Lab::start(1).await;
    let bell = Bell::hang(&lab).await;
    let address = lab.urls()[0].trim_start_matches("http://").to_owned();
    let feeds = [Feed::SOCKETS.as_slice(), Feed::FILTERS.as_slice()].concat();
    let (listeners, above) = listen(&feeds, &address, &lab, &bell).await;
    for _ in 0..5 {
        bell.toll().await;
        sleep(BLOCK_TIME).await;
    }
    hears_all(&listeners, &lab, &bell, above, String::new).await;
}

/// S1, S3: the backends speak HTTP only.
#[tokio::test]
async fn s1_every_client_hears_each_block_and_log_once_while_one_backend_after_another_is_killed() {
    hear_while_backends_are_killed(Stage::start(3).await).await;
}

/// S1, S3, S7: the backends push their heads, until they die.
#[tokio::test]
async fn s1_every_client_hears_each_block_and_log_once_while_backends_that_push_are_killed() {
    hear_while_backends_are_killed(Stage::start_pushing(3).await).await;
}

async fn hear_while_backends_are_killed(mut stage: Stage) {
    let (listeners, above) = listen(&Feed::SOCKETS, stage.proxy.address(), &stage.lab, &stage.bell).await;
    stage.bell.blocks(2).await;
    kill_one_after_another(&stage).await;
    stage.stop_clock().await;
    hears_all(&listeners, &stage.lab, &stage.bell, above, || stage.proxy.said()).await;
}

/// S5: no filter is lost with the backend that happened to answer when it was made.
#[tokio::test]
async fn s5_filters_tell_each_block_and_log_once_while_one_backend_after_another_is_killed() {
    let mut stage = Stage::start(3).await;
    let (listeners, above) = listen(&Feed::FILTERS, stage.proxy.address(), &stage.lab, &stage.bell).await;
    stage.bell.blocks(2).await;
    kill_one_after_another(&stage).await;
    stage.stop_clock().await;
    hears_all(&listeners, &stage.lab, &stage.bell, above, || stage.proxy.said()).await;
}

/// S2: the logs of dropped blocks are taken back before those of the new ones come.
#[tokio::test]
async fn s2_a_reorg_takes_back_the_logs_of_dropped_blocks_and_then_tells_the_new_ones() {
    let mut stage = Stage::start(3).await;
    // the two whose block events carry the header as it was sent
    let feeds = [Feed::Web3py, Feed::Alloy];
    let (listeners, above) = listen(&feeds, stage.proxy.address(), &stage.lab, &stage.bell).await;
    stage.bell.blocks(5).await;
    stage.stop_clock().await;
    hears_all(&listeners, &stage.lab, &stage.bell, above, || stage.proxy.said()).await;
    let before = canonical(&stage.lab, &stage.bell, above).await;
    let told_before: Vec<usize> = listeners.iter().map(|listener| listener.heard().len()).collect();
    stage.lab.reorg(3).await;
    stage.start_clock();
    stage.bell.blocks(3).await;
    stage.stop_clock().await;
    let after = canonical(&stage.lab, &stage.bell, above).await;
    let kept = before.len() - 3;
    for (listener, told_before) in listeners.iter().zip(told_before) {
        let (_, dropped) = expected(listener.feed, &before[kept..]);
        let (added, logs) = expected(listener.feed, &after[kept..]);
        let news = || listener.heard()[told_before..].to_vec();
        let all_are_there = async || news().len() >= dropped.len() + added.len() + logs.len();
        stage.until("all of it is told", all_are_there).await;
        let is_block = |one: &Heard| matches!(one, Heard::Block { .. });
        let (blocks, told): (Vec<Heard>, Vec<Heard>) = news().into_iter().partition(is_block);
        assert_eq!(blocks, added, "{:?}: every block of the new branch, once", listener.feed);
        let (taken_back, new) = told.split_at(dropped.len());
        assert_eq!(
            blocks_of(taken_back, true),
            blocks_of(&dropped, false),
            "{:?}: taken back first",
            listener.feed
        );
        assert_eq!(new, logs, "{:?}: then told anew", listener.feed);
    }
}

/// The block of each log's transaction; all were taken back, or none.
fn blocks_of(logs: &[Heard], were_removed: bool) -> HashMap<&str, &str> {
    let of = |log| match log {
        &Heard::Log { ref block, ref transaction, removed } if removed == were_removed => {
            (transaction.as_str(), block.as_str())
        }
        other => panic!("{other:?} among {logs:#?}"),
    };
    logs.iter().map(of).collect()
}
