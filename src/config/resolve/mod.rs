//! From the file as written to the configuration as meant: defaults, bounds, and what only shows
//! when several keys are looked at together. Nothing stops at the first mistake.

mod backends;
mod chains;
mod routing;
mod server;

use std::ops::RangeInclusive;
use std::time::Duration;

use super::conform::Source;
use super::file::{File, OneOrMany, SizeFile};
use super::mistake::{ConfigErrors, Mistake};
use super::quantity::{parse_duration, parse_size};
use super::settings::Config;

/// Keys that are read and checked, and take effect in a later version.
const LATER: [&str; 3] = ["cache.shared", "routing.read_quorum", "routing.budgets"];

/// Makes a configuration of a file, or says all that is wrong with it. `order` are the names of the
/// chains as they stand in the file; `mistakes` are those found before.
pub(super) fn resolve(
    file: File,
    order: Vec<String>,
    source: &Source<'_>,
    mistakes: Vec<Mistake>,
) -> Result<Config, ConfigErrors> {
    let mut resolver = Resolver { source, mistakes, notes: Vec::new() };
    let server = resolver.server(&file.server);
    let routing = resolver.routing(&file.routing);
    let transactions = resolver.transactions(&file.transactions);
    let cache = resolver.cache(&file.cache);
    let chains = resolver.chains(&file.chains, &order, &server);
    for path in LATER {
        if source.has(path) {
            resolver.note(path, "accepted, takes effect in a later version");
        }
    }
    if resolver.mistakes.is_empty() {
        Ok(Config { server, chains, routing, transactions, cache, notes: resolver.notes })
    } else {
        Err(ConfigErrors::new(resolver.mistakes))
    }
}

struct Resolver<'r> {
    source: &'r Source<'r>,
    mistakes: Vec<Mistake>,
    notes: Vec<String>,
}

impl Resolver<'_> {
    /// Says that something is wrong, unless something was already said of the same key.
    fn fault(&mut self, path: &str, problem: impl Into<String>, mend: impl Into<String>) {
        if !self.source.is_faulty(path) {
            self.mistakes.push(self.source.mistake(path, problem, mend));
        }
    }

    /// The same from an error whose text is `is wrong: mend it so`.
    fn fault_of(&mut self, path: &str, error: impl std::fmt::Display) {
        let error = error.to_string();
        let (problem, mend) = error.split_once(": ").unwrap_or((&error, "correct it"));
        self.fault(path, format!("{} {problem}", self.source.shown(path)), mend);
    }

    fn note(&mut self, path: &str, text: &str) {
        let place = self.source.span(path).map(|span| self.source.place(span.start));
        let origin = self.source.origin;
        self.notes.push(match place {
            Some((line, _)) => format!("{origin}:{line}: {path}: {text}"),
            None => format!("{path}: {text}"),
        });
    }

    fn duration(
        &mut self,
        path: &str,
        text: Option<&String>,
        default: Duration,
        bounds: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(text) = text else { return default };
        match parse_duration(text) {
            Ok(duration) if bounds.contains(&duration) => duration,
            Ok(_) => {
                let text = humantime::format_duration;
                let mend = format!("write {} to {}", text(*bounds.start()), text(*bounds.end()));
                self.fault(path, format!("{} is out of range", self.source.shown(path)), mend);
                default
            }
            Err(error) => {
                self.fault_of(path, error);
                default
            }
        }
    }

    fn size(
        &mut self,
        path: &str,
        size: Option<&SizeFile>,
        default: u64,
        bounds: RangeInclusive<u64>,
    ) -> u64 {
        let bytes = match size {
            None => return default,
            Some(SizeFile::Bytes(bytes)) => Ok(*bytes),
            Some(SizeFile::Text(text)) => parse_size(text),
        };
        match bytes {
            Ok(bytes) if bounds.contains(&bytes) => bytes,
            Ok(bytes) => {
                let mend = format!("write {} to {}", size_text(*bounds.start()), size_text(*bounds.end()));
                self.fault(path, format!("{} is out of range", size_text(bytes)), mend);
                default
            }
            Err(error) => {
                self.fault_of(path, error);
                default
            }
        }
    }

    /// Takes a list apart and reads each entry; entries that cannot be read are mistakes.
    fn list<T, E: std::fmt::Display>(
        &mut self,
        path: &str,
        list: Option<&OneOrMany>,
        mut read: impl FnMut(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let entries: Vec<(String, &String)> = match list? {
            OneOrMany::One(one) => vec![(path.to_owned(), one)],
            OneOrMany::Many(many) => {
                many.iter().enumerate().map(|(i, one)| (format!("{path}[{i}]"), one)).collect()
            }
        };
        let mut values = Vec::with_capacity(entries.len());
        for (path, text) in entries {
            match read(text) {
                Ok(value) => values.push(value),
                Err(error) => self.fault_of(&path, error),
            }
        }
        Some(values)
    }

    /// A path of the file system: anything that is not blank.
    fn file_path(&mut self, path: &str, text: Option<&String>) -> Option<std::path::PathBuf> {
        let text = text?;
        if text.trim().is_empty() {
            self.fault(path, "is empty", "write a path, or remove the key");
            return None;
        }
        Some(text.into())
    }
}

/// Bytes with the greatest unit that leaves a whole number.
fn size_text(bytes: u64) -> String {
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes} bytes"),
    }
}
