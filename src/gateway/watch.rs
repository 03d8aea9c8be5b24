//! Looks after a chain's backends in the background: puts the questions that the policy wants answered, who
//! serves the right chain, who is there at all, what their heads are, and whether who failed is well again.
//!
//! A chain of the presets that nobody uses is left alone: public endpoints are small.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::time::{Instant, sleep};

use crate::jsonrpc::reply::Payload;
use crate::policy::{BackendIndex, Class, Month, Outcome, Question};

use super::chain::Chain;
use super::identity::{ask_chain_id, identify, probe};

/// Whether a question is due is looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Where nobody uses the chain, this often.
const LOOK_EVERY_UNUSED: Duration = Duration::from_secs(15);
/// A chain that nobody has used for this long is left alone.
const FORGET_AFTER: Duration = Duration::from_secs(300);
/// What month it is is looked at this often: so much of a new month's budget may be booked on the old one.
const MONTH_EVERY: Duration = Duration::from_secs(20);

/// Runs until it is dropped. `eager` chains are looked after from the start, others from their first use.
pub(super) async fn watch(chain: Arc<Chain>, eager: bool) {
    join(keep_month(&chain), async {
        if !eager {
            chain.first_wanted().await;
        }
        let everyone: Vec<BackendIndex> = chain.decide().fleet.iter().map(|(index, _)| index).collect();
        join_all(everyone.into_iter().map(|backend| tend(&chain, backend, eager))).await;
    })
    .await;
}

/// Tells the policy what month it is, which has no calendar of its own.
async fn keep_month(chain: &Chain) {
    if chain.settings.backends.iter().all(|backend| backend.monthly_budget.is_none()) {
        return;
    }
    loop {
        chain.decide().fleet.set_month(chain.now(), Month::at_unix_s(super::unix_time_s()));
        sleep(MONTH_EVERY).await;
    }
}

async fn tend(chain: &Chain, backend: BackendIndex, eager: bool) {
    loop {
        if !eager && chain.idle_for().is_none_or(|idle| idle > FORGET_AFTER) {
            sleep(LOOK_EVERY_UNUSED).await;
            continue;
        }
        let due: Vec<Question> =
            std::iter::from_fn(|| chain.decide().fleet.next_question(chain.now(), backend)).collect();
        join_all(due.iter().map(|question| ask(chain, backend, *question))).await;
        // Who has said its chain is asked for its head at once.
        if !due.contains(&Question::Chain) {
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Puts one question and tells the fleet what came of it.
async fn ask(chain: &Chain, backend: BackendIndex, question: Question) {
    let mut put = Put { chain, backend, question, is_open: true };
    let asked_at = Instant::now();
    let deadline = asked_at + question.patience();
    let outcome = match question {
        Question::Chain => {
            let said = match chain.link(backend).identity() {
                crate::policy::Identity::Unknown => identify(chain, backend, deadline).await,
                _ => ask_chain_id(chain, backend, deadline).await,
            };
            said.map_or_else(|outcome| outcome, |()| Outcome::of(Class::Ok))
        }
        Question::Head | Question::Real(_) => {
            let (method, params) = question.call();
            let verdict = probe(chain, backend, method, params, deadline).await.verdict;
            if method == "eth_blockNumber"
                && let Some(number) = verdict.payload.as_ref().and_then(block_number)
            {
                chain.link(backend).saw_head(number);
            }
            verdict.outcome
        }
    };
    put.is_open = false;
    let mut decider = chain.decide();
    decider.fleet.question_ended(chain.now(), backend, question, asked_at.elapsed(), &outcome);
    let news = decider.fleet.notes().written();
    drop(decider);
    chain.tell_changes(news);
}

/// A question under way, which is taken back where its task ends before it.
struct Put<'a> {
    chain: &'a Chain,
    backend: BackendIndex,
    question: Question,
    is_open: bool,
}

impl Drop for Put<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.chain.decide().fleet.question_dropped(self.backend, self.question);
        }
    }
}

