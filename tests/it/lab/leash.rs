//! A child process that cannot outlive the test.
//!
//! `Drop` does not run when a test binary is killed, and the kernel's own remedy (`PR_SET_PDEATHSIG`) needs
//! unsafe code and fires when the *thread* that forked ends. So the child runs under a few lines of shell
//! that wait for the end of their standard input: it is a pipe whose only writer is this process, and the
//! kernel closes it however this process ends. Then the child is killed.
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Starts "$@", which tells its pid before it becomes the program, kills it at the end of input, and passes its
/// status on.
const LEASH: &str = r#"exec 3<&0
sh -c 'echo $$; exec "$0" "$@"' "$@" </dev/null 3<&- &
child=$!
( read -r _ <&3; kill -9 "$child" ) >/dev/null 2>&1 &
guard=$!
exec >/dev/null 2>&1 3<&-
wait "$child"
status=$?
kill "$guard"
exit "$status""#;

/// Lines kept of what a child says; older ones are forgotten, so that a chatty child fills no memory.
const LINES_MAX: usize = 20_000;

/// A running child; dropping it kills the child and waits until it is gone.
pub struct Leash {
    shell: Child,
    hold: Option<ChildStdin>,
    pid: u32,
    said: Said,
    /// Read what it says, to the end.
    readers: [JoinHandle<()>; 2],
}

/// What a child wrote so far, standard output and standard error together, line by line.
#[derive(Clone, Default)]
pub struct Said(Arc<(Mutex<Vec<String>>, Condvar)>);

// === impl Leash ===

impl Leash {
    /// Starts `program` with `args`; `vars` are added to the environment.
    pub fn start(program: &Path, args: &[String], vars: &[(String, String)]) -> std::io::Result<Leash> {
        let mut shell = Command::new("sh")
            .arg("-c")
            .arg(LEASH)
            .arg("leash")
            .arg(program)
            .args(args)
            .envs(vars.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let hold = shell.stdin.take();
        let mut out = BufReader::new(shell.stdout.take().expect("stdout is piped"));
        let err = BufReader::new(shell.stderr.take().expect("stderr is piped"));
        let mut first = String::new();
        out.read_line(&mut first)?;
        let pid = first.trim().parse().map_err(|_| std::io::Error::other("the leash told no process id"))?;
        let said = Said::default();
        let readers = [said.listen(out), said.listen(err)];
        Ok(Leash { shell, hold, pid, said, readers })
    }

    /// The child's own process id, not the shell's.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What the child wrote so far.
    pub fn said(&self) -> &Said {
        &self.said
    }

    /// The child's status if it has ended; a signal counts as 128 + its number, as in a shell.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.shell.try_wait().ok().flatten()
    }

    /// Sends a signal by name, such as `TERM`, `STOP` or `HUP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg("-s").arg(name).arg(self.pid.to_string()).status();
        assert!(sent.is_ok_and(|s| s.success()), "could not send {name} to process {}", self.pid);
    }

    /// Kills the child at once and waits until it is gone.
    pub fn kill(&mut self) {
        drop(self.hold.take());
        let _ = self.shell.wait();
    }

    /// Waits until the child ends by itself and its last words are read; `None` when it does not within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            // the pipes may still hold what it said last
            let is_read = self.readers.iter().all(JoinHandle::is_finished);
            if let Some(status) = self.ended().filter(|_| is_read) {
                return Some(status);
            }
            if Instant::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.kill();
    }
}

// === impl Said ===

impl Said {
    fn listen(&self, from: impl BufRead + Send + 'static) -> JoinHandle<()> {
        let said = self.clone();
        std::thread::spawn(move || {
            for line in from.split(b'\n').map_while(Result::ok) {
                let mut lines = said.0.0.lock().expect("no reader panics");
                if lines.len() == LINES_MAX {
                    lines.remove(0);
                }
                lines.push(String::from_utf8_lossy(&line).into_owned());
                said.0.1.notify_all();
            }
        })
    }

    /// Everything said so far.
    pub fn text(&self) -> String {
        self.0.0.lock().expect("no reader panics").join("\n")
    }

    /// Waits for a line of which `pick` makes something.
    pub fn find<T>(&self, limit: Duration, pick: impl Fn(&str) -> Option<T>) -> Option<T> {
        let end = Instant::now() + limit;
        let mut lines = self.0.0.lock().expect("no reader panics");
        loop {
            if let Some(found) = lines.iter().find_map(|line| pick(line)) {
                return Some(found);
            }
            let left = end.checked_duration_since(Instant::now())?;
            lines = self.0.1.wait_timeout(lines, left).expect("no reader panics").0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Leash {
        let args = ["-c".to_owned(), script.to_owned()];
        Leash::start(Path::new("sh"), &args, &[]).expect("sh exists")
    }

    fn is_alive(pid: u32) -> bool {
        Command::new("kill").args(["-0", &pid.to_string()]).stderr(Stdio::null()).status().unwrap().success()
    }

    #[test]
    fn a_program_that_does_not_exist_ends_with_127() {
        let mut child = Leash::start(Path::new("/nowhere/at/all"), &[], &[]).expect("the shell exists");
        assert_eq!(child.wait(Duration::from_secs(5)).and_then(|s| s.code()), Some(127));
        assert!(child.said().text().contains("/nowhere/at/all"));
    }

    #[test]
    fn a_dropped_leash_leaves_no_process_behind() {
        let child = sh("sleep 1000");
        let pid = child.pid();
        assert!(is_alive(pid));
        drop(child);
        assert!(!is_alive(pid));
    }

    #[test]
    fn a_test_that_panics_leaves_no_process_behind() {
        let child = sh("sleep 1000");
        let pid = child.pid();
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _child = child;
            std::panic::resume_unwind(Box::new("as a failing test would"));
        }));
        assert!(!is_alive(pid));
    }

    #[test]
    fn the_childs_words_and_its_status_come_through() {
        let mut child = sh("echo one; echo two >&2; exit 7");
        let seconds = Duration::from_secs(5);
        assert!(child.said().find(seconds, |line| (line == "two").then_some(())).is_some());
        assert_eq!(child.wait(seconds).and_then(|s| s.code()), Some(7));
    }

    #[test]
    fn a_signal_reaches_the_child_and_not_the_shell_around_it() {
        let mut child = sh("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done");
        let seconds = Duration::from_secs(5);
        child.said().find(seconds, |line| (line == "up").then_some(())).expect("it starts");
        child.signal("TERM");
        assert_eq!(child.wait(seconds).and_then(|s| s.code()), Some(3));
    }
}
