//! The generations that have served, kept in the state folder with their configurations and plugins, so
//! that each of them can serve again.

mod pin;
mod served;
mod store;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

pub use self::pin::Pin;
use self::served::outdated;
pub use self::served::{Action, Content, FORMAT, Served, ServedData, ServedPolicy};
use self::store::Store;
pub use self::store::digest_of;
use crate::state_dir::{Miss, StateDir};

/// The kept generations. At most one process writes to them.
pub struct Generations {
    folder: StateDir,
    store: Option<Store>,
    /// Released when the process ends. `None`: they are only read.
    lock: Option<File>,
}

/// A generation in the folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    pub generation: u64,
    /// Or why it cannot be used.
    pub served: Result<Served, String>,
}

const FOLDER: &str = "generations";
const META: &str = "meta.json";
const PIN: &str = "pin.json";
const LOCK: &str = "lock";
/// The maximum size of a file that says what is kept, in bytes.
const MOST: u64 = 1 << 20;
/// The largest number: the next one is a number, too.
const LAST: u64 = u64::MAX / 2;
/// The maximum size of a kept configuration, in bytes: more than the largest that is read.
const MOST_TEXT: u64 = 8 << 20;

impl Generations {
    /// Opens the generations of a state folder for writing; creates their folder if it is missing.
    ///
    /// # Errors
    ///
    /// The folder cannot be used, or another process writes to it.
    pub fn open(state: &StateDir) -> Result<Self, String> {
        let opened = (|| {
            let folder = state.folder(FOLDER)?;
            let lock = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
                .open(folder.path().join(LOCK))?;
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) => {
                    let reason = format!("{}: in use by another tracker", folder.path().display());
                    return Err(io::Error::other(reason));
                }
            }
            Ok(Self { folder, store: Some(Store::open(state)?), lock: Some(lock) })
        })();
        opened.map_err(|error| error.to_string())
    }

    /// Opens them for reading, if there are any.
    pub fn look(state: &StateDir) -> io::Result<Option<Self>> {
        let Some(folder) = state.existing_folder(FOLDER)? else { return Ok(None) };
        Ok(Some(Self { folder, store: Store::look(state)?, lock: None }))
    }

    /// Returns all that are kept, in their order.
    pub fn all(&self) -> Vec<Kept> {
        let mut all: Vec<_> = self.numbers().into_iter().filter_map(|one| self.kept(one)).collect();
        all.sort_by_key(|kept| kept.generation);
        all
    }

    /// Returns the number of the last one, even if it cannot be used; 0 if there is none.
    pub fn last(&self) -> u64 {
        self.numbers().into_iter().max().unwrap_or(0)
    }

    /// Returns a generation, and the text of its configuration.
    ///
    /// # Errors
    ///
    /// Why it cannot be used, in a sentence.
    pub fn find(&self, generation: u64) -> Result<(Served, String), String> {
        let damaged = |reason: String| format!("generation {generation} cannot be used: {reason}");
        let Some(kept) = self.kept(generation) else {
            return Err(format!("generation {generation} is not kept; {}", self.which()));
        };
        let served = kept.served.map_err(damaged)?;
        let folder = self.entry(generation).map_err(damaged)?;
        let name = text_of(&served.content.sha256);
        let text = read(&folder, &name, MOST_TEXT)
            .map_err(|reason| damaged(format!("{name}: {reason}")))?;
        if hex::encode(Sha256::digest(&text)) != served.content.sha256 {
            return Err(damaged(format!("{name} is damaged")));
        }
        let text = String::from_utf8(text).map_err(|error| damaged(error.to_string()))?;
        Ok((served, text))
    }

    /// Says which generations can be asked for.
    fn which(&self) -> String {
        let mut numbers = self.numbers();
        numbers.sort_unstable();
        match &numbers[..] {
            [] => "none is".to_owned(),
            numbers => {
                let numbers: Vec<_> = numbers.iter().map(u64::to_string).collect();
                format!("kept are {}", numbers.join(", "))
            }
        }
    }

    /// Returns the path of a file with the bytes of a plugin.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn plugin(&self, digest: &str) -> Result<PathBuf, String> {
        match &self.store {
            Some(store) => store.find(digest),
            None => Err("it is no longer kept".to_owned()),
        }
    }

    /// Keeps a generation, or takes note of its new text. `plugins` are the digests and files of its
    /// plugins. What need not be kept any more is removed.
    ///
    /// # Errors
    ///
    /// It cannot be written. What was kept before is kept still.
    pub fn keep(
        &self,
        served: &Served,
        text: &str,
        plugins: &[(String, PathBuf)],
        now: u64,
    ) -> io::Result<()> {
        if let Some(store) = &self.store {
            for (digest, file) in plugins {
                store.keep(digest, file)?;
            }
        }
        let folder = self.folder.folder(&served.generation.to_string())?;
        let name = text_of(&served.content.sha256);
        folder.write(&name, text.as_bytes())?;
        // From here on it is kept.
        folder.write(META, &serde_json::to_vec_pretty(served)?)?;
        self.folder.sync()?;
        for file in fs::read_dir(folder.path())? {
            let file = file?;
            if file.file_name() != META && *file.file_name() != *name {
                fs::remove_file(file.path())?;
            }
        }
        self.tidy(now)
    }

    /// Removes what need not be kept any more, and what was not finished.
    fn tidy(&self, now: u64) -> io::Result<()> {
        let all = self.all();
        let times: Vec<_> = all
            .iter()
            .filter_map(|kept| Some((kept.generation, kept.served.as_ref().ok()?.time)))
            .collect();
        let pinned = self.pin().map(|pin| pin.generation);
        let outdated = outdated(&times, now);
        for generation in outdated.iter().filter(|one| Some(**one) != pinned) {
            let folder = self.folder.path().join(generation.to_string());
            // Without it, the rest is nothing.
            fs::remove_file(folder.join(META))?;
            fs::remove_dir_all(folder)?;
        }
        for generation in self.unfinished()? {
            fs::remove_dir_all(self.folder.path().join(generation.to_string()))?;
        }
        let left = self.all();
        // What cannot be read may need anything.
        if let (Some(store), true) = (&self.store, left.iter().all(|kept| kept.served.is_ok())) {
            let served = left.iter().filter_map(|kept| kept.served.as_ref().ok());
            let needed = served.flat_map(|served| served.content.plugins.values());
            store.retain(&needed.map(String::as_str).collect::<BTreeSet<_>>())?;
        }
        Ok(())
    }

    /// Returns the pin, if there is one.
    pub fn pin(&self) -> Option<Pin> {
        match read(&self.folder, PIN, MOST).and_then(|bytes| parse(&bytes)) {
            Ok(pin) => Some(pin),
            Err(Unread::Absent) => None,
            Err(reason) => {
                tracing::warn!(%reason, "the pin cannot be read; the configuration file serves");
                None
            }
        }
    }

    /// Has a start serve a generation in place of the configuration file.
    ///
    /// # Errors
    ///
    /// It cannot be written. An earlier pin stays.
    pub fn set_pin(&self, pin: &Pin) -> io::Result<()> {
        self.folder.write(PIN, &serde_json::to_vec_pretty(pin)?)
    }

    /// Has a start serve the configuration file.
    ///
    /// # Errors
    ///
    /// The pin cannot be removed.
    pub fn unpin(&self) -> io::Result<()> {
        match fs::remove_file(self.folder.path().join(PIN)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.folder.sync(),
        }
    }

    /// Returns whether generations can be kept.
    pub fn can_keep(&self) -> bool {
        self.lock.is_some()
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the numbers of the folders, in any order.
    fn folders(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for file in fs::read_dir(self.folder.path())? {
            numbers.extend(file?.file_name().to_str().and_then(number));
        }
        Ok(numbers)
    }

    /// Returns the numbers of those that are kept, in any order.
    fn numbers(&self) -> Vec<u64> {
        let is_kept = |one: &u64| self.folder.path().join(one.to_string()).join(META).exists();
        self.folders().unwrap_or_default().into_iter().filter(is_kept).collect()
    }

    fn unfinished(&self) -> io::Result<Vec<u64>> {
        let kept = self.numbers();
        Ok(self.folders()?.into_iter().filter(|one| !kept.contains(one)).collect())
    }

    fn entry(&self, generation: u64) -> Result<StateDir, String> {
        let folder = self.folder.existing_folder(&generation.to_string());
        folder.map_err(|error| error.to_string())?.ok_or_else(|| "it is gone".to_owned())
    }

    /// Returns one; `None` if it is not kept.
    fn kept(&self, generation: u64) -> Option<Kept> {
        let served = (|| {
            let folder = self.folder.existing_folder(&generation.to_string());
            let folder = folder.map_err(|error| Unread::Unfit(error.to_string()))?;
            let folder = folder.ok_or(Unread::Absent)?;
            let served: Served = parse(&read(&folder, META, MOST)?)?;
            match (served.generation == generation, served.content.is_sound()) {
                (true, true) => Ok(served),
                (false, _) => Err(Unread::Unfit(format!("it is of {}", served.generation))),
                (_, false) => Err(Unread::Unfit("damaged: a digest is none".to_owned())),
            }
        })();
        match served {
            Err(Unread::Absent) => None,
            served => Some(Kept {
                generation,
                served: served.map_err(|reason| format!("{META}: {reason}")),
            }),
        }
    }
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error("it is gone")]
    Absent,
    #[error("{0}")]
    Unfit(String),
}

