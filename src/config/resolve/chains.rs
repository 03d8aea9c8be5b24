//! `[chains.NAME]`.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::Resolver;
use crate::config::conform::join;
use crate::config::file::ChainFile;
use crate::config::presets;
use crate::config::settings::{Chain, MethodPattern, Server};
use crate::ethereum::chains::{self, ChainPreset, Finality};

/// Paths that are not chains.
const RESERVED: [&str; 16] = [
    "status",
    "healthz",
    "readyz",
    "metrics",
    "admin",
    "dashboard",
    "ws",
    "rpc",
    "api",
    "static",
    "assets",
    "favicon.ico",
    "robots.txt",
    "debug",
    "health",
    "ready",
];
/// Slow enough to see a late head soon on an unknown chain, fast enough not to cry wolf.
const BLOCK_TIME: Duration = Duration::from_secs(1);
/// Part of a URL, of metrics and of log lines.
const NAME_BYTES_MAX: usize = 64;
/// Longer than any method's name.
const PATTERN_BYTES_MAX: usize = 128;

impl Resolver<'_> {
    pub(super) fn chains(
        &mut self,
        files: &BTreeMap<String, ChainFile>,
        order: &[String],
        server: &Server,
    ) -> Vec<Chain> {
        if files.is_empty() {
            return presets::chains();
        }
        let mut chains: Vec<Chain> = Vec::with_capacity(files.len());
        let mut ids: HashMap<u64, &str> = HashMap::new();
        for name in order {
            let Some(file) = files.get(name) else { continue };
            let path = join("chains", name);
            self.chain_name(&path, name);
            let Some(chain) = self.chain(&path, name, file, server) else { continue };
            if let Some(other) = ids.insert(chain.chain_id, name) {
                let problem =
                    format!("has the same chain id {} as {}", chain.chain_id, join("chains", other));
                self.fault(&path, problem, "put the backends of both under one name");
            }
            chains.push(chain);
        }
        for chain in &chains {
            let named_id = chain.name.parse::<u64>().ok();
            if let Some(id) = named_id.filter(|id| *id != chain.chain_id) {
                let problem = format!("is named {id} and has chain id {}", chain.chain_id);
                let mend = "a number as a name must be the chain's own id; choose another name";
                self.fault(&join("chains", &chain.name), problem, mend);
            }
        }
        chains
    }

    fn chain_name(&mut self, path: &str, name: &str) {
        let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        let sound = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !starts || !sound || name.len() > NAME_BYTES_MAX {
            let mend = format!(
                "it becomes the path of a URL: use letters, digits, - and _, at most {NAME_BYTES_MAX} of them"
            );
            self.fault(path, "is no name for a chain", mend);
        } else if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
            self.fault(
                path,
                format!("cannot be named {name}, since /{name} is taken"),
                "choose another name",
            );
        }
    }

    fn chain(&mut self, path: &str, name: &str, file: &ChainFile, server: &Server) -> Option<Chain> {
        let named = chains::by_name(name);
        let id_path = join(path, "chain_id");
        if let (Some(preset), Some(id)) = (named, file.chain_id)
            && preset.chain_id != id
        {
            let problem = format!("is {id}, but the chain named {name} has {}", preset.chain_id);
            let mend = match chains::by_id(id) {
                Some(other) => format!("remove it, or name the chain {}", other.name),
                None => "remove it, or give the chain another name".to_owned(),
            };
            self.fault(&id_path, problem, mend);
        }
        let chain_id = file.chain_id.or(named.map(|preset| preset.chain_id));
        let preset = named.or_else(|| chains::by_id(chain_id?));
        let Some(chain_id) = chain_id else {
            // Whatever else is wrong with its backends is said all the same.
            self.backends(path, &file.backends, server);
            if !self.source.is_faulty(&id_path) {
                let mend = "add chain_id = N, or use the name of a known chain: ".to_owned() + &known_names();
                self.fault(path, "has no chain_id and is not a known chain", mend);
            }
            return None;
        };
        let mut backends = self.backends(path, &file.backends, server);
        let public = presets::backends(chain_id);
        if file.backends.is_empty() && !self.source.is_faulty(&join(path, "backends")) {
            backends = public.clone();
            if backends.is_empty() {
                let mend = format!("add one with [[{path}.backends]] and url = \"https://...\"");
                self.fault(path, "has no backends, and no public endpoints are known for it", mend);
            }
        } else if file.public_backup {
            self.add_public(path, &mut backends, public);
        }
        if !backends.is_empty() && backends.iter().all(|backend| backend.private) {
            let mend = "add a backend without private = true";
            self.fault(path, "has only private backends, and those serve no reads", mend);
        }
        if !backends.is_empty() && backends.iter().all(|backend| backend.cordoned) {
            self.note(path, "all its backends are cordoned: it answers nothing");
        }
        let block_time = self.duration(
            &join(path, "block_time"),
            file.block_time.as_ref(),
            preset.map_or(BLOCK_TIME, ChainPreset::block_time),
            Duration::from_millis(10)..=Duration::from_secs(3600),
        );
        Some(Chain {
            name: name.to_owned(),
            chain_id,
            network_id: file.network_id.or(preset.map(|p| p.network_id)).unwrap_or(chain_id),
            block_time,
            finality: match file.finality_depth {
                Some(depth) => Finality::Depth(depth),
                None => preset.map_or(Finality::Tags, |p| p.finality),
            },
            preset,
            allow_methods: self
                .list(&join(path, "allow_methods"), file.allow_methods.as_ref(), pattern)
                .unwrap_or_default(),
            deny_methods: self
                .list(&join(path, "deny_methods"), file.deny_methods.as_ref(), pattern)
                .unwrap_or_default(),
            backends,
        })
    }
}

fn known_names() -> String {
    chains::PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ")
}

fn pattern(text: &str) -> Result<MethodPattern, &'static str> {
    let text = text.trim();
    let beginning = text.strip_suffix('*').unwrap_or(text);
    let sound = !text.is_empty()
        && text.len() <= PATTERN_BYTES_MAX
        && beginning.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if sound {
        Ok(MethodPattern(text.into()))
    } else {
        Err("is no method: write a name, or a beginning and one * at its end, as \"debug_*\"")
    }
}
