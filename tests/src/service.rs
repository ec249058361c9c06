//! What a service manager such as systemd does for a daemon: it reads its messages, and passes
//! sockets to it.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{SOON, through};

/// A service manager that reads messages, and drops the sockets that it is given.
pub struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    #[expect(clippy::new_without_default, reason = "it binds a socket")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        Self { folder, socket }
    }

    /// Returns the value of `$NOTIFY_SOCKET`.
    pub fn address(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    /// Returns the next message.
    #[track_caller]
    pub fn message(&self) -> String {
        self.message_within(SOON).expect("a message")
    }

    /// Returns the next message, if one comes in time.
    pub fn message_within(&self, patience: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(patience)).expect("a timeout");
        let mut bytes = [0; 4096];
        match self.socket.recv(&mut bytes) {
            Ok(length) => Some(String::from_utf8(bytes[..length].to_vec()).expect("a text")),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Returns the messages up to the one that begins with a text, and that one.
    #[track_caller]
    pub fn messages_until(&self, begin: &str) -> Vec<String> {
        let mut messages = Vec::new();
        let deadline = Instant::now() + SOON;
        while !messages.last().is_some_and(|last: &String| last.starts_with(begin)) {
            assert!(Instant::now() < deadline, "no {begin} in {messages:?}");
            messages.push(self.message());
        }
        messages
    }
}

/// Returns a command that runs another with at most two sockets, each with the name that
/// `$LISTEN_FDNAMES` gives it. The sockets of this process stay open.
pub fn passing(command: &Command, sockets: Vec<(&str, OwnedFd)>) -> Command {
    let names: Vec<_> = sockets.iter().map(|(name, _)| *name).collect();
    // A shell moves them from where a parent can put them to where they have to be.
    let moves =
        ["exec 3<&0 </dev/null;", "exec 3<&0 4>&1 </dev/null >/dev/null;"][sockets.len() - 1];
    let script = format!("{moves} LISTEN_PID=$$ exec \"$@\"");
    let mut command = through("sh", &["-c", &script, "sh"], command);
    command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
    let mut sockets = sockets.into_iter().map(|(_, socket)| Stdio::from(socket));
    sockets.next().map(|first| command.stdin(first));
    sockets.next().map(|second| command.stdout(second));
    command
}
