//! Metrics as text: Prometheus' own format (version 0.0.4) and OpenMetrics 1.0.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/> and
//! <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>. Samples have the same names in both,
//! so that a query does not depend on which one was asked for.

use std::fmt::Write;

use super::{Family, Histogram, Kind};

/// Which text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// What every scraper reads.
    #[default]
    Prometheus,
    /// The standard that came of it, for whoever asks.
    OpenMetrics,
}

impl Format {
    /// What an `Accept` header asks for: OpenMetrics where it is named and preferred to plain text.
    pub fn of_accept(accept: &str) -> Self {
        let quality = |wanted: &str| {
            let of = |range: &str| {
                let mut parts = range.split(';').map(str::trim);
                let is_it = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(wanted));
                let q = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
                is_it.then(|| q.unwrap_or(1.0))
            };
            accept.split(',').filter_map(of).fold(0.0, f32::max)
        };
        let open = quality("application/openmetrics-text");
        if open > 0.0 && open >= quality("text/plain") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The media type of the text.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A value of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A count.
    Whole(u64),
    /// A measure.
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Whole(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(u64::from(value))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

/// A text under way. Families come one after the other, each with all of its samples.
#[derive(Debug)]
pub struct Exposition {
    out: String,
    format: Format,
}

impl Exposition {
    /// An empty one.
    pub fn new(format: Format) -> Self {
        Self { out: String::new(), format }
    }

    /// Begins a family; its samples follow.
    pub fn family(&mut self, family: &'static Family) -> Samples<'_> {
        let name = match self.format {
            Format::OpenMetrics if family.kind == Kind::Counter => {
                family.name.strip_suffix("_total").unwrap_or(family.name)
            }
            _ => family.name,
        };
        let (help, kind) = (family.help, family.kind.name());
        // OpenMetrics escapes quotes here too, the older format must not: families have none.
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Samples { out: &mut self.out, family }
    }

    /// The text.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

/// Samples of one family. Values of labels are given in the family's order; any text will do.
#[derive(Debug)]
pub struct Samples<'a> {
    out: &'a mut String,
    family: &'static Family,
}

impl Samples<'_> {
    /// Adds one.
    pub fn add(&mut self, labels: &[&str], value: impl Into<Value>) -> &mut Self {
        self.line("", labels, None, value.into());
        self
    }

    /// Adds one where there is a value.
    pub fn maybe(&mut self, labels: &[&str], value: Option<impl Into<Value>>) -> &mut Self {
        if let Some(value) = value {
            self.add(labels, value);
        }
        self
    }

    /// Adds all lines of a histogram.
    pub fn histogram(&mut self, labels: &[&str], histogram: &Histogram) -> &mut Self {
        let mut count = 0;
        for (bound, up_to) in histogram.cumulated() {
            self.line("_bucket", labels, Some(bound), Value::Whole(up_to));
            count = up_to;
        }
        self.line("_sum", labels, None, Value::Real(histogram.sum_s()));
        self.line("_count", labels, None, Value::Whole(count));
        self
    }

    fn line(&mut self, suffix: &str, labels: &[&str], bound: Option<Option<f64>>, value: Value) {
        debug_assert_eq!(labels.len(), self.family.labels.len(), "{}", self.family.name);
        let out = &mut *self.out;
        out.push_str(self.family.name);
        out.push_str(suffix);
        let mut open = '{';
        for (name, value) in self.family.labels.iter().zip(labels) {
            out.push(open);
            out.push_str(name);
            out.push_str("=\"");
            escape(out, value);
            out.push('"');
            open = ',';
        }
        if let Some(bound) = bound {
            // With a decimal point even where it is whole, as OpenMetrics has it.
            let _ = match bound {
                Some(bound) => write!(out, "{open}le=\"{bound:?}\""),
                None => write!(out, "{open}le=\"+Inf\""),
            };
            open = ',';
        }
        if open == ',' {
            out.push('}');
        }
        // A text takes whatever is written.
        let _ = match value {
            Value::Whole(value) => writeln!(out, " {value}"),
            Value::Real(value) if value.is_infinite() => {
                writeln!(out, " {}Inf", if value > 0.0 { '+' } else { '-' })
            }
            Value::Real(value) => writeln!(out, " {value}"),
        };
    }
}

/// A label's value: what would end it, or its line, is escaped.
fn escape(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    static CALLS: Family = Family::counter("outrigger_calls_total", &["chain", "backend"], "Calls.");
    static LOAD: Family = Family::gauge("outrigger_load_ratio", &[], "Load.");
    static TOOK: Family = Family::histogram("outrigger_took_seconds", &["chain"], "Time.");

    fn text(format: Format) -> String {
        let mut exposition = Exposition::new(format);
        exposition.family(&CALLS).add(&["main", "a\"b\\c\nd"], 3_u64).add(&["main", "é"], 0_u64);
        exposition.family(&LOAD).add(&[], 0.25).add(&[], f64::INFINITY).maybe(&[], None::<f64>);
        let took = Histogram::default();
        took.observe(Duration::from_millis(500));
        exposition.family(&TOOK).histogram(&["main"], &took);
        exposition.finish()
    }

    #[test]
    fn what_would_end_a_label_is_escaped() {
        let text = text(Format::Prometheus);
        assert!(
            text.contains("outrigger_calls_total{chain=\"main\",backend=\"a\\\"b\\\\c\\nd\"} 3\n"),
            "{text}"
        );
        assert!(text.contains("backend=\"é\"} 0\n"), "{text}");
        assert!(text.contains("outrigger_load_ratio 0.25\noutrigger_load_ratio +Inf\n"), "{text}");
    }

    #[test]
    fn both_formats_have_the_same_samples() {
        let samples = |format| {
            let text = text(format);
            let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned);
            lines.collect::<Vec<_>>()
        };
        assert_eq!(samples(Format::Prometheus), samples(Format::OpenMetrics));
        assert!(text(Format::Prometheus).contains("# TYPE outrigger_calls_total counter\n"));
        let open = text(Format::OpenMetrics);
        assert!(open.contains("# TYPE outrigger_calls counter\n") && open.ends_with("\n# EOF\n"), "{open}");
    }

    #[test]
    fn a_histogram_has_its_buckets_a_sum_and_a_count() {
        let text = text(Format::Prometheus);
        assert!(text.contains("outrigger_took_seconds_bucket{chain=\"main\",le=\"0.25\"} 0\n"), "{text}");
        assert!(text.contains("outrigger_took_seconds_bucket{chain=\"main\",le=\"1.0\"} 1\n"), "{text}");
        assert!(text.contains("outrigger_took_seconds_bucket{chain=\"main\",le=\"+Inf\"} 1\n"), "{text}");
        assert!(text.contains("outrigger_took_seconds_sum{chain=\"main\"} 0.5\n"), "{text}");
        assert!(text.contains("outrigger_took_seconds_count{chain=\"main\"} 1\n"), "{text}");
    }

    #[test]
    fn open_metrics_is_for_whoever_prefers_it() {
        for (accept, format) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/plain", Format::Prometheus),
            ("application/openmetrics-text", Format::OpenMetrics),
            // What Prometheus sends.
            (
                "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            ("application/openmetrics-text; q=0.2, text/plain; q=0.9", Format::Prometheus),
            ("application/openmetrics-text;q=0", Format::Prometheus),
        ] {
            assert_eq!(Format::of_accept(accept), format, "{accept}");
        }
    }
}
