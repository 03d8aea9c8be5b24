//! What each fault does, one question at a time.

use std::collections::BTreeMap;

use super::*;
use crate::policy::Class;

const SECOND: Duration = Duration::from_secs(1);

/// Backends `a`, `b` and `c` of three clouds on a chain with a block a second. `fault` is the body of one
/// fault that lasts from 10 s to 20 s.
fn scenario(fault: &str) -> Scenario {
    let backends: String = ["a", "b", "c"]
        .iter()
        .map(|name| {
            format!(
                "[[backends]]\nname = \"{name}\"\ncloud = \"{name}\"\nerror_rate = 0\nrate_limit = 1e6\n\
                 latency = {{ p50 = \"100ms\", p99 = \"100ms\" }}\nhead_lag = {{ p50 = \"1ms\", p99 = \"1ms\" }}\n"
            )
        })
        .collect();
    let text = format!(
        "id = \"T\"\ntitle = \"t\"\nduration = \"60s\"\n\
         chain = {{ id = 1, block_time = \"12s\", simulated_block_time = \"1s\" }}\nload = {{ reads = 10 }}\n\
         {backends}[[phases]]\nname = \"p\"\nstart = \"10s\"\nend = \"20s\"\n[[phases.faults]]\n{fault}\n"
    );
    Scenario::from_toml(&text, "test").unwrap_or_else(|errors| panic!("{errors}"))
}

fn world(fault: &str) -> World {
    World::new(&scenario(fault), 1)
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::ZERO + SECOND.mul_f64(seconds)
}

fn call(world: &World, backend: usize, method: &str, request: u64) -> Ask {
    Ask {
        backend,
        method: world.method(method).unwrap(),
        request,
        attempt: 0,
        block: BlockAsked::Latest,
        height: None,
        resolved_at: Timestamp::ZERO,
        logs_by_hash: false,
        marked: false,
        probe: false,
        transaction: None,
    }
}

fn ask(world: &mut World, now: f64, backend: usize, request: u64) -> Happening {
    let ask = call(world, backend, "eth_call", request);
    world.ask(at(now), &ask)
}

/// How often each answer comes in a thousand calls at this moment.
fn counts(world: &mut World, now: f64) -> BTreeMap<Answer, u32> {
    let mut counts = BTreeMap::new();
    for request in 0..1000 {
        *counts.entry(ask(world, now, 0, request).reply.answer).or_insert(0) += 1;
    }
    counts
}

#[test]
fn each_outcome_takes_the_time_it_takes_on_a_network() {
    let ms = Duration::from_millis;
    #[rustfmt::skip]
    let cases = [
        ("conn_refused", Some(ms(1)), Class::ConnectionError),
        ("conn_reset", Some(ms(50)), Class::ConnectionError),
        ("conn_blackhole", Some(ms(1000)), Class::ConnectionError),
        ("accept_hang", None, Class::TimeoutUpstream),
        ("slow_trickle", None, Class::TimeoutUpstream),
        ("dns_nxdomain", Some(ms(20)), Class::ConnectionError),
        ("dns_timeout", Some(ms(1000)), Class::ConnectionError),
        ("tls_expired", Some(ms(100)), Class::ConnectionError),
        ("http_503", Some(ms(200)), Class::Overloaded),
        ("http_500_html", Some(ms(200)), Class::InternalError),
    ];
    for (name, after, class) in cases {
        let mut world = world(&format!("at = \"cloud:a\"\noutcomes = {{ {name} = 1 }}"));
        let before = ask(&mut world, 9.0, 0, 1);
        world.close(0, before.connection);
        assert!(before.reply.answer.is_ok(), "{name}: not before its phase");
        let seen = ask(&mut world, 15.0, 0, 1);
        let method = world.method("eth_call").unwrap();
        assert_eq!((seen.after, world.verdict(method, seen.reply).class), (after, class), "{name}");
        assert!(ask(&mut world, 15.0, 1, 1).reply.answer.is_ok(), "{name}: another cloud is untouched");
        assert!(ask(&mut world, 20.0, 0, 1).reply.answer.is_ok(), "{name}: not after its phase");
    }
}

