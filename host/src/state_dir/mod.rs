//! The folder for state that outlives the process.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use tempfile::Builder;

mod sealed;

pub use self::sealed::{Miss, UNFINISHED};

/// A folder that belongs to this user, and that no other user can write to.
pub struct StateDir(PathBuf);

/// The file of the secret that keys connection ids, and its size in bytes.
const SECRET_FILE: &str = "connection-id-secret";
const SECRET: usize = 32;

impl StateDir {
    /// Opens the configured folder, or else the service manager's (`$STATE_DIRECTORY`), or else the
    /// user's own. Creates it, only for this user, if it is missing.
    pub fn open(configured: Option<&Path>) -> io::Result<Self> {
        Self::make(Self::find(configured)?)
    }

    /// Opens the same folder, if it exists.
    pub fn existing(configured: Option<&Path>) -> io::Result<Option<Self>> {
        Self::own(Self::find(configured)?)
    }

    /// Opens a folder within this one, and creates it if it is missing.
    pub fn folder(&self, name: &str) -> io::Result<Self> {
        Self::make(self.0.join(name))
    }

    /// Opens a folder within this one, if it exists.
    pub fn existing_folder(&self, name: &str) -> io::Result<Option<Self>> {
        Self::own(self.0.join(name))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the path of the folder that [`Self::open`] opens, whether it exists or not.
    pub fn find(configured: Option<&Path>) -> io::Result<PathBuf> {
        configured
            .map(Path::to_owned)
            .or_else(|| std::env::var_os("STATE_DIRECTORY").map(PathBuf::from))
            .or_else(|| Some(PathBuf::from(std::env::var_os("XDG_STATE_HOME")?).join("karuta")))
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state/karuta")))
            .ok_or_else(|| io::Error::other("no `state_dir` and no home folder"))
    }

    /// Writes a file that only this user may read. It has its name when it is whole and on the disk, and
    /// then takes the place of an earlier one.
    ///
    /// # Errors
    ///
    /// It cannot be written. An earlier file stays.
    pub fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let prefix = format!("{name}.");
        let mut next = Builder::new().prefix(&prefix).suffix(UNFINISHED).tempfile_in(&self.0)?;
        next.write_all(content)?;
        next.as_file().sync_all()?;
        next.persist(self.0.join(name)).map_err(|error| error.error)?;
        self.sync()
    }

