//! Holds a parsed file against the schema: names every unknown key, wrong type and value out of
//! range with its place, and hands on what is left after those are taken out.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::mistake::{ConfigErrors, Mistake};
use super::schema::schema;
use super::variables::expand;

/// No value of the file is longer, before or after variables are filled in.
const TEXT_MAX: usize = 4096;
/// Nor is an array; the file's own size would allow a million of them.
const ITEMS_MAX: usize = 1024;
/// The path of a file that is longer is not shown.
const FILE_SHOWN_MAX: usize = 200;

/// The text the values came from: places and the words in which they were written.
pub(super) struct Source<'t> {
    pub origin: &'t str,
    text: &'t str,
    /// Start of each line, in bytes.
    lines: Vec<usize>,
    spans: HashMap<String, Range<usize>>,
    written: HashMap<String, String>,
    /// Keys of which something is already said.
    faulty: HashSet<String>,
}

impl<'t> Source<'t> {
    pub fn new(origin: &'t str, text: &'t str) -> Self {
        let lines = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1));
        Self {
            origin,
            text,
            lines: lines.collect(),
            spans: HashMap::new(),
            written: HashMap::new(),
            faulty: HashSet::new(),
        }
    }

    /// Line and column, from 1; columns count characters.
    pub fn place(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= at).max(1);
        let start = self.lines[line - 1];
        let column = self.text.get(start..at).map_or(0, |before| before.chars().count());
        (line, column + 1)
    }

    /// The span of a key's value, or of the closest table around it.
    pub fn span(&self, path: &str) -> Option<Range<usize>> {
        let mut path = path;
        loop {
            if let Some(span) = self.spans.get(path) {
                return Some(span.clone());
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// Whether something is already said of a key.
    pub fn is_faulty(&self, path: &str) -> bool {
        self.faulty.contains(path)
    }

    /// Whether a key is written in the file.
    pub fn has(&self, path: &str) -> bool {
        self.spans.contains_key(path)
    }

    /// How a string stands in the file, for messages: `"primry"`. Variables stay unfilled, and what
    /// may be a secret is only called "the value".
    pub fn shown(&self, path: &str) -> String {
        match self.written.get(path).filter(|_| !is_secret(path)) {
            Some(text) if is_plain(text) => format!("\"{text}\""),
            _ => "the value".to_owned(),
        }
    }

    /// The path of a file for messages, as it was written or, where nothing was, as it is.
    pub fn shown_file(&self, path: &str, file: &str) -> String {
        let text = self.written.get(path).map_or(file, String::as_str);
        let is_path = text.len() <= FILE_SHOWN_MAX
            && !text.contains("://")
            && !text.contains('@')
            && !text.chars().any(char::is_control)
            && !has_long_word(text);
        if is_path { format!("\"{text}\"") } else { "the file".to_owned() }
    }

    /// Whether a variable runs into the host of an address, as in `https://host.example${KEY}`, where a
    /// slash was lost. The host is shown to people, and the key would be with it.
    pub fn has_key_in_host(&self, path: &str, filled: &str) -> bool {
        let ends = ['/', '?', '#'];
        let host = |address: &str| {
            let authority = address.split_once("://")?.1.split(ends).next()?;
            Some(authority.rsplit('@').next()?.to_owned())
        };
        let written = self.written.get(path).and_then(|text| host(text));
        let (Some(written), Some(filled)) = (written, host(filled)) else { return false };
        let Some((literal, _)) = written.split_once("${").filter(|(literal, _)| literal.contains('.')) else {
            return false;
        };
        let Some(value) = filled.strip_prefix(literal) else { return false };
        let runs_on =
            |text: &str, at: Option<char>| !text.is_empty() && at.is_some_and(|c| c.is_ascii_alphanumeric());
        runs_on(value, literal.chars().next_back()) && runs_on(value, value.chars().next())
            || has_long_word(value)
    }

    pub fn mistake(&self, path: &str, problem: impl Into<String>, mend: impl Into<String>) -> Mistake {
        Mistake {
            origin: self.origin.to_owned(),
            place: self.span(path).map(|span| self.place(span.start)),
            path: path.to_owned(),
            problem: problem.into(),
            mend: mend.into(),
        }
    }
}

/// Keys whose values go on the wire only.
fn is_secret(path: &str) -> bool {
    path.contains(".headers.")
        || path.contains(".tokens")
        || [".url", ".ws", ".shared"].iter().any(|key| path.ends_with(key))
}

/// A short word or two, and nothing that looks like an address or a key.
fn is_plain(text: &str) -> bool {
    text.len() <= 40
        && !text.contains("://")
        && !text.contains('@')
        && text.chars().all(|c| !c.is_control())
        && !has_long_word(text)
}

/// A run of this many letters and digits is a key, a token or a hash, wherever it was pasted.
fn has_long_word(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word.len() >= 20)
}

/// A key as it may stand in a path.
fn segment(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    match (is_plain(key), bare) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{key:?}"),
        (false, _) => "\"...\"".to_owned(),
    }
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { segment(key) } else { format!("{path}.{}", segment(key)) }
}

