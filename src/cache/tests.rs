//! Answers, heads and reorgs in any order: nothing that is kept ever speaks of a block that is gone.

use std::collections::{HashMap, HashSet};

use alloy_primitives::{B256, keccak256};
use proptest::prelude::*;
use serde_json::value::RawValue;

use super::keep::{Answer, Ask, Footing, holds, keep};
use super::view::{Picture, Sight, View};
use crate::chain::BlockId;
use crate::ethereum::{Method, block_refs};
use crate::policy::Timestamp;

const WINDOW: usize = 8;
const NOW: Timestamp = Timestamp::ZERO;

fn ask(method: &str, params: &str, can_be_changed: bool) -> Option<Ask> {
    let raw: Box<RawValue> = serde_json::from_str(params).expect("JSON");
    let method = Method::lookup(method);
    Ask::of(method, &block_refs(method, Some(&raw)), can_be_changed)
}

/// A block's hash by its branch.
fn hash(number: u64, branch: u64) -> B256 {
    keccak256([number.to_be_bytes(), branch.to_be_bytes()].concat())
}

/// A straight chain from 1, of one backend that has all of it.
fn straight(head: u64, finalized: Option<u64>) -> Picture {
    let served: Vec<B256> = (1..=head).map(|number| hash(number, 0)).collect();
    let tip = Some(BlockId { number: head, hash: hash(head, 0) });
    let sight = Sight { tip, joined: Some(head), has: Some(head), astray: false };
    Picture { base: 1, served: served.into(), finalized, backends: vec![sight; 2] }
}

fn view(picture: Picture) -> View {
    View::default().then(picture).expect("it differs from nothing")
}

fn by(backend: usize, result: &str) -> Answer<'_> {
    Answer { result: result.as_bytes(), backend }
}

