//! The file that carries health across restarts: small, replaced whole, and not missed when it is gone.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use crate::gateway::{Gateway, Memory};

/// A fleet of the largest configuration writes less.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// What the files' names begin with.
const PREFIX: &str = "health-";
/// See [`forget_old`]; a folder with more is tidied at the next start.
const FORGET_AFTER: Duration = Duration::from_secs(32 * 24 * 3600);
const ENTRIES_MAX: usize = 1000;
/// How much is forgotten at worst, after a crash.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// Where it lies: in the user's state folder (XDG base directory specification), one file per fleet. `None` where
/// there is no such folder.
pub(super) fn default_file(gateway: &Gateway) -> Option<PathBuf> {
    let folder = state_folder()?;
    forget_old(&folder);
    Some(folder.join(format!("{PREFIX}{}.json", gateway.fingerprint())))
}

/// Where transactions are journalled unless the configuration says otherwise: beside it, one file for whatever fleet is
/// configured, since a transaction must not be forgotten when a backend is added.
pub(super) fn default_journal() -> Option<PathBuf> {
    Some(state_folder()?.join("journal"))
}

fn state_folder() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state")))?;
    Some(state.join("outrigger"))
}

/// Files of fleets that nobody has run for a month are of no use to anybody; until then they hold what is used of
/// monthly budgets.
fn forget_old(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().take(ENTRIES_MAX) {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|at| at.elapsed().ok()).unwrap_or_default();
        if is_ours && age > FORGET_AFTER {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Takes up what the file holds. A missing one is no news, a broken one a warning.
pub(super) fn recall(gateway: &Gateway, file: &Path) {
    let mut text = String::new();
    let read = fs::File::open(file).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    if read.is_err() {
        return;
    }
    match serde_json::from_str::<Memory>(&text) {
        Ok(memory) if gateway.recall(&memory) => tracing::debug!(file = %file.display(), "health recalled"),
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "last known health cannot be read; it is learned anew")
        }
    }
}

/// Writes it now and then, until it is dropped.
pub(super) async fn keep(gateway: Gateway, file: PathBuf) {
    loop {
        sleep(SAVE_EVERY).await;
        save(&gateway, &file);
    }
}

/// Writes it beside its place and moves it there: a reader sees the old one or the new one.
pub(super) fn save(gateway: &Gateway, file: &Path) {
    let Some(folder) = file.parent() else { return };
    let beside = file.with_extension(format!("json.{}", std::process::id()));
    let written = serde_json::to_vec(&gateway.memory()).map_err(std::io::Error::from).and_then(|text| {
        fs::create_dir_all(folder)?;
        fs::write(&beside, text)?;
        fs::rename(&beside, file)
    });
    if let Err(error) = written {
        let _ = fs::remove_file(&beside);
        tracing::debug!(file = %file.display(), %error, "health is not written down");
    }
}
