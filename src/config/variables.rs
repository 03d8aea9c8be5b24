//! `${VAR}` in the strings of the file. What a variable holds never enters a message.

/// Why a string cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum VariableError {
    /// Not in the environment.
    #[error("the environment variable {0} is not set; set it, or give a default: ${{{0}:-value}}")]
    Unset(String),
    /// There, and empty.
    #[error("the environment variable {0} is empty; set it, or allow for that: ${{{0}:-}}")]
    Empty(String),
    /// No closing brace.
    #[error("a ${{ has no closing }}; close it, or write $${{ for the characters themselves")]
    Open,
    /// Not a name.
    #[error(
        "a ${{...}} holds no variable name; names have letters, digits and _ (write $${{ for the characters themselves)"
    )]
    Name,
}

/// The characters are few, and a longer name is something else, such as a key pasted into braces.
const NAME_MAX: usize = 128;

/// Fills in a string; the errors are all that were found. `None` where there was nothing to fill in.
pub(super) fn expand(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, Vec<VariableError>> {
    if !text.contains("${") {
        return Ok(None);
    }
    let (mut filled, mut errors) = (String::with_capacity(text.len()), Vec::new());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let before = &rest[..at];
        let after = &rest[at + 2..];
        if let Some(before) = before.strip_suffix('$') {
            filled.push_str(before);
            filled.push_str("${");
            rest = after;
            continue;
        }
        filled.push_str(before);
        let Some(end) = after.find('}') else {
            errors.push(VariableError::Open);
            rest = "";
            break;
        };
        let inside = &after[..end];
        rest = &after[end + 1..];
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        if !is_name(name) {
            errors.push(VariableError::Name);
            continue;
        }
        match (env(name).filter(|value| default.is_none() || !value.is_empty()), default) {
            (Some(value), _) if value.is_empty() => errors.push(VariableError::Empty(name.to_owned())),
            (Some(value), _) => filled.push_str(&value),
            (None, Some(default)) => filled.push_str(default),
            (None, None) => errors.push(VariableError::Unset(name.to_owned())),
        }
    }
    filled.push_str(rest);
    if errors.is_empty() { Ok(Some(filled)) } else { Err(errors) }
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_MAX
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "KEY" => Some("k".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn a_variable_is_filled_in_with_its_value_or_its_default() {
        let table = [
            ("a/${KEY}/b", "a/k/b"),
            ("${KEY}${KEY}", "kk"),
            ("${NONE:-d}", "d"),
            ("${NONE:-}", ""),
            ("${EMPTY:-d}", "d"),
            ("${KEY:-d}", "k"),
            ("$${KEY}", "${KEY}"),
            ("$${${KEY}", "${k"),
        ];
        for (text, expected) in table {
            assert_eq!(expand(text, &env), Ok(Some(expected.to_owned())), "{text}");
        }
        for text in ["", "plain", "$KEY", "{KEY}", "a$b"] {
            assert_eq!(expand(text, &env), Ok(None), "{text}");
        }
    }

    #[test]
    fn all_that_cannot_be_filled_in_is_named() {
        let table = [
            ("${A}/${B}", vec![VariableError::Unset("A".to_owned()), VariableError::Unset("B".to_owned())]),
            ("${EMPTY}", vec![VariableError::Empty("EMPTY".to_owned())]),
            ("${KEY", vec![VariableError::Open]),
            ("${}", vec![VariableError::Name]),
            ("${a b}", vec![VariableError::Name]),
        ];
        for (text, expected) in table {
            assert_eq!(expand(text, &env), Err(expected), "{text}");
        }
    }
}