/// Walks the file. Mistakes are added to `mistakes`; the value holds what is right.
pub(super) fn conform(
    document: &Spanned<DeTable<'_>>,
    source: &mut Source<'_>,
    env: &dyn Fn(&str) -> Option<String>,
    mistakes: &mut Vec<Mistake>,
) -> Value {
    let root = schema();
    let mut walk = Walk { root, source, env, mistakes };
    walk.table(document.get_ref(), root, "")
}

struct Walk<'w, 't> {
    root: &'static Value,
    source: &'w mut Source<'t>,
    env: &'w dyn Fn(&str) -> Option<String>,
    mistakes: &'w mut Vec<Mistake>,
}

impl Walk<'_, '_> {
    fn fault(&mut self, path: &str, problem: impl Into<String>, mend: impl Into<String>) {
        self.mistakes.push(self.source.mistake(path, problem, mend));
        self.source.faulty.insert(path.to_owned());
    }

    fn resolve(&self, schema: &'static Value) -> &'static Value {
        match schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#')) {
            Some(pointer) => self.root.pointer(pointer).unwrap_or(schema),
            None => schema,
        }
    }

    /// The schema itself, or the alternatives it is made of.
    fn alternatives(&self, schema: &'static Value) -> Vec<&'static Value> {
        let schema = self.resolve(schema);
        match schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
            Some(all) => all.iter().flat_map(|one| self.alternatives(one)).collect(),
            None => vec![schema],
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, schema: &'static Value, path: &str) -> Option<Value> {
        let alternatives = self.alternatives(schema);
        let kind = kind_of(value.get_ref());
        let Some(fitting) = alternatives.iter().copied().find(|s| takes(s, kind)) else {
            let mut wanted: Vec<_> =
                alternatives.iter().flat_map(|s| types(s)).filter(|t| *t != "null").collect();
            wanted.dedup();
            let wanted = wanted.into_iter().map(article).collect::<Vec<_>>().join(" or ");
            let mend = match example(self.resolve(schema), schema) {
                Some(example) => format!("write it as {example}"),
                None => format!("write {wanted}"),
            };
            self.fault(path, format!("is {}, and {wanted} is wanted", article(kind)), mend);
            return None;
        };
        match value.get_ref() {
            DeValue::Table(table) => Some(self.table(table, fitting, path)),
            DeValue::Array(items) => {
                let most = limit(fitting, "maxItems").unwrap_or(ITEMS_MAX);
                if items.len() > most {
                    self.fault(path, format!("has {} entries", items.len()), format!("leave at most {most}"));
                    return None;
                }
                let of = fitting.get("items").unwrap_or(&Value::Bool(true));
                // An entry that cannot stay leaves an empty one, so that the places of the rest hold.
                let gap =
                    if takes(self.resolve(of), "table") { Value::Object(Map::new()) } else { "".into() };
                let mut kept = Vec::with_capacity(items.len());
                for (i, item) in items.iter().enumerate() {
                    let path = format!("{path}[{i}]");
                    self.source.spans.insert(path.clone(), item.span());
                    kept.push(self.value(item, of, &path).unwrap_or_else(|| gap.clone()));
                }
                Some(Value::Array(kept))
            }
            DeValue::String(text) => self.text(text, &alternatives, fitting, path),
            DeValue::Integer(number) => {
                let digits = number.as_str().trim_start_matches('+');
                match i64::from_str_radix(digits, number.radix()) {
                    Ok(number) => self.number(number as f64, fitting, path).then(|| number.into()),
                    Err(_) => {
                        self.fault(path, "is a number of more than 64 bits", "write a smaller one");
                        None
                    }
                }
            }
            DeValue::Float(number) => {
                let number: f64 = number.as_str().replace('_', "").parse().ok()?;
                self.number(number, fitting, path).then(|| number.into())
            }
            DeValue::Boolean(flag) => Some((*flag).into()),
            DeValue::Datetime(_) => None,
        }
    }

    fn table(&mut self, table: &DeTable<'_>, schema: &'static Value, path: &str) -> Value {
        static NOTHING: LazyMap = LazyMap::new(Map::new);
        let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&NOTHING);
        let others = schema.get("additionalProperties").filter(|s| s.is_object());
        let mut kept = Map::new();
        if let Some(most) = limit(schema, "maxProperties").filter(|most| table.len() > *most) {
            self.fault(path, format!("has {} entries", table.len()), format!("leave at most {most}"));
            return Value::Object(kept);
        }
        for (key, value) in table {
            let name: &str = key.get_ref();
            let path_of_key = join(path, name);
            match known.get(name).or(others) {
                Some(schema) => {
                    // A table's place is where it is first named; a value's is the value.
                    let span = if value.get_ref().is_table() { key.span() } else { value.span() };
                    self.source.spans.insert(path_of_key.clone(), span);
                    if let Some(value) = self.value(value, schema, &path_of_key) {
                        kept.insert(name.to_owned(), value);
                    }
                }
                None => {
                    self.source.spans.insert(path_of_key.clone(), key.span());
                    // Searching is slow, and nobody reads the suggestion for the hundredth stranger.
                    let mend = match self.mistakes.len() < ConfigErrors::LISTED_MAX {
                        true => self.nearest(name, known, path),
                        false => "remove it".to_owned(),
                    };
                    self.fault(&path_of_key, "is not a known key", mend);
                }
            }
        }
        for required in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            let Some(name) = required.as_str().filter(|name| !table.contains_key(*name)) else { continue };
            let example = known.get(name).and_then(|s| example(self.resolve(s), s));
            let mend = example.map_or_else(|| format!("add {name}"), |e| format!("add {name} = {e}"));
            self.fault(path, format!("has no {name}"), mend);
            self.source.faulty.insert(join(path, name));
        }
        Value::Object(kept)
    }

    fn text(
        &mut self,
        text: &str,
        alternatives: &[&'static Value],
        fitting: &'static Value,
        path: &str,
    ) -> Option<Value> {
        self.source.written.insert(path.to_owned(), text.chars().take(TEXT_MAX).collect());
        let filled = match expand(text, self.env) {
            Ok(filled) => filled,
            Err(errors) => {
                for error in errors {
                    let error = error.to_string();
                    let (problem, mend) = error.split_once("; ").unwrap_or((&error, "mend it"));
                    self.fault(path, problem, mend);
                }
                return None;
            }
        };
        let text = filled.as_deref().unwrap_or(text);
        let most = limit(fitting, "maxLength").unwrap_or(TEXT_MAX).min(TEXT_MAX);
        if text.chars().count() > most {
            self.fault(path, "is too long", format!("leave at most {most} characters"));
            return None;
        }
        let allowed: Vec<&str> = alternatives.iter().flat_map(|s| constants(s)).collect();
        if !allowed.is_empty() && !allowed.contains(&text) {
            let problem = format!("{} is not possible here", self.source.shown(path));
            let listed = allowed.iter().map(|a| format!("\"{a}\"")).collect::<Vec<_>>().join(" or ");
            let mend = match closest(text, allowed.iter().copied()).filter(|_| filled.is_none()) {
                Some(near) => format!("did you mean \"{near}\"? possible are {listed}"),
                None => format!("write {listed}"),
            };
            self.fault(path, problem, mend);
            return None;
        }
        Some(text.into())
    }

    fn number(&mut self, number: f64, schema: &Value, path: &str) -> bool {
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let (least, most) = (bound("minimum"), bound("maximum"));
        if number.is_finite() && least.is_none_or(|l| number >= l) && most.is_none_or(|m| number <= m) {
            return true;
        }
        let whole = |name: &str| schema.get(name).map(Value::to_string).unwrap_or_default();
        let mend = match (least, most) {
            (Some(_), Some(_)) => format!("write a number from {} to {}", whole("minimum"), whole("maximum")),
            (Some(_), None) => format!("write {} or more", whole("minimum")),
            _ => "write an ordinary number".to_owned(),
        };
        self.fault(path, format!("is {number}, which is out of range"), mend);
        false
    }

    fn nearest(&self, name: &str, known: &'static Map<String, Value>, path: &str) -> String {
        // A key that stands in the wrong table is mended by moving it, not by renaming it.
        let sections = self.root.get("properties").and_then(Value::as_object);
        for (section, schema) in sections.into_iter().flatten() {
            let keys = self.resolve(schema).get("properties");
            if section != path && keys.is_some_and(|keys| keys.get(name).is_some()) {
                return format!("it belongs under [{section}]");
            }
        }
        if let Some(near) = closest(name, known.keys().map(String::as_str)) {
            return format!("did you mean `{near}`?");
        }
        for (section, schema) in sections.into_iter().flatten().filter(|(section, _)| *section != path) {
            let keys = self.resolve(schema).get("properties").and_then(Value::as_object);
            if let Some(near) = keys.and_then(|keys| closest(name, keys.keys().map(String::as_str))) {
                return format!("did you mean `{near}` under [{section}]?");
            }
        }
        let known = known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        format!("remove it; known here are {known}")
    }
}

