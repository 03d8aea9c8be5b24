//! The pieces that every request passes: envelope, verdict, decision.
//!
//!     cargo bench --bench micro

#[allow(dead_code)] // of the other bench's cases only the large answer is of use here
#[path = "proxy/case.rs"]
mod case;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::HeaderMap;
use outrigger::chain::{Block, BlockId, Follower, HashCheck};
use outrigger::config::{BackendBuilder, ChainBuilder};
use outrigger::ethereum::{MethodClass, Urgency};
use outrigger::gateway::Packet;
use outrigger::jsonrpc::{Limits, parse};
use outrigger::policy::classify::{Received, Sent, classify};
use outrigger::policy::{
    BackendSpec, DomainKind, DomainLabels, Event, Fleet, Flight, Identity, Need, Outcome, Plan, Reach,
    Repeat, Rests, Step, Tier, Timestamp,
};
use outrigger::telemetry::Format;
use outrigger::{Config, Gateway};
use rand::SeedableRng;
use rand::rngs::SmallRng;

const CALL: &str = r#"{"jsonrpc":"2.0","id":4711,"method":"eth_call","params":[{"to":"0xdac17f958d2ee523a2206206994597c13d831ec7","data":"0x70a08231000000000000000000000000d8da6bf26964af9d7eed9e03e53415d37aa96045"},"latest"]}"#;

fn envelopes(c: &mut Criterion) {
    let limits = Limits { batch_items_max: 1000 };
    let batch = format!("[{}]", [CALL; 100].join(","));
    c.bench_function("envelope, single", |b| b.iter(|| parse(black_box(CALL.as_bytes()), &limits)));
    c.bench_function("envelope, batch of 100", |b| b.iter(|| parse(black_box(batch.as_bytes()), &limits)));
}

fn verdicts(c: &mut Criterion) {
    let headers = HeaderMap::new();
    let mut group = c.benchmark_group("classify");
    let small = br#"{"jsonrpc":"2.0","id":7,"result":"0x10"}"#.to_vec();
    let logs = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{}}}"#, case::LARGE.result()).into_bytes();
    let limited = br#"{"jsonrpc":"2.0","id":7,"error":{"code":-32005,"message":"daily request count exceeded, request rate limited"}}"#.to_vec();
    for (name, body) in [("small result", small), ("1 MB of logs", logs), ("rate limit", limited)] {
        let body = Bytes::from(body);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let received = Received::Answer { status: 200, headers: &headers, body: black_box(&body) };
                classify(&Sent::new(7, "eth_call"), &received, 0)
            });
        });
    }
}

fn decisions(c: &mut Criterion) {
    let mut fleet = Fleet::new(
        (0..8)
            .map(|n| BackendSpec {
                name: format!("backend-{n}").into(),
                tier: Tier::Primary,
                private: false,
                labels: DomainLabels::new()
                    .with(DomainKind::Provider, &format!("provider-{n}"))
                    .with(DomainKind::Cloud, &format!("cloud-{}", n % 3)),
                limit_per_s: None,
            })
            .collect(),
    );
    for n in 0..8 {
        if let Some(index) = fleet.index(n) {
            fleet.set_identity(index, Identity::Confirmed);
        }
    }
    let need = Need {
        class: MethodClass::State,
        method: Some("eth_call"),
        urgency: Urgency::Read,
        submits: false,
        prefer: None,
        only: None,
        rests: Rests::OnHeight(20_000_000),
        depth: None,
        log_blocks: None,
    };
    let mut rng = SmallRng::seed_from_u64(1);
    let (mut now, answered) = (Timestamp::ZERO, Outcome::of(outrigger::policy::Class::Ok));
    c.bench_function("decide and record, 8 backends", |b| {
        b.iter(|| {
            now = now + Duration::from_micros(100);
            let mut flight = Flight::new(Plan {
                need,
                key: 0,
                deadline: now + Duration::from_secs(10),
                repeat: Repeat::Freely,
                may_copy: true,
                hedge_delay: (Duration::from_millis(30), Duration::from_millis(250)),
                attempts_max: 8,
            });
            let Step::Send { backend, .. } = flight.on(now, Event::Start, &mut fleet, &mut rng) else {
                return;
            };
            now = now + Duration::from_micros(50);
            let ended = Event::Ended { backend, outcome: &answered, sent: true };
            black_box(flight.on(now, ended, &mut fleet, &mut rng));
        });
    });
}

