//! What the process takes of its machine, by the names that every Prometheus client uses. Linux tells it; elsewhere
//! the families have no samples.

use super::exposition::Exposition;
use super::family::Family;

/// Everything that is told of the process.
pub(crate) static FAMILIES: [Family; 6] = [
    Family::counter(
        "process_cpu_seconds_total",
        &[],
        "Processor time of the process, user and system together.",
    ),
    Family::gauge("process_open_fds", &[], "Open file descriptors, sockets among them."),
    Family::gauge("process_max_fds", &[], "How many file descriptors may be open."),
    Family::gauge("process_resident_memory_bytes", &[], "Memory of the process that is in RAM."),
    Family::gauge("process_virtual_memory_bytes", &[], "Memory that the process has reserved."),
    Family::gauge("process_start_time_seconds", &[], "When the process began, in seconds since 1970."),
];

/// Ticks a second in which Linux counts for programs (`USER_HZ`), on every architecture it runs on.
const TICKS_PER_S: f64 = 100.0;

/// Adds what the process takes.
pub(crate) fn write(exposition: &mut Exposition) {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let stat = Stat::read(&read("/proc/self/stat"));
    let status = read("/proc/self/status");
    let bytes = |name: &str| number_after(&status, name).map(|kib| kib * 1024);
    let began = number_after(&read("/proc/stat"), "btime")
        .zip(stat)
        .map(|(booted_s, stat)| booted_s as f64 + stat.began_ticks as f64 / TICKS_PER_S);
    let values = [
        stat.map(|stat| stat.cpu_ticks as f64 / TICKS_PER_S),
        std::fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count().saturating_sub(1) as f64),
        number_after(&read("/proc/self/limits"), "Max open files").map(|max| max as f64),
        bytes("VmRSS:").map(|bytes| bytes as f64),
        bytes("VmSize:").map(|bytes| bytes as f64),
        began,
    ];
    for (family, value) in FAMILIES.iter().zip(values) {
        exposition.family(family).maybe(&[], value);
    }
}

/// Of `/proc/self/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    /// After the machine had begun.
    began_ticks: u64,
}

impl Stat {
    /// Members 14, 15 and 22. The second is the program's name, which may hold anything but ends at the last parenthesis.
    fn read(stat: &str) -> Option<Self> {
        let after = stat.rsplit_once(')')?.1;
        let mut members = after.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
        let (user, system) = (members.next()?.ok()?, members.next()?.ok()?);
        // Priorities between them may be negative: they are skipped unread.
        let began_ticks = members.nth(6)?.ok()?;
        Some(Self { cpu_ticks: user.checked_add(system)?, began_ticks })
    }
}

/// The first number of the line that begins so.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Format;

    #[test]
    fn members_are_read_past_any_name() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 -5 9 0 777 1 1";
        assert_eq!(Stat::read(stat), Some(Stat { cpu_ticks: 300, began_ticks: 777 }));
        assert_eq!(Stat::read("42 (a) S 1"), None);
        let limits =
            "Limit  Soft\nMax open files            1024                 4096                 files\n";
        assert_eq!(number_after(limits, "Max open files"), Some(1024));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_told_of() {
        let mut exposition = Exposition::new(Format::Prometheus);
        write(&mut exposition);
        let text = exposition.finish();
        for family in &FAMILIES {
            let sample = text.lines().find(|line| line.starts_with(&format!("{} ", family.name)));
            let value = sample.and_then(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
            assert!(value.is_some_and(|value| value >= 0.0), "{}: {text}", family.name);
        }
    }
}
