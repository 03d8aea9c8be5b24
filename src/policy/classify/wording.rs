//! The rules on words, and the order in which they are tried: the most specific first.
//!
//! Phrases are grouped by what they mean, not by who says them; [`Phrase`] explains their form. The
//! sources are the error texts of geth, reth, Nethermind, Besu, Erigon, Parity, jsonrpsee, proxyd and
//! of the providers' documentation.

use std::sync::LazyLock;

use super::method::Scopes;
use super::rule::Rule;
use super::text::{Phrase, Text};
use super::{calls, capacity, execution, state, transactions};

/// Searched in the message, then in the texts that stand in `data`. `true` marks groups that say something
/// about the backend itself. A text that begins as a complaint about the caller's parameters is not heard
/// on these: whatever else it says may be an echo of the parameter.
const SPECIFIC: &[(bool, &[Rule])] = &[
    (false, calls::CALLER_FIRST),
    (false, transactions::RULES),
    (false, state::SIZES),
    (true, capacity::CHAIN),
    (true, capacity::SYNC),
    (false, calls::METHOD_FIRST),
    (true, capacity::LIMITS),
    (false, state::DATA),
    (false, state::BLOCKS),
    (false, execution::RULES),
    (true, capacity::KEYS),
    (false, calls::METHODS),
    (true, capacity::ACCESS),
    (true, capacity::SERVER),
];

/// Words so general that anything in `data` says more.
const GENERAL: &[(bool, &[Rule])] = &[(false, calls::CALLER), (false, capacity::INTERNAL)];

/// Rules for plain sentences, which gateways send instead of JSON: only what speaks of the backend.
const PAGE: &[(bool, &[Rule])] = &[
    (true, state::SIZES),
    (true, calls::METHOD_FIRST),
    (true, capacity::LIMITS),
    (true, capacity::ACCESS),
    (true, capacity::CONNECTION),
];

/// How a complaint about parameters begins.
const CALLER_SPEAKS: &[&str] = &[
    "^ invalid argument",
    "^ invalid # argument",
    "^ invalid 1st|2nd|3rd|4th argument",
    "^ invalid param|params|parameter|parameters",
    "^ invalid address|hex|input|type|value|hash|topic|topics|filter|block",
    "^ cannot|cant|couldnt|failed|unable|error ... unmarshal|parse|parsing|decode|decoding|deserialize",
    "^ json cannot",
    "^ unknown field|variant",
    "^ missing value|field|param|parameter|argument",
    "^ bad address|param|params|parameter|argument",
    "^ hex string",
    "^ storage key",
    "^ unsupported block|tag",
];

/// A rule with its phrases taken apart.
struct Ready {
    rule: &'static Rule,
    phrases: Vec<Phrase>,
    about_backend: bool,
}

/// The tables, taken apart once for the whole process: constants, only not ones that the compiler can make.
struct Tables {
    caller_speaks: Vec<Phrase>,
    specific: Vec<Ready>,
    general: Vec<Ready>,
    page: Vec<Ready>,
    /// What makes a detail more than a repeated parameter.
    about_size: Vec<Phrase>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let ready = |groups: &'static [(bool, &'static [Rule])]| {
        let rules = groups.iter().flat_map(|(about, rules)| rules.iter().map(move |rule| (*about, rule)));
        rules
            .map(|(about_backend, rule)| Ready { rule, phrases: Phrase::all(rule.phrases), about_backend })
            .collect()
    };
    Tables {
        caller_speaks: Phrase::all(CALLER_SPEAKS),
        specific: ready(SPECIFIC),
        general: ready(GENERAL),
        page: ready(PAGE),
        about_size: Phrase::all(&["range", "limit"]),
    }
});

/// The class that the texts call for, if any word of them is known.
pub(super) fn find(scopes: Scopes, message: &Text, detail: &Text) -> Option<(&'static Rule, Heard)> {
    let tables = &*TABLES;
    let caller_speaks = message.has_any(&tables.caller_speaks);
    let deaf_to_detail = caller_speaks && !detail.has_any(&tables.about_size);
    first(&tables.specific, scopes, message, caller_speaks)
        .map(|rule| (rule, Heard::Message))
        .or_else(|| first(&tables.specific, scopes, detail, deaf_to_detail).map(|rule| (rule, Heard::Data)))
        .or_else(|| first(&tables.general, scopes, message, false).map(|rule| (rule, Heard::Message)))
}

/// The same for a sentence that is no JSON-RPC error.
pub(super) fn find_in_page(scopes: Scopes, text: &Text) -> Option<&'static Rule> {
    first(&TABLES.page, scopes, text, false)
}

/// Where the deciding words stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// In `message`.
    Message,
    /// In `data`: the message is too general to be passed on.
    Data,
}

fn first(rules: &'static [Ready], scopes: Scopes, text: &Text, deaf: bool) -> Option<&'static Rule> {
    if text.is_empty() {
        return None;
    }
    rules
        .iter()
        .filter(|ready| !(deaf && ready.about_backend) && scopes.contains(ready.rule.scope))
        .find(|ready| text.has_any(&ready.phrases))
        .map(|ready| ready.rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phrase_is_in_the_form_of_the_texts() {
        let groups = SPECIFIC.iter().chain(GENERAL).chain(PAGE);
        let phrases = groups.flat_map(|(_, rules)| *rules).flat_map(|rule| rule.phrases);
        for phrase in phrases.chain(CALLER_SPEAKS) {
            let bare = phrase.strip_prefix("^ ").unwrap_or(phrase);
            let bare = bare.strip_suffix(" $").unwrap_or(bare);
            assert!(
                !bare.starts_with("...") && !bare.ends_with("..."),
                "{phrase}: a gap at an end says nothing"
            );
            for choice in bare.split(' ').filter(|part| *part != "...").flat_map(|part| part.split('|')) {
                let word = choice.strip_suffix('*').unwrap_or(choice);
                let is_word = !word.is_empty()
                    && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
                assert!(is_word || matches!(word, "*" | "#") || choice == "*", "{phrase}: {choice:?}");
            }
        }
    }
}