/// One backend of eight shows a block: every second step is news, and every eighth the next block.
fn follower(c: &mut Criterion) {
    let labels = vec![DomainLabels::new(); 8];
    let labels: Vec<&DomainLabels> = labels.iter().collect();
    let mut fleet = Fleet::new(
        (0..8)
            .map(|n| BackendSpec {
                name: format!("backend-{n}").into(),
                tier: Tier::Primary,
                private: false,
                labels: DomainLabels::new(),
                limit_per_s: None,
            })
            .collect(),
    );
    let sources: Vec<_> = fleet.iter().map(|(index, _)| index).collect();
    let hash = |number: u64| B256::left_padding_from(&number.to_be_bytes());
    let block = |number: u64| {
        Arc::new(Block {
            id: BlockId { number, hash: hash(number) },
            parent: hash(number - 1),
            timestamp_s: 12 * number,
            logs_bloom: None,
            header: Bytes::new(),
        })
    };
    let mut follower = Follower::new(Duration::from_secs(12), true, &labels);
    let (mut step, mut now) = (0, Timestamp::ZERO);
    c.bench_function("follower step, 8 backends", |b| {
        b.iter(|| {
            now = now + Duration::from_millis(1500);
            let source = sources[step % 8];
            follower.saw_latest(now, source, block(1000 + step as u64 / 8), HashCheck::Matches);
            step += 1;
            follower.take_events().len()
        });
    });
    let served = follower.head().expect("it follows").number;
    assert!(served + 2 > 1000 + step as u64 / 8, "it kept up");
    c.bench_function("who has what, 8 backends", |b| {
        b.iter(|| {
            for index in &sources {
                let standing = follower.standing(now, *index);
                let reach = Reach {
                    has: standing.has,
                    claims: standing.claims,
                    is_astray: false,
                    pending_is_stale: false,
                };
                fleet.set_reach(now, *index, reach, served);
            }
        });
    });
}

/// What is counted and told of a large fleet: a request that needs no backend, and a scrape once every backend has numbers.
fn metrics(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut config = Config::builder();
    for n in 0..10 {
        let mut chain = ChainBuilder::new(format!("chain-{n}")).chain_id(900_000 + n);
        for b in 0..8 {
            // Nobody listens there: every attempt fails at once, and is counted.
            chain =
                chain.backend(BackendBuilder::new(format!("backend-{b}"), format!("http://127.0.0.1:1/{b}")));
        }
        config = config.chain(chain);
    }
    let gateway = {
        let _inside = runtime.enter();
        Gateway::new(&config.build().expect("a configuration")).expect("a gateway")
    };
    let id = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#);
    c.bench_function("answer and count eth_chainId", |b| {
        b.iter(|| runtime.block_on(gateway.answer(Packet::new(id.clone()))));
    });
    for n in 0..10 {
        for method in ["eth_call", "eth_getLogs", "eth_gasPrice", "eth_getBlockByNumber"] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":[]}}"#);
            runtime.block_on(gateway.answer(Packet::new(body).on(format!("chain-{n}"))));
        }
    }
    c.bench_function("scrape, 10 chains with 8 backends", |b| b.iter(|| gateway.metrics(Format::Prometheus)));
    println!("a scrape is {} bytes", gateway.metrics(Format::Prometheus).len());
}

criterion_group!(benches, envelopes, verdicts, decisions, metrics, follower);
criterion_main!(benches);
