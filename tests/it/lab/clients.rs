//! Where `tests/run` put the nodes and the wallets.
//!
//! Nothing is skipped when they are missing: a test that needs them fails and says how to get them.
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Programs and folders that the tests need and cargo does not build.
pub struct Clients {
    /// The node.
    pub anvil: PathBuf,
    /// foundry's command line wallet.
    pub cast: PathBuf,
    /// The interpreter whose packages hold web3.py.
    pub python: PathBuf,
    /// The folder with the wallets' scripts and their node_modules.
    pub scripts: PathBuf,
}

/// The installed clients; panics with what to do when they are not.
pub fn clients() -> &'static Clients {
    static FOUND: OnceLock<Clients> = OnceLock::new();
    FOUND.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let scripts = root.join("tests/clients");
        let must_exist = |path: PathBuf| {
            assert!(path.exists(), "{} is missing: run tests/run, it installs it", path.display());
            path
        };
        must_exist(scripts.join("node_modules/viem"));
        must_exist(scripts.join("node_modules/@metamask/network-controller"));
        must_exist(scripts.join("node_modules/@metamask/transaction-controller"));
        Clients {
            anvil: foundry(&scripts, "anvil", std::env::var_os("ANVIL").map(PathBuf::from)),
            cast: foundry(&scripts, "cast", std::env::var_os("CAST").map(PathBuf::from)),
            python: must_exist(root.join("target/lab/venv/bin/python")),
            scripts,
        }
    })
}

/// One of alloy's clients (`alloy-feed`, `pay`), which `tests/run` builds from a crate of its own.
pub fn alloy(name: &str) -> PathBuf {
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/lab/alloy/debug").join(name);
    assert!(binary.is_file(), "{} is missing: run tests/run, it builds it", binary.display());
    binary
}

/// Debian's `promtool`, or the one that the environment or the path names (see tests/run).
pub fn promtool() -> PathBuf {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/lab/prometheus/usr/bin/promtool");
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let on_path =
        || std::env::split_paths(&folders).map(|folder| folder.join("promtool")).find(|p| p.is_file());
    let given = std::env::var_os("PROMTOOL").map(PathBuf::from);
    given
        .or_else(|| Some(installed).filter(|path| path.is_file()))
        .or_else(on_path)
        .unwrap_or_else(|| panic!("promtool is missing: run tests/run, it installs it"))
}

/// The binary of this platform's package, or the one that the environment names (see tests/run).
fn foundry(scripts: &Path, tool: &str, given: Option<PathBuf>) -> PathBuf {
    let installed = || {
        let packages = std::fs::read_dir(scripts.join("node_modules/@foundry-rs")).ok()?;
        packages.flatten().map(|p| p.path().join("bin").join(tool)).find(|binary| binary.is_file())
    };
    given.or_else(installed).unwrap_or_else(|| panic!("{tool} is missing: run tests/run, it installs it"))
}
