//! Replaces the configuration file, and keeps the one that was there.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::file;

/// What is added to the name of the file that was there.
const REJECTED: &str = ".rejected";

/// Replaces the file as a whole, unless it is the same; the one that was there is kept beside it with
/// `.rejected` after its name. Returns where.
///
/// # Errors
///
/// One of them cannot be written. The file stays as it was.
pub fn replace(path: &Path, text: &str) -> io::Result<Option<PathBuf>> {
    let before = fs::read(path)?;
    if before == text.as_bytes() {
        return Ok(None);
    }
    let mut name = OsString::from(path);
    name.push(REJECTED);
    let rejected = PathBuf::from(name);
    file::replace(&rejected, |mut file: &File| {
        // It says as much as the file itself, to as few.
        file.set_permissions(fs::metadata(path)?.permissions())?;
        file.write_all(&before)
    })?;
    file::replace(path, |mut file: &File| file.write_all(text.as_bytes()))?;
    Ok(Some(rejected))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_file_that_was_there_is_kept_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        fs::write(&path, "bad").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let rejected = folder.path().join("config.yaml.rejected");
        assert_eq!(replace(&path, "good").unwrap(), Some(rejected.clone()));
        assert_eq!(replace(&path, "good").unwrap(), None);
        for (file, text) in [(&path, "good"), (&rejected, "bad")] {
            assert_eq!(fs::read_to_string(file).unwrap(), text);
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o640);
        }
        replace(&path, "better").unwrap();
        assert_eq!(fs::read_to_string(&rejected).unwrap(), "good");
        assert!(replace(&folder.path().join("none"), "").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