#[test]
fn a_black_hole_is_silent_over_a_connection_that_was_there_before() {
    let mut world = world("at = \"*\"\noutcomes = { conn_blackhole = 1 }");
    for request in 0..100 {
        ask(&mut world, 1.0, 0, request);
    }
    let seen = ask(&mut world, 15.0, 0, 1);
    assert_eq!(seen.after, None);
    world.close(0, seen.connection);
    assert_eq!(ask(&mut world, 15.0, 0, 1).after, Some(SECOND), "the next one cannot be made");
}

#[test]
fn outcomes_come_as_often_as_they_should_and_the_rest_succeeds() {
    let mut world = world("at = \"cloud:a\"\noutcomes = { http_503 = 0.3, http_401 = 0.1 }");
    let counts = counts(&mut world, 15.0);
    assert!((250..350).contains(&counts[&Answer::Http503]), "{counts:?}");
    assert!((70..130).contains(&counts[&Answer::Http401]), "{counts:?}");
    assert!((550..650).contains(&counts[&Answer::Ok]), "{counts:?}");
}

#[test]
fn a_ramp_multiplies_what_fails_along_its_phase() {
    let mut world = world("at = \"cloud:a\"\nramp = { from = 0, to = 1 }\noutcomes = { http_503 = 1 }");
    for (now, share) in [(10.0, 0), (12.5, 250), (15.0, 500), (19.99, 999)] {
        let failed = counts(&mut world, now).get(&Answer::Http503).copied().unwrap_or(0);
        assert!(failed.abs_diff(share) < 60, "{now}: {failed}");
    }
}

#[test]
fn a_flap_is_down_for_its_share_of_the_time() {
    let mut world =
        world("at = \"cloud:a\"\nflap = { period = \"2s\", down = \"500ms\" }\noutcomes = { http_503 = 1 }");
    let down: Vec<bool> = [10.0, 10.4, 10.6, 11.9, 12.1, 12.7]
        .map(|now| !ask(&mut world, now, 0, 1).reply.answer.is_ok())
        .into();
    assert_eq!(down, [true, true, false, false, true, false]);
}

#[test]
fn an_affected_part_of_the_connections_stays_the_same_part() {
    let mut world = world(
        "at = \"cloud:a\"\naffected = { fraction = 0.5, by = \"connection\" }\noutcomes = { http_503 = 1 }",
    );
    let mut by_connection: BTreeMap<u8, Vec<Answer>> = BTreeMap::new();
    for request in 0..500 {
        let seen = ask(&mut world, 15.0, 0, request);
        by_connection.entry(seen.connection).or_default().push(seen.reply.answer);
    }
    assert!(by_connection.values().all(|answers| answers.iter().all(|answer| *answer == answers[0])));
    let bad = by_connection.values().filter(|answers| answers[0] == Answer::Http503).count();
    assert!((1..8).contains(&bad), "{bad} of 8");
}

#[test]
fn a_fault_of_new_connections_spares_the_old_ones() {
    let mut world = world("at = \"cloud:a\"\nnew_connections = true\noutcomes = { dns_nxdomain = 1 }");
    for request in 0..200 {
        ask(&mut world, 1.0, 0, request);
    }
    assert_eq!(counts(&mut world, 15.0)[&Answer::Ok], 1000, "all connections were there before");
    let seen = ask(&mut world, 15.0, 0, 1);
    world.close(0, seen.connection);
    assert_eq!(ask(&mut world, 15.0, 0, 1).reply.answer, Answer::DnsNxdomain);
}

#[test]
fn methods_marks_old_blocks_and_probes_narrow_a_fault() {
    let fails = |world: &mut World, change: &dyn Fn(&mut Ask)| {
        let mut asked = call(world, 0, "eth_call", 1);
        change(&mut asked);
        !world.ask(at(15.0), &asked).reply.answer.is_ok()
    };
    let plain = |_: &mut Ask| {};
    let other = |ask: &mut Ask| ask.method = 0;
    let old = |ask: &mut Ask| ask.block = BlockAsked::Old;
    let marked = |ask: &mut Ask| ask.marked = true;
    let probe = |ask: &mut Ask| ask.probe = true;
    type Change<'a> = &'a dyn Fn(&mut Ask);
    let cases: [(&str, Change<'_>, Change<'_>); 6] = [
        ("methods = { only = [\"eth_call\"] }", &plain, &other),
        ("methods = { except = [\"eth_call\"] }", &other, &plain),
        ("methods = { only = [\"eth_call@old\"] }", &old, &plain),
        ("match = { older_than = 128 }", &old, &plain),
        ("match = { marked = true }", &marked, &plain),
        ("probe_exempt = [\"eth_call\"]", &plain, &probe),
    ];
    for (narrowed, hit, spared) in cases {
        let mut world = world(&format!("at = \"cloud:a\"\n{narrowed}\noutcomes = {{ http_503 = 1 }}"));
        assert!(fails(&mut world, hit), "{narrowed}");
        assert!(!fails(&mut world, spared), "{narrowed}");
    }
}

