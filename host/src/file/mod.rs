//! Regular files, opened without blocking and read whole up to a limit, or replaced as a whole.

mod gentle;

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use nix::fcntl::OFlag;
use tempfile::Builder;

pub use self::gentle::Gentle;

/// Why a file was not read, as a message for operators.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error("no such file: `{0}`")]
    Absent(String),
    #[error("more than {0} bytes")]
    TooLong(u64),
    #[error("{0}")]
    Unusable(String),
}

/// Returns the folder of a file; of a bare name, the working directory.
pub fn folder(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Opens a regular file. Folders, pipes and devices are refused, because reading them may block or
/// never end.
pub fn open(path: &Path) -> Result<(File, Metadata), Unread> {
    open_with(path, OFlag::empty())
}

fn open_with(path: &Path, flags: OFlag) -> Result<(File, Metadata), Unread> {
    let shown = path.display();
    let unread = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Unread::Absent(shown.to_string()),
        _ => Unread::Unusable(format!("cannot read `{shown}`: {error}")),
    };
    let regular = |metadata: Metadata| match metadata.is_file() {
        true => Ok(metadata),
        false => Err(Unread::Unusable(format!("not a file: `{shown}`"))),
    };
    // Opening some devices has side effects.
    std::fs::metadata(path).map_err(unread).and_then(regular)?;
    // A pipe may have replaced the file since.
    let flags = (OFlag::O_NONBLOCK | flags).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(unread)?;
    let metadata = file.metadata().map_err(unread).and_then(regular)?;
    Ok((file, metadata))
}

/// Reads a whole file of at most `max_size` bytes.
pub fn read(path: &Path, max_size: u64) -> Result<Vec<u8>, Unread> {
    read_opened(path, open(path)?, max_size)
}

/// Reads a whole file of at most `max_size` bytes; refuses a symbolic link to one.
pub fn read_itself(path: &Path, max_size: u64) -> Result<Vec<u8>, Unread> {
    read_opened(path, open_with(path, OFlag::O_NOFOLLOW)?, max_size)
}

fn read_opened(
    path: &Path,
    (file, metadata): (File, Metadata),
    max_size: u64,
) -> Result<Vec<u8>, Unread> {
    read_from(&file, &metadata, max_size)
        .map_err(|error| Unread::Unusable(format!("cannot read `{}`: {error}", path.display())))?
        .ok_or(Unread::TooLong(max_size))
}

/// Reads an open file; returns `None` if it has more than `max_size` bytes.
pub fn read_from(
    mut file: &File,
    metadata: &Metadata,
    max_size: u64,
) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(metadata.len().min(max_size) as usize);
    file.by_ref().take(max_size.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= max_size).then_some(bytes))
}

/// Writes a file beside the one of that name, which it replaces when it is whole and on the disk. What
/// others may do stays as it is; a new file has the permissions that the umask leaves.
///
/// # Errors
///
/// It cannot be written, or `fill` has failed. The old file stays.
pub fn replace(path: &Path, fill: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let folder = folder(path);
    let known = fs::metadata(path).map(|known| known.permissions()).ok();
    let next = Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder);
    let next = next.map_err(|error| {
        let kind = error.kind();
        io::Error::new(kind, format!("{}: {kind}", folder.display()))
    })?;
    if let Some(known) = known {
        next.as_file().set_permissions(known)?;
    }
    fill(next.as_file())?;
    next.as_file().sync_all()?;
    next.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    #[test]
    fn a_file_that_is_not_regular_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        let socket = folder.path().join("socket");
        let _bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        for path in [folder.path(), &pipe, &socket, &link, Path::new("/dev/zero")] {
            let said = read(path, 9).unwrap_err().to_string();
            assert_eq!(said, format!("not a file: `{}`", path.display()));
        }
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let fill = |text: &'static str| {
            move |mut file: &File| io::Write::write_all(&mut file, text.as_bytes())
        };
        replace(&path, fill("one")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let failed = replace(&path, |file| {
            fill("tw")(file)?;
            Err(io::Error::other("broken"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "broken");
        assert_eq!(fs::read(&path).unwrap(), b"one");
        replace(&path, fill("two")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        let said = replace(&folder.path().join("none/file"), fill("")).unwrap_err().to_string();
        assert!(said.ends_with("none: entity not found"), "{said}");
    }

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(matches!(read(&path, 9), Err(Unread::Absent(_))));
        std::fs::write(&path, "123456789").unwrap();
        assert_eq!(read(&path, 9).unwrap(), b"123456789");
        assert!(matches!(read(&path, 8), Err(Unread::TooLong(8))));
        let loop_ = folder.path().join("loop");
        std::os::unix::fs::symlink(&loop_, &loop_).unwrap();
        let said = read(&loop_, 9).unwrap_err().to_string();
        assert!(said.starts_with("cannot read `"), "{said}");
    }
}
