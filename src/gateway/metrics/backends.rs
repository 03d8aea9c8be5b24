//! Metrics of backends: what they were asked for, what it came to, and how they are.

use crate::telemetry::exposition::Value;
use crate::telemetry::{Exposition, Family};

use super::super::link::Link;
use super::super::status::{BackendStatus, STATES};
use super::{Seen, each, families as f};

/// What went to backends.
pub(super) fn traffic(to: &mut Exposition, seen: &[Seen<'_>]) {
    each(to, &f::CARRIED, seen, |seen| seen.status.calls.carried);
    each(to, &f::HEDGES, seen, |seen| seen.status.calls.hedges);
    each(to, &f::RETRIES, seen, |seen| seen.status.calls.retries);
    each(to, &f::COPIES, seen, |seen| seen.status.calls.copies);
    let mut samples = to.family(&f::ATTEMPTS);
    for (chain, link, _) in all(seen) {
        for (outcome, count) in link.attempts.by_outcome() {
            samples.add(&[chain, &link.name, outcome], count);
        }
    }
    let mut samples = to.family(&f::ATTEMPT_DURATION);
    for (chain, link, _) in all(seen) {
        let took = link.attempts.took();
        if !took.is_empty() {
            samples.histogram(&[chain, &link.name], took);
        }
    }
    let mut samples = to.family(&f::BACKEND_CALLS);
    for (chain, _, backend) in all(seen) {
        for (method, count) in &backend.spent.methods {
            samples.add(&[chain, &backend.name, method], *count);
        }
    }
    per_backend(to, &f::BACKEND_CREDITS, seen, |backend| Some(backend.spent.credits));
}

/// How they are.
pub(super) fn health(to: &mut Exposition, seen: &[Seen<'_>]) {
    let mut samples = to.family(&f::BACKEND_INFO);
    for seen in seen {
        for (written, backend) in seen.chain.settings.backends.iter().zip(&seen.status.backends) {
            let place = |kind: &str| {
                let of = |domain: &String| domain.strip_prefix(kind)?.strip_prefix(':').map(str::to_owned);
                backend.domains.iter().find_map(of).unwrap_or_default()
            };
            let [cloud, region] = ["cloud", "region"].map(place);
            // Where nobody wrote a provider it is the host's name, which is part of an address.
            let provider = written.provider.as_deref().unwrap_or_default().to_lowercase();
            let private = if backend.private { "true" } else { "false" };
            samples
                .add(&[seen.name(), &backend.name, backend.tier, private, &provider, &cloud, &region], true);
        }
    }
    per_backend(to, &f::BACKEND_UP, seen, |backend| Some(backend.usable));
    let mut samples = to.family(&f::BACKEND_STATE);
    for (chain, _, backend) in all(seen) {
        for state in STATES {
            let label = state.replace(' ', "_");
            samples.add(&[chain, &backend.name, &label], state == backend.state);
        }
    }
    let mut samples = to.family(&f::BACKEND_FAVOURITE);
    for seen in seen {
        for backend in &seen.status.backends {
            let is_it = seen.status.favourite.as_ref() == Some(&backend.name);
            samples.add(&[seen.name(), &backend.name], is_it);
        }
    }
    per_backend(to, &f::BACKEND_IN_FLIGHT, seen, |backend| Some(u64::from(backend.in_flight)));
    per_backend(to, &f::BACKEND_CONNECTIONS, seen, |backend| Some(backend.connections));
    per_backend(to, &f::BACKEND_UTILISATION, seen, |backend| Some(backend.utilisation));
    let mut samples = to.family(&f::BACKEND_ERRORS);
    for (chain, _, backend) in all(seen) {
        for (class, health) in &backend.health {
            samples.add(&[chain, &backend.name, class], health.error_rate);
        }
    }
    let mut samples = to.family(&f::BACKEND_LATENCY);
    for (chain, _, backend) in all(seen) {
        for (class, health) in &backend.health {
            samples.add(&[chain, &backend.name, class], health.latency_ms / 1000.0);
        }
    }
    per_backend(to, &f::BACKEND_HEAD, seen, |backend| backend.head);
    per_backend(to, &f::BACKEND_LAG, seen, |backend| backend.view.as_ref()?.behind);
    per_backend(to, &f::BACKEND_LATENESS, seen, |backend| {
        backend.view.as_ref().map(|view| view.lateness_ms as f64 / 1000.0)
    });
    per_backend(to, &f::BACKEND_WEBSOCKET, seen, |backend| {
        backend.ws.as_ref().map(|socket| socket.state == "connected")
    });
    per_backend(to, &f::BUDGET, seen, |backend| backend.budget.map(|budget| budget.monthly));
    per_backend(to, &f::BUDGET_USED, seen, |backend| backend.budget.map(|budget| budget.used));
    each(to, &f::INDEPENDENT, seen, |seen| seen.status.domains.effective);
    each(to, &f::FAILING_DOMAINS, seen, |seen| seen.status.domains.failing.len());
}

/// Every backend with the name of its chain.
fn all<'a>(seen: &'a [Seen<'_>]) -> impl Iterator<Item = (&'a str, &'a Link, &'a BackendStatus)> {
    let of = |seen: &'a Seen<'_>| {
        let backends = seen.chain.links.iter().zip(&seen.status.backends);
        backends.map(|(link, backend)| (seen.name(), link, backend))
    };
    seen.iter().flat_map(of)
}

/// A family with one sample a backend, where there is one.
fn per_backend<V: Into<Value>>(
    to: &mut Exposition,
    family: &'static Family,
    seen: &[Seen<'_>],
    value: impl Fn(&BackendStatus) -> Option<V>,
) {
    let mut samples = to.family(family);
    for (chain, _, backend) in all(seen) {
        samples.maybe(&[chain, &backend.name], value(backend));
    }
}
