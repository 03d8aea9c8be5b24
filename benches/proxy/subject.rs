//! Who is measured: the backend itself, Outrigger, the reverse proxies that are installed, and whatever is named.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::time::sleep;

use crate::case::{CASES, CHAIN_ID};
use crate::leash::Leash;
use crate::load::answers;
use crate::ports;

/// Nobody takes longer to start.
pub const START_LIMIT: Duration = Duration::from_secs(20);
/// Time to leave in good order: nginx's workers end when its master does.
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// Event loops of each proxy, where it does not choose their number itself.
const THREADS: usize = 2;

/// Something that answers JSON-RPC at an address.
pub struct Subject {
    pub name: String,
    pub address: String,
    pub path: String,
    /// Memory before any load; NaN where its processes are not known.
    pub rss_idle_mib: f64,
    process: Option<Leash>,
    /// A process that somebody else started.
    foreign_pid: Option<u32>,
    _folder: Option<TempDir>,
}

/// How a proxy is started: its configuration, its arguments, what is added to its environment.
struct Start {
    config: String,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
}

/// Makes a [`Start`] out of the backend's address, the port to listen on and a folder; the configuration is
/// written to [`config_path`].
type Recipe = fn(&str, u16, &Path) -> Start;

impl Subject {
    /// Everybody, the direct call first. Who is not installed or does not start is left out, and that is said.
    /// `only` names those that are wanted, if not all.
    pub async fn all(backend: &str, urls: &[String], only: &[String]) -> Result<Vec<Self>, String> {
        let mut subjects = vec![Self::at("direct", backend, "/")];
        let outrigger = || {
            let built = PathBuf::from(env!("CARGO_BIN_EXE_outrigger"));
            Some(std::env::var_os("OUTRIGGER_BIN").map_or(built, PathBuf::from))
        };
        let proxies: [(&str, Option<PathBuf>, Recipe); 4] = [
            ("outrigger", outrigger(), as_shipped),
            ("outrigger-1t", outrigger(), one_thread),
            ("nginx", installed("nginx"), nginx),
            ("haproxy", installed("haproxy"), haproxy),
        ];
        let wanted = |name: &str| only.is_empty() || only.iter().any(|only| only == name);
        for (name, program, recipe) in proxies.into_iter().filter(|(name, ..)| wanted(name)) {
            match program {
                Some(program) => subjects.push(Self::start(name, &program, backend, recipe)?),
                None => eprintln!("{name} is not installed: left out"),
            }
        }
        for url in urls {
            subjects.push(Self::named(url)?);
        }
        for subject in &mut subjects {
            subject.ready().await?;
        }
        Ok(subjects)
    }

    fn at(name: &str, address: &str, path: &str) -> Self {
        Self {
            name: name.into(),
            address: address.into(),
            path: path.into(),
            rss_idle_mib: f64::NAN,
            process: None,
            foreign_pid: None,
            _folder: None,
        }
    }

    /// `http://127.0.0.1:PORT/PATH`, and `#PID` behind it for the process to account.
    fn named(url: &str) -> Result<Self, String> {
        let (location, pid) = url.split_once('#').map_or((url, None), |(url, pid)| (url, Some(pid)));
        let rest =
            location.strip_prefix("http://").ok_or_else(|| format!("{url}: only http:// is measured"))?;
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let on_loopback = address.parse::<std::net::SocketAddr>().is_ok_and(|a| a.ip().is_loopback());
        if !on_loopback {
            return Err(format!("{url}: only this machine is loaded; name it as http://127.0.0.1:PORT/"));
        }
        let mut subject = Self::at(location, address, &format!("/{path}"));
        subject.foreign_pid =
            pid.map(|pid| pid.parse().map_err(|_| format!("{url}: #{pid} is no process id"))).transpose()?;
        Ok(subject)
    }

