//! Accepts connections up to a limit, and survives repeated errors.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream, unix};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A socket that listens.
pub trait Listening {
    type Stream;
    /// The address of a peer.
    type Address;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Stream, Self::Address)>>;
}

impl Listening for TcpListener {
    type Stream = TcpStream;
    type Address = SocketAddr;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        self.poll_accept(cx)
    }
}

impl Listening for UnixListener {
    type Stream = UnixStream;
    type Address = unix::SocketAddr;

    fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(UnixStream, unix::SocketAddr)>> {
        self.poll_accept(cx)
    }
}

/// A listening socket with its limit.
pub struct Acceptor<L = TcpListener> {
    socket: L,
    /// One permit per connection, shared with the other workers.
    room: Arc<Semaphore>,
    transport: &'static str,
    full: Spell,
    failing: Spell,
}

/// A connection's permit, returned on drop.
pub type Place = Option<OwnedSemaphorePermit>;

/// A repeated event that is logged once instead of each time.
#[derive(Default)]
pub struct Spell(Option<Instant>);

/// The pause before an attempt that would probably fail too.
const BREATHER: Duration = Duration::from_millis(50);
/// An event that has not happened for this long is over.
const QUIET: Duration = Duration::from_secs(10);

impl<L: Listening> Acceptor<L> {
    pub fn new(socket: L, room: Arc<Semaphore>, transport: &'static str) -> Self {
        Self { socket, room, transport, full: Spell::default(), failing: Spell::default() }
    }

    /// Waits for a connection and a permit for it. While there is no permit, one accepted
    /// connection waits here; the others wait in the kernel.
    pub async fn next(&mut self) -> (L::Stream, L::Address, Place) {
        loop {
            match poll_fn(|cx| self.socket.poll_accept(cx)).await {
                Ok((stream, from)) => {
                    if self.failing.is_over() {
                        tracing::info!(transport = self.transport, "accepting connections again");
                    }
                    return (stream, from, self.place().await);
                }
                Err(error) => {
                    let text = "cannot accept connections; they wait";
                    self.failing.met(&error, self.transport, text).await;
                }
            }
        }
    }

    async fn place(&mut self) -> Place {
        if let Ok(place) = self.room.clone().try_acquire_owned() {
            if self.full.is_over() {
                tracing::info!(transport = self.transport, "connections are below the limit again");
            }
            return Some(place);
        }
        if self.full.goes_on() {
            let text = "connection limit reached; new connections wait until one closes";
            tracing::warn!(transport = self.transport, "{text}");
        }
        self.room.clone().acquire_owned().await.ok()
    }
}

impl Spell {
    /// Records the event; returns whether it has just begun.
    fn goes_on(&mut self) -> bool {
        self.0.replace(Instant::now()).is_none()
    }

    /// Records its absence; returns whether that ends it.
    pub fn is_over(&mut self) -> bool {
        self.0.take_if(|last| last.elapsed() >= QUIET).is_some()
    }

    /// Logs an error if it has just begun, and pauses. An error of one peer needs no pause, because
    /// the next attempt concerns another.
    pub async fn met(&mut self, error: &io::Error, transport: &str, text: &str) {
        if is_of_one_peer(error) {
            tracing::debug!(%error, transport, "cannot reach peer");
            return;
        }
        if self.goes_on() {
            tracing::warn!(%error, transport, "{text}");
        }
        tokio::time::sleep(BREATHER).await;
    }
}

/// Returns whether an error of accept(2) concerns only one peer, which is gone or unreachable, and
/// not this machine.
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
    fn a_spell_of_errors_is_reported_once() {
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
