//! Small worlds with known answers.

use super::super::driver::{LabelMode, Outrigger};
use super::super::measures::Inclusion;
use super::super::rivals::{Rival, RivalKind};
use super::*;

/// `count` backends `b0`, `b1`, ... of clouds of the same names; `fault` lasts from 40 s to 50 s of 100 s.
fn scenario(count: usize, fault: &str) -> Scenario {
    let backends: String = (0..count)
        .map(|at| {
            format!(
                "[[backends]]\nname = \"b{at}\"\ncloud = \"b{at}\"\nerror_rate = 0\nrate_limit = 1e6\n\
                 latency = {{ p50 = \"20ms\", p99 = \"30ms\" }}\n"
            )
        })
        .collect();
    let text = format!(
        "id = \"T\"\ntitle = \"t\"\nduration = \"100s\"\n\
         chain = {{ id = 1, block_time = \"12s\", simulated_block_time = \"1s\" }}\n\
         load = {{ reads = 50, transactions = 2 }}\n\
         {backends}[[phases]]\nname = \"p\"\nstart = \"40s\"\nend = \"50s\"\n[[phases.faults]]\n{fault}\n"
    );
    Scenario::from_toml(&text, "test").unwrap_or_else(|errors| panic!("{errors}"))
}

fn rival(kind: RivalKind, scenario: &Scenario) -> Measures {
    replay(scenario, 5, &mut Rival::new(kind, scenario))
}

fn ours(scenario: &Scenario, seed: u64) -> Measures {
    replay(scenario, seed, &mut Outrigger::with_defaults(scenario, LabelMode::All, seed))
}

const REFUSING: &str = "at = \"cloud:b0\"\noutcomes = { conn_refused = 1 }";

#[test]
fn a_single_backend_that_refuses_a_tenth_of_the_time_answers_nine_tenths() {
    let seen = rival(RivalKind::Single, &scenario(1, REFUSING));
    let availability = seen.reads_answered as f64 / seen.reads as f64;
    assert!((availability - 0.9).abs() < 0.01, "{availability}");
    let acknowledged = seen.transactions_acknowledged as f64 / seen.transactions as f64;
    assert!((acknowledged - 0.9).abs() < 0.05, "{acknowledged}");
    assert_eq!((seen.attempts, seen.requests), (seen.requests, seen.reads + seen.transactions));
    assert_eq!(seen.goodput_from(Duration::from_secs(50)), Some(1.0));
    let in_the_fault = &seen.seconds[41..49];
    assert!(in_the_fault.iter().all(|second| second.requests > 0 && second.answered == 0));
}

#[test]
fn round_robin_with_one_of_two_dead_asks_one_and_a_half_times() {
    let dead = REFUSING.replace("conn_refused", "http_503");
    let mut scenario = scenario(2, &dead);
    scenario.phases[0].start = Duration::ZERO;
    scenario.phases[0].end = scenario.duration;
    let seen = rival(RivalKind::RoundRobin, &scenario);
    assert!((seen.amplification() - 1.5).abs() < 0.02, "{}", seen.amplification());
    assert_eq!(seen.reads_answered, seen.reads);
    assert_eq!(seen.diverted[0].1, None, "half of the first attempts still go there");
}

#[test]
fn a_static_primary_waits_for_its_dead_backend_each_time() {
    let hanging = REFUSING.replace("conn_refused", "accept_hang");
    let seen = rival(RivalKind::Primary, &scenario(2, &hanging));
    assert_eq!(seen.reads_answered, seen.reads);
    assert!(seen.diverting.quantile(0.5) >= Some(Duration::from_secs(2)));
    assert!(seen.calm.quantile(0.99) <= Some(Duration::from_millis(80)));
}

#[test]
fn a_flat_world_shows_no_divert_no_ejection_and_no_extra_call() {
    let seen = rival(RivalKind::Primary, &scenario(2, "at = \"cloud:b1\"\noutcomes = { http_503 = 1 }"));
    assert_eq!(seen.diverted[0].1, Some(Duration::ZERO), "nothing went there before");
    assert_eq!((seen.attempts, seen.ejections, seen.hedges), (seen.requests, 0, 0));
    assert_eq!(seen.switches_per_minute(), 0);
}