#[test]
fn slowness_multiplies_and_stalls() {
    let mut world = world("at = \"cloud:a\"\nlatency = { times = 3, stall = 1, stall_for = \"2s\" }");
    // Twice a round trip of 50 ms for the new connection.
    assert_eq!(ask(&mut world, 15.0, 0, 1).after, Some(Duration::from_millis(3 * 100 + 2000 + 100)));
}

#[test]
fn beyond_its_capacity_a_backend_refuses_and_says_when_to_come_back() {
    let mut world =
        world("at = \"cloud:a\"\ncapacity = { rps = 50, on_exceed = \"http_429\", retry_after = \"3s\" }");
    let counts = counts(&mut world, 15.0);
    assert_eq!(counts[&Answer::Ok], 50);
    let refused = ask(&mut world, 15.0, 0, 1);
    let outcome = world.verdict(world.method("eth_call").unwrap(), refused.reply);
    assert_eq!((outcome.class, outcome.retry_after), (Class::RateLimited, Some(3 * SECOND)));
}

#[test]
fn each_head_mode_stands_where_it_should() {
    // The canonical height at 15 s is 15 blocks above the base; the phase began at 10 s.
    #[rustfmt::skip]
    let cases = [
        ("mode = \"frozen\"", 9),
        ("mode = \"frozen_restart\", restart_every = \"2s\"", 11),
        ("mode = \"lag\", blocks = 4", 11),
        ("mode = \"catchup\", from_blocks = 10", 10),
        ("mode = \"cluster\", nodes = [{ weight = 1, lag = 3 }]", 12),
        ("mode = \"cluster\", nodes = [{ weight = 1, frozen = true }]", 9),
        ("mode = \"fork\", branch = \"x\", growth = 0.5", 12),
        ("mode = \"pending_lag\", blocks = 5", 15),
    ];
    for (mode, expected) in cases {
        let world = world(&format!("at = \"cloud:a\"\nhead = {{ {mode} }}"));
        let (canonical, latest) = world.heights(at(15.005), 0, 1);
        assert_eq!((canonical - chain::BASE_HEIGHT, latest - chain::BASE_HEIGHT), (15, expected), "{mode}");
        assert_eq!(world.heights(at(15.005), 1, 1).1, canonical, "{mode}: others are in step");
        assert_eq!(world.heights(at(25.005), 0, 1).1 - chain::BASE_HEIGHT, 25, "{mode}: over");
    }
}

#[test]
fn a_halt_stops_the_chain_for_everyone_and_missed_slots_thin_it_out() {
    let halted = world("at = \"*\"\nhead = { mode = \"halt\" }");
    assert_eq!(halted.heights(at(19.5), 0, 1), halted.heights(at(9.5), 0, 1));
    assert_eq!(halted.heights(at(25.5), 0, 1).0 - chain::BASE_HEIGHT, 15);
    let limping = world("at = \"*\"\nhead = { mode = \"missed_slots\", missed_slots = 0.5 }");
    let made = limping.heights(at(19.5), 0, 1).0 - limping.heights(at(9.5), 0, 1).0;
    assert!((1..10).contains(&made), "{made}");
}

