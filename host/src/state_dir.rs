//! The folder of what outlives the process.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

mod sealed;

pub use self::sealed::{Miss, UNFINISHED};

/// A folder that is ours and that nobody else can write to.
pub struct StateDir(PathBuf);

/// Bytes of the secret that connection ids are keyed with.
const SECRET: usize = 32;

impl StateDir {
    /// Opens the folder that the configuration names, or else the service manager's
    /// (`$STATE_DIRECTORY`), or else the user's own. Makes it, for us alone, where it is missing.
    pub fn open(configured: Option<&Path>) -> io::Result<Self> {
        Self::make(Self::find(configured)?)
    }

    /// The same folder, where it is there already.
    pub fn existing(configured: Option<&Path>) -> io::Result<Option<Self>> {
        Self::own(Self::find(configured)?)
    }

    /// A folder within this one, made where it is missing.
    pub fn folder(&self, name: &str) -> io::Result<Self> {
        Self::make(self.0.join(name))
    }

    /// A folder within this one, where it is there already.
    pub fn existing_folder(&self, name: &str) -> io::Result<Option<Self>> {
        Self::own(self.0.join(name))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    fn find(configured: Option<&Path>) -> io::Result<PathBuf> {
        configured
            .map(Path::to_owned)
            .or_else(|| std::env::var_os("STATE_DIRECTORY").map(PathBuf::from))
            .or_else(|| Some(PathBuf::from(std::env::var_os("XDG_STATE_HOME")?).join("karuta")))
            .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state/karuta")))
            .ok_or_else(|| io::Error::other("no `state_dir`, and no home folder either"))
    }

    fn make(path: PathBuf) -> io::Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|error| named(&path, &error))?;
        Self::own(path)?.ok_or_else(|| io::Error::other("the folder has gone"))
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
            return wrong("others can write to the folder, expected mode 0700");
        }
        Ok(Some(Self(path)))
    }

    /// The secret that keys connection ids, made at the first call and kept, so that ids outlive a
    /// restart.
    pub fn connection_id_secret(&self) -> io::Result<Vec<u8>> {
        let path = self.0.join("connection-id-secret");
        match File::open(&path) {
            Ok(mut file) => {
                let mut secret = Vec::new();
                file.read_to_end(&mut secret)?;
                if secret.len() == SECRET {
                    return Ok(secret);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let secret: [u8; SECRET] = rand::random();
        // Renamed into place, so that two processes that start at once cannot read half of it.
        let fresh = self.0.join(format!("connection-id-secret.{}", std::process::id()));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&secret)?;
        file.sync_all()?;
        fs::rename(&fresh, &path)?;
        Ok(secret.to_vec())
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
    fn a_damaged_secret_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("connection-id-secret"), "short").unwrap();
        let state = StateDir::open(Some(folder.path())).unwrap();
        assert_eq!(state.connection_id_secret().unwrap().len(), SECRET);
    }

    #[test]
    fn looking_makes_nothing() {
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
        assert!(error.ends_with("others can write to the folder, expected mode 0700"), "{error}");
    }
}