type LazyMap = std::sync::LazyLock<Map<String, Value>>;

/// The nearest of some words, if it is near enough to have been meant.
fn closest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // What is far longer than any key is no slip of the finger, and costs quadratic time.
    if word.len() > 64 {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace(['-', '_'], "");
    let word = plain(word);
    known
        .map(|key| (strsim::damerau_levenshtein(&word, &plain(key)), key))
        .filter(|(distance, key)| *distance <= (key.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}

fn limit(schema: &Value, name: &str) -> Option<usize> {
    schema.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
}

/// The values a schema allows, where it lists them.
fn constants(schema: &Value) -> Vec<&str> {
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    listed.chain(schema.get("const")).filter_map(Value::as_str).collect()
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn takes(schema: &Value, kind: &str) -> bool {
    let types = types(schema);
    types.is_empty()
        || types.iter().any(|t| match (*t, kind) {
            ("object", "table") | ("number", "integer" | "float") => true,
            (wanted, kind) => wanted == kind,
        })
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "integer",
        DeValue::Float(_) => "float",
        DeValue::Boolean(_) => "boolean",
        DeValue::Datetime(_) => "datetime",
        DeValue::Array(_) => "array",
        DeValue::Table(_) => "table",
    }
}

fn article(kind: &str) -> &'static str {
    match kind {
        "string" => "a text in quotes",
        "integer" => "a whole number",
        "float" | "number" => "a number",
        "boolean" => "true or false",
        "datetime" => "a date",
        "array" => "an array",
        _ => "a table",
    }
}

/// An example as it would stand in the file.
fn example(resolved: &Value, schema: &Value) -> Option<String> {
    let examples = schema.get("examples").or_else(|| resolved.get("examples"))?;
    // JSON's strings, numbers and arrays are TOML's as well.
    examples.get(0).map(Value::to_string)
}

impl Source<'_> {
    /// A mistake of TOML itself. Its message speaks of tokens, never of values.
    pub fn syntax(&self, error: &toml::de::Error) -> Mistake {
        let at = error.span().map_or(0, |span| span.start);
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        Mistake {
            origin: self.origin.to_owned(),
            place: Some(self.place(at)),
            path: String::new(),
            problem: format!("is not TOML: {message}"),
            mend: "texts stand in quotes, and each key on a line of its own".to_owned(),
        }
    }
}