#[test]
fn stale_forked_and_pending_answers_are_seen_through() {
    let facts = |head: &str, now: f64, block: BlockAsked| {
        let mut world = world(&format!("at = \"cloud:a\"\nhead = {{ {head} }}"));
        let ask = Ask { block, ..call(&world, 0, "eth_call", 1) };
        world.ask(at(now), &ask).facts
    };
    let frozen = "mode = \"frozen\"";
    assert!(!facts(frozen, 10.5, BlockAsked::Latest).stale, "one block behind is allowed");
    let early = facts(frozen, 12.5, BlockAsked::Latest);
    assert!(early.stale && early.early);
    let late = facts(frozen, 15.0, BlockAsked::Latest);
    assert!(late.stale && !late.early && !late.forked);
    assert!(!facts(frozen, 15.0, BlockAsked::None).stale, "what is named by its hash has no age");
    let fork = facts("mode = \"fork\", branch = \"x\"", 15.0, BlockAsked::Latest);
    assert!(fork.forked && !fork.stale);
    let pending = "mode = \"pending_lag\", blocks = 9";
    assert!(facts(pending, 15.0, BlockAsked::Pending).stale);
    assert!(!facts(pending, 15.0, BlockAsked::Latest).stale);
}

#[test]
fn content_faults_lie_in_successful_answers() {
    let seen = |content: &str, method: &str| {
        let mut world = world(&format!("at = \"cloud:a\"\ncontent = {{ {content} }}"));
        let ask = call(&world, 0, method, 1);
        let seen = world.ask(at(15.0), &ask);
        let class = world.verdict(ask.method, seen.reply).class;
        (class, seen.facts.wrong, seen.facts.incomplete)
    };
    assert_eq!(seen("balance_zero = 1", "eth_getBalance"), (Class::Ok, true, false));
    assert_eq!(seen("balance_zero = 1", "eth_call"), (Class::Ok, false, false));
    assert_eq!(seen("logs_dropped = 1", "eth_getLogs"), (Class::Ok, false, true));
    assert_eq!(seen("nonce_stale = 1", "eth_getTransactionCount"), (Class::Ok, true, false));
    assert_eq!(seen("chain_id = 1337, chain_id_in = 1", "eth_chainId").0, Class::WrongChain);
    let (class, ..) = seen("error = 1, error_text = \"reset your wallet\"", "eth_call");
    assert!(class != Class::Ok, "{class:?}");
}

#[test]
fn a_transaction_is_held_dropped_or_taken_without_a_word() {
    let publish = |faults: &str| {
        let mut world = world(&format!("at = \"cloud:a\"\ntransactions = {{ {faults} }}"));
        let ask = Ask {
            transaction: Some(3),
            block: BlockAsked::None,
            ..call(&world, 0, "eth_sendRawTransaction", 1)
        };
        let seen = world.ask(at(15.0), &ask);
        let state = world.transaction(3);
        (seen.reply.answer, seen.after.is_some(), state.held_by != 0, state.block.is_some())
    };
    assert_eq!(publish("dropped = 0"), (Answer::Ok, true, true, true));
    assert_eq!(publish("dropped = 1"), (Answer::Ok, true, false, false));
    assert_eq!(publish("never_included = 1"), (Answer::Ok, true, true, false));
    assert_eq!(publish("silent_after_accept = 1"), (Answer::Ok, false, true, true));
    assert_eq!(publish("already_known = 1"), (Answer::AlreadyKnown, true, true, true));
    assert_eq!(publish("nonce_too_low = 1"), (Answer::NonceTooLow, true, false, false));
}

#[test]
fn the_same_question_meets_the_same_luck_whenever_it_is_asked() {
    let fault = "at = \"cloud:a\"\noutcomes = { http_503 = 0.5 }";
    let (mut one, mut other) = (world(fault), world(fault));
    for request in 0..50 {
        ask(&mut other, 15.0, 0, 1000 + request);
    }
    for request in 0..50 {
        let answers = [&mut one, &mut other].map(|world| ask(world, 15.0, 0, request).reply);
        assert_eq!(answers[0], answers[1]);
    }
}

