//! By what CDNs and load balancers name themselves in the headers of answers.
//!
//! Looked at on the first answer of each connection only. What a backend sends there is its own word: nothing of it
//! is kept but which of the rows below it fits, so that it cannot invent domains.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use crate::policy::DomainKind;

/// A mark that is no longer seen is believed for this long: three lives of a connection. Answers that an edge
/// gives itself, or that go around it, carry other headers than most.
const BELIEVED_FOR: Duration = Duration::from_secs(15 * 60);
/// Bytes of a header's value that are looked at.
const VALUE_MAX: usize = 512;

/// What a header's value must be.
enum Value {
    Any,
    Begins(&'static str),
    Contains(&'static str),
    /// One of the words between blanks and commas.
    Word(&'static str),
}

/// A header that gives away who is in front.
struct Mark {
    header: &'static str,
    value: Value,
    says: (DomainKind, &'static str),
}

const fn mark(header: &'static str, value: Value, kind: DomainKind, name: &'static str) -> Mark {
    Mark { header, value, says: (kind, name) }
}

/// From the documentation of each of them. Tracing ids that a client may set and a backend repeat
/// (`x-amzn-trace-id`, `x-cloud-trace-context`) prove nothing and are left out.
#[rustfmt::skip]
static MARKS: [Mark; 29] = [
    mark("cf-ray", Value::Any, DomainKind::Edge, "cloudflare"),
    mark("server", Value::Begins("cloudflare"), DomainKind::Edge, "cloudflare"),
    mark("x-amz-cf-id", Value::Any, DomainKind::Edge, "cloudfront"),
    mark("x-amz-cf-pop", Value::Any, DomainKind::Edge, "cloudfront"),
    mark("via", Value::Contains("(cloudfront)"), DomainKind::Edge, "cloudfront"),
    mark("server", Value::Begins("cloudfront"), DomainKind::Edge, "cloudfront"),
    mark("x-amz-apigw-id", Value::Any, DomainKind::Cloud, "aws"),
    mark("apigw-requestid", Value::Any, DomainKind::Cloud, "aws"),
    mark("x-amzn-requestid", Value::Any, DomainKind::Cloud, "aws"),
    mark("x-amz-request-id", Value::Any, DomainKind::Cloud, "aws"),
    mark("server", Value::Begins("awselb/"), DomainKind::Cloud, "aws"),
    mark("via", Value::Word("google"), DomainKind::Cloud, "gcp"),
    mark("via", Value::Word("google"), DomainKind::Edge, "google"),
    mark("server", Value::Begins("google frontend"), DomainKind::Cloud, "gcp"),
    mark("server", Value::Begins("google frontend"), DomainKind::Edge, "google"),
    mark("x-azure-ref", Value::Any, DomainKind::Edge, "azure-front-door"),
    mark("server", Value::Begins("microsoft-azure-application-gateway"), DomainKind::Cloud, "azure"),
    mark("x-served-by", Value::Begins("cache-"), DomainKind::Edge, "fastly"),
    mark("x-fastly-request-id", Value::Any, DomainKind::Edge, "fastly"),
    mark("server", Value::Begins("akamai"), DomainKind::Edge, "akamai"),
    mark("x-akamai-transformed", Value::Any, DomainKind::Edge, "akamai"),
    mark("x-akamai-request-id", Value::Any, DomainKind::Edge, "akamai"),
    mark("x-vercel-id", Value::Any, DomainKind::Edge, "vercel"),
    mark("x-nf-request-id", Value::Any, DomainKind::Edge, "netlify"),
    mark("x-sucuri-id", Value::Any, DomainKind::Edge, "sucuri"),
    mark("x-iinfo", Value::Any, DomainKind::Edge, "imperva"),
    mark("server", Value::Begins("ddos-guard"), DomainKind::Edge, "ddos-guard"),
    mark("server", Value::Begins("bunnycdn"), DomainKind::Edge, "bunny"),
    mark("fly-request-id", Value::Any, DomainKind::Cloud, "fly.io"),
];

/// The rows that fit one backend's answers, and when each last did.
#[derive(Debug, Default)]
pub(super) struct Marks {
    seen_at: [Option<Instant>; MARKS.len()],
}

impl Marks {
    /// Looks at an answer; whether that changes what is believed.
    pub(super) fn look(&mut self, now: Instant, headers: &HeaderMap) -> bool {
        let mut changed = false;
        for (mark, seen_at) in MARKS.iter().zip(&mut self.seen_at) {
            let was_seen = seen_at.is_some();
            match mark.fits(headers) {
                true => *seen_at = Some(now),
                false => *seen_at = seen_at.filter(|at| now.duration_since(*at) < BELIEVED_FOR),
            }
            changed |= was_seen != seen_at.is_some();
        }
        changed
    }

    /// Who is in front, each once.
    pub(super) fn say(&self) -> Vec<(DomainKind, &'static str)> {
        let mut said: Vec<(DomainKind, &'static str)> = Vec::new();
        for (mark, _) in MARKS.iter().zip(&self.seen_at).filter(|(_, seen_at)| seen_at.is_some()) {
            if !said.contains(&mark.says) {
                said.push(mark.says.clone());
            }
        }
        said
    }
}

impl Mark {
    fn fits(&self, headers: &HeaderMap) -> bool {
        headers.get_all(self.header).iter().any(|value| {
            let value = value.as_bytes();
            self.value.fits(value.get(..VALUE_MAX).unwrap_or(value).trim_ascii())
        })
    }
}

impl Value {
    fn fits(&self, value: &[u8]) -> bool {
        let same = |part: &[u8], wanted: &str| part.eq_ignore_ascii_case(wanted.as_bytes());
        match self {
            Self::Any => !value.is_empty(),
            Self::Begins(wanted) => value.get(..wanted.len()).is_some_and(|part| same(part, wanted)),
            Self::Contains(wanted) => value.windows(wanted.len()).any(|part| same(part, wanted)),
            Self::Word(wanted) => value.split(|b| b" \t,".contains(b)).any(|part| same(part, wanted)),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(all: &[(&'static str, &[u8])]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &[u8])| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value).expect("a value"))
        };
        let mut map = HeaderMap::new();
        all.iter().map(pair).for_each(|(name, value)| {
            map.append(name, value);
        });
        map
    }

    fn said(all: &[(&'static str, &[u8])]) -> Vec<String> {
        let mut marks = Marks::default();
        marks.look(Instant::now(), &headers(all));
        marks.say().into_iter().map(|(kind, name)| format!("{}:{name}", kind.name())).collect()
    }

    #[test]
    fn h2_whoever_is_in_front_gives_itself_away() {
        type Headers<'h> = &'h [(&'static str, &'h [u8])];
        let table: &[(Headers<'_>, &[&str])] = &[
            (&[("cf-ray", b"8f1e3d0c9a1b2c3d-NRT"), ("server", b"cloudflare")], &["edge:cloudflare"]),
            (
                &[("x-amz-cf-pop", b"NRT57-P2"), ("via", b"1.1 f0e.cloudfront.net (CloudFront)")],
                &["edge:cloudfront"],
            ),
            (&[("x-amzn-requestid", b"6f1c"), ("x-amz-apigw-id", b"Abc=")], &["cloud:aws"]),
            (&[("server", b"awselb/2.0")], &["cloud:aws"]),
            (&[("via", b"1.1 google")], &["cloud:gcp", "edge:google"]),
            (&[("x-azure-ref", b"20261124T160000Z-r1")], &["edge:azure-front-door"]),
            (&[("x-served-by", b"cache-fra-etou8220096-FRA"), ("via", b"1.1 varnish")], &["edge:fastly"]),
            (&[("x-vercel-id", b"fra1::iad1::abc")], &["edge:vercel"]),
            // One behind the other, in one header line or several.
            (&[("via", b"1.1 google, 1.1 x (CloudFront)")], &["edge:cloudfront", "cloud:gcp", "edge:google"]),
            (
                &[("via", b"1.1 google"), ("via", b"1.1 varnish"), ("cf-ray", b"1")],
                &["edge:cloudflare", "cloud:gcp", "edge:google"],
            ),
            // Nobody known, and what only looks like somebody.
            (&[("server", b"nginx"), ("via", b"1.1 vegur"), ("x-served-by", b"node-7")], &[]),
            (&[("via", b"1.1 not-google"), ("server", b"my cloudflare"), ("cf-ray", b"")], &[]),
            (&[("server", b"\xff\xfe"), ("x-amzn-trace-id", b"Root=1")], &[]),
        ];
        for (headers, expected) in table {
            assert_eq!(said(headers), *expected, "{headers:?}");
        }
    }

    #[test]
    fn o5_no_value_of_a_header_becomes_a_label_or_costs_more_than_a_bounded_look() {
        let long = vec![b'a'; 64 << 10];
        assert_eq!(said(&[("server", &long), ("via", &long), ("x-served-by", &long)]), [""; 0]);
        let table: Vec<_> = MARKS.iter().map(|mark| &mark.says).collect();
        assert!(table.iter().all(|(kind, _)| matches!(kind, DomainKind::Edge | DomainKind::Cloud)));
    }

    #[test]
    fn a_mark_outlives_answers_without_it_and_not_for_ever() {
        let (start, mut marks) = (Instant::now(), Marks::default());
        let (with, without) = (headers(&[("cf-ray", b"1")]), headers(&[("server", b"nginx")]));
        assert!(marks.look(start, &with));
        assert!(!marks.look(start, &with), "nothing new");
        assert!(!marks.look(start + BELIEVED_FOR - Duration::from_secs(1), &without));
        assert_eq!(marks.say().len(), 1);
        assert!(marks.look(start + BELIEVED_FOR, &without));
        assert_eq!(marks.say().len(), 0);
    }
}
