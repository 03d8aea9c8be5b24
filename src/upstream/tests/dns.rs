//! Names: the resolver fails, hangs, changes its mind; requests go on.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::fixture::*;
use crate::policy::Failure;
use crate::upstream::dns::{Dns, LAST_GOOD, Name, REFRESH_AFTER};
use crate::upstream::{Upstream, UpstreamSettings};

const LIMIT: Duration = Duration::from_secs(1);

/// What the resolver says next: addresses, a failure, or nothing at all.
#[derive(Clone, Debug)]
enum Says {
    Addresses(Vec<&'static str>),
    Failure,
    Nothing,
}

struct Scripted {
    says: Arc<Mutex<Says>>,
    asked: Arc<AtomicUsize>,
    dns: Dns,
}

fn scripted(first: Says) -> Scripted {
    let says = Arc::new(Mutex::new(first));
    let asked = Arc::new(AtomicUsize::new(0));
    let (script, count) = (Arc::clone(&says), Arc::clone(&asked));
    let dns = Dns::with(Resolver(move || {
        count.fetch_add(1, Ordering::SeqCst);
        let says = script.lock().unwrap().clone();
        async move {
            match says {
                Says::Addresses(addresses) => Ok(addresses.iter().map(|a| a.parse().unwrap()).collect()),
                Says::Failure => Err(io::ErrorKind::NotFound.into()),
                Says::Nothing => std::future::pending().await,
            }
        }
    }));
    Scripted { says, asked, dns }
}

impl Scripted {
    fn now_says(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn known(name: &Arc<Name>) -> Result<Vec<String>, Failure> {
    Ok(name.addresses(LIMIT).await?.iter().map(IpAddr::to_string).collect())
}

#[tokio::test(start_paused = true)]
async fn everybody_shares_one_look_up() {
    let resolver = scripted(Says::Addresses(vec!["10.0.0.1"]));
    let name = resolver.dns.name("a.test");
    let other = resolver.dns.name("a.test");
    assert!(Arc::ptr_eq(&name, &other));
    let all = join_all((0..100).map(|_| known(&name))).await;
    assert!(all.iter().all(|a| *a == Ok(vec!["10.0.0.1".to_owned()])));
    sleep(REFRESH_AFTER / 2).await;
    assert_eq!(resolver.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_literal_address_is_never_looked_up() {
    let resolver = scripted(Says::Nothing);
    assert_eq!(known(&resolver.dns.name("::1")).await, Ok(vec!["::1".to_owned()]));
    assert_eq!(resolver.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_moved_name_is_followed_behind_the_scenes() {
    let resolver = scripted(Says::Addresses(vec!["10.0.0.1"]));
    let name = resolver.dns.name("a.test");
    known(&name).await.unwrap();
    resolver.now_says(Says::Addresses(vec!["10.0.0.2"]));
    assert_eq!(known(&name).await, Ok(vec!["10.0.0.1".to_owned()]));
    sleep(REFRESH_AFTER + Duration::from_secs(1)).await;
    let before = Instant::now();
    assert_eq!(known(&name).await, Ok(vec!["10.0.0.2".to_owned()]));
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_moved_is_told_and_one_that_only_shuffles_or_fails_is_not() {
    let resolver = scripted(Says::Addresses(vec!["10.0.0.2", "10.0.0.1"]));
    let (name, moves) = (resolver.dns.name("a.test"), resolver.dns.moves());
    let told =
        |name: &Arc<Name>| (*moves.borrow(), name.known().iter().map(IpAddr::to_string).collect::<Vec<_>>());
    assert_eq!(told(&name), (0, vec![]), "nothing is looked up before it is wanted");
    known(&name).await.unwrap();
    let both = vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()];
    assert_eq!(told(&name), (1, both.clone()));
    for says in [Says::Addresses(vec!["10.0.0.1", "10.0.0.2"]), Says::Failure] {
        resolver.now_says(says);
        sleep(3 * REFRESH_AFTER).await;
        assert_eq!(told(&name), (1, both.clone()));
    }
    resolver.now_says(Says::Addresses(vec!["10.0.0.3"]));
    sleep(3 * REFRESH_AFTER).await;
    assert_eq!(told(&name), (2, vec!["10.0.0.3".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn names_are_asked_for_again_as_often_as_wanted_but_not_more_than_once_a_second() {
    for (wanted, due) in [(Duration::from_secs(2), 2), (Duration::ZERO, 1)] {
        let Scripted { dns, asked, .. } = scripted(Says::Addresses(vec!["10.0.0.1"]));
        let name = dns.refreshed_after(wanted).name("a.test");
        known(&name).await.unwrap();
        sleep(Duration::from_secs(10)).await;
        let asked = asked.load(Ordering::SeqCst) as u64;
        assert!((10 / due - 1..=10 / due + 1).contains(&asked), "{asked} times in 10 s, wanted {wanted:?}");
    }
}

/// Behaviour O4.
#[tokio::test(start_paused = true)]
async fn the_last_good_addresses_outlive_the_resolver_for_an_hour() {
    for outage in [Says::Failure, Says::Nothing, Says::Addresses(vec![])] {
        let resolver = scripted(Says::Addresses(vec!["10.0.0.1"]));
        let name = resolver.dns.name("a.test");
        known(&name).await.unwrap();
        resolver.now_says(outage);
        let end = Instant::now() + LAST_GOOD - Duration::from_secs(60);
        while Instant::now() < end {
            let before = Instant::now();
            assert_eq!(known(&name).await, Ok(vec!["10.0.0.1".to_owned()]));
            assert_eq!(before.elapsed(), Duration::ZERO, "nobody waits for a sick resolver");
            sleep(Duration::from_secs(30)).await;
        }
        assert!(resolver.asked() < 400, "{} look-ups in an hour", resolver.asked());
        sleep(Duration::from_secs(120)).await;
        assert_eq!(known(&name).await, Err(Failure::Dns));
        resolver.now_says(Says::Addresses(vec!["10.0.0.3"]));
        sleep(Duration::from_secs(31)).await;
        assert_eq!(known(&name).await, Ok(vec!["10.0.0.3".to_owned()]));
    }
}

/// Behaviour O4.
#[tokio::test(start_paused = true)]
async fn a_hung_resolver_costs_the_limit_and_one_task() {
    let resolver = scripted(Says::Nothing);
    let name = resolver.dns.name("a.test");
    let before = Instant::now();
    let all = join_all((0..100).map(|_| known(&name))).await;
    assert!(all.iter().all(|a| *a == Err(Failure::Dns)));
    assert_eq!(before.elapsed(), LIMIT);
    assert_eq!(resolver.asked(), 1);
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 1);
    drop(name);
    until(|| tokio::runtime::Handle::current().metrics().num_alive_tasks() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_name_that_resolves_later_is_used_then_and_not_hammered_before() {
    let resolver = scripted(Says::Failure);
    let name = resolver.dns.name("a.test");
    for _ in 0..1000 {
        assert_eq!(known(&name).await, Err(Failure::Dns));
        sleep(Duration::from_millis(10)).await;
    }
    assert!(resolver.asked() <= 11, "{} look-ups in 10 s", resolver.asked());
    resolver.now_says(Says::Addresses(vec!["10.0.0.1"]));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(known(&name).await, Ok(vec!["10.0.0.1".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_name_nobody_wants_is_left_in_peace() {
    let resolver = scripted(Says::Addresses(vec!["10.0.0.1"]));
    let name = resolver.dns.name("a.test");
    known(&name).await.unwrap();
    sleep(Duration::from_secs(3600)).await;
    let asked = resolver.asked();
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(resolver.asked(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_name_unused_for_hours_survives_an_outage_that_begins_then() {
    for (outage, wait) in [(Says::Failure, Duration::ZERO), (Says::Nothing, LIMIT)] {
        let resolver = scripted(Says::Addresses(vec!["10.0.0.1"]));
        let name = resolver.dns.name("a.test");
        known(&name).await.unwrap();
        sleep(LAST_GOOD * 3).await;
        resolver.now_says(outage);
        let before = Instant::now();
        assert_eq!(known(&name).await, Ok(vec!["10.0.0.1".to_owned()]));
        assert_eq!(before.elapsed(), wait);
        resolver.now_says(Says::Addresses(vec!["10.0.0.2"]));
        sleep(Duration::from_secs(15)).await;
        assert_eq!(known(&name).await, Ok(vec!["10.0.0.2".to_owned()]));
    }
}

#[tokio::test(start_paused = true)]
async fn families_alternate_and_a_failed_address_stands_last_for_a_minute() {
    let resolver = scripted(Says::Addresses(vec!["fd00::1", "fd00::2", "fd00::1", "10.0.0.1", "10.0.0.2"]));
    let name = resolver.dns.name("a.test");
    let order = ["fd00::1", "10.0.0.1", "fd00::2", "10.0.0.2"];
    assert_eq!(known(&name).await.unwrap(), order);
    name.demote("fd00::1".parse().unwrap());
    name.demote("10.0.0.1".parse().unwrap());
    assert_eq!(known(&name).await.unwrap(), ["fd00::2", "10.0.0.2", "fd00::1", "10.0.0.1"]);
    name.restore("fd00::1".parse().unwrap());
    assert_eq!(known(&name).await.unwrap(), ["fd00::1", "fd00::2", "10.0.0.2", "10.0.0.1"]);
    sleep(Duration::from_secs(61)).await;
    assert_eq!(known(&name).await.unwrap(), order);
}

/// Behaviour R2.
#[tokio::test]
async fn a_request_for_a_name_that_does_not_resolve_fails_by_dns() {
    let resolver = scripted(Says::Failure);
    let upstream = Upstream::new(UpstreamSettings {
        dns: Arc::new(resolver.dns),
        ..settings("https://nowhere.test/v3/KEY")
    });
    assert_eq!(read(&upstream).await.unwrap_err().failure, Failure::Dns);
}

#[tokio::test]
async fn the_system_resolver_knows_localhost() {
    let dns = Dns::system();
    let addresses = dns.name("localhost").addresses(PATIENCE).await.unwrap();
    assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
}
