//! Accepting connections: as many as there may be, and on through errors that repeat.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A socket that connections come to.
pub struct Acceptor {
    socket: TcpListener,
    /// One permit a connection, shared with the other workers.
    room: Arc<Semaphore>,
    transport: &'static str,
    full: Spell,
    failing: Spell,
}

/// The room that a connection takes until this is dropped.
pub type Place = Option<OwnedSemaphorePermit>;

/// Something that keeps happening, to be said once and not each time.
#[derive(Default)]
pub struct Spell(Option<Instant>);

/// A pause where the next attempt would fail as well.
const BREATHER: Duration = Duration::from_millis(50);
/// What has not happened for so long is over.
const QUIET: Duration = Duration::from_secs(10);

impl Acceptor {
    pub fn new(socket: TcpListener, room: Arc<Semaphore>, transport: &'static str) -> Self {
        Self { socket, room, transport, full: Spell::default(), failing: Spell::default() }
    }

    /// Waits for a connection, and for room for it. While there is none, one connection is accepted
    /// and waits here; the others wait in the kernel.
    pub async fn next(&mut self) -> (TcpStream, SocketAddr, Place) {
        loop {
            match self.socket.accept().await {
                Ok((stream, from)) => {
                    if self.failing.is_over() {
                        tracing::info!(transport = self.transport, "accepting connections again");
                    }
                    return (stream, from, self.place().await);
                }
                Err(error) => {
                    let text = "accepting connections fails; they wait";
                    self.failing.met(&error, self.transport, text).await;
                }
            }
        }
    }

    async fn place(&mut self) -> Place {
        if let Ok(place) = self.room.clone().try_acquire_owned() {
            if self.full.is_over() {
                tracing::info!(transport = self.transport, "there is room for connections again");
            }
            return Some(place);
        }
        if self.full.goes_on() {
            let text = "as many connections are open as may be; others wait until one closes";
            tracing::warn!(transport = self.transport, "{text}");
        }
        self.room.clone().acquire_owned().await.ok()
    }
}

impl Spell {
    /// Notes that it has happened. `true`: it has just begun.
    fn goes_on(&mut self) -> bool {
        self.0.replace(Instant::now()).is_none()
    }

    /// Notes that it has not happened. `true`: by that it is over.
    pub fn is_over(&mut self) -> bool {
        self.0.take_if(|last| last.elapsed() >= QUIET).is_some()
    }

    /// Says that something fails, where it has just begun to, and pauses. An error that is one peer's
    /// needs no pause: the next attempt is about another.
    pub async fn met(&mut self, error: &io::Error, transport: &str, text: &str) {
        if is_of_one_peer(error) {
            tracing::debug!(%error, transport, "a peer is out of reach");
            return;
        }
        if self.goes_on() {
            tracing::warn!(%error, transport, "{text}");
        }
        tokio::time::sleep(BREATHER).await;
    }
}

/// Whether an error of a socket that listens is about one peer, which has gone or cannot be reached
/// (accept(2)), and not about this machine.
fn is_of_one_peer(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(
            Errno::ECONNABORTED
                | Errno::ECONNREFUSED
                | Errno::ECONNRESET
                | Errno::EHOSTDOWN
                | Errno::EHOSTUNREACH
                | Errno::EINTR
                | Errno::ENETUNREACH
                | Errno::ENONET
                | Errno::ENOPROTOOPT
                | Errno::EOPNOTSUPP
                | Errno::EPROTO
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spell_is_said_once() {
        let mut spell = Spell::default();
        assert!(!spell.is_over(), "it has not begun");
        assert!(spell.goes_on());
        assert!(!spell.goes_on());
        assert!(!spell.is_over(), "it has just happened");
        spell.0 = spell.0.and_then(|last| last.checked_sub(QUIET));
        assert!(spell.is_over());
        assert!(!spell.is_over(), "said already");
        assert!(spell.goes_on(), "a new one");
    }

    #[test]
    fn errors_of_this_machine_are_told_from_those_of_a_peer() {
        use nix::libc::{ECONNABORTED, ECONNRESET, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM};
        for (errors, is_of_peer) in [
            (&[ECONNABORTED, ECONNRESET][..], true),
            (&[EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM], false),
        ] {
            for &error in errors {
                assert_eq!(
                    is_of_one_peer(&io::Error::from_raw_os_error(error)),
                    is_of_peer,
                    "{error}"
                );
            }
        }
    }
}
