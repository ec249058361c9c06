//! The socket files of the admin API. Who may write to a file may connect, so its mode is the
//! authentication.

use std::fs::{self, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::Group;
use socket2::{Domain, SockAddr, Socket, Type};

use super::error::{Error, system};
use crate::config::Config;
use crate::file;

/// A socket file that this process listens on. Dropping it removes the file.
pub struct SocketFile {
    path: PathBuf,
    listener: UnixListener,
    /// Device and number of the file, so that another one in its place is left alone.
    identity: (u64, u64),
}

/// For the owner and the group.
const MODE: u32 = 0o660;
/// The number of connections that may wait to be accepted.
const BACKLOG: i32 = 128;

impl SocketFile {
    /// Listens on all socket files of the configuration.
    ///
    /// # Errors
    ///
    /// There is no such group, or a file cannot be made, because another process listens there or
    /// what is there is not a socket.
    pub fn listen_all(config: &Config) -> Result<Vec<Self>, Error> {
        let group = group(config)?;
        let user = config.run_as.as_ref().map(|run_as| &run_as.ids);
        let (owner, group) = (user.map(|ids| ids.user), group.or(user.map(|ids| ids.group)));
        let listen = |path: &Path| {
            let failed = |error| system(&format!("cannot listen on {}", Self::name(path)), error);
            Self::listen(path, owner, group).map_err(failed)
        };
        config.admin.sockets().map(listen).collect()
    }

    /// Returns how the configuration names it.
    pub fn name(path: &Path) -> String {
        format!("unix:{}", path.display())
    }

    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    fn listen(path: &Path, owner: Option<u32>, group: Option<u32>) -> io::Result<Self> {
        let address = SockAddr::unix(path)?;
        make_room(path, &address)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&address)?;
        // Nobody can connect before it listens, whatever the mode is until then. What is changed is the
        // socket itself: in a folder of another user, the path may lead elsewhere by now.
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
        let handle = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
        let made = handle.metadata()?;
        if !made.file_type().is_socket() {
            return Err(io::Error::other("another process has replaced it"));
        }
        let itself = format!("/proc/self/fd/{}", handle.as_raw_fd());
        let file =
            Self { path: path.to_owned(), identity: identity(&made), listener: socket.into() };
        // The filter of a hardened service refuses even a call that changes nothing.
        if owner.is_some() || group.is_some() {
            chown(&itself, owner, group)?;
        }
        fs::set_permissions(&itself, Permissions::from_mode(MODE))?;
        let socket = socket2::SockRef::from(&file.listener);
        socket.set_nonblocking(true)?;
        socket.listen(BACKLOG)?;
        if identity(&metadata(path)?) != file.identity {
            return Err(io::Error::new(ErrorKind::AddrInUse, "another process listens there"));
        }
        Ok(file)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = |found: Metadata| identity(&found) == self.identity;
        if metadata(&self.path).is_ok_and(is_ours)
            && let Err(error) = fs::remove_file(&self.path)
        {
            let path = self.path.display();
            tracing::debug!(%error, %path, "cannot remove socket file; the next start does");
        }
    }
}

/// Checks that the group of socket files exists, and returns its number.
///
/// # Errors
///
/// There is none of that name.
pub fn group(config: &Config) -> Result<Option<u32>, Error> {
    let Some(name) = &config.admin.socket_group else { return Ok(None) };
    if let Ok(number) = name.parse() {
        return Ok(Some(number));
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(Some(group.gid.as_raw())),
        Ok(None) => {
            let message = format!("there is no group `{name}`");
            Err(Error::Config(config.source.error("admin.socket_group", message)))
        }
        Err(error) => Err(system("admin.socket_group", error.into())),
    }
}

/// Removes what an earlier process has left at a path.
fn make_room(path: &Path, address: &SockAddr) -> io::Result<()> {
    let found = match metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = file::folder(path);
            if folder.is_dir() {
                return Ok(());
            }
            let message = format!("there is no folder {}", folder.display());
            return Err(io::Error::new(ErrorKind::NotFound, message));
        }
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::other("there is a file that is not a socket; not replacing it"));
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // If there is somebody with a full queue, that is an error of another kind.
    socket.set_nonblocking(true)?;
    match socket.connect(address) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Err(io::Error::new(ErrorKind::AddrInUse, "another process listens there")),
    }
}

fn metadata(path: &Path) -> io::Result<Metadata> {
    fs::symlink_metadata(path)
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn only_sockets_that_nobody_listens_on_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let first = SocketFile::listen(&path, None, None).unwrap();
        assert_eq!(metadata(&path).unwrap().mode() & 0o777, MODE);
        let refused = |path: &Path| SocketFile::listen(path, None, None).err().unwrap().to_string();
        assert_eq!(refused(&path), "another process listens there");
        UnixStream::connect(&path).unwrap();

        // A process that was killed leaves its file.
        let stale = folder.path().join("stale.sock");
        drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
        drop(SocketFile::listen(&stale, None, None).unwrap());
        assert!(!stale.exists(), "it is removed at the end");

        for what in [b"precious".as_slice(), b""] {
            let file = folder.path().join("file");
            fs::write(&file, what).unwrap();
            assert!(refused(&file).contains("not a socket"));
            assert_eq!(fs::read(&file).unwrap(), what);
        }
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&stale, &link).unwrap();
        assert!(refused(&link).contains("not a socket"));
        assert!(refused(folder.path()).contains("not a socket"));
        assert!(refused(&folder.path().join("no/admin.sock")).contains("there is no folder"));
        drop(first);
    }

    #[test]
    fn the_file_of_another_process_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let first = SocketFile::listen(&path, None, None).unwrap();
        fs::rename(&path, folder.path().join("away")).unwrap();
        let second = SocketFile::listen(&path, None, None).unwrap();
        drop(first);
        UnixStream::connect(&path).unwrap();
        drop(second);
        assert!(!path.exists());
    }
}