    /// Brings the names of the files to the disk.
    ///
    /// # Errors
    ///
    /// It cannot be done.
    pub fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    fn make(path: PathBuf) -> io::Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|error| named(&path, &error))?;
        Self::own(path)?.ok_or_else(|| io::Error::other("the folder has disappeared"))
    }

    fn own(path: PathBuf) -> io::Result<Option<Self>> {
        let found = match fs::metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(named(&path, &error)),
        };
        let wrong = |reason| Err(named(&path, &io::Error::other(reason)));
        if found.uid() != Uid::effective().as_raw() {
            return wrong("the folder belongs to another user");
        }
        if found.mode() & 0o022 != 0 {
            return wrong("the folder is writable by other users, expected mode 0700");
        }
        Ok(Some(Self(path)))
    }

    /// Returns the secret that keys connection ids. It is created at the first call and kept, so
    /// that ids outlive a restart. All processes that share the folder have the same secret.
    pub fn connection_id_secret(&self) -> io::Result<Vec<u8>> {
        match self.read_secret()? {
            Some(Ok(secret)) => return Ok(secret),
            Some(Err(reason)) => self.replace_secret(&reason)?,
            // Another process may be faster; then its secret is used.
            None => match self.fresh_secret(|fresh, path| fs::hard_link(fresh, path)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            },
        }
        let found = self.read_secret()?.unwrap_or_else(|| Err("the file has disappeared".into()));
        found.map_err(|reason| io::Error::other(format!("{SECRET_FILE}: {reason}")))
    }

    /// Reads the secret, or returns why it is unusable; `None` if there is no file.
    fn read_secret(&self) -> io::Result<Option<Result<Vec<u8>, String>>> {
        let file = match self.open_file(SECRET_FILE) {
            Ok(file) => file,
            Err(Miss::Absent) => return Ok(None),
            Err(Miss::Unfit(reason)) => return Ok(Some(Err(reason))),
        };
        let found = file.metadata()?;
        if !found.is_file() {
            return Ok(Some(Err("it is not a file".into())));
        }
        if found.uid() != Uid::effective().as_raw() || found.mode() & 0o077 != 0 {
            return Ok(Some(Err(
                "the file is readable by other users, or belongs to another user".into(),
            )));
        }
        let mut secret = Vec::new();
        file.take(SECRET as u64 + 1).read_to_end(&mut secret)?;
        Ok(Some(if secret.len() == SECRET { Ok(secret) } else { Err("it is damaged".into()) }))
    }

    /// Replaces a secret that is unusable.
    fn replace_secret(&self, reason: &str) -> io::Result<()> {
        // One process at a time, if the file system has locks: the next one finds the new secret.
        let folder = File::open(&self.0)?;
        let _ = folder.lock();
        if matches!(self.read_secret()?, Some(Err(_))) {
            tracing::warn!(reason, "connection id secret is unusable; generating a new one");
            self.fresh_secret(|fresh, path| fs::rename(fresh, path))?;
        }
        Ok(())
    }

    /// Writes a secret to a file of another name, and puts it into place when it is complete.
    fn fresh_secret(&self, place: fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
        let name = format!("{SECRET_FILE}.{:016x}{UNFINISHED}", rand::random::<u64>());
        let fresh = self.0.join(name);
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(&rand::random::<[u8; SECRET]>())?;
            file.sync_all()?;
            place(&fresh, &self.0.join(SECRET_FILE))
        };
        let written = write();
        // After a rename, nothing is left of it.
        let _ = fs::remove_file(&fresh);
        written
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_secret_stays_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let first = StateDir::open(Some(&path)).unwrap().connection_id_secret().unwrap();
        let again = StateDir::open(Some(&path)).unwrap().connection_id_secret().unwrap();
        assert_eq!(first, again);
        assert_eq!(first.len(), SECRET);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        let secret = fs::metadata(path.join("connection-id-secret")).unwrap();
        assert_eq!(secret.mode() & 0o777, 0o600);
    }

    #[test]
    fn a_wrong_secret_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(folder.path())).unwrap();
        let path = folder.path().join("connection-id-secret");
        let mut last = state.connection_id_secret().unwrap();
        let spoil: [fn(&Path); 5] = [
            |path| fs::write(path, "short").unwrap(),
            |path| fs::write(path, [7; SECRET + 1]).unwrap(),
            |path| fs::set_permissions(path, Permissions::from_mode(0o640)).unwrap(),
            |path| {
                fs::rename(path, path.with_extension("elsewhere")).unwrap();
                std::os::unix::fs::symlink(path.with_extension("elsewhere"), path).unwrap();
            },
            |path| {
                fs::remove_file(path).unwrap();
                nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
            },
        ];
        for (at, spoil) in spoil.into_iter().enumerate() {
            spoil(&path);
            let secret = state.connection_id_secret().unwrap();
            assert_eq!(secret.len(), SECRET);
            assert_ne!(secret, last, "{at}");
            assert_eq!(state.connection_id_secret().unwrap(), secret);
            assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o777, 0o600);
            last = secret;
        }
    }

    #[test]
    fn concurrent_starts_have_the_same_secret() {
        for spoiled in [false, true] {
            for _ in 0..50 {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("new");
                if spoiled {
                    let state = StateDir::open(Some(&path)).unwrap();
                    fs::write(state.path().join(SECRET_FILE), "").unwrap();
                }
                let secret =
                    || StateDir::open(Some(&path)).and_then(|state| state.connection_id_secret());
                let secrets: Vec<_> = std::thread::scope(|scope| {
                    let threads = [(); 6].map(|()| scope.spawn(secret));
                    threads.map(|thread| thread.join().unwrap().unwrap()).into()
                });
                assert!(secrets.iter().all(|secret| *secret == secrets[0]), "{spoiled}");
                assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "nothing else is left");
            }
        }
    }

    #[test]
    fn looking_creates_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert!(StateDir::existing(Some(&path)).unwrap().is_none());
        let state = StateDir::open(Some(&path)).unwrap();
        assert!(StateDir::existing(Some(&path)).unwrap().is_some());
        assert!(state.existing_folder("b").unwrap().is_none());
        let within = state.folder("b").unwrap();
        assert_eq!(fs::metadata(within.path()).unwrap().mode() & 0o777, 0o700);
        assert_eq!(state.existing_folder("b").unwrap().unwrap().path(), path.join("b"));
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        let error = StateDir::open(Some(folder.path())).err().unwrap().to_string();
        assert!(
            error.ends_with("the folder is writable by other users, expected mode 0700"),
            "{error}"
        );
    }
}
