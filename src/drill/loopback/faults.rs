//! Which faults there are, and what masking each of them may cost.

use std::time::Duration;

use crate::simulation::Fault;

/// A fault with a name, and what is expected of whoever meets it. No request may fail and no answer may be wrong,
/// whatever the fault.
#[derive(Clone, Copy, Debug)]
pub struct LoopbackFault {
    /// What it is called on the command line.
    pub name: &'static str,
    /// One line for people.
    pub title: &'static str,
    /// What is done to the cloud.
    pub fault: Fault,
    /// p99 over the calm's, while the outage is new; see [`NEW_FOR`].
    pub added_at_first: Duration,
    /// The same once it is known.
    pub added_later: Duration,
    /// The cloud's share of first and further attempts stays below half of the calm's after this. `None` where
    /// it need not lose anything.
    pub halved_within: Option<Duration>,
}

/// An outage is new for so long.
pub const NEW_FOR: Duration = Duration::from_secs(5);
/// A cloud that is well again takes part in full after this: 10 s of steps (BEHAVIOURS H9) ...
pub const STEPS_TAKE: Duration = Duration::from_secs(10);
/// ... and until the first of them at most as long as it was away: looked at ever more rarely, but not more
/// rarely than that. Of a short outage at least this.
pub const UNSEEN_FOR: Duration = Duration::from_secs(5);

/// What is told at once costs another round trip; what is silent has to be doubted first.
const fn told(name: &'static str, title: &'static str, fault: Fault) -> LoopbackFault {
    LoopbackFault {
        name,
        title,
        fault,
        added_at_first: Duration::from_millis(50),
        added_later: Duration::from_millis(50),
        halved_within: Some(Duration::from_millis(1_500)),
    }
}

const fn silent(name: &'static str, title: &'static str, fault: Fault) -> LoopbackFault {
    LoopbackFault {
        added_at_first: Duration::from_millis(300),
        added_later: Duration::from_millis(30),
        halved_within: Some(Duration::from_secs(1)),
        ..told(name, title, fault)
    }
}

/// All of them.
pub const FAULTS: &[LoopbackFault] = &[
    told("refuse", "nobody listens, and what was open is reset: no power", Fault::Refuse),
    told("reset", "each request is read, then its connection is reset", Fault::Reset),
    told("503", "each request comes to HTTP 503", Fault::Status(503)),
    told("html", "each request comes to HTTP 200 with a web page", Fault::Html),
    told("garbage", "each request comes to HTTP 200 with bytes that are no JSON", Fault::Garbage),
    told("truncated", "each answer ends half way", Fault::Truncated),
    told("foreign-id", "each answer carries another request's id", Fault::ForeignId),
    told("tls-expired", "it restarts with a certificate that ended years ago", Fault::ExpiredCertificate),
    told("dns-elsewhere", "it moves, and its name leads to where nobody is", Fault::NameElsewhere),
    LoopbackFault {
        halved_within: None,
        ..told("dns-gone", "its name is not found any more, and what was open closes", Fault::NameGone)
    },
    silent("hang", "each request is read and never answered", Fault::Hang),
    silent("black-hole", "connections are accepted, and nothing is read or written", Fault::BlackHole),
    silent("unanswered", "not even a connection's first packet is answered", Fault::Unanswered),
    silent("trickle", "answers come at ten bytes a second", Fault::Trickle(10)),
    LoopbackFault {
        halved_within: Some(Duration::from_secs(5)),
        ..told("errors-30", "30 of 100 requests come to HTTP 500, 502 or 503", Fault::Flaky(30))
    },
];

/// The fault of this name.
pub fn find(name: &str) -> Option<&'static LoopbackFault> {
    FAULTS.iter().find(|fault| fault.name.eq_ignore_ascii_case(name))
}

/// The name that was probably meant.
pub fn nearest(name: &str) -> Option<&'static str> {
    let far = |known: &str| strsim::damerau_levenshtein(&name.to_lowercase(), known);
    let nearest = FAULTS.iter().map(|fault| fault.name).min_by_key(|known| far(known))?;
    (far(nearest) <= 3).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_once_and_found_in_any_case() {
        for fault in FAULTS {
            assert_eq!(FAULTS.iter().filter(|other| other.name == fault.name).count(), 1, "{}", fault.name);
            assert_eq!(find(&fault.name.to_uppercase()).map(|found| found.name), Some(fault.name));
        }
        assert_eq!((nearest("refused"), nearest("blackhole")), (Some("refuse"), Some("black-hole")));
        assert!(find("power").is_none());
        assert_eq!(nearest("nothing of the kind"), None);
        assert_eq!(find("hang").map(|hang| hang.added_at_first), Some(Duration::from_millis(300)));
    }
}