fn block(number: u64, branch: u64) -> String {
    format!(r#"{{"number":"{number:#x}","hash":"{:#x}"}}"#, hash(number, branch))
}

fn placed(number: u64, branch: u64) -> String {
    format!(r#"{{"blockNumber":"{number:#x}","blockHash":"{:#x}"}}"#, hash(number, branch))
}

#[test]
fn k1_what_is_kept_by_rule_and_by_answer() {
    let at = view(straight(10, Some(4)));
    let by_hash = format!(r#"["{:#x}",false]"#, hash(9, 0));
    let by_other_hash = format!(r#"["{:#x}",false]"#, hash(9, 7));
    let state_by_hash = format!(r#"["0xa",{{"blockHash":"{:#x}"}}]"#, hash(9, 0));
    let receipts = format!("[{},{}]", placed(9, 0), placed(9, 0));
    let logs = format!("[{},{}]", placed(6, 0), placed(9, 0));
    let foreign_logs = format!("[{},{}]", placed(6, 1), placed(9, 0));
    let table: &[(&str, &str, &str, bool)] = &[
        ("eth_getBalance", r#"["0xa","0x9"]"#, r#""0x1""#, true),
        ("eth_getBalance", r#"["0xa","0xb"]"#, r#""0x1""#, false),
        ("eth_getBalance", r#"["0xa","latest"]"#, r#""0x1""#, false),
        ("eth_getBalance", r#"["0xa","pending"]"#, r#""0x1""#, false),
        ("eth_getBalance", &state_by_hash, r#""0x1""#, true),
        ("eth_call", r#"[{"to":"0xa"},"0xa"]"#, r#""0x""#, true),
        ("eth_estimateGas", r#"[{"to":"0xa"},"0xa"]"#, r#""0x5208""#, true),
        ("eth_estimateGas", r#"[{"to":"0xa"}]"#, r#""0x5208""#, false),
        ("eth_gasPrice", "[]", r#""0x1""#, true),
        ("eth_blockNumber", "[]", r#""0xa""#, false),
        ("eth_getTransactionCount", r#"["0xa","0xa"]"#, r#""0x1""#, true),
        ("eth_getBlockByNumber", r#"["0x9",false]"#, &block(9, 0), true),
        ("eth_getBlockByNumber", r#"["0x9",false]"#, &block(9, 1), false),
        ("eth_getBlockByNumber", r#"["0x9",false]"#, &block(8, 0), false),
        ("eth_getBlockByNumber", r#"["0x9",false]"#, "null", false),
        ("eth_getBlockByNumber", r#"["0x9",false]"#, " null ", false),
        ("eth_getBlockByHash", &by_hash, &block(9, 0), true),
        ("eth_getBlockByHash", &by_other_hash, &block(9, 7), false),
        ("eth_getTransactionReceipt", r#"["0xab"]"#, &placed(9, 0), true),
        ("eth_getTransactionReceipt", r#"["0xab"]"#, &placed(9, 1), false),
        ("eth_getTransactionReceipt", r#"["0xab"]"#, "null", false),
        ("eth_getTransactionByHash", r#"["0xab"]"#, r#"{"blockHash":null,"blockNumber":null}"#, false),
        // Its bytes do not say in which block it lies.
        ("eth_getRawTransactionByHash", r#"["0xab"]"#, r#""0x01""#, false),
        ("debug_traceTransaction", r#"["0xab"]"#, "{}", false),
        ("eth_getBlockReceipts", r#"["0x9"]"#, &receipts, true),
        ("eth_getBlockReceipts", r#"["0x9"]"#, "[]", false),
        ("eth_getBlockReceipts", r#"["0x3"]"#, "[]", true),
        ("eth_getLogs", r#"[{"fromBlock":"0x5","toBlock":"0x9"}]"#, &logs, true),
        ("eth_getLogs", r#"[{"fromBlock":"0x5","toBlock":"0x9"}]"#, &foreign_logs, false),
        ("eth_getLogs", r#"[{"fromBlock":"0x5","toBlock":"0x9"}]"#, "[]", false),
        ("eth_getLogs", r#"[{"fromBlock":"0x1","toBlock":"0x4"}]"#, "[]", true),
        ("txpool_status", "[]", "{}", false),
        ("web3_clientVersion", "[]", r#""x""#, true),
        ("eth_sendRawTransaction", r#"["0x"]"#, r#""0x""#, false),
        ("eth_newFilter", "[{}]", r#""0x1""#, false),
        ("eth_somethingNew", "[]", "{}", false),
    ];
    for (method, params, result, kept) in table {
        let kept_by_rule = ask(method, params, false).is_some_and(|ask| {
            let footing = keep(&ask, &at, &at, NOW, by(0, result));
            // What is kept holds as long as nothing changes.
            assert!(footing.is_none_or(|footing| holds(&footing, &at, NOW)), "{method} {params}");
            footing.is_some()
        });
        assert_eq!(kept_by_rule, *kept, "{method} {params} {result}");
    }
}

#[test]
fn k1_what_goes_with_the_head_ends_with_it_and_what_has_a_time_with_that() {
    let at = view(straight(10, None));
    let later = at.then(straight(11, None)).expect("another head");
    let of = |method: &str, params: &str| {
        let ask = ask(method, params, false).expect("a rule");
        keep(&ask, &at, &at, NOW, by(0, r#""0x1""#)).expect("kept")
    };
    assert!(!holds(&of("eth_gasPrice", "[]"), &later, NOW));
    assert!(!holds(&of("eth_getTransactionCount", r#"["0xa","0xa"]"#), &later, NOW));
    assert!(holds(&of("eth_getBalance", r#"["0xa","0xa"]"#), &later, NOW));
    let version = of("web3_clientVersion", "[]");
    assert!(holds(&version, &later, NOW + std::time::Duration::from_secs(59)));
    assert!(!holds(&version, &later, NOW + std::time::Duration::from_secs(60)));
}

#[test]
fn k3_nothing_is_kept_of_who_lacks_the_block_or_follows_another_branch() {
    let good = straight(10, None);
    let with = |sight: Sight| {
        let mut picture = good.clone();
        picture.backends[1] = sight;
        view(picture)
    };
    let state = ask("eth_getBalance", r#"["0xa","0xa"]"#, false).expect("a rule");
    let kept = |asked: &View, now: &View| keep(&state, asked, now, NOW, by(1, r#""0x1""#)).is_some();
    let fine = good.backends[1];
    let lagging =
        Sight { tip: Some(BlockId { number: 9, hash: hash(9, 0) }), joined: Some(9), has: Some(9), ..fine };
    let on_a_branch = Sight { tip: Some(BlockId { number: 10, hash: hash(10, 1) }), joined: Some(9), ..fine };
    for bad in [
        lagging,
        on_a_branch,
        Sight { joined: None, ..fine },
        Sight { has: Some(9), ..fine },
        Sight { astray: true, ..fine },
        Sight::default(),
    ] {
        let then = with(bad);
        assert!(!kept(&then, &then), "{bad:?}");
        // It was so when it was asked, or it is so when it has answered.
        let now = then.then(good.clone()).expect("another picture");
        assert!(!kept(&then, &now), "{bad:?}");
        let fine = view(good.clone());
        assert!(!kept(&fine, &fine.then(with_picture(&good, bad)).expect("another picture")), "{bad:?}");
    }
    assert!(kept(&with(fine), &with(fine)));
}

fn with_picture(good: &Picture, sight: Sight) -> Picture {
    let mut picture = good.clone();
    picture.backends[1] = sight;
    picture
}

#[test]
fn k3_what_a_backend_said_before_it_turned_out_to_be_on_a_branch_is_forgotten() {
    let good = straight(10, None);
    let then = view(good.clone());
    let state = |number: &str| {
        let ask = ask("eth_getBalance", &format!(r#"["0xa","{number}"]"#), false).expect("a rule");
        keep(&ask, &then, &then, NOW, by(1, r#""0x1""#)).expect("kept")
    };
    let (at_head, below) = (state("0xa"), state("0x8"));
    let on_a_branch =
        Sight { tip: Some(BlockId { number: 10, hash: hash(10, 1) }), joined: Some(9), ..good.backends[1] };
    let now = then.then(with_picture(&good, on_a_branch)).expect("another picture");
    assert!(!holds(&at_head, &now, NOW));
    assert!(holds(&below, &now, NOW));
    // A block ahead of what is served is no other branch.
    let ahead =
        Sight { tip: Some(BlockId { number: 11, hash: hash(11, 0) }), has: Some(11), ..good.backends[1] };
    let now = then.then(with_picture(&good, ahead)).expect("another picture");
    assert!(holds(&at_head, &now, NOW));
}

#[test]
fn where_state_can_be_changed_from_outside_only_what_names_its_block_is_kept() {
    let at = view(straight(10, Some(4)));
    assert!(ask("eth_getBalance", r#"["0xa","0x3"]"#, true).is_none());
    assert!(ask("eth_gasPrice", "[]", true).is_none());
    let block_ask = ask("eth_getBlockByNumber", r#"["0x9",false]"#, true).expect("a rule");
    assert!(keep(&block_ask, &at, &at, NOW, by(0, &block(9, 0))).is_some());
    let logs = ask("eth_getLogs", r#"[{"fromBlock":"0x5","toBlock":"0x9"}]"#, true).expect("a rule");
    assert!(keep(&logs, &at, &at, NOW, by(0, &format!("[{}]", placed(9, 0)))).is_none());
}

/// What happens to a small world with its own truth: a tree of branches, of which one is served.
#[derive(Clone, Debug)]
enum Event {
    /// The served chain grows.
    Grow,
    /// So many blocks are replaced by as many and one more, on a new branch.
    Reorg(u64),
    /// The chain goes back so far.
    Rollback(u64),
    /// More blocks than are kept are skipped.
    Skip,
    /// A backend shows the served chain as it is, less so many blocks.
    Shows(usize, u64),
    /// A backend is on a branch of its own from so far below the head, without showing it yet.
    Strays(usize, u64),
    /// And now it shows that.
    ShowsItself(usize),
    Finalizes,
    /// A question to a backend about so far below the head.
    Asks(usize, u64, Kind),
    /// The oldest question gets its answer.
    Answers,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    State,
    Block,
    Receipt,
    Fee,
}

fn event() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![Just(Kind::State), Just(Kind::Block), Just(Kind::Receipt), Just(Kind::Fee)];
    prop_oneof![
        3 => Just(Event::Grow),
        2 => (1..4_u64).prop_map(Event::Reorg),
        1 => (1..3_u64).prop_map(Event::Rollback),
        1 => Just(Event::Skip),
        4 => (0..2_usize, 0..3_u64).prop_map(|(who, less)| Event::Shows(who, less)),
        1 => (0..2_usize, 0..3_u64).prop_map(|(who, below)| Event::Strays(who, below)),
        1 => (0..2_usize).prop_map(Event::ShowsItself),
        1 => Just(Event::Finalizes),
        6 => (0..2_usize, 0..12_u64, kind).prop_map(|(who, below, kind)| Event::Asks(who, below, kind)),
        6 => Just(Event::Answers),
    ]
}

/// The branch of each height of a chain, from 0.
type Line = Vec<u64>;

struct World {
    served: Line,
    finalized: u64,
    /// What each backend really has, and what it has shown of that.
    truly: [Line; 2],
    shown: [Line; 2],
    branches: u64,
    /// Branches that some backend has shown: one that it was on and came back from in secret leaves no trace.
    revealed: HashSet<u64>,
    view: View,
    under_way: std::collections::VecDeque<Put>,
    kept: HashMap<(u64, u8), Kept>,
}

struct Put {
    who: usize,
    number: u64,
    kind: Kind,
    ask: Ask,
    asked: View,
    /// The block that it was answered from: what the backend truly had then.
    from: Option<(u64, u64)>,
    /// The backend had shown everything that it had.
    was_open: bool,
}

struct Kept {
    footing: Footing,
    from: (u64, u64),
    /// The backend had shown everything that it had when it was asked.
    was_open: bool,
}

fn common(a: &Line, b: &Line) -> u64 {
    a.iter().zip(b).take_while(|(a, b)| a == b).count() as u64
}

impl World {
    fn new() -> Self {
        let line: Line = vec![0; 12];
        let mut world = Self {
            served: line.clone(),
            finalized: 0,
            truly: [line.clone(), line.clone()],
            shown: [line.clone(), line],
            branches: 0,
            revealed: HashSet::new(),
            view: View::default(),
            under_way: std::collections::VecDeque::new(),
            kept: HashMap::new(),
        };
        world.publish();
        world
    }

    fn head(&self) -> u64 {
        self.served.len() as u64 - 1
    }

    fn publish(&mut self) {
        let base = self.served.len().saturating_sub(WINDOW);
        let served: Vec<B256> =
            (base..self.served.len()).map(|at| hash(at as u64, self.served[at])).collect();
        let backends = self.shown.iter().map(|shown| {
            let number = shown.len() as u64 - 1;
            let joined = common(shown, &self.served).checked_sub(1);
            let astray = joined.is_none_or(|joined| joined < number && joined < self.head());
            let tip = BlockId { number, hash: hash(number, shown[number as usize]) };
            Sight { tip: Some(tip), joined, has: Some(number), astray }
        });
        let picture = Picture {
            base: base as u64,
            served: served.into(),
            finalized: Some(self.finalized),
            backends: backends.collect(),
        };
        if let Some(view) = self.view.then(picture) {
            self.view = view;
        }
    }

    fn new_branch(&mut self) -> u64 {
        self.branches += 1;
        self.branches
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Grow => {
                let branch = self.served[self.served.len() - 1];
                self.served.push(branch);
            }
            Event::Reorg(depth) => {
                let keep = (self.head() - depth.min(self.head())).max(self.finalized) + 1;
                let depth = self.served.len() as u64 - keep;
                self.served.truncate(keep as usize);
                let branch = self.new_branch();
                self.served.extend(vec![branch; depth as usize + 1]);
            }
            Event::Rollback(depth) => {
                let keep = (self.head() - depth.min(self.head())).max(self.finalized) + 1;
                self.served.truncate(keep as usize);
            }
            Event::Skip => {
                let branch = self.new_branch();
                // Whatever comes in place of what was not final.
                self.served.truncate(self.finalized as usize + 1);
                let to = self.head().max(self.view.tip().map_or(0, |tip| tip.number)) + WINDOW as u64 + 2;
                self.served.resize(to as usize + 1, branch);
            }
            Event::Shows(who, less) => {
                let to = self.served.len() - (less as usize).min(self.served.len() - 1);
                self.truly[who] = self.served[..to].to_vec();
                self.shown[who] = self.truly[who].clone();
            }
            Event::Strays(who, below) => {
                let branch = self.new_branch();
                let line = &mut self.truly[who];
                let from = line.len().saturating_sub(below as usize + 1).max(self.finalized as usize + 1);
                let length = line.len().max(from) + 1;
                line.truncate(from);
                line.resize(length.max(line.len()), branch);
            }
            Event::ShowsItself(who) => {
                self.shown[who] = self.truly[who].clone();
                self.revealed.extend(&self.truly[who]);
            }
            Event::Finalizes => {
                // Only what both have shown, and a few blocks below the head.
                let agreed = self.shown.iter().map(|line| common(line, &self.served)).min().unwrap_or(0);
                let to = agreed.saturating_sub(1).min(self.head().saturating_sub(2));
                self.finalized = self.finalized.max(to);
            }
            Event::Asks(who, below, kind) => {
                let number = self.head().saturating_sub(below);
                let params = format!(r#"["0xa","{number:#x}"]"#);
                let ask = match kind {
                    Kind::State => ask("eth_getBalance", &params, false),
                    Kind::Block => ask("eth_getBlockByNumber", &format!(r#"["{number:#x}",false]"#), false),
                    Kind::Receipt => ask("eth_getTransactionReceipt", r#"["0xab"]"#, false),
                    Kind::Fee => ask("eth_gasPrice", "[]", false),
                };
                let number = if matches!(kind, Kind::Fee) { self.head() } else { number };
                let from = self.truly[who].get(number as usize).map(|branch| (number, *branch));
                let was_open = self.shown[who] == self.truly[who];
                let put = Put {
                    was_open,
                    who,
                    number,
                    kind,
                    ask: ask.expect("a rule"),
                    asked: self.view.clone(),
                    from,
                };
                self.under_way.push_back(put);
            }
            Event::Answers => {
                let Some(put) = self.under_way.pop_front() else { return };
                let Some(from) = put.from else { return };
                let result = match put.kind {
                    Kind::State | Kind::Fee => r#""0x1""#.to_owned(),
                    Kind::Block => block(from.0, from.1),
                    Kind::Receipt => placed(from.0, from.1),
                };
                let footing = keep(&put.ask, &put.asked, &self.view, NOW, by(put.who, &result));
                if let Some(footing) = footing {
                    // It names its block, and that one can be looked up.
                    let is_verified = matches!(put.kind, Kind::Block | Kind::Receipt)
                        && self.view.hash_at(from.0).is_some();
                    let kept = Kept { footing, from, was_open: put.was_open || is_verified };
                    self.kept.insert((put.number, put.kind as u8), kept);
                }
            }
        }
        self.publish();
    }

    /// Whatever would be served is of the served chain; only a backend that was somewhere else, and has not shown it, can be
    /// believed.
    fn check(&self) -> Result<(), TestCaseError> {
        for kept in self.kept.values().filter(|kept| holds(&kept.footing, &self.view, NOW)) {
            let (number, branch) = kept.from;
            let is_served = self.served.get(number as usize) == Some(&branch);
            let is_hidden = !kept.was_open && !self.revealed.contains(&branch);
            prop_assert!(is_served || is_hidden, "block {} of branch {} is not served", number, branch);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn k2_no_interleaving_of_answers_heads_and_reorgs_serves_a_dropped_block(events in prop::collection::vec(event(), 1..80)) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
            world.check()?;
        }
    }
}