#[test]
fn this_policy_leaves_a_dead_backend_and_answers_everything() {
    let seen = ours(&scenario(3, "at = \"cloud:b0\"\noutcomes = { http_503 = 1 }"), 1);
    assert_eq!((seen.reads_answered, seen.transactions_acknowledged), (seen.reads, seen.transactions));
    assert!(seen.diverted[0].1.is_some());
    assert!(seen.probes > 0);
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let scenario = super::super::find("S02").unwrap();
    let first = ours(&scenario, 7);
    assert_eq!(first, ours(&scenario, 7));
    assert_ne!(first.digest, ours(&scenario, 8).digest);
}

#[test]
fn arrivals_do_not_depend_on_the_policy() {
    let scenario = scenario(2, REFUSING);
    let [a, b] = [ours(&scenario, 5), rival(RivalKind::Single, &scenario)];
    let arrivals = |m: &Measures| m.seconds.iter().map(|s| s.requests).collect::<Vec<_>>();
    assert_eq!(arrivals(&a), arrivals(&b));
}

#[test]
fn the_same_request_has_the_same_luck_under_every_policy() {
    let scenario = self::scenario(1, "at = \"cloud:b0\"\ncontent = { balance_zero = 0.5 }");
    let [a, b] = [ours(&scenario, 5), rival(RivalKind::Single, &scenario)].map(|m| m.wrong_answers);
    assert!(a > 10 && a == b, "{a} {b}");
}

#[test]
fn clients_that_repeat_are_counted_as_load_but_not_as_reads() {
    let mut scenario = scenario(1, "at = \"cloud:b0\"\noutcomes = { http_503 = 0.5 }");
    scenario.load.client_retries = 2;
    let seen = rival(RivalKind::Single, &scenario);
    // Half of what comes in a tenth of the time; each is repeated once, and half of those again.
    let failed = seen.reads - seen.reads_answered;
    assert!((200..300).contains(&failed), "{failed}");
    let repeated = seen.requests - seen.reads - seen.transactions;
    assert!((4 * failed / 3..5 * failed / 3).contains(&repeated), "{repeated} of {failed}");
}

#[test]
fn a_session_that_is_told_a_lower_block_number_is_counted() {
    let lagging = "at = \"cloud:b0\"\nhead = { mode = \"lag\", blocks = 5 }";
    let scenario = scenario(2, lagging);
    assert!(rival(RivalKind::RoundRobin, &scenario).head_regressions > 50);
    assert!(rival(RivalKind::RoundRobin, &scenario).stale_reads > 50);
}

#[test]
fn heads_are_answered_without_a_call_and_every_session_sees_them_grow() {
    let mut scenario = scenario(3, "at = \"cloud:b0\"\nhead = { mode = \"frozen\" }");
    scenario.load.transactions = 0.0;
    let seen = ours(&scenario, 5);
    assert_eq!(seen.reads_answered, seen.reads);
    assert_eq!((seen.head_regressions, seen.stale_reads), (0, 0));
    assert!((seen.attempts as f64) < 0.9 * seen.requests as f64, "{} of {}", seen.attempts, seen.requests);
}

#[test]
fn a_forked_backend_serves_no_reads() {
    let forked = "at = \"cloud:b0\"\nhead = { mode = \"fork\", branch = \"other\", growth = 1 }";
    let scenario = scenario(3, forked);
    let others = rival(RivalKind::Primary, &scenario);
    assert!(others.fork_reads > 100, "{}", others.fork_reads);
    assert_eq!(ours(&scenario, 5).fork_reads, 0);
}

#[test]
fn what_nobody_who_is_left_has_is_answered_from_what_they_have() {
    // One is behind; then the other two are gone.
    let gone =
        |at: usize| format!("[[phases.faults]]\nat = \"cloud:b{at}\"\noutcomes = {{ conn_refused = 1 }}");
    let fault =
        format!("at = \"cloud:b0\"\nhead = {{ mode = \"lag\", blocks = 3 }}\n{}\n{}", gone(1), gone(2));
    let seen = ours(&scenario(3, &fault), 5);
    let answered = seen.reads_answered as f64 / seen.reads as f64;
    // Of a tenth of the time; the first second goes by before they count as gone.
    assert!(answered > 0.98, "{answered}");
    assert!(seen.stale_reads > 0, "that is old, and told so");
}

