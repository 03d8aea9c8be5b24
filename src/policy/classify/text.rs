//! Error texts in one form, and the phrases looked for in them.
//!
//! Vendors write the same thing in many ways: `AlreadyKnown`, `ALREADY_EXISTS: already known`,
//! `rate-limited`. A [`Text`] is the words alone: lower case, camel case taken apart, punctuation gone.
//! What stands in quotes is left out, since it is mostly the caller's own parameter echoed.

/// Bytes of a text that are looked at. The longest known message is 330 bytes; what decides stands first.
const TEXT_MAX: usize = 640;

/// Words kept of one text, for the same reason.
const WORDS_MAX: usize = 96;

/// The words of a text.
#[derive(Debug, Default)]
pub(super) struct Text {
    words: Vec<String>,
}

impl Text {
    /// Takes a text apart.
    pub(super) fn new(raw: &str) -> Self {
        let raw = clip(raw, TEXT_MAX);
        // A whole JSON error put into a message is quoted everywhere: nothing of it is an echo.
        if raw.trim_start().starts_with(['{', '[']) {
            return Self { words: words(raw) };
        }
        let spoken = words(&without_quotations(raw));
        Self { words: if spoken.is_empty() { words(raw) } else { spoken } }
    }

    /// The words.
    pub(super) fn words(&self) -> &[String] {
        &self.words
    }

    /// Nothing to read.
    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether `phrase` occurs. In a phrase, `a|b` is a choice, `rate*` any word that starts so, `#` a
    /// number, `...` up to [`GAP_MAX`] other words, `^` and `$` the text's ends.
    pub(super) fn has(&self, phrase: &str) -> bool {
        let (phrase, from_start) = match phrase.strip_prefix("^ ") {
            Some(rest) => (rest, true),
            None => (phrase, false),
        };
        let starts = if from_start { 1 } else { self.words.len() };
        (0..starts).any(|start| follows(&self.words[start.min(self.words.len())..], phrase))
    }

    /// Whether any of `phrases` occurs.
    pub(super) fn has_any(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.has(phrase))
    }
}

/// Words that `...` may jump over.
const GAP_MAX: usize = 8;

/// Whether `words` begins with the phrase.
fn follows(words: &[String], phrase: &str) -> bool {
    let (head, rest) = phrase.split_once(' ').unwrap_or((phrase, ""));
    match head {
        "" => true,
        "$" => words.is_empty(),
        "..." => (0..=words.len().min(GAP_MAX)).any(|skip| follows(&words[skip..], rest)),
        _ => match words.split_first() {
            Some((word, tail)) => is_word(word, head) && follows(tail, rest),
            None => false,
        },
    }
}

fn is_word(word: &str, pattern: &str) -> bool {
    pattern.split('|').any(|choice| match choice.strip_suffix('*') {
        Some(stem) => word.starts_with(stem),
        None if choice == "#" => is_number(word),
        None => word == choice,
    })
}