/// The number in an answer to `eth_blockNumber`.
pub(super) fn block_number(payload: &Payload) -> Option<u64> {
    let Payload::Result(bytes) = payload else { return None };
    number(bytes)
}

/// A quantity as JSON.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?.trim().strip_prefix("\"0x")?.strip_suffix('"')?;
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Gateway;
    use super::super::stand_in::{StandIn, over};
    use super::*;
    use crate::config::Config;

    const OWNER: &str = "0x00000000000000000000000000000000000000aa";

    fn well(method: &str) -> Option<(&'static str, Value)> {
        Some(("result", if method == "eth_chainId" { json!("0x1") } else { json!("0x10") }))
    }

    async fn balance(gateway: &Gateway) {
        let said = gateway.call::<String>(None, "eth_getBalance", (OWNER, "latest")).await;
        assert_eq!(said.expect("somebody answers"), "0x10");
    }

    #[tokio::test]
    async fn h8_a_key_that_was_revoked_is_retired_told_of_left_alone_and_remembered() {
        let revoked = StandIn::start(Duration::ZERO, |method| match method {
            "eth_chainId" => Some(("result", json!("0x1"))),
            _ => Some(("error", json!({ "code": -32000, "message": "Unauthorized: API key revoked" }))),
        })
        .await;
        let good = StandIn::start(Duration::ZERO, well).await;
        let gateway = over(&[&revoked, &good]);
        let until = Instant::now() + Duration::from_secs(20);
        let told = loop {
            balance(&gateway).await;
            let status = gateway.status().chains.remove(0).backends.remove(0);
            if status.state == "retired" {
                break status;
            }
            assert!(Instant::now() < until, "{status:?}");
            sleep(Duration::from_millis(20)).await;
        };
        let retired = told.retired.expect("told in numbers too");
        assert_eq!(retired.why, Class::Unauthorized.describe());
        assert!((30..=60).contains(&retired.next_probe_s), "{retired:?}");
        assert!(told.reason.is_some_and(|reason| reason.contains("asked again in")));
        // What was under way has arrived by then.
        sleep(LOOK_EVERY).await;
        let asked = revoked.asked();
        for _ in 0..50 {
            balance(&gateway).await;
            sleep(2 * LOOK_EVERY / 50).await;
        }
        assert_eq!(revoked.asked(), asked, "nobody asks it any more");
        let after = over(&[&revoked, &good]);
        assert!(after.recall(&gateway.memory()));
        for _ in 0..50 {
            balance(&after).await;
            sleep(2 * LOOK_EVERY / 50).await;
        }
        assert_eq!(after.status().chains[0].backends[0].state, "retired");
        assert_eq!(revoked.asked(), asked, "not after a restart either");
    }

    #[tokio::test]
    async fn what_is_used_of_a_monthly_budget_is_counted_in_plain_reads_told_and_remembered() {
        let backend = StandIn::start(Duration::ZERO, well).await;
        let file = format!(
            "[[chains.mainnet.backends]]\nname = \"a\"\nurl = \"{}\"\nmonthly_budget = 1000\n",
            backend.url
        );
        let made = || Gateway::new(&Config::from_toml(&file, "test", &|_| None).expect("a sound file"));
        let gateway = made().expect("a gateway");
        for _ in 0..10 {
            balance(&gateway).await;
        }
        let told = |gateway: &Gateway| gateway.status().chains[0].backends[0].budget.expect("it has one");
        let used = told(&gateway);
        assert!((10.0..20.0).contains(&used.used), "ten reads, the chain id and a few heads: {used:?}");
        assert!(used.month_gone.is_some_and(|gone| (0.0..=1.0).contains(&gone)), "{used:?}");
        let _ = gateway.call::<Value>(None, "eth_getLogs", (json!({ "fromBlock": "latest" }),)).await;
        assert!(told(&gateway).used >= used.used + 3.0, "logs are dearer");
        let after = made().expect("a gateway");
        assert!(after.recall(&gateway.memory()));
        balance(&after).await;
        assert!(told(&after).used >= told(&gateway).used + 1.0);
    }
}