#[test]
fn who_lies_on_its_way_back_is_found_by_copies_and_stays_out() {
    // It fails, and answers again, all of its balances made up.
    let down = "at = \"cloud:b0\"\noutcomes = { http_500 = 1 }";
    let lying = "[[phases]]\nname = \"q\"\nstart = \"50s\"\nend = \"99s\"\n[[phases.faults]]\nat = \"cloud:b0\"\n\
                 content = { balance_zero = 1 }";
    let mut scenario = scenario(3, &format!("{down}\n{lying}"));
    // The quickest has most to lose.
    scenario.backends[0].latency.p50 = Duration::from_millis(5);
    scenario.backends[0].latency.p99 = Duration::from_millis(8);
    let mut policy = Outrigger::with_defaults(&scenario, LabelMode::All, 5);
    let seen = replay(&scenario, 5, &mut policy);
    let calm =
        policy.follower().standing(Timestamp::ZERO + scenario.duration, policy.fleet().index(0).unwrap());
    assert_eq!(calm.quarantine, Some(crate::chain::Quarantine::Contradicted));
    assert!(seen.wrong_answers + seen.wrong_answers_early <= 3, "{}", seen.wrong_answers);
    assert_eq!(seen.share(0, 70..98), Some(0.0), "it gets no reads any more");
}

#[test]
fn t10_what_one_backend_takes_and_drops_is_in_a_block_by_way_of_others() {
    let mut scenario = scenario(3, "at = \"cloud:b0\"\ntransactions = { dropped = 1 }");
    // The quickest is asked first.
    scenario.backends[0].latency.p50 = Duration::from_millis(5);
    scenario.backends[0].latency.p99 = Duration::from_millis(8);
    let seen = ours(&scenario, 5);
    assert_eq!((seen.transactions_acknowledged, seen.transactions_lost), (seen.transactions, 0));
    assert!(rival(RivalKind::Primary, &scenario).transactions_lost > 5);
}

#[test]
fn t4_what_the_only_backend_drops_is_sent_again_until_it_is_in_a_block() {
    let seen = ours(&scenario(1, "at = \"cloud:b0\"\ntransactions = { dropped = 1 }"), 5);
    assert_eq!(seen.transactions_lost, 0);
    let late = seen.inclusions.iter().filter(|one| matches!(one, Inclusion::After(2..))).count();
    assert!(late > 5, "{late} were in no block before the fault was over");
    assert!(!seen.inclusions.contains(&Inclusion::Never));
}

#[test]
fn t2_nobody_is_told_that_a_transaction_failed_which_is_out() {
    // It takes the bytes and says nothing; the others say that its nonce is used.
    let faults = "at = \"cloud:b0\"\ntransactions = { silent_after_accept = 1 }\n\
                  [[phases.faults]]\nat = \"cloud:b1\"\ntransactions = { nonce_too_low = 1 }";
    let seen = ours(&scenario(2, faults), 5);
    assert_eq!((seen.transactions_acknowledged, seen.duplicate_harm), (seen.transactions, 0));
}

#[test]
fn t13_the_nonce_of_a_wallet_that_sends_here_is_the_highest_that_anybody_knows() {
    let mut scenario = scenario(3, "at = \"cloud:b0\"\ncontent = { nonce_stale = 1 }");
    scenario.backends[0].latency.p50 = Duration::from_millis(5);
    scenario.backends[0].latency.p99 = Duration::from_millis(8);
    assert!(rival(RivalKind::Primary, &scenario).wrong_answers + ours_without_transactions(&scenario) > 10);
    let seen = ours(&scenario, 5);
    assert_eq!(seen.wrong_answers + seen.wrong_answers_early, 0);
}

fn ours_without_transactions(scenario: &Scenario) -> u64 {
    let mut scenario = scenario.clone();
    scenario.load.transactions = 0.0;
    let seen = ours(&scenario, 5);
    seen.wrong_answers + seen.wrong_answers_early
}
