//! Scenario files: TOML in, a checked [`Scenario`] out, every mistake named. A hostile file costs a bounded
//! amount of work: sizes, counts, rates and durations all have a limit.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use super::scenario::{Fault, HeadMode, Phase, Quantiles, Scenario};
use super::world::Answer;
use crate::ethereum::Method;

/// A scenario's file is a few kilobytes.
pub const FILE_BYTES_MAX: usize = 256 << 10;
const BACKENDS_MAX: usize = crate::config::BACKENDS_MAX;
const PHASES_MAX: usize = 64;
const FAULTS_MAX: usize = 64;
/// In all phases together: each call looks at every one of its moment.
const FAULTS_TOTAL_MAX: usize = 512;
const METHODS_MAX: usize = 64;
const NODES_MAX: usize = 64;
const DURATION_MAX: Duration = Duration::from_secs(3600);
/// Reads and transactions together, per second.
const RATE_MAX: f64 = 10_000.0;
/// Over the whole drill: seconds of work.
const REQUESTS_MAX: f64 = 2_000_000.0;
const SESSIONS_MAX: u32 = 10_000;
const RETRIES_MAX: u32 = 10;
const BLOCK_TIME: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(3600));
const LATENCY_MAX: Duration = Duration::from_secs(60);
const NAME_CHARS_MAX: usize = 64;
const TEXT_CHARS_MAX: usize = 4096;
const MISTAKES_MAX: usize = 50;
/// Distinct `retry_after` values and error texts: each needs verdicts of its own.
pub(super) const DETAILS_MAX: usize = 16;

/// Why a scenario cannot be used: all that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioErrors {
    origin: String,
    mistakes: Vec<String>,
}

impl ScenarioErrors {
    /// One line for each.
    pub fn mistakes(&self) -> &[String] {
        &self.mistakes
    }
}

impl fmt::Display for ScenarioErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.mistakes.iter().map(|m| format!("{}: {m}", self.origin)).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ScenarioErrors {}

