//! What a backend says about when to come back and how much to ask for.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;
use serde_json::Value;
use serde_json::value::RawValue;

use super::text::{Text, clip};

/// The longest wait believed. Providers' longest window is a day; a larger number is a mistake or a
/// trick to take this backend out for ever.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(86_400);

/// Of `data`, this much is read.
const DATA_MAX: usize = 4096;

/// Depth to which `data` is searched for texts and numbers.
const DATA_DEPTH: u32 = 3;

/// No provider's block range is larger; what is, is a block number.
const RANGE_BLOCKS_MAX: u64 = 10_000_000;

/// The wait that the headers name: `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3), its
/// millisecond variant, and the reset of the rate limit headers.
pub(super) fn in_headers(headers: &HeaderMap, now_unix_s: u64) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = |text: &str| {
        text.parse::<f64>().ok().filter(|s| *s >= 0.0).and_then(|s| Duration::try_from_secs_f64(s).ok())
    };
    let date = |text: &str| {
        let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(at.saturating_sub(Duration::from_secs(now_unix_s)))
    };
    // A reset is written as seconds from now, or as a point in Unix time, in seconds or milliseconds.
    let reset = |text: &str| {
        let value = seconds(text)?;
        let now = Duration::from_secs(now_unix_s);
        let millis = value / 1000;
        let wait = if value < now / 2 {
            value
        } else if value < now * 100 {
            value.saturating_sub(now)
        } else {
            millis.saturating_sub(now)
        };
        Some(wait)
    };
    let found = text("retry-after")
        .and_then(|value| seconds(value).or_else(|| date(value)))
        .or_else(|| text("retry-after-ms").and_then(seconds).map(|wait| wait / 1000))
        .or_else(|| text("x-ratelimit-reset-after").and_then(seconds))
        .or_else(|| text("ratelimit-reset").and_then(reset))
        .or_else(|| text("x-ratelimit-reset").and_then(reset));
    found.map(bounded)
}

/// The wait that `data` names: Infura's `rate.backoff_seconds` and its likes.
pub(super) fn in_data(data: Option<&RawValue>) -> Option<Duration> {
    let value = read(data?)?;
    find_wait(&value, DATA_DEPTH).map(bounded)
}

fn find_wait(value: &Value, depth: u32) -> Option<Duration> {
    let members = value.as_object()?;
    for (name, member) in members {
        let name = name.to_ascii_lowercase().replace(['_', '-'], "");
        let is_wait = ["retryafter", "backoff", "tryagainin", "retryin", "resetin", "waitfor", "waittime"]
            .iter()
            .any(|stem| name.starts_with(stem));
        let number = member.as_f64().or_else(|| member.as_str()?.trim().parse().ok());
        if let Some(number) = number.filter(|n| is_wait && *n >= 0.0) {
            let unit = if name.ends_with("ms") || name.contains("milli") { 1000.0 } else { 1.0 };
            return Duration::try_from_secs_f64(number / unit).ok();
        }
    }
    if depth == 0 {
        return None;
    }
    members.values().find_map(|member| find_wait(member, depth - 1))
}

/// The wait that a sentence names: "try again in 4ms", "limit will reset in 60 seconds".
pub(super) fn in_text(text: &Text) -> Option<Duration> {
    const BEFORE: &[&str] = &["in", "after", "for", "wait", "another"];
    const ABOUT: &[&str] =
        &["retry", "again", "reset", "resets", "wait", "back", "backoff", "until", "available"];
    let words = text.words();
    for (at, word) in words.iter().enumerate() {
        let (digits, glued) = word.split_at(word.bytes().take_while(u8::is_ascii_digit).count());
        let Ok(number) = digits.parse::<u64>() else { continue };
        let unit = if glued.is_empty() { words.get(at + 1).map_or("", String::as_str) } else { glued };
        let Some(unit_ms) = unit_ms(unit) else { continue };
        let introduced = at > 0 && BEFORE.contains(&words[at - 1].as_str());
        let about = words[at.saturating_sub(6)..at].iter().any(|w| ABOUT.contains(&w.as_str()));
        if introduced && about {
            return Some(bounded(Duration::from_millis(number.saturating_mul(unit_ms))));
        }
    }
    None
}

