//! Compiled components that the daemons of all tests share: compiling a policy takes half a second,
//! and an interpreter half a minute.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use crate::{plugins, target};

/// Links the compiled components that a folder's `config.yaml` needs into its state folder, unless
/// it already has one.
pub fn lend(folder: &Path) {
    let components = folder.join("state/components");
    if folder.join("state").exists() || !is_kept_there(folder) {
        return;
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&components);
    made.expect("a folder for components");
    link(&shared(), &components, &digests(folder));
}

/// Keeps the components that a daemon has compiled for its configuration.
pub fn keep(folder: &Path) {
    if is_kept_there(folder) && fs::create_dir_all(shared()).is_ok() {
        link(&folder.join("state/components"), &shared(), &digests(folder));
    }
}

fn is_kept_there(folder: &Path) -> bool {
    let config = fs::read_to_string(folder.join("config.yaml"));
    config.is_ok_and(|config| config.contains("\nstate_dir: state\n"))
}

fn shared() -> PathBuf {
    target().join("test-components")
}

/// Links the files that begin with a digest from one folder into another.
fn link(from: &Path, to: &Path, digests: &[String]) {
    let Ok(files) = fs::read_dir(from) else { return };
    for file in files.flatten() {
        let name = file.file_name();
        let shown = name.to_string_lossy();
        if shown.ends_with(".cwasm") && digests.iter().any(|digest| shown.starts_with(digest)) {
            // It may be there already. On another file system, it is compiled again.
            let _ = fs::hard_link(file.path(), to.join(name));
        }
    }
}

/// Returns the digests of the built components in a folder's `config.yaml`.
fn digests(folder: &Path) -> Vec<String> {
    static KNOWN: Mutex<Option<HashMap<PathBuf, String>>> = Mutex::new(None);
    let config = fs::read_to_string(folder.join("config.yaml")).unwrap_or_default();
    let plugins = plugins();
    let mut known = KNOWN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let known = known.get_or_insert_default();
    let named = config.split(plugins.to_str().expect("a path of text")).skip(1);
    let named = named.filter_map(|rest| Some(rest.get(1..rest.find(".wasm")? + 5)?.to_owned()));
    let digest = |name: String| {
        let path = plugins.join(name);
        if let Some(digest) = known.get(&path) {
            return Some(digest.clone());
        }
        let digest = format!("{:x}", Sha256::digest(fs::read(&path).ok()?));
        known.insert(path, digest.clone());
        Some(digest)
    };
    named.filter_map(digest).collect()
}
