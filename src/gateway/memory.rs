//! Last known health, to be written down before a restart and taken up after it (BEHAVIOURS H13).
//!
//! A gateway that starts in the middle of an outage should not have to learn of it from its clients' requests.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_primitives::keccak256;
use serde::{Deserialize, Serialize};

use crate::ethereum::MethodClass;
use crate::policy::{BackendIndex, Fleet, Remembered, RememberedRetirement, RememberedUse, Timestamp};

use super::{Gateway, unix_time_s};

/// The form of [`Memory`]; another one is not read.
const VERSION: u32 = 1;
/// Health that is older than this says nothing of today.
const AGE_MAX: Duration = Duration::from_secs(3600);

/// Health of every backend of a gateway at one time. Serialise it as you like; it holds names and numbers only.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    version: u32,
    /// Seconds since 1970.
    saved_at_s: u64,
    /// Chain, backend, method class.
    chains: BTreeMap<String, BTreeMap<String, BTreeMap<String, Remembered>>>,
    /// Chain, backend: who is gone for good.
    #[serde(default)]
    retired: BTreeMap<String, BTreeMap<String, RememberedRetirement>>,
    /// Chain: the block number that clients were told last.
    #[serde(default)]
    heads: BTreeMap<String, u64>,
    /// Chain, backend: what is used of monthly budgets.
    #[serde(default)]
    used: BTreeMap<String, BTreeMap<String, RememberedUse>>,
}

impl Gateway {
    /// What is known now.
    pub fn memory(&self) -> Memory {
        let chains = self.inner.chains.iter().map(|chain| {
            let now = chain.now();
            let decider = chain.decide();
            let backends = decider.fleet.iter().map(|(_, backend)| {
                let classes = MethodClass::ALL.into_iter().filter_map(|class| {
                    Some((class.name().to_owned(), backend.experience(class).remember(now)?))
                });
                (backend.spec().name.to_string(), classes.collect())
            });
            (chain.settings.name.clone(), backends.collect())
        });
        Memory {
            version: VERSION,
            saved_at_s: unix_time_s(),
            chains: chains.collect(),
            retired: self.of_backends(|fleet, now, index| fleet.remember_retirement(now, index)),
            heads: self
                .inner
                .chains
                .iter()
                .filter_map(|chain| {
                    Some((chain.settings.name.clone(), chain.decide().follower.head()?.number))
                })
                .collect(),
            used: self.of_backends(|fleet, _, index| fleet.remember_use(index)),
        }
    }

    /// What there is to say of backends, by chain and backend; nothing of the others.
    fn of_backends<T>(
        &self,
        of: impl Fn(&Fleet, Timestamp, BackendIndex) -> Option<T>,
    ) -> BTreeMap<String, BTreeMap<String, T>> {
        let chains = self.inner.chains.iter().map(|chain| {
            let now = chain.now();
            let fleet = &chain.decide().fleet;
            let backends = fleet.iter().filter_map(|(index, backend)| {
                Some((backend.spec().name.to_string(), of(fleet, now, index)?))
            });
            (chain.settings.name.clone(), backends.collect::<BTreeMap<_, _>>())
        });
        chains.filter(|(_, backends)| !backends.is_empty()).collect()
    }

    /// A name for this set of chains and backends: what is remembered of one fleet says nothing of another.
    /// Sixteen hexadecimal digits, made from names and addresses without their secrets.
    pub fn fingerprint(&self) -> String {
        let mut text = String::new();
        for chain in &self.inner.chains {
            text += &format!("{} {}\n", chain.settings.name, chain.settings.chain_id);
            for backend in &chain.settings.backends {
                text += &format!("  {} {}\n", backend.name, backend.url);
            }
        }
        alloy_primitives::hex::encode(&keccak256(text.as_bytes())[..8])
    }

    /// Takes up what was known before. Backends that have been measured since, or are gone, keep what they have.
    /// Gives whether health was recent enough to be of use; what was used of a month, and who is gone for good, is
    /// taken up whenever it was written.
    pub fn recall(&self, memory: &Memory) -> bool {
        // A clock that was set back makes an age of zero, one that was set forward makes it too old.
        let age = Duration::from_secs(unix_time_s().saturating_sub(memory.saved_at_s));
        if memory.version != VERSION {
            return false;
        }
        self.recall_what_lasts(memory, age);
        if age > AGE_MAX {
            return false;
        }
        for chain in &self.inner.chains {
            let Some(backends) = memory.chains.get(&chain.settings.name) else { continue };
            let now = chain.now();
            let mut decider = chain.decide();
            if let Some(number) = memory.heads.get(&chain.settings.name) {
                decider.follower.set_floor(*number);
            }
            for (name, classes) in backends {
                let Some(index) = decider.fleet.find(name) else { continue };
                for class in MethodClass::ALL {
                    if let Some(remembered) = classes.get(class.name()) {
                        decider.fleet.recall(now, index, class, age, *remembered);
                    }
                }
            }
        }
        true
    }

    fn recall_what_lasts(&self, memory: &Memory, age: Duration) {
        for chain in &self.inner.chains {
            let name = &chain.settings.name;
            let now = chain.now();
            let mut decider = chain.decide();
            for (backend, retirement) in memory.retired.get(name).into_iter().flatten() {
                if let Some(index) = decider.fleet.find(backend) {
                    decider.fleet.recall_retirement(now, index, age, retirement);
                }
            }
            for (backend, used) in memory.used.get(name).into_iter().flatten() {
                if let Some(index) = decider.fleet.find(backend) {
                    decider.fleet.recall_use(index, *used);
                }
            }
        }
    }
}