fn is_number(word: &str) -> bool {
    let hex = word.strip_prefix("0x").filter(|digits| !digits.is_empty());
    match hex {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => word.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// The longest beginning of `text` that fits in `max` bytes.
pub(super) fn clip(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// Leaves out `"..."`, `` `...` `` and `'...'`. An apostrophe inside a word opens nothing.
fn without_quotations(raw: &str) -> String {
    let mut kept = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(open) = rest.find(['"', '`', '\'']) {
        let quote = char::from(rest.as_bytes()[open]);
        let (before, quoted) = (&rest[..open], &rest[open + 1..]);
        kept.push_str(before);
        let opens = quote != '\'' || !before.ends_with(char::is_alphanumeric);
        match quoted.find(quote).filter(|_| opens) {
            Some(close) => {
                kept.push(' ');
                rest = &quoted[close + 1..];
            }
            None => {
                kept.push(quote);
                rest = quoted;
            }
        }
    }
    kept.push_str(rest);
    kept
}

fn words(raw: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut before = ' ';
    let mut rest = raw;
    while let Some(c) = rest.chars().next() {
        if word.is_empty()
            && !before.is_alphanumeric()
            && let Some(length) = method_name(rest)
        {
            words.push(METHOD.to_owned());
            rest = &rest[length..];
            before = ' ';
            continue;
        }
        rest = &rest[c.len_utf8()..];
        let mut following = rest.chars();
        let next = following.next().unwrap_or(' ');
        let joins_digits = c == ',' && before.is_ascii_digit() && next.is_ascii_digit();
        if joins_digits || matches!(c, '\'' | '’') {
            continue;
        }
        if !c.is_alphanumeric() {
            flush(&mut word, &mut words);
        } else {
            if starts_word(before, c, next, following.next().unwrap_or(' ')) && !word.starts_with("0x") {
                flush(&mut word, &mut words);
            }
            word.extend(c.to_lowercase());
        }
        before = c;
        if words.len() >= WORDS_MAX {
            return words;
        }
    }
    flush(&mut word, &mut words);
    words
}

/// `aB` starts a word at `B`; `RLPToo` at `T`, but `CUPs` nowhere.
fn starts_word(before: char, c: char, next: char, after: char) -> bool {
    c.is_uppercase()
        && (before.is_lowercase() || (before.is_uppercase() && next.is_lowercase() && after.is_lowercase()))
}

/// Namespaces of methods. A name such as `trace_block` is one word, [`METHOD`]: its parts mean nothing.
const NAMESPACES: &[&str] = &[
    "admin",
    "alchemy",
    "arb",
    "arbtrace",
    "bor",
    "clique",
    "debug",
    "engine",
    "erigon",
    "eth",
    "flashbots",
    "les",
    "mev",
    "miner",
    "net",
    "optimism",
    "ots",
    "parity",
    "personal",
    "qn",
    "rollup",
    "rpc",
    "shh",
    "trace",
    "txpool",
    "web3",
    "zkevm",
    "zks",
];

/// What stands for a method's name among the words.
pub(super) const METHOD: &str = "_method";

/// The length of a method's name at the beginning of `text`, if one stands there.
fn method_name(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (namespace, name) = text[..end].split_once('_')?;
    (NAMESPACES.contains(&namespace) && name.starts_with(|c: char| c.is_ascii_lowercase())).then_some(end)
}

fn flush(word: &mut String, words: &mut Vec<String>) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_thing_have_the_same_words() {
        for raw in ["already known", "AlreadyKnown", "ALREADY_KNOWN:", "  Already\n known "] {
            assert_eq!(Text::new(raw).words(), ["already", "known"], "{raw}");
        }
        assert_eq!(Text::new("RLPTooLong").words(), ["rlp", "too", "long"]);
        assert_eq!(Text::new("not enough CUPs").words(), ["not", "enough", "cups"]);
        assert_eq!(Text::new("You've 10,000").words(), ["youve", "10000"]);
        assert_eq!(Text::new("the method trace_block").words(), ["the", "method", METHOD]);
    }

    #[test]
    fn what_is_quoted_is_not_heard() {
        let text = Text::new(r#"cannot parse "rate limit" or 'unauthorized' as the client's address"#);
        assert_eq!(text.words(), ["cannot", "parse", "or", "as", "the", "clients", "address"]);
        assert_eq!(Text::new(r#""rate limit""#).words(), ["rate", "limit"]);
    }

    #[test]
    fn phrases_have_choices_stems_gaps_and_ends() {
        let text = Text::new("Nonce of tx is too low: 12");
        for phrase in ["nonce ... too low", "tx|txn is", "non*", "^ nonce", "low # $"] {
            assert!(text.has(phrase), "{phrase}");
        }
        for phrase in ["once", "^ tx", "low $", "nonce too"] {
            assert!(!text.has(phrase), "{phrase}");
        }
        assert!(!Text::default().has("^ a"));
    }
}
