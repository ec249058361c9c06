//! Messages to the service manager: sd_notify(3).

use std::env;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use nix::time::{ClockId, clock_gettime};

/// The sender of messages to the service manager. If there is none, nothing is sent.
#[derive(Clone, Default)]
pub struct Notifier(Option<Arc<Channel>>);

struct Channel {
    socket: UnixDatagram,
    manager: UnixAddr,
    /// Whether the last message could not be sent.
    failing: AtomicBool,
}

/// While it exists, the service manager waits for this process.
pub struct Extension {
    /// Disconnects when the extension ends.
    _end: mpsc::Sender<()>,
}

/// The environment variable with the service manager's socket.
const SOCKET: &str = "NOTIFY_SOCKET";
/// How long a message may wait for room in the manager's queue.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the manager is asked to wait, and how often.
const EXTENSION: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(20);

impl Notifier {
    /// Returns the sender to the service manager that `$NOTIFY_SOCKET` names.
    pub fn of_environment() -> Self {
        let Some(name) = env::var_os(SOCKET).filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        Self::to(name.as_bytes()).unwrap_or_else(|error| {
            tracing::warn!(%error, socket = %name.display(), "cannot notify the service manager");
            Self::default()
        })
    }

    /// Returns the sender to a socket: a path, or `@` and an abstract name.
    fn to(name: &[u8]) -> io::Result<Self> {
        let manager = match name {
            [b'@', name @ ..] => UnixAddr::new_abstract(name)?,
            [b'/', ..] => UnixAddr::new(name)?,
            _ => return Err(io::Error::other("expected a path, or a name that begins with `@`")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(Some(Arc::new(Channel { socket, manager, failing: AtomicBool::new(false) }))))
    }

    pub fn is_present(&self) -> bool {
        self.0.is_some()
    }

    /// Tells that the start, or a reload, is over.
    pub fn ready(&self) {
        // Without this message, the manager ends the process: it waits even if others could not be
        // sent.
        if let Some(channel) = &self.0 {
            channel.failing.store(false, Relaxed);
        }
        self.send("READY=1", &[]);
    }

    /// Tells that a reload begins. `ready` must follow, whatever comes of it.
    pub fn reloading(&self) {
        // systemd wants the time with it, to tell the answers to two reloads apart.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()), &[]);
    }

    pub fn stopping(&self) {
        self.send("STOPPING=1", &[]);
    }

    /// Sets the line that `systemctl status` shows. It must have no line break.
    pub fn status(&self, line: &str) {
        self.send(&format!("STATUS={line}"), &[]);
    }

    pub fn feed_watchdog(&self) {
        self.send("WATCHDOG=1", &[]);
    }

    /// Gives a socket to the manager, which passes it to the next process of this service.
    pub fn keep(&self, name: &str, socket: impl AsFd) {
        // An error of the socket, such as that of one client, is no reason to drop it.
        let message = format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}");
        self.send(&message, &[socket.as_fd().as_raw_fd()]);
    }

    /// Makes the manager close the sockets of this name.
    pub fn forget(&self, name: &str) {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[]);
    }

    /// Keeps the manager waiting, until the returned value is dropped: for work that may take long
    /// but ends by itself.
    pub fn extend_timeout(&self) -> Extension {
        let (end, ended) = mpsc::channel();
        let notifier = self.clone();
        let extend = move || {
            let message = format!("EXTEND_TIMEOUT_USEC={}", EXTENSION.as_micros());
            loop {
                notifier.send(&message, &[]);
                if ended.recv_timeout(AGAIN) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
        };
        if self.is_present()
            && let Err(error) = thread::Builder::new().name("service".into()).spawn(extend)
        {
            tracing::warn!(%error, "cannot ask the service manager for more time");
        }
        Extension { _end: end }
    }

    /// Sends a message. If the manager does not read, only the first one waits for it.
    fn send(&self, message: &str, descriptors: &[RawFd]) {
        let Some(channel) = &self.0 else { return };
        match channel.send(message, descriptors) {
            Ok(()) => channel.failing.store(false, Relaxed),
            Err(error) if !channel.failing.swap(true, Relaxed) => {
                let error = io::Error::from(error);
                tracing::warn!(%error, message, "cannot notify the service manager");
            }
            Err(_) => {}
        }
    }
}

