//! What the load costs its own process: a generator that is out of breath measures itself.

use std::time::Duration;

/// Ticks a second in which Linux counts processor time for programs (`USER_HZ`), on every architecture it runs on.
#[cfg(target_os = "linux")]
const TICKS_PER_S: u64 = 100;

/// Processor time of this process so far, user and system together; `None` where the system does not tell.
#[cfg(target_os = "linux")]
pub(super) fn cpu() -> Option<Duration> {
    ticks(&std::fs::read_to_string("/proc/self/stat").ok()?)
        .map(|ticks| Duration::from_millis(ticks * 1000 / TICKS_PER_S))
}

/// The same elsewhere.
#[cfg(not(target_os = "linux"))]
pub(super) fn cpu() -> Option<Duration> {
    None
}

/// Members 14 and 15 of `/proc/self/stat`. The second is the program's name, which may hold anything but ends at the
/// last parenthesis.
#[cfg(target_os = "linux")]
fn ticks(stat: &str) -> Option<u64> {
    let after = stat.rsplit_once(')')?.1;
    let mut members = after.split_ascii_whitespace().skip(11);
    let user: u64 = members.next()?.parse().ok()?;
    let system: u64 = members.next()?.parse().ok()?;
    user.checked_add(system)
}

/// Cores that this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_any_name() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 1 1 1";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("42 (a) S 1"), None);
        assert!(cpu().is_some());
    }
}