fn unit_ms(unit: &str) -> Option<u64> {
    Some(match unit {
        "ms" | "msec" | "millis" | "millisecond" | "milliseconds" => 1,
        "s" | "sec" | "secs" | "second" | "seconds" => 1000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        _ => return None,
    })
}

fn bounded(wait: Duration) -> Duration {
    wait.min(RETRY_AFTER_MAX)
}

/// The largest block range that the text names: the smallest number that stands behind a word of
/// limiting and is not a count of something else.
pub(super) fn range_limit(text: &Text) -> Option<u64> {
    const LIMITING: &[&str] = &[
        "limit", "limits", "limited", "max", "maximum", "up", "most", "exceeds", "exceed", "exceeded",
        "allowed", "than", "only", "over", "within", "above",
    ];
    const OTHER_THINGS: &[&str] = &[
        "logs",
        "log",
        "results",
        "result",
        "events",
        "filters",
        "addresses",
        "topics",
        "mb",
        "kb",
        "gb",
        "bytes",
        "records",
        "seconds",
        "second",
        "s",
        "ms",
        "requests",
    ];
    let words = text.words();
    let is_other = |word: &String| OTHER_THINGS.contains(&word.as_str());
    let mut smallest = None;
    for (at, word) in words.iter().enumerate() {
        let Some(number) = count(word) else { continue };
        let before = &words[at.saturating_sub(5)..at];
        let counts_blocks = words.get(at + 1).is_some_and(|next| matches!(next.as_str(), "block" | "blocks"));
        let limits = counts_blocks || before.iter().any(|w| LIMITING.contains(&w.as_str()));
        let other =
            words.get(at + 1).is_some_and(is_other) || (!counts_blocks && before.iter().any(is_other));
        // "range 9000 exceeds the limit of 2000": what was asked for stands before the limiting word.
        let was_asked = before.last().is_some_and(|w| w == "range")
            && words.get(at + 1).is_some_and(|next| matches!(next.as_str(), "exceeds" | "is" | "exceed"));
        if limits && !other && !was_asked && (1..=RANGE_BLOCKS_MAX).contains(&number) {
            smallest = Some(smallest.map_or(number, |s: u64| s.min(number)));
        }
    }
    smallest
}

