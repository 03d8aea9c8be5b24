//! Who is measured: the backend itself, Outrigger, and the reverse proxies that are installed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

/// Something that answers JSON-RPC at an address.
pub struct Subject {
    pub name: String,
    pub address: String,
    pub path: String,
    process: Option<Child>,
    _folder: Option<tempfile::TempDir>,
}

impl Subject {
    /// Everybody, the direct call first.
    pub async fn all(backend: &str, urls: &[String]) -> Vec<Self> {
        let mut subjects = vec![Self::at("direct", backend, "/"), Self::outrigger(backend).await];
        for (name, config) in [("nginx", nginx as fn(&str, u16, &Path) -> Start), ("haproxy", haproxy)] {
            match installed(name) {
                Some(program) => subjects.push(Self::proxy(name, &program, backend, config).await),
                None => eprintln!("{name} is not installed: not measured"),
            }
        }
        for url in urls {
            let (address, path) =
                url["http://".len()..].split_once('/').unwrap_or((&url["http://".len()..], ""));
            subjects.push(Self::at(url, address, &format!("/{path}")));
        }
        subjects
    }

    fn at(name: &str, address: &str, path: &str) -> Self {
        Self { name: name.into(), address: address.into(), path: path.into(), process: None, _folder: None }
    }

    async fn outrigger(backend: &str) -> Self {
        Self::proxy("outrigger", Path::new(env!("CARGO_BIN_EXE_outrigger")), backend, outrigger).await
    }

    async fn proxy(name: &str, program: &Path, backend: &str, config: fn(&str, u16, &Path) -> Start) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let start = config(backend, port, folder.path());
        std::fs::write(folder.path().join("config"), start.config).expect("the folder can be written");
        let process = Command::new(program)
            .args(start.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let address = format!("127.0.0.1:{port}");
        for _ in 0..500 {
            if TcpStream::connect(&address).await.is_ok() {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        Self { name: name.into(), address, path: "/".into(), process: Some(process), _folder: Some(folder) }
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
        let all: f64 = self.pids().into_iter().filter_map(ticks).sum();
        self.process.as_ref().map(|_| Duration::from_secs_f64(all / TICKS_PER_S))
    }

    /// Memory of its processes.
    pub fn rss_mib(&self) -> Option<f64> {
        let kib = |pid: u32| -> Option<f64> {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            status.split("VmRSS:").nth(1)?.split_whitespace().next()?.parse().ok()
        };
        self.process.as_ref().map(|_| self.pids().into_iter().filter_map(kib).sum::<f64>() / 1024.0)
    }

    /// The process and its children: nginx works in those.
    fn pids(&self) -> Vec<u32> {
        let Some(process) = &self.process else { return Vec::new() };
        let parent = process.id();
        let children =
            std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        std::iter::once(parent).chain(children).collect()
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // nginx's workers end when its master does so in order.
            let _ = Command::new("kill").args(["-TERM", &process.id().to_string()]).status();
            let _ = process.wait();
        }
    }
}

struct Start {
    config: String,
    arguments: Vec<String>,
}

fn config_path(folder: &Path) -> String {
    folder.join("config").display().to_string()
}

fn outrigger(backend: &str, port: u16, folder: &Path) -> Start {
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\n[chains.bench]\nchain_id = 31337\n\
         [[chains.bench.backends]]\nname = \"fixture\"\nurl = \"http://{backend}\"\ncloud = \"here\"\n"
    );
    let arguments = ["serve", "--config", &config_path(folder), "--log", "warn"].map(str::to_owned).into();
    Start { config, arguments }
}

fn nginx(backend: &str, port: u16, folder: &Path) -> Start {
    let folder_name = folder.display();
    let config = format!(
        "daemon off; worker_processes 2; pid {folder_name}/pid; error_log /dev/null;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; client_body_temp_path {folder_name}/body; proxy_temp_path {folder_name}/proxy;\n\
         fastcgi_temp_path {folder_name}/f; uwsgi_temp_path {folder_name}/u; scgi_temp_path {folder_name}/s;\n\
         upstream backend {{ server {backend}; keepalive 128; }}\n\
         server {{ listen 127.0.0.1:{port} backlog=1024; keepalive_requests 10000000;\n\
         location / {{ proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n"
    );
    Start { config, arguments: vec!["-c".into(), config_path(folder), "-p".into(), folder_name.to_string()] }
}

fn haproxy(backend: &str, port: u16, folder: &Path) -> Start {
    let config = format!(
        "global\n  nbthread 2\n  maxconn 4096\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 60s\n\
         \x20 timeout server 60s\n  http-reuse always\nfrontend in\n  bind 127.0.0.1:{port}\n\
         \x20 default_backend out\nbackend out\n  server one {backend}\n"
    );
    Start { config, arguments: vec!["-f".into(), config_path(folder), "-db".into()] }
}

/// A program on the PATH, or where Debian puts servers.
fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