impl Scenario {
    /// Reads a file.
    pub fn from_file(path: &Path) -> Result<Self, ScenarioErrors> {
        let origin = path.display().to_string();
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text))
            .map_err(|error| ScenarioErrors {
                origin: origin.clone(),
                mistakes: vec![format!("cannot be read ({error})")],
            })?;
        Self::from_toml(&text, &origin)
    }

    /// Reads a text; `origin` names it in messages.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, ScenarioErrors> {
        let failed = |mistakes| Err(ScenarioErrors { origin: origin.to_owned(), mistakes });
        if text.len() > FILE_BYTES_MAX {
            return failed(vec![format!("has more than {FILE_BYTES_MAX} bytes")]);
        }
        match toml::from_str::<Self>(text) {
            Ok(scenario) => {
                let mistakes = scenario.mistakes();
                if mistakes.is_empty() { Ok(scenario) } else { failed(mistakes) }
            }
            Err(error) => {
                let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
                let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
                failed(vec![format!("{place}{}", error.message().trim())])
            }
        }
    }

    /// What is wrong with it beyond its grammar.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut found = Mistakes(Vec::new());
        self.check(&mut found);
        found.0
    }

    fn check(&self, found: &mut Mistakes) {
        found.name("id", &self.id);
        found.text("title", &self.title);
        found.text("history", &self.history);
        found.text("compression", &self.compression);
        found.within("duration", self.duration, Duration::from_secs(1), DURATION_MAX);
        for (key, time) in
            [("block_time", self.chain.block_time), ("simulated_block_time", self.chain.simulated_block_time)]
        {
            found.within(&format!("chain.{key}"), time, BLOCK_TIME.0, BLOCK_TIME.1);
        }
        self.check_load(found);
        found.count("backends", self.backends.len(), 1, BACKENDS_MAX);
        for (at, backend) in self.backends.iter().take(BACKENDS_MAX).enumerate() {
            let path = format!("backends[{at}]");
            found.name(&format!("{path}.name"), &backend.name);
            if self.backends[..at].iter().any(|other| other.name == backend.name) {
                found.add(&path, format!("a second backend is called {:?}; names are unique", backend.name));
            }
            found.quantiles(&format!("{path}.latency"), backend.latency);
            found.quantiles(&format!("{path}.head_lag"), backend.head_lag);
            found.share(&format!("{path}.error_rate"), backend.error_rate);
            found.rate(&format!("{path}.rate_limit"), backend.rate_limit, 1e9);
            found.count(&format!("{path}.labels"), backend.labels.len(), 0, 16);
            for (kind, value) in backend.domains() {
                found.name(&format!("{path}.{kind}"), &value);
            }
        }
        if self.backends.iter().all(|backend| backend.private) {
            found.add("backends", "all are private: nobody answers reads".into());
        }
        found.count("phases", self.phases.len(), 1, PHASES_MAX);
        let mut end = Duration::ZERO;
        for (at, phase) in self.phases.iter().take(PHASES_MAX).enumerate() {
            self.check_phase(found, &format!("phases[{at}]"), phase, end);
            end = phase.end;
        }
        if end > self.duration {
            found.add("phases", format!("end at {end:?}, after the drill ({:?})", self.duration));
        }
        let faults = self.phases.iter().map(|phase| phase.faults.len()).sum();
        found.count("faults of all phases", faults, 0, FAULTS_TOTAL_MAX);
        let details = self.details();
        found.count("retry_after values and error texts", details, 0, DETAILS_MAX);
        let shares = [
            ("read_availability", self.expect.read_availability),
            ("transaction_availability", self.expect.transaction_availability),
            ("goodput_after", self.expect.goodput_after),
        ];
        for (key, share) in shares {
            found.share(&format!("expect.{key}"), share.unwrap_or(0.0));
        }
        for text in self.expect.also.iter().chain(&self.expect.notes) {
            found.text("expect", text);
        }
    }

    fn check_load(&self, found: &mut Mistakes) {
        let load = &self.load;
        found.rate("load.reads", load.reads, RATE_MAX);
        if !(load.transactions >= 0.0 && load.reads + load.transactions <= RATE_MAX) {
            found.add("load.transactions", format!("is no rate between 0 and {RATE_MAX} per second"));
        }
        let requests = (load.reads + load.transactions)
            * self.duration.as_secs_f64()
            * f64::from(load.client_retries.saturating_add(1));
        if requests > REQUESTS_MAX {
            found.add("load", format!("makes {requests:.0} requests; at most {REQUESTS_MAX:.0}"));
        }
        found.count("load.sessions", load.sessions as usize, 1, SESSIONS_MAX as usize);
        found.count("load.client_retries", load.client_retries as usize, 0, RETRIES_MAX as usize);
        found.within("load.client_backoff", load.client_backoff, Duration::ZERO, LATENCY_MAX);
        found.share("load.historical", load.historical);
        found.share("load.marked", load.marked);
        found.count("load.mix", load.mix.len(), 1, METHODS_MAX);
        for (name, share) in load.mix.iter().take(METHODS_MAX) {
            found.method("load.mix", name);
            if name == "eth_sendRawTransaction" {
                found.add("load.mix", "transactions come from load.transactions".into());
            }
            if !(*share >= 0.0 && share.is_finite()) {
                found.add(&format!("load.mix.{name}"), "is no share".into());
            }
        }
        if load.mix.values().sum::<f64>() <= 0.0 {
            found.add("load.mix", "has no method with a share above 0".into());
        }
    }

    fn check_phase(&self, found: &mut Mistakes, path: &str, phase: &Phase, previous_end: Duration) {
        found.name(&format!("{path}.name"), &phase.name);
        if phase.start >= phase.end {
            found.add(path, format!("ends at {:?}, not after its start {:?}", phase.end, phase.start));
        }
        if phase.start < previous_end {
            found.add(path, format!("starts at {:?}, before the one before it ends", phase.start));
        }
        found.count(&format!("{path}.faults"), phase.faults.len(), 0, FAULTS_MAX);
        for (at, fault) in phase.faults.iter().take(FAULTS_MAX).enumerate() {
            self.check_fault(found, &format!("{path}.faults[{at}]"), fault);
        }
    }

    fn check_fault(&self, found: &mut Mistakes, path: &str, fault: &Fault) {
        found.text(&format!("{path}.at"), &fault.at);
        if fault.at != "*" {
            let known = || self.backends.iter().flat_map(|b| b.domains()).map(|(k, v)| format!("{k}:{v}"));
            if !fault.at.contains(':') {
                found.add(&format!("{path}.at"), format!("{:?} is neither kind:name nor *", fault.at));
            } else if !known().any(|tag| tag == fault.at) {
                let near = nearest(&fault.at, known());
                found.add(&format!("{path}.at"), format!("no backend lies in {:?}{near}", fault.at));
            }
        }
        if let Some(affected) = fault.affected {
            found.share(&format!("{path}.affected.fraction"), affected.fraction);
        }
        for (answer, share) in &fault.outcomes {
            found.share(&format!("{path}.outcomes.{}", answer.name()), *share);
        }
        if fault.outcomes.values().sum::<f64>() > 1.0 + 1e-9 {
            found.add(&format!("{path}.outcomes"), "add up to more than 1".into());
        }
        if let Some(ramp) = fault.ramp {
            found.share(&format!("{path}.ramp.from"), ramp.from);
            found.share(&format!("{path}.ramp.to"), ramp.to);
        }
        if let Some(flap) = fault.flap {
            let ms = Duration::from_millis;
            found.within(&format!("{path}.flap.period"), flap.period, ms(10), DURATION_MAX);
            found.within(&format!("{path}.flap.down"), flap.down, ms(1), flap.period);
            found.within(&format!("{path}.flap.jitter"), flap.jitter, Duration::ZERO, flap.period);
        }
        if let Some(latency) = fault.latency {
            found.rate(&format!("{path}.latency.times"), latency.times, 1000.0);
            found.share(&format!("{path}.latency.stall"), latency.stall);
            found.within(
                &format!("{path}.latency.stall_for"),
                latency.stall_for,
                Duration::ZERO,
                DURATION_MAX,
            );
        }
        if let Some(capacity) = fault.capacity {
            found.rate(&format!("{path}.capacity.rps"), capacity.rps, 1e9);
            found.within(&format!("{path}.capacity.queue"), capacity.queue, Duration::ZERO, LATENCY_MAX);
        }
        if let Some(quota) = fault.quota {
            found.within(
                &format!("{path}.quota.window"),
                quota.window,
                Duration::from_millis(1),
                DURATION_MAX,
            );
        }
        if let Some(methods) = &fault.methods {
            if !methods.only.is_empty() && !methods.except.is_empty() {
                found.add(&format!("{path}.methods"), "has both `only` and `except`; one is enough".into());
            }
            let names = methods.only.iter().chain(&methods.except);
            for name in names.take(METHODS_MAX) {
                found.method(&format!("{path}.methods"), name.strip_suffix("@old").unwrap_or(name));
            }
            found.count(
                &format!("{path}.methods"),
                methods.only.len() + methods.except.len(),
                1,
                METHODS_MAX,
            );
        }
        found.count(&format!("{path}.probe_exempt"), fault.probe_exempt.len(), 0, METHODS_MAX);
        for name in fault.probe_exempt.iter().take(METHODS_MAX) {
            found.method(&format!("{path}.probe_exempt"), name);
        }
        self.check_head(found, path, fault);
        if let Some(content) = &fault.content {
            found.text(&format!("{path}.content.error_text"), &content.error_text);
            let shares = [
                ("error", content.error),
                ("balance_zero", content.balance_zero),
                ("balance_random", content.balance_random),
                ("chain_id_in", content.chain_id_in),
                ("hash_mismatch", content.hash_mismatch),
                ("logs_dropped", content.logs_dropped),
                ("nonce_stale", content.nonce_stale),
            ];
            for (key, share) in shares {
                found.share(&format!("{path}.content.{key}"), share);
            }
        }
        if let Some(tx) = fault.transactions {
            let shares = [
                ("dropped", tx.dropped),
                ("never_included", tx.never_included),
                ("silent_after_accept", tx.silent_after_accept),
                ("already_known", tx.already_known),
                ("nonce_too_low", tx.nonce_too_low),
            ];
            for (key, share) in shares {
                found.share(&format!("{path}.transactions.{key}"), share);
            }
        }
    }

    fn check_head(&self, found: &mut Mistakes, path: &str, fault: &Fault) {
        let Some(head) = &fault.head else { return };
        found.share(&format!("{path}.head.missed_slots"), head.missed_slots);
        found.share(&format!("{path}.head.growth"), head.growth);
        found.text(&format!("{path}.head.branch"), &head.branch);
        let far = |blocks: u64| blocks > 1_000_000;
        if far(head.blocks) || far(head.jitter) || far(head.from_blocks) {
            found.add(&format!("{path}.head"), "is more than a million blocks away".into());
        }
        found.count(&format!("{path}.head.nodes"), head.nodes.len(), 0, NODES_MAX);
        match head.mode {
            HeadMode::Halt | HeadMode::MissedSlots | HeadMode::FinalizedFrozen if fault.at != "*" => {
                found.add(&format!("{path}.head"), "is the whole chain's doing: at = \"*\"".into());
            }
            HeadMode::Cluster if head.nodes.iter().map(|node| node.weight).sum::<f64>() <= 0.0 => {
                found.add(&format!("{path}.head.nodes"), "a cluster needs nodes with a weight".into());
            }
            HeadMode::FrozenRestart if head.restart_every < Duration::from_millis(100) => {
                found.add(&format!("{path}.head.restart_every"), "is missing or below 100 ms".into());
            }
            _ => {}
        }
        for node in head.nodes.iter().take(NODES_MAX) {
            if !(node.weight >= 0.0 && node.weight <= 1e6) || far(node.lag) {
                found.add(&format!("{path}.head.nodes"), "a weight or lag is out of bounds".into());
            }
        }
    }

    /// How many verdicts beyond the usual ones are needed.
    fn details(&self) -> usize {
        let faults = self.phases.iter().take(PHASES_MAX).flat_map(|p| p.faults.iter().take(FAULTS_MAX));
        let mut seen: Vec<(Option<Duration>, &str)> = Vec::new();
        for fault in faults {
            let text = fault.content.as_ref().map_or("", |content| content.error_text.as_str());
            let waits = [
                fault.capacity.and_then(|capacity| capacity.retry_after),
                fault.quota.and_then(|quota| quota.retry_after),
            ];
            let of_fault = waits.into_iter().flatten().map(|wait| (Some(wait), "")).chain([(None, text)]);
            for detail in of_fault {
                if detail != (None, "") && !seen.contains(&detail) && seen.len() <= DETAILS_MAX {
                    seen.push(detail);
                }
            }
        }
        seen.len()
    }
}

