//! `outrigger config schema`: what it accepts, and what it does not.

use serde_json::Value;

use super::{outrigger, said};

/// The part of JSON Schema 2020-12 that the schema uses. Names each place that does not conform.
struct Validator<'a> {
    root: &'a Value,
    faults: Vec<String>,
}

/// Keywords that assert nothing.
const ANNOTATIONS: [&str; 8] =
    ["$schema", "$defs", "title", "description", "default", "examples", "format", "deprecated"];

impl Validator<'_> {
    fn faults(root: &Value, value: &Value) -> Vec<String> {
        let mut validator = Validator { root, faults: Vec::new() };
        validator.check(root, value, "");
        validator.faults
    }

    fn accepts(&self, schema: &Value, value: &Value, at: &str) -> bool {
        let mut alone = Validator { root: self.root, faults: Vec::new() };
        alone.check(schema, value, at);
        alone.faults.is_empty()
    }

    fn check(&mut self, schema: &Value, value: &Value, at: &str) {
        let Some(keywords) = schema.as_object() else {
            return self.hold(schema != &Value::Bool(false), at, "nothing is allowed here");
        };
        for (keyword, rule) in keywords {
            self.keyword(keyword, rule, keywords.get("properties"), value, at);
        }
    }

    fn keyword(&mut self, keyword: &str, rule: &Value, properties: Option<&Value>, value: &Value, at: &str) {
        let alternatives =
            || rule.as_array().into_iter().flatten().filter(|s| self.accepts(s, value, at)).count();
        let at_most =
            |length: Option<usize>| length.is_none_or(|length| length as u64 <= rule.as_u64().unwrap_or(0));
        let number = value.as_f64();
        match keyword {
            "$ref" => {
                let pointer = rule.as_str().and_then(|r| r.strip_prefix('#')).unwrap_or("/nowhere");
                match self.root.pointer(pointer) {
                    Some(schema) => self.check(schema, value, at),
                    None => self.hold(false, at, "a reference leads nowhere"),
                }
            }
            "type" => {
                let names: Vec<&str> = rule.as_array().map_or_else(
                    || rule.as_str().into_iter().collect(),
                    |names| names.iter().filter_map(Value::as_str).collect(),
                );
                self.hold(
                    names.iter().any(|name| is_a(name, value)),
                    at,
                    &format!("{value} is no {names:?}"),
                );
            }
            "anyOf" => self.hold(alternatives() > 0, at, "no alternative fits"),
            "oneOf" => self.hold(alternatives() == 1, at, "not exactly one alternative fits"),
            "const" => self.hold(rule == value, at, "it is another constant"),
            "enum" => {
                self.hold(rule.as_array().is_some_and(|all| all.contains(value)), at, "it is not listed")
            }
            "minimum" => self.hold(number.is_none_or(|n| Some(n) >= rule.as_f64()), at, "too small"),
            "maximum" => self.hold(number.is_none_or(|n| Some(n) <= rule.as_f64()), at, "too large"),
            "maxLength" => self.hold(at_most(value.as_str().map(str::len)), at, "too long"),
            "maxItems" => self.hold(at_most(value.as_array().map(Vec::len)), at, "too many"),
            "maxProperties" => self.hold(at_most(value.as_object().map(|o| o.len())), at, "too many"),
            "items" => {
                for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                    self.check(rule, item, &format!("{at}/{n}"));
                }
            }
            "properties" => {
                for (name, schema) in rule.as_object().into_iter().flatten() {
                    if let Some(member) = value.get(name) {
                        self.check(schema, member, &format!("{at}/{name}"));
                    }
                }
            }
            "additionalProperties" => {
                for (name, member) in value.as_object().into_iter().flatten() {
                    if properties.is_none_or(|known| known.get(name).is_none()) {
                        self.check(rule, member, &format!("{at}/{name}"));
                    }
                }
            }
            "required" => {
                for name in rule.as_array().into_iter().flatten().filter_map(Value::as_str) {
                    self.hold(value.get(name).is_some(), at, &format!("{name} is missing"));
                }
            }
            known if ANNOTATIONS.contains(&known) => {}
            unknown => self.hold(false, at, &format!("the test does not know the keyword {unknown}")),
        }
    }

    fn hold(&mut self, holds: bool, at: &str, fault: &str) {
        if !holds {
            self.faults.push(format!("{at}: {fault}"));
        }
    }
}

fn is_a(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        _ => false,
    }
}

#[test]
fn the_schema_accepts_the_first_file_and_what_check_refuses_it_refuses_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        let output = outrigger(folder.path(), arguments, &[]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output).0);
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let schema: Value = serde_json::from_str(&run(&["config", "schema"])).expect("JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let template = run(&["config", "init", "-"]);
    let parse = |text: &str| toml::from_str::<Value>(text).expect("TOML");
    assert_eq!(Validator::faults(&schema, &parse(&template)), Vec::<String>::new());
    let wrong = [
        ("an unknown key", "listen = \"localhost:8545\"", "listn = \"localhost:8545\""),
        ("a wrong type", "public_backup = true", "public_backup = \"yes\""),
        ("a missing key", "url      = \"https://mainnet.infura.io/v3/${INFURA_KEY}\"\n", ""),
        ("a number where text is due", "cloud    = \"aws\"", "cloud = 7"),
    ];
    for (what, right, wrong) in wrong {
        assert!(template.contains(right), "the template has changed: {right}");
        let changed = template.replacen(right, wrong, 1);
        assert_ne!(Validator::faults(&schema, &parse(&changed)), Vec::<String>::new(), "{what}");
        std::fs::write(folder.path().join("wrong.toml"), changed).expect("it is written");
        let checked =
            outrigger(folder.path(), &["check", "--config", "wrong.toml"], &[("INFURA_KEY", "0123456789ab")]);
        assert_eq!(checked.status.code(), Some(2), "{what}: {}", said(&checked).0);
    }
}
