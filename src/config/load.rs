//! Ways to a configuration: a file, a text, or nothing at all.

use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use toml::de::DeTable;

use super::conform::{Source, conform};
use super::file::File;
use super::mistake::ConfigErrors;
use super::resolve::resolve;
use super::settings::Config;

/// A hand-written file is a few kilobytes; 64 chains with 64 backends each stay below this.
pub const FILE_BYTES_MAX: usize = 4 << 20;

impl Config {
    /// Reads a file; variables are taken from the process's environment.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        let path = path.as_ref();
        let origin = path.display().to_string();
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
            .map_err(|error| {
                let mend = "name another file with --config, or write one with `outrigger config init`";
                ConfigErrors::one(&origin, format!("cannot be read ({error})"), mend)
            })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n');
            let problem = format!("is not UTF-8 text from line {} on", line.count() + 1);
            ConfigErrors::one(&origin, problem, "save it as UTF-8")
        })?;
        Self::from_toml(&text, &origin, &|name| std::env::var(name).ok())
    }

    /// Reads a text. `origin` names it in messages; `env` gives the value of a variable.
    ///
    /// ```
    /// use outrigger::config::Config;
    ///
    /// let text = r#"
    ///     [[chains.mainnet.backends]]
    ///     url = "https://mainnet.infura.io/v3/${INFURA_KEY}"
    ///     provider = "infura"
    ///     cloud = "aws"
    /// "#;
    /// let config = Config::from_toml(text, "outrigger.toml", &|name| {
    ///     (name == "INFURA_KEY").then(|| "0123456789abcdef".to_owned())
    /// })?;
    /// assert_eq!(config.default_chain().chain_id, 1);
    /// # Ok::<(), outrigger::config::ConfigErrors>(())
    /// ```
    pub fn from_toml(
        text: &str,
        origin: &str,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigErrors> {
        if text.len() > FILE_BYTES_MAX {
            let problem = format!("has more than {FILE_BYTES_MAX} bytes");
            return Err(ConfigErrors::one(origin, problem, "leave what belongs to the configuration"));
        }
        let mut source = Source::new(origin, text);
        let mut mistakes = Vec::new();
        let (document, errors) = DeTable::parse_recoverable(text);
        // What follows a broken line cannot be judged: its mistakes may come from the break alone.
        if !errors.is_empty() {
            let syntax = errors.iter().map(|error| source.syntax(error));
            return Err(ConfigErrors::new(syntax.collect()));
        }
        let value = conform(&document, &mut source, env, &mut mistakes);
        let order = chain_order(document.get_ref());
        match File::deserialize(value) {
            Ok(file) => resolve(file, order, &source, mistakes),
            // Only where schema and types disagree, of which a test keeps them.
            Err(_) if mistakes.is_empty() => {
                Err(ConfigErrors::one(origin, "does not fit its own schema", "report this as a bug"))
            }
            Err(_) => Err(ConfigErrors::new(mistakes)),
        }
    }

    /// What holds without a file: every known chain over public endpoints, mainnet at `/`, on
    /// `localhost:8545`.
    pub fn presets() -> Self {
        let source = Source::new("presets", "");
        resolve(File::default(), Vec::new(), &source, Vec::new())
            .unwrap_or_else(|errors| unreachable!("the presets are tested: {errors}"))
    }
}

/// Names of the chains in the order of the file.
fn chain_order(document: &DeTable<'_>) -> Vec<String> {
    let Some(chains) = document.get("chains").and_then(|chains| chains.get_ref().as_table()) else {
        return Vec::new();
    };
    let mut names: Vec<_> = chains.keys().map(|key| (key.span().start, key.get_ref().to_string())).collect();
    names.sort();
    names.into_iter().map(|(_, name)| name).collect()
}
