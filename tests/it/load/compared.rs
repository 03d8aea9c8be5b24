//! `--compare`: two endpoints of one chain, in turns, by the same requests.

use serde_json::json;

use super::{METHOD, PLAIN, file, load_at, plain_front, report, text};
use crate::lab::anvil::Lab;
use crate::lab::front::{Fault, Front};

const TIMES: [&str; 6] = ["--rate", "80", "--duration", "3s", "--rounds", "3"];

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_of_one_chain_agree_and_stand_side_by_side() {
    let lab = Lab::start(2).await;
    lab.mine(70).await;
    let (first, second) = (Front::of_node(&lab, 0).await, Front::of_node(&lab, 1).await);
    let other = second.url();
    let args = ["--compare", &other, "--warm-up", "0s", "--json"];
    let (report, code) = report(&load_at(&first.url(), &[&args, &TIMES]).await);
    assert_eq!(code, Some(0), "{report:#}");
    let comparison = &report["comparison"];
    assert_eq!(comparison["rounds"], 3);
    assert!(comparison["agreement"]["compared"].as_u64() > Some(20), "{comparison:#}");
    assert_eq!(comparison["agreement"]["differ"], 0, "{comparison:#}");
    assert!(comparison["p50_ratio"].as_f64() > Some(0.0), "{comparison:#}");
    for target in report["targets"].as_array().expect("two") {
        assert_eq!(target["whole"]["answered"], 240, "{target:#}");
        let rounds: Vec<_> =
            target["parts"].as_array().unwrap().iter().map(|part| &part["requests"]).collect();
        assert_eq!(rounds, [80, 80, 80]);
    }
    // The same requests: as many of each method on either side.
    let methods = |at: usize| {
        let methods = report["targets"][at]["methods"].as_array().unwrap().iter();
        let mut methods: Vec<_> =
            methods.map(|one| (one["method"].to_string(), one["requests"].as_u64())).collect();
        methods.sort();
        methods
    };
    assert_eq!(methods(0), methods(1));
}

/// A B A B, never both at once.
#[tokio::test(flavor = "multi_thread")]
async fn turns_alternate() {
    let (first, second) = (plain_front().await, plain_front().await);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let requests = file(dir.path(), "plain.jsonl", PLAIN);
    let other = second.url();
    let args = ["--compare", &other, "--requests", &requests, "--warm-up", "0s", "--json"];
    let (report, code) = report(&load_at(&first.url(), &[&args, &TIMES]).await);
    assert_eq!(code, Some(0), "{report:#}");
    let mut seen: Vec<_> = [(0, &first), (1, &second)]
        .into_iter()
        .flat_map(|(who, front)| front.seen().into_iter().map(move |seen| (who, seen)))
        .filter(|(_, seen)| seen.methods == [METHOD])
        .map(|(who, seen)| (seen.at, who))
        .collect();
    seen.sort();
    assert_eq!(seen.len(), 480);
    let mut turns: Vec<_> = seen.into_iter().map(|(_, who)| who).collect();
    turns.dedup();
    assert_eq!(turns, [0, 1, 0, 1, 0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_makes_things_up_is_found() {
    let lab = Lab::start(2).await;
    lab.mine(70).await;
    let (first, second) = (Front::of_node(&lab, 0).await, Front::of_node(&lab, 1).await);
    second.set(Fault::BigResult(32).only(&["eth_getBalance"])).await;
    let other = second.url();
    let args = ["--compare", &other, "--warm-up", "0s"];
    let output = load_at(&first.url(), &[&args, &TIMES, &["--json"]]).await;
    let (found, code) = report(&output);
    assert_eq!(code, Some(1), "{found:#}");
    assert!(found["comparison"]["agreement"]["differ"].as_u64() > Some(0), "{:#}", found["comparison"]);
    assert_eq!(found["targets"][0]["whole"]["wrong"], 0, "the second is held against the first");
    assert_eq!(found["targets"][1]["whole"]["wrong"], found["comparison"]["agreement"]["differ"]);
    let said = text(&load_at(&first.url(), &[&args, &TIMES]).await.stdout);
    assert!(said.contains("second over first:") && said.contains("answers were wrong"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_chains_cannot_be_compared() {
    let (first, second) = (plain_front().await, plain_front().await);
    second.set(Fault::ChainId(5).only(&["eth_chainId"])).await;
    let output = load_at(&first.url(), &[&["--compare", &second.url()]]).await;
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("chain 31337") && errors.contains("chain 5"), "{errors}");
    assert_eq!(json!(first.count("eth_getBalance")), 0, "nothing was loaded");
}
