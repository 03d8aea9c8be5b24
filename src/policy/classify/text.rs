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
    beginnings: Beginnings,
}

impl Text {
    /// Takes a text apart.
    pub(super) fn new(raw: &str) -> Self {
        let raw = clip(raw, TEXT_MAX);
        // A whole JSON error put into a message is quoted everywhere: nothing of it is an echo.
        if raw.trim_start().starts_with(['{', '[']) {
            return Self::of(words(raw));
        }
        let spoken = words(&without_quotations(raw));
        Self::of(if spoken.is_empty() { words(raw) } else { spoken })
    }

    fn of(words: Vec<String>) -> Self {
        let mut beginnings = Beginnings::default();
        words.iter().for_each(|word| beginnings.add(word));
        Self { words, beginnings }
    }

    /// The words.
    pub(super) fn words(&self) -> &[String] {
        &self.words
    }

    /// Nothing to read.
    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Whether `phrase` occurs.
    pub(super) fn has(&self, phrase: &Phrase) -> bool {
        if !phrase.beginnings.iter().all(|beginnings| beginnings.meet(&self.beginnings)) {
            return false;
        }
        let starts = if phrase.from_start { 1 } else { self.words.len() };
        (0..starts.min(self.words.len())).any(|start| follow(&self.words[start..], &phrase.parts))
    }

    /// Whether any of `phrases` occurs.
    pub(super) fn has_any(&self, phrases: &[Phrase]) -> bool {
        phrases.iter().any(|phrase| self.has(phrase))
    }
}

/// Words in a row to look for, taken apart once.
///
/// `a|b` is a choice, `rate*` any word that starts so, `#` a number, `...` up to [`GAP_MAX`] other words,
/// `^` and `$` the text's ends.
#[derive(Debug)]
pub(super) struct Phrase {
    from_start: bool,
    parts: Vec<Part>,
    /// For each word, what it may begin with. Nearly all phrases are ruled out by these alone.
    beginnings: Vec<Beginnings>,
}

#[derive(Debug)]
enum Part {
    Word(Vec<Choice>),
    Gap,
    End,
}

#[derive(Debug)]
enum Choice {
    Whole(&'static str),
    Stem(&'static str),
    Number,
}

impl Phrase {
    /// Takes a phrase apart.
    pub(super) fn new(phrase: &'static str) -> Self {
        let (from_start, phrase) = match phrase.strip_prefix("^ ") {
            Some(rest) => (true, rest),
            None => (false, phrase),
        };
        let choice = |choice: &'static str| match choice.strip_suffix('*') {
            Some(stem) => Choice::Stem(stem),
            None if choice == "#" => Choice::Number,
            None => Choice::Whole(choice),
        };
        let part = |part: &'static str| match part {
            "..." => Part::Gap,
            "$" => Part::End,
            word => Part::Word(word.split('|').map(choice).collect()),
        };
        let parts: Vec<Part> = phrase.split(' ').map(part).collect();
        let beginnings = parts
            .iter()
            .filter_map(|part| match part {
                Part::Word(choices) => Some(Beginnings::of(choices)),
                Part::Gap | Part::End => None,
            })
            .collect();
        Self { from_start, parts, beginnings }
    }

    /// Takes several apart.
    pub(super) fn all(phrases: &[&'static str]) -> Vec<Self> {
        phrases.iter().map(|phrase| Self::new(phrase)).collect()
    }
}

/// The first two bytes of some words, as a set of hashed bits: it may err towards "present" only.
#[derive(Clone, Copy, Debug, Default)]
struct Beginnings([u64; 4]);

impl Beginnings {
    /// The bit that stands for "a word that begins with a digit".
    const NUMBER: u8 = 255;

    fn of(choices: &[Choice]) -> Self {
        let mut set = Self::default();
        for choice in choices {
            match choice {
                Choice::Whole(word) => set.add(word),
                Choice::Stem(stem) => set.add(stem),
                Choice::Number => set.mark(Self::NUMBER),
            }
        }
        set
    }

    fn add(&mut self, word: &str) {
        let bytes = word.as_bytes();
        let (first, second) = (bytes.first().copied().unwrap_or(0), bytes.get(1).copied().unwrap_or(0));
        self.mark(first.wrapping_mul(31).wrapping_add(second.wrapping_mul(7)));
        if first.is_ascii_digit() {
            self.mark(Self::NUMBER);
        }
    }

    fn mark(&mut self, bit: u8) {
        self.0[usize::from(bit >> 6)] |= 1 << (bit & 63);
    }

    fn meet(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(mine, theirs)| mine & theirs != 0)
    }
}

/// Words that `...` may jump over.
const GAP_MAX: usize = 8;

/// Whether `words` begins with these parts.
fn follow(words: &[String], parts: &[Part]) -> bool {
    let Some((part, rest)) = parts.split_first() else { return true };
    match part {
        Part::End => words.is_empty(),
        Part::Gap => (0..=words.len().min(GAP_MAX)).any(|skip| follow(&words[skip..], rest)),
        Part::Word(choices) => words.split_first().is_some_and(|(word, tail)| {
            choices.iter().any(|choice| fits(word, choice)) && follow(tail, rest)
        }),
    }
}

fn fits(word: &str, choice: &Choice) -> bool {
    match choice {
        Choice::Whole(whole) => word == *whole,
        Choice::Stem(stem) => word.starts_with(stem),
        Choice::Number => is_number(word),
    }
}

fn is_number(word: &str) -> bool {
    match word.strip_prefix("0x") {
        Some(digits) => !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()),
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
            assert!(text.has(&Phrase::new(phrase)), "{phrase}");
        }
        for phrase in ["once", "^ tx", "low $", "nonce too"] {
            assert!(!text.has(&Phrase::new(phrase)), "{phrase}");
        }
        assert!(!Text::default().has(&Phrase::new("^ a")));
    }
}
