//! What an HTTP status says when no JSON-RPC error stands in the body.

use super::defaults::Twist;
use super::method::Scopes;
use super::text::{Text, clip};
use super::wording;
use crate::policy::Class::{self, *};

/// Of a page, this much is read; block pages of CDNs say what they mean in the first two kilobytes.
const PAGE_MAX: usize = 4096;

/// Status, class, departure. 52x and 530 are Cloudflare's, 499 nginx's.
#[rustfmt::skip]
const STATUSES: &[(u16, Class, Twist)] = &[
    (401, Unauthorized, Twist::None),
    (402, QuotaExhausted, Twist::None),
    (403, Unauthorized, Twist::None),
    (405, InvalidRequest, Twist::Ill),      // our POST is refused: the address is no RPC endpoint
    (406, InvalidRequest, Twist::Ill),
    (407, Unauthorized, Twist::None),
    (408, TimeoutUpstream, Twist::None),
    (410, Unauthorized, Twist::None),       // gone: the endpoint or its key was retired
    (413, RequestTooLarge, Twist::None),
    (414, RequestTooLarge, Twist::None),
    (415, InvalidRequest, Twist::Ill),
    (431, RequestTooLarge, Twist::None),
    (425, Overloaded, Twist::None),
    (429, RateLimited, Twist::None),
    (451, GeoBlocked, Twist::None),
    (499, TimeoutUpstream, Twist::None),
    (500, InternalError, Twist::None),
    (502, Overloaded, Twist::None),
    (503, Overloaded, Twist::None),
    (504, TimeoutUpstream, Twist::None),
    (507, Overloaded, Twist::None),
    (509, Overloaded, Twist::None),
    (520, InternalError, Twist::None),
    (521, Overloaded, Twist::None),
    (522, TimeoutUpstream, Twist::None),
    (523, ConnectionError, Twist::None),
    (524, TimeoutUpstream, Twist::None),
    (525, ConnectionError, Twist::None),
    (526, ConnectionError, Twist::None),
    (527, Overloaded, Twist::None),
    (529, Overloaded, Twist::None),
    (530, ConnectionError, Twist::None),
    (598, TimeoutUpstream, Twist::None),
    (599, TimeoutUpstream, Twist::None),
];

/// Vendors that document a status otherwise.
#[rustfmt::skip]
const VENDORS: &[(&str, u16, Class)] = &[
    ("infura", 502, InternalError),         // its load balancer's word for a failed node, gone at once
    ("quicknode", 404, InvalidRequest),     // wrong URL or method
];

/// The class of a status alone; none for success, redirects and what has no fixed meaning.
pub(super) fn class(status: u16, vendor: Option<&str>) -> Option<(Class, Twist)> {
    let vendors = vendor.and_then(|vendor| {
        VENDORS.iter().find(|(name, number, _)| *number == status && vendor.starts_with(name))
    });
    if let Some((_, _, class)) = vendors {
        let twist = if *class == InvalidRequest { Twist::Ill } else { Twist::None };
        return Some((*class, twist));
    }
    if let Some((_, class, twist)) = STATUSES.iter().find(|(number, ..)| *number == status) {
        return Some((*class, *twist));
    }
    (500..600).contains(&status).then_some((InternalError, Twist::None))
}

/// Statuses that leave nothing for the text to decide.
pub(super) fn is_final_word(status: u16) -> bool {
    matches!(status, 402 | 451)
}

/// Statuses that many meanings share, so that the text is asked first.
fn is_vague(status: u16) -> bool {
    matches!(status, 200..=299 | 400 | 403 | 404 | 410 | 429 | 500..=599)
}

/// The class of a page or a sentence sent instead of JSON.
pub(super) fn page(scopes: Scopes, status: u16, vendor: Option<&str>, body: &[u8]) -> (Class, Twist) {
    let fallback = class(status, vendor);
    if is_vague(status) {
        let lossy = String::from_utf8_lossy(&body[..body.len().min(PAGE_MAX)]);
        let found = heard(scopes, status, &lossy);
        if let Some(found) = found {
            return found;
        }
    }
    fallback.unwrap_or((NotJson, Twist::None))
}

/// What the words say, as far as they are allowed to speak beside this status.
pub(super) fn heard(scopes: Scopes, status: u16, page: &str) -> Option<(Class, Twist)> {
    let is_html = page.trim_start().starts_with('<');
    let spoken = if is_html { without_tags(page) } else { page.to_owned() };
    let rule = wording::find_in_page(scopes, &Text::new(clip(&spoken, PAGE_MAX)))?;
    let allowed = match status {
        // A page of a site that happens to say "log in" is no verdict on a key; a sentence is.
        200..=299 => {
            !is_html && matches!(rule.class, RateLimited | QuotaExhausted | Unauthorized | GeoBlocked)
        }
        400 | 404 | 410 => !is_html && !matches!(rule.class, ConnectionError) || rule.class == GeoBlocked,
        403 => matches!(rule.class, RateLimited | QuotaExhausted | GeoBlocked | MethodUnsupported),
        429 => matches!(rule.class, QuotaExhausted),
        503 => matches!(rule.class, RateLimited | QuotaExhausted),
        _ => matches!(rule.class, RateLimited | QuotaExhausted | ConnectionError),
    };
    let is_own_failure = rule.class == ConnectionError && !is_html && matches!(status, 404 | 500 | 502);
    (allowed || is_own_failure).then_some((rule.class, rule.twist))
}

fn without_tags(page: &str) -> String {
    let mut spoken = String::with_capacity(page.len());
    let mut in_tag = false;
    for c in page.chars() {
        match c {
            '<' => {
                in_tag = true;
                spoken.push(' ');
            }
            '>' => in_tag = false,
            _ if in_tag => {}
            _ => spoken.push(c),
        }
    }
    spoken
}
