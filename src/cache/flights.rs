//! Calls that ask the same at the same time share one answer.
//!
//! The first one leads: it asks, and all who come meanwhile wait for what it is told. Nobody hangs on it: where it is
//! dropped, or nobody could answer it in its time, whoever wakes first of those who wait leads anew.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alloy_primitives::B256;
use tokio::sync::watch;

use super::key::Key;

/// A question and the block that it was put at: who has seen a later one has another question.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Share {
    /// What is asked.
    pub key: Key,
    /// The height that it rests on: of the block that it names, or else of the head.
    pub height: Option<u64>,
    /// The block that is served there, where that is known.
    pub hash: Option<B256>,
}

type UnderWay<A> = HashMap<Arc<Share>, watch::Receiver<Option<A>>>;

/// Questions under way, each with a seat for whoever wants the same answer.
#[derive(Debug)]
pub struct Flights<A> {
    under_way: Arc<Mutex<UnderWay<A>>>,
}

impl<A> Default for Flights<A> {
    fn default() -> Self {
        Self { under_way: Arc::default() }
    }
}

/// What somebody with a question is to do.
#[derive(Debug)]
pub enum Seat<A> {
    /// Nobody asks this yet: ask, and land.
    Lead(Lead<A>),
    /// Somebody does: wait.
    Follow(Follow<A>),
}

/// The duty to tell those who wait. Dropped without that, one of them takes over.
#[derive(Debug)]
pub struct Lead<A> {
    share: Arc<Share>,
    tell: watch::Sender<Option<A>>,
    flights: Flights<A>,
}

/// A place among those who wait.
#[derive(Debug)]
pub struct Follow<A>(watch::Receiver<Option<A>>);

impl<A> Clone for Flights<A> {
    fn clone(&self) -> Self {
        Self { under_way: self.under_way.clone() }
    }
}

impl<A: Clone> Flights<A> {
    /// Takes the lead where nobody has it, or a seat.
    pub fn board(&self, share: Share) -> Seat<A> {
        let share = Arc::new(share);
        match self.lock().entry(share.clone()) {
            Entry::Occupied(entry) => Seat::Follow(Follow(entry.get().clone())),
            Entry::Vacant(entry) => {
                let (tell, told) = watch::channel(None);
                entry.insert(told);
                Seat::Lead(Lead { share, tell, flights: self.clone() })
            }
        }
    }

    /// Questions under way.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<A> Flights<A> {
    fn lock(&self) -> MutexGuard<'_, UnderWay<A>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<A: Clone> Lead<A> {
    /// Tells all who wait.
    pub fn land(self, answer: &A) {
        // One receiver lies in the map: more of them are people who wait.
        if self.tell.receiver_count() > 1 {
            self.tell.send_replace(Some(answer.clone()));
        }
    }

    /// How many wait.
    pub fn followers(&self) -> usize {
        self.tell.receiver_count().saturating_sub(1)
    }
}

impl<A> Drop for Lead<A> {
    fn drop(&mut self) {
        // Before those who wait hear of it, so that they find the lead free.
        self.flights.lock().remove(&self.share);
    }
}

impl<A: Clone> Follow<A> {
    /// The answer; `None` where whoever led is gone without one.
    pub async fn landed(mut self) -> Option<A> {
        let told = self.0.wait_for(Option::is_some).await.ok()?;
        told.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(head: u64) -> Share {
        let key = Key::new(0, "eth_call", 0, 0, None).unwrap();
        Share { key, height: Some(head), hash: None }
    }

    fn lead(flights: &Flights<u32>, head: u64) -> Lead<u32> {
        match flights.board(share(head)) {
            Seat::Lead(lead) => lead,
            Seat::Follow(_) => panic!("somebody leads already"),
        }
    }

    fn follow(flights: &Flights<u32>, head: u64) -> Follow<u32> {
        match flights.board(share(head)) {
            Seat::Follow(follow) => follow,
            Seat::Lead(_) => panic!("nobody leads"),
        }
    }

    #[tokio::test]
    async fn r13_all_who_ask_the_same_are_told_the_same() {
        let flights = Flights::default();
        let first = lead(&flights, 1);
        let seats: Vec<_> = (0..99).map(|_| tokio::spawn(follow(&flights, 1).landed())).collect();
        let other = lead(&flights, 2);
        assert_eq!((first.followers(), other.followers(), flights.len()), (99, 0, 2));
        first.land(&7);
        for seat in seats {
            assert_eq!(seat.await.unwrap(), Some(7));
        }
        drop(other);
        assert!(flights.is_empty());
    }

    #[tokio::test]
    async fn r13_where_the_leader_is_gone_one_of_those_who_wait_finds_the_lead_free() {
        let flights = Flights::default();
        let first = lead(&flights, 1);
        let (a, b) = (follow(&flights, 1), follow(&flights, 1));
        drop(first);
        assert_eq!((a.landed().await, b.landed().await), (None, None));
        let second = lead(&flights, 1);
        let late = follow(&flights, 1);
        second.land(&3);
        assert_eq!(late.landed().await, Some(3));
        assert!(flights.is_empty());
    }
}