#[test]
fn bytes_for_a_socket_are_those_that_were_judged() {
    let world = world("at = \"cloud:a\"\noutcomes = { http_503 = 1 }");
    match world.received(9, Answer::Ok.into(), "\"0x7\"") {
        Received::Http { status: 200, body, .. } => {
            assert_eq!(&body[..], br#"{"jsonrpc":"2.0","id":9,"result":"0x7"}"#);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(world.received(9, Answer::Http503.into(), ""), Received::Http { status: 503, .. }));
}

fn numbered(world: &mut World, now: f64, method: &str, height: u64) -> Happening {
    let ask = Ask { height: Some(height), resolved_at: at(now), ..call(world, 0, method, 1) };
    world.ask(at(now), &ask)
}

#[test]
fn whoever_lacks_a_numbered_block_says_so_as_nodes_do() {
    let mut world = world("at = \"cloud:a\"\nhead = { mode = \"frozen\" }");
    let (canonical, own) = world.heights(at(15.0), 0, 1);
    assert!(canonical > own);
    let class = |world: &World, method: &str, seen: &Happening| {
        world.verdict(world.method(method).unwrap(), seen.reply).class
    };
    for (method, height, expected) in [
        ("eth_call", canonical, Class::BlockNotFound),
        ("eth_getBlockByNumber", canonical, Class::SilentWrong),
        ("eth_call", own, Class::Ok),
        ("eth_getBlockByNumber", own, Class::Ok),
    ] {
        let seen = numbered(&mut world, 15.0, method, height);
        assert_eq!(class(&world, method, &seen), expected, "{method} at {height}");
    }
    // What was asked for is old; that it was answered from there is nobody's lie.
    let seen = numbered(&mut world, 15.0, "eth_call", own);
    assert!(seen.facts.stale && !seen.facts.early && seen.facts.head == Some(own), "{:?}", seen.facts);
    // What was the latest when the request came is what it asked for, however late its answer.
    let asked = Ask { height: Some(own), resolved_at: at(10.0), ..call(&world, 0, "eth_call", 1) };
    assert!(!world.ask(at(15.0), &asked).facts.stale);
}

#[test]
fn logs_up_to_a_block_that_a_node_lacks_end_without_a_word_where_the_fault_says_so() {
    let fault =
        "at = \"cloud:a\"\nhead = { mode = \"lag\", blocks = 3 }\ncontent = { logs_end_at_head = true }";
    let mut world = world(fault);
    let (canonical, own) = world.heights(at(15.0), 0, 1);
    assert!(numbered(&mut world, 15.0, "eth_getLogs", canonical).facts.incomplete);
    assert!(!numbered(&mut world, 15.0, "eth_getLogs", own).facts.incomplete);
    assert!(!numbered(&mut world, 15.0, "eth_call", canonical).reply.answer.is_ok(), "only logs");
    // Asked for the block by its hash, it has to say that it lacks it.
    let by_hash = |height| Ask {
        height: Some(height),
        resolved_at: at(15.0),
        logs_by_hash: true,
        ..call(&world, 0, "eth_getLogs", 1)
    };
    let (lacks, has) = (by_hash(canonical), by_hash(own));
    let seen = world.ask(at(15.0), &lacks);
    assert!(!seen.facts.incomplete && seen.reply.answer == Answer::RpcHeaderNotFound, "{seen:?}");
    assert!(world.ask(at(15.0), &has).reply.answer.is_ok());
}

#[test]
fn a_branch_is_one_chain_that_hangs_on_the_canonical_one() {
    let world = world("at = \"*\"\nhead = { mode = \"fork\", branch = \"other\", growth = 0.5 }");
    let shown = |now: f64, backend: usize, look| match world.shown(at(now), backend, 1, look) {
        Shown::Block(block, _) => Some(block),
        _ => None,
    };
    let mut block = shown(19.0, 0, Look::Latest).expect("its head");
    assert_eq!(Some(block.id), shown(19.0, 1, Look::Latest).map(|other| other.id), "both are on it");
    let before = shown(9.9, 0, Look::Latest).expect("its head before");
    let mut steps = 0;
    while block.id != before.id {
        let parent = shown(19.0, 0, Look::Block(block.parent)).expect("every parent is there");
        assert_eq!((parent.id.hash, parent.id.number + 1), (block.parent, block.id.number));
        assert!(parent.timestamp_s <= block.timestamp_s);
        (block, steps) = (parent, steps + 1);
    }
    assert!((3..=6).contains(&steps), "{steps}");
    let lost = shown(25.0, 0, Look::Latest).expect("back on the canonical chain");
    assert!(lost.id.number > before.id.number + 10);
    let branch = shown(19.0, 0, Look::Latest).expect("its head");
    assert_eq!(shown(25.0, 0, Look::Block(branch.id.hash)), None, "nobody keeps the other branch");
}