/// `500`, `2k`, `1m`.
fn count(word: &str) -> Option<u64> {
    let (digits, unit) = word.split_at(word.bytes().take_while(u8::is_ascii_digit).count());
    let number: u64 = digits.parse().ok()?;
    let factor = match unit {
        "" => 1,
        "k" => 1000,
        "m" => 1_000_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// The words in `data`: a string that is no hex, or the strings of an object. Revert data is hex.
pub(super) fn words_in_data(data: Option<&RawValue>) -> Text {
    let Some(data) = data else { return Text::default() };
    if data.get().starts_with("\"0x") {
        return Text::default();
    }
    // A stack trace is longer than what is read: its beginning names the exception.
    if data.get().starts_with('"') && data.get().len() > DATA_MAX {
        return Text::new(clip(data.get(), DATA_MAX).trim_start_matches('"'));
    }
    match read(data) {
        Some(Value::String(text)) if !text.starts_with("0x") => Text::new(&text),
        Some(value) => {
            let mut gathered = String::new();
            gather(&value, DATA_DEPTH, &mut gathered);
            Text::new(&gathered)
        }
        None => Text::default(),
    }
}

/// The sentences of a JSON value that is no JSON-RPC reply: `message`, `error`, `detail` and so on.
pub(super) fn sentences(raw: &[u8]) -> String {
    let mut gathered = String::new();
    if raw.len() <= DATA_MAX
        && let Ok(value) = serde_json::from_slice::<Value>(raw)
    {
        gather(&value, DATA_DEPTH, &mut gathered);
    }
    gathered
}

fn gather(value: &Value, depth: u32, into: &mut String) {
    const SPEAKING: &[&str] = &[
        "message",
        "msg",
        "error",
        "detail",
        "details",
        "reason",
        "payload",
        "description",
        "title",
        "data",
    ];
    let Some(members) = value.as_object() else { return };
    for (name, member) in members {
        if !SPEAKING.iter().any(|speaking| name.eq_ignore_ascii_case(speaking)) {
            continue;
        }
        match member {
            Value::String(text) if !text.starts_with("0x") => {
                into.push_str(clip(text, DATA_MAX));
                into.push_str(" . ");
            }
            Value::Object(_) if depth > 0 => gather(member, depth - 1, into),
            _ => {}
        }
    }
}

fn read(data: &RawValue) -> Option<Value> {
    if data.get().len() > DATA_MAX {
        return None;
    }
    serde_json::from_str(data.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn waits_in_headers_are_seconds_dates_and_resets() {
        // H7
        let cases = [
            ("retry-after", "7", Some(7_000)),
            ("retry-after", "Fri, 15 Jan 2027 08:00:30 GMT", Some(30_000)),
            ("retry-after", "Fri, 15 Jan 2021 08:00:30 GMT", Some(0)),
            ("retry-after", "soon", None),
            ("retry-after", "-4", None),
            ("retry-after", "inf", None),
            ("retry-after", "99999999999999999", Some(86_400_000)),
            ("retry-after-ms", "250", Some(250)),
            ("x-ratelimit-reset", "1800000012", Some(12_000)),
            ("x-ratelimit-reset", "1800000012000", Some(12_000)),
            ("ratelimit-reset", "3", Some(3_000)),
        ];
        for (name, value, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a header value"));
            let found = in_headers(&headers, NOW).map(|wait| wait.as_millis());
            assert_eq!(found, expected, "{name}: {value}");
        }
    }

    #[test]
    fn waits_in_data_and_text() {
        // H7
        for (data, expected) in [
            (r#"{"rate":{"allowed_rps":50,"backoff_seconds":30}}"#, Some(30_000)),
            (r#"{"retryAfter":"2"}"#, Some(2_000)),
            (r#"{"retry_after_ms":15}"#, Some(15)),
            (r#"{"see":"4"}"#, None),
            ("null", None),
        ] {
            let data: Box<RawValue> = serde_json::from_str(data).expect("JSON");
            assert_eq!(in_data(Some(&data)).map(|wait| wait.as_millis()), expected, "{data}");
        }
        for (text, expected) in [
            ("rate limited, try again in 4ms", Some(4)),
            ("limit will reset in 60 seconds", Some(60_000)),
            ("please retry after 2 minutes", Some(120_000)),
            ("You can send 25 requests in 1 second", None),
            ("try again in 99999999999999999999 s", None),
        ] {
            assert_eq!(in_text(&Text::new(text)).map(|wait| wait.as_millis()), expected, "{text}");
        }
    }

    #[test]
    fn range_limits_are_the_number_of_blocks_that_is_allowed() {
        // R8
        for (text, expected) in [
            ("eth_getLogs is limited to a 10,000 range", Some(10_000)),
            ("exceeds max block range 100000", Some(100_000)),
            ("block range is too wide: got 70000, maximum is 3000 blocks", Some(3_000)),
            ("up to a 2K block range and no limit on the response size, or a cap of 10K logs", Some(2_000)),
            ("range 1000000 exceeds limit of 10000", Some(10_000)),
            ("query returned more than 10000 results", None),
            ("block range is too wide", None),
        ] {
            assert_eq!(range_limit(&Text::new(text)), expected, "{text}");
        }
    }
}