struct Mistakes(Vec<String>);

impl Mistakes {
    fn add(&mut self, path: &str, problem: String) {
        if self.0.len() < MISTAKES_MAX {
            self.0.push(format!("{path}: {problem}"));
        }
    }

    fn within(&mut self, path: &str, time: Duration, least: Duration, most: Duration) {
        if time < least || time > most {
            self.add(path, format!("is {time:?}; between {least:?} and {most:?} is possible"));
        }
    }

    fn count(&mut self, path: &str, count: usize, least: usize, most: usize) {
        if count < least || count > most {
            self.add(path, format!("is {count}; between {least} and {most} is possible"));
        }
    }

    fn share(&mut self, path: &str, share: f64) {
        if !(0.0..=1.0).contains(&share) {
            self.add(path, format!("is {share}; a share lies between 0 and 1"));
        }
    }

    fn rate(&mut self, path: &str, rate: f64, most: f64) {
        if !(rate > 0.0 && rate <= most) {
            self.add(path, format!("is {rate}; above 0 and up to {most} is possible"));
        }
    }

    fn quantiles(&mut self, path: &str, quantiles: Quantiles) {
        self.within(&format!("{path}.p50"), quantiles.p50, Duration::ZERO, LATENCY_MAX);
        self.within(&format!("{path}.p99"), quantiles.p99, quantiles.p50, LATENCY_MAX);
    }

