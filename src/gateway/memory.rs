//! Last known health, to be written down before a restart and taken up after it (BEHAVIOURS H13).
//!
//! A gateway that starts in the middle of an outage should not have to learn of it from its clients' requests.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy_primitives::keccak256;
use serde::{Deserialize, Serialize};

use crate::ethereum::MethodClass;
use crate::policy::Remembered;

use super::{Gateway, unix_time_s};

/// The form of [`Memory`]; another one is not read.
const VERSION: u32 = 1;
/// What is older than this says nothing of today.
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
        Memory { version: VERSION, saved_at_s: unix_time_s(), chains: chains.collect() }
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
    /// Gives whether it was recent enough to be of use.
    pub fn recall(&self, memory: &Memory) -> bool {
        // A clock that was set back makes an age of zero, one that was set forward makes it too old.
        let age = Duration::from_secs(unix_time_s().saturating_sub(memory.saved_at_s));
        if memory.version != VERSION || age > AGE_MAX {
            return false;
        }
        for chain in &self.inner.chains {
            let Some(backends) = memory.chains.get(&chain.settings.name) else { continue };
            let now = chain.now();
            let mut decider = chain.decide();
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
}