impl From<Unread> for String {
    fn from(unread: Unread) -> Self {
        unread.to_string()
    }
}

fn read(folder: &StateDir, name: &str, most: u64) -> Result<Vec<u8>, Unread> {
    let file = folder.open_own(name).map_err(|miss| match miss {
        Miss::Absent => Unread::Absent,
        Miss::Unfit(reason) => Unread::Unfit(reason),
    })?;
    let mut bytes = Vec::new();
    match file.take(most + 1).read_to_end(&mut bytes) {
        Ok(read) if read as u64 <= most => Ok(bytes),
        Ok(_) => Err(Unread::Unfit(format!("more than {most} bytes"))),
        Err(error) => Err(Unread::Unfit(error.to_string())),
    }
}

/// Parses a file whose format is known.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unread> {
    #[derive(Deserialize)]
    struct Any {
        format: u32,
    }
    let wrong = |error: serde_json::Error| Unread::Unfit(format!("damaged: {error}"));
    match serde_json::from_slice::<Any>(bytes).map_err(wrong)?.format {
        FORMAT => serde_json::from_slice(bytes).map_err(wrong),
        other => Err(Unread::Unfit(format!("format {other}, expected {FORMAT}"))),
    }
}

/// Returns the name of the file with a text.
fn text_of(sha256: &str) -> String {
    let short: String = sha256.chars().take(12).collect();
    format!("config-{short}.yaml")
}

/// Reads the name of a generation's folder.
fn number(name: &str) -> Option<u64> {
    let number: u64 = name.parse().ok()?;
    // Not what begins with a plus or a zero.
    ((1..=LAST).contains(&number) && number.to_string() == name).then_some(number)
}

#[cfg(test)]
mod tests;