impl Channel {
    fn send(&self, message: &str, descriptors: &[RawFd]) -> nix::Result<()> {
        let mut flags = MsgFlags::MSG_NOSIGNAL;
        flags.set(MsgFlags::MSG_DONTWAIT, self.failing.load(Relaxed));
        let control = [ControlMessage::ScmRights(descriptors)];
        let control = if descriptors.is_empty() { &[][..] } else { &control };
        let message = [IoSlice::new(message.as_bytes())];
        loop {
            let socket = self.socket.as_raw_fd();
            match sendmsg(socket, &message, control, flags, Some(&self.manager)) {
                Err(Errno::EINTR) => {}
                sent => return sent.map(drop),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSliceMut;
    use std::net::UdpSocket;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    use std::path::Path;

    use nix::cmsg_space;
    use nix::sys::socket::{ControlMessageOwned, SockaddrIn, getsockname, recvmsg};

    use super::*;

    fn manager(folder: &Path) -> (UnixDatagram, Notifier) {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        (socket, Notifier::to(path.as_os_str().as_bytes()).unwrap())
    }

    fn message(manager: &UnixDatagram) -> String {
        let mut bytes = [0; 512];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn each_message_is_written_as_the_manager_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let (manager, notifier) = manager(folder.path());
        notifier.ready();
        notifier.stopping();
        notifier.status("3 peers");
        notifier.feed_watchdog();
        notifier.forget("udp.0.1");
        notifier.reloading();
        for expected in [
            "READY=1",
            "STOPPING=1",
            "STATUS=3 peers",
            "WATCHDOG=1",
            "FDSTOREREMOVE=1\nFDNAME=udp.0.1",
        ] {
            assert_eq!(message(&manager), expected);
        }
        let reloading = message(&manager);
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(time.parse::<u64>().unwrap() > 0, "{reloading}");
        let extension = notifier.extend_timeout();
        assert_eq!(message(&manager), "EXTEND_TIMEOUT_USEC=60000000");
        drop(extension);
    }

    #[test]
    fn a_kept_socket_arrives() {
        let folder = tempfile::tempdir().unwrap();
        let (manager, notifier) = manager(folder.path());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        notifier.keep("udp.0.0", &socket);
        let mut bytes = [0; 512];
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let mut room = cmsg_space!(RawFd);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let raw = manager.as_raw_fd();
        let received = recvmsg::<()>(raw, &mut slices, Some(&mut room), flags).unwrap();
        let controls: Vec<_> = received.cmsgs().unwrap().collect();
        let length = received.bytes;
        let [ControlMessageOwned::ScmRights(descriptors)] = &controls[..] else {
            panic!("{controls:?}")
        };
        let [descriptor] = descriptors[..] else { panic!("{descriptors:?}") };
        let address: SockaddrIn = getsockname(descriptor).unwrap();
        assert_eq!(address.port(), socket.local_addr().unwrap().port());
        assert_eq!(&bytes[..length], b"FDSTORE=1\nFDPOLL=0\nFDNAME=udp.0.0");
        nix::unistd::close(descriptor).unwrap();
    }

    #[test]
    fn an_abstract_name_begins_with_an_at_sign() {
        let name = format!("karuta-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        Notifier::to(format!("@{name}").as_bytes()).unwrap().ready();
        assert_eq!(message(&manager), "READY=1");
        assert!(Notifier::to(b"vsock:2:1").is_err());
    }

    #[test]
    fn a_manager_that_does_not_read_delays_one_message() {
        let folder = tempfile::tempdir().unwrap();
        let (manager, notifier) = manager(folder.path());
        let channel = notifier.0.clone().unwrap();
        while !channel.failing.load(Relaxed) {
            notifier.feed_watchdog();
        }
        // Would wait for an hour, if it waited.
        channel.socket.set_write_timeout(Some(Duration::from_hours(1))).unwrap();
        notifier.feed_watchdog();
        message(&manager);
        notifier.feed_watchdog();
        assert!(!channel.failing.load(Relaxed), "it reads again");
        drop(manager);
        notifier.feed_watchdog();
        assert!(channel.failing.load(Relaxed), "it is gone");
    }
}
