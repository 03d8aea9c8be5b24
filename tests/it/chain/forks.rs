//! C4: who is on another branch is found, named and left out; who is to be believed is weighed, not counted.
use serde_json::{Value, json};

use super::reader::{At, Question, Readers};
use super::{BLOCK_TIME, PATIENCE, Stage};
use crate::lab::anvil::number;
use crate::lab::rpc;

/// Reads by which a backend would have been asked if it were asked at all.
const READS: usize = 300;

/// The branch of that block, as `/status` tells it.
fn branch(status: &Value, served: bool) -> Value {
    let branches = status["follower"]["fork"]["branches"].as_array().cloned().unwrap_or_default();
    branches.into_iter().find(|branch| branch["served"] == served).unwrap_or_default()
}

fn names(of: &Value) -> Vec<&str> {
    let mut names: Vec<&str> =
        of["backends"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    names.sort_unstable();
    names
}

/// Reads a while; hashes of all blocks that were told, by height.
async fn told(stage: &Stage) -> Vec<(u64, String)> {
    let readers = Readers::start(2, stage.proxy.address(), &stage.bell);
    stage.until("the readers read", async || readers.count() >= READS).await;
    let mut blocks = Vec::new();
    for read in readers.stop().await {
        let answer = read.answer.unwrap_or_else(|error| panic!("{:?}: {error}", read.question));
        if matches!(read.question, Question::Block(At::Latest | At::Number(_))) {
            blocks.push((number(&answer["number"]), answer["hash"].as_str().expect("a hash").to_owned()));
        }
    }
    blocks
}

/// Hash of the block at a height on a node.
async fn hash_at(stage: &Stage, node: usize, height: u64) -> Value {
    let params = json!([format!("{height:#x}"), false]);
    stage.lab.rpc(node, "eth_getBlockByNumber", params).await.expect("the node answers")["hash"].clone()
}

/// Whether all these blocks are on the branch of a node.
async fn is_of(stage: &Stage, node: usize, blocks: &[(u64, String)]) -> bool {
    for (height, hash) in blocks {
        if hash_at(stage, node, *height).await != *hash {
            return false;
        }
    }
    true
}

async fn pin(stage: &Stage, what: &str) -> u16 {
    let stream = tokio::net::TcpStream::connect(stage.proxy.address()).await.expect("it listens");
    let mut stream = tokio::io::BufReader::new(stream);
    let path = format!("/admin/lab/{what}");
    rpc::exchange(&mut stream, stage.proxy.address(), &path, &[], b"").await.expect("an answer").status()
}

#[tokio::test]
async fn c4_a_minority_fork_is_out_within_two_blocks_and_status_names_the_ancestor_and_the_sides() {
    let stage = Stage::start(3).await;
    let busy = Readers::start(1, stage.proxy.address(), &stage.bell);
    stage.until("the readers read", async || busy.count() >= 50).await;
    let victim = stage.busiest();
    stage.lab.rival(stage.node(victim), 1).await;
    let common = stage.lab.head(stage.node(victim)).await.number - 1;
    stage.until("the fork is noticed", async || stage.state(victim).await == "forked").await;
    let blocks = stage.lab.height().await - common;
    assert!(blocks <= 2, "it took {blocks} blocks of {BLOCK_TIME:?}");
    stage.forget();
    let told = told(&stage).await;
    assert_eq!(stage.served(victim), 0, "it gets no reads");
    for (height, hash) in told {
        assert_eq!(hash_at(&stage, 0, height).await, hash, "block {height}");
    }
    let status = stage.status().await;
    let fork = &status["follower"]["fork"];
    assert_eq!(fork["ancestor_number"], common, "{fork:#}");
    assert_eq!(fork["ancestor_hash"], hash_at(&stage, 0, common).await, "{fork:#}");
    assert_eq!(fork["undecided"], false, "{fork:#}");
    let clouds = ["aws", "gcp", "metal"];
    let others: Vec<&str> = (0..3).filter(|i| *i != victim).map(|i| clouds[i]).collect();
    assert_eq!(names(&branch(&status, true)), others, "{fork:#}");
    assert_eq!(names(&branch(&status, false)), [clouds[victim]], "{fork:#}");
    assert_eq!(branch(&status, false)["first"], hash_at(&stage, stage.node(victim), common + 1).await);
    assert!(fork["why"].as_str().is_some_and(|why| why.contains("2 independent")), "{fork:#}");
    stage.until("the log says so", async || stage.proxy.said().contains("different branches")).await;
    stage.lab.heal(stage.node(victim)).await;
    stage.until("it is back", async || stage.state(victim).await == "ok").await;
    stage.until("the fork is over", async || stage.status().await["follower"]["fork"].is_null()).await;
    busy.stop().await;
}

#[tokio::test]
async fn c4_of_two_equal_branches_none_is_mixed_in_and_the_operator_can_choose() {
    let stage = Stage::start(2).await;
    let busy = Readers::start(1, stage.proxy.address(), &stage.bell);
    stage.until("the readers read", async || busy.count() >= 50).await;
    stage.lab.rival(2, 1).await;
    let common = stage.lab.head(2).await.number - 1;
    let undecided = async || stage.status().await["follower"]["fork"]["undecided"] == true;
    stage.until("nobody decides", undecided).await;
    let left_out = async || stage.state(0).await == "forked" || stage.state(1).await == "forked";
    stage.until("only one of them answers", left_out).await;
    let status = stage.status().await;
    let branches = status["follower"]["fork"]["branches"].as_array().cloned().unwrap_or_default();
    let mut sides: Vec<Vec<&str>> = branches.iter().map(names).collect();
    sides.sort_unstable();
    assert_eq!(sides, [["aws"], ["gcp"]], "one of two is on each side: {:#}", status["follower"]);
    let told_before = told(&stage).await;
    stage.bell.blocks(3).await;
    let all = [told_before, told(&stage).await].concat();
    let (ours, theirs) = (is_of(&stage, 1, &all).await, is_of(&stage, 2, &all).await);
    assert!(ours || theirs, "all of it is of one branch, or of what both share: {all:?}");
    // The one that would not be told of otherwise.
    let chosen = if ours { 2 } else { 1 };
    let other = hash_at(&stage, chosen, common + 1).await;
    assert_eq!(pin(&stage, &format!("pin/{}", other.as_str().expect("a hash"))).await, 200);
    stage
        .until("the other branch is served", async || branch(&stage.status().await, true)["first"] == other)
        .await;
    stage.forget();
    let told = told(&stage).await;
    assert!(is_of(&stage, chosen, &told).await, "{told:?}");
    assert!(told.iter().any(|(height, _)| *height > common + 2), "and it goes on: {told:?}");
    assert_eq!(stage.served(2 - chosen), 0, "the operator has chosen");
    busy.stop().await;
}

#[tokio::test]
async fn c4_agreement_is_weighed_by_independent_domains_and_not_by_count() {
    let stage = Stage::start_with(5, |settings| {
        for backend in &mut settings.backends[2..] {
            backend.labels = "provider = \"crowd\"\ncloud = \"crowd\"\n".to_owned();
        }
    })
    .await;
    let busy = Readers::start(1, stage.proxy.address(), &stage.bell);
    stage.until("the readers read", async || busy.count() >= 50).await;
    for front in 2..5 {
        stage.lab.rival(stage.node(front), 1).await;
    }
    for front in 2..5 {
        stage.until("the crowd is out", async || stage.state(front).await == "forked").await;
    }
    for (height, hash) in told(&stage).await {
        assert_eq!(hash_at(&stage, 0, height).await, hash, "block {height}");
    }
    assert_eq!((stage.state(0).await, stage.state(1).await), ("ok".to_owned(), "ok".to_owned()));
    assert!(busy.stop().await.last().is_some_and(|read| read.answered.elapsed() < PATIENCE));
}