    fn start(name: &str, program: &Path, backend: &str, recipe: Recipe) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("{name}: {error}");
        let folder = tempfile::tempdir().map_err(failed)?;
        let port = ports::free();
        let Start { config, arguments, mut variables } = recipe(backend, port, folder.path());
        // Whatever it keeps at home lies in its folder, and ends with it.
        for home in ["HOME", "XDG_STATE_HOME"] {
            variables.push((home.to_owned(), folder.path().display().to_string()));
        }
        std::fs::write(config_path(folder.path()), config).map_err(failed)?;
        let process = Leash::start(program, &arguments, &variables).map_err(failed)?;
        let mut subject = Self::at(name, &format!("127.0.0.1:{port}"), "/");
        (subject.process, subject._folder) = (Some(process), Some(folder));
        Ok(subject)
    }

    /// Waits until it gives the right answers, and looks at its memory.
    async fn ready(&mut self) -> Result<(), String> {
        let end = Instant::now() + START_LIMIT;
        for case in CASES {
            while !answers(self, case).await {
                let said = self.process.as_ref().map(|process| process.said().text()).unwrap_or_default();
                let ended = self.process.as_mut().is_some_and(|process| process.ended().is_some());
                if ended || Instant::now() > end {
                    return Err(format!("{} does not answer {} well: {said}", self.name, case.name));
                }
                sleep(Duration::from_millis(20)).await;
            }
            if self.rss_idle_mib.is_nan() {
                self.rss_idle_mib = self.rss_mib().unwrap_or(f64::NAN);
            }
        }
        Ok(())
    }

    /// CPU time of its processes so far, user and system.
    pub fn cpu(&self) -> Option<Duration> {
        /// The kernel's USER_HZ, which has been 100 on Linux since there is `/proc`.
        const TICKS_PER_S: f64 = 100.0;
        let ticks = |pid: u32| -> Option<f64> {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
        };
        self.sum(ticks).map(|ticks| Duration::from_secs_f64(ticks / TICKS_PER_S))
    }

    /// Memory of its processes.
    pub fn rss_mib(&self) -> Option<f64> {
        const KIB_PER_MIB: f64 = 1024.0;
        let kib = |pid: u32| -> Option<f64> {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            status.split("VmRSS:").nth(1)?.split_whitespace().next()?.parse().ok()
        };
        self.sum(kib).map(|kib| kib / KIB_PER_MIB)
    }

    /// Over the process and its children: nginx works in those. `None` where there is nothing to be read.
    fn sum(&self, of: impl Fn(u32) -> Option<f64>) -> Option<f64> {
        let parent = self.process.as_ref().map(Leash::pid).or(self.foreign_pid)?;
        let children =
            std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        let all: Vec<f64> = std::iter::once(parent).chain(children).filter_map(of).collect();
        (!all.is_empty()).then(|| all.into_iter().sum())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process
            && process.ended().is_none()
        {
            process.signal("TERM");
            // Who does not leave by then is killed with its leash.
            let _ = process.wait(STOP_LIMIT);
        }
    }
}

fn config_path(folder: &Path) -> String {
    folder.join("config").display().to_string()
}

fn as_shipped(backend: &str, port: u16, folder: &Path) -> Start {
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\n[chains.bench]\nchain_id = {CHAIN_ID}\n\
         [[chains.bench.backends]]\nname = \"fixture\"\nurl = \"http://{backend}\"\ncloud = \"here\"\n"
    );
    let arguments = ["serve", "--config", &config_path(folder), "--log", "warn"].map(str::to_owned);
    Start { config, arguments: arguments.into(), variables: Vec::new() }
}

/// What the work-stealing between two event loops costs shows beside one that has nobody to steal from.
fn one_thread(backend: &str, port: u16, folder: &Path) -> Start {
    let variables = vec![("TOKIO_WORKER_THREADS".to_owned(), "1".to_owned())];
    Start { variables, ..as_shipped(backend, port, folder) }
}

fn nginx(backend: &str, port: u16, folder: &Path) -> Start {
    let at = folder.display();
    let config = format!(
        "daemon off; worker_processes {THREADS}; pid {at}/pid; error_log /dev/null;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
         fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
         upstream backend {{ server {backend}; keepalive 128; keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:{port} backlog=1024; keepalive_requests 1000000000;\n\
         location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n"
    );
    let arguments = vec!["-c".to_owned(), config_path(folder), "-p".to_owned(), at.to_string()];
    Start { config, arguments, variables: Vec::new() }
}

fn haproxy(backend: &str, port: u16, folder: &Path) -> Start {
    let config = format!(
        "global\n  nbthread {THREADS}\n  maxconn 4096\ndefaults\n  mode http\n  timeout connect 1s\n\
         \x20 timeout client 60s\n  timeout server 60s\n  http-reuse always\nfrontend in\n  bind 127.0.0.1:{port}\n\
         \x20 default_backend out\nbackend out\n  server one {backend}\n"
    );
    let arguments = vec!["-f".to_owned(), config_path(folder), "-db".to_owned()];
    Start { config, arguments, variables: Vec::new() }
}

/// A program on the PATH, or where Debian puts servers.
fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}