    fn name(&mut self, path: &str, name: &str) {
        let fits = |c: char| c.is_ascii_graphic() || c == ' ';
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || !name.chars().all(fits) {
            self.add(path, format!("is no name: 1 to {NAME_CHARS_MAX} printable ASCII characters"));
        }
    }

    fn text(&mut self, path: &str, text: &str) {
        if text.chars().count() > TEXT_CHARS_MAX || text.chars().any(char::is_control) {
            self.add(path, format!("is longer than {TEXT_CHARS_MAX} characters or holds control characters"));
        }
    }

    fn method(&mut self, path: &str, name: &str) {
        let method = Method::lookup(name);
        if method.name != name {
            let near = nearest(name, Method::all().iter().map(|method| method.name.to_owned()));
            self.add(path, format!("{name:?} is no known method{near}"));
        }
    }
}

fn nearest(to: &str, among: impl Iterator<Item = String>) -> String {
    let short: String = to.chars().take(NAME_CHARS_MAX).collect();
    among
        .map(|one| (strsim::damerau_levenshtein(&short, &one), one))
        .min()
        .filter(|(distance, one)| *distance * 3 <= one.chars().count())
        .map(|(_, one)| format!("; did you mean {one:?}?"))
        .unwrap_or_default()
}

impl<'de> serde::Deserialize<'de> for Answer {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        Answer::named(&name).ok_or_else(|| {
            let near = nearest(&name, Answer::vocabulary().map(|answer| answer.name().to_owned()));
            let name: String = name.chars().take(NAME_CHARS_MAX).collect();
            serde::de::Error::custom(format!("{name:?} is no outcome{near}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
id = "T1"
title = "one backend"
duration = "10s"
chain = { id = 1, block_time = "12s", simulated_block_time = "1s" }
load = { reads = 10 }
[[backends]]
name = "a"
cloud = "aws"
latency = { p50 = "10ms", p99 = "20ms" }
[[phases]]
name = "down"
start = "1s"
end = "2s"
[[phases.faults]]
at = "cloud:aws"
outcomes = { http_503 = 0.5 }
"#;

    #[test]
    fn what_a_file_leaves_out_is_usual() {
        let scenario = Scenario::from_toml(GOOD, "good").unwrap();
        assert_eq!(scenario.load.sessions, 1);
        assert_eq!(scenario.load.mix.len(), 10);
        assert!(scenario.backends[0].archive);
    }

    #[test]
    fn every_mistake_is_named_with_its_place_and_its_mend() {
        #[rustfmt::skip]
        let cases = [
            ("http_503", "http_5O3", "\"http_5O3\" is no outcome; did you mean \"http_503\"?"),
            ("cloud:aws", "cloud:awx", "no backend lies in \"cloud:awx\"; did you mean \"cloud:aws\"?"),
            ("cloud:aws", "aws", "phases[0].faults[0].at: \"aws\" is neither kind:name nor *"),
            ("0.5", "1.5", "phases[0].faults[0].outcomes.http_503: is 1.5; a share lies between 0 and 1"),
            ("0.5", "nan", "a share lies between 0 and 1"),
            ("0.5", "0.7, http_500 = 0.7", "add up to more than 1"),
            ("end = \"2s\"", "end = \"20s\"", "after the drill"),
            ("end = \"2s\"", "end = \"1s\"", "phases[0]: ends at 1s"),
            ("end = \"2s\"", "end = \"2x\"", "line 14: \"2x\""),
            ("duration = \"10s\"", "duration = \"3h\"", "duration: is 10800s"),
            ("reads = 10", "reads = 1e9", "load.reads: is 1000000000"),
            ("reads = 10", "reads = 10, readz = 2", "line 6: unknown field `readz`"),
            ("reads = 10", "reads = 10, mix = { eth_cal = 1 }", "\"eth_cal\" is no known method; did you mean \"eth_call\"?"),
            ("p99 = \"20ms\"", "p99 = \"2ms\"", "backends[0].latency.p99: is 2ms"),
            ("outcomes = { http_503 = 0.5 }", "head = { mode = \"halt\" }", "at = \"*\""),
            ("outcomes = { http_503 = 0.5 }", "head = { mode = \"cluster\" }", "a cluster needs nodes"),
            ("name = \"a\"", "name = \"\\u0007\"", "backends[0].name: is no name"),
            ("[[backends]]", "[[backends", "line 7"),
        ];
        for (good, bad, said) in cases {
            assert!(GOOD.contains(good), "{good}");
            let errors = Scenario::from_toml(&GOOD.replacen(good, bad, 1), "bad").unwrap_err().to_string();
            assert!(errors.starts_with("bad: ") && errors.contains(said), "{bad}: {errors}");
        }
    }

    #[test]
    fn the_example_of_the_documentation_reads() {
        let page = include_str!("../../docs/scenarios.md");
        let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let scenario = Scenario::from_toml(example, "docs/scenarios.md");
        assert_eq!(scenario.map(|scenario| scenario.id).unwrap(), "MINE");
    }

    #[test]
    fn a_hostile_file_is_refused_and_not_worked_through() {
        let huge = "#".repeat(FILE_BYTES_MAX + 1);
        assert!(Scenario::from_toml(&huge, "huge").is_err());
        let many = format!("{GOOD}{}", "[[phases.faults]]\nat = \"x:y\"\n".repeat(8000));
        let errors = Scenario::from_toml(&many, "many").unwrap_err();
        assert!(errors.mistakes().len() <= MISTAKES_MAX);
        assert!(errors.to_string().contains("phases[0].faults: is 8001"), "{errors}");
    }
}
