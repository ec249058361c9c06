//! Handshakes of incoming connections: bounded in time and number.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Listener;
use crate::metrics::{Handshake, Metrics};

/// The handshakes of one thread on one listener.
pub struct Handshakes {
    acceptor: TlsAcceptor,
    /// How long one may take.
    timeout: Duration,
    /// The most at once.
    most: usize,
    under_way: Mutex<UnderWay>,
    metrics: Arc<Metrics>,
}

/// A sender for each handshake, by age. To drop it ends the handshake.
#[derive(Default)]
struct UnderWay {
    next: u64,
    senders: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A handshake under way. Dropping it makes room for another.
struct Turn<'a> {
    number: u64,
    handshakes: &'a Handshakes,
}

/// The first byte of a TLS connection: a record of type `handshake`.
const RECORD: u8 = 0x16;
/// The answer to everything else.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 23\r\n\
    connection: close\r\n\
    \r\n\
    this port speaks https\n";
/// The most that is read from a client that does not speak TLS, in bytes.
const DRAIN: u64 = 64 * 1024;

impl Handshakes {
    /// Prepares for handshakes of which one takes at most `timeout`, and of which there are at most
    /// `most` at once.
    pub fn new(listener: &Listener, timeout: Duration, most: usize, metrics: Arc<Metrics>) -> Self {
        let acceptor = TlsAcceptor::from(listener.config.clone());
        Self { acceptor, timeout, most: most.max(1), under_way: Mutex::default(), metrics }
    }

    /// Makes a connection secure. Returns `None` if that fails. If there are too many handshakes,
    /// the oldest one fails: an honest client needs milliseconds.
    pub async fn accept(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let (_turn, evicted) = self.begin();
        let (outcome, stream) = tokio::select! {
            done = timeout(self.timeout, self.shake(stream)) => match done {
                Ok(Ok(stream)) => match stream.get_ref().1.handshake_kind() {
                    Some(HandshakeKind::Resumed) => (Handshake::Resumed, Some(stream)),
                    _ => (Handshake::Ok, Some(stream)),
                },
                Ok(Err(outcome)) => (outcome, None),
                Err(_) => (Handshake::Timeout, None),
            },
            _ = evicted => (Handshake::Evicted, None),
        };
        self.metrics.handshake(outcome);
        stream
    }

    fn begin(&self) -> (Turn<'_>, oneshot::Receiver<()>) {
        let (sender, evicted) = oneshot::channel();
        let mut under_way = self.under_way.lock();
        if under_way.senders.len() >= self.most {
            under_way.senders.pop_first();
        }
        let number = under_way.next;
        under_way.next += 1;
        under_way.senders.insert(number, sender);
        (Turn { number, handshakes: self }, evicted)
    }

    async fn shake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Handshake> {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1..) if first == [RECORD] => {}
            Ok(1..) => {
                // Either way, the connection ends here.
                let _ = refuse(stream).await;
                return Err(Handshake::Plain);
            }
            Ok(0) | Err(_) => return Err(Handshake::Closed),
        }
        self.acceptor.accept(stream).await.map_err(|error| {
            tracing::debug!(%error, "TLS handshake failed");
            match error.kind() {
                ErrorKind::InvalidData => Handshake::Alert,
                _ => Handshake::Closed,
            }
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.handshakes.under_way.lock().senders.remove(&self.number);
    }
}

/// Answers a client that does not speak TLS.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(PLAIN).await?;
    stream.shutdown().await?;
    // If bytes are left unread, closing resets the connection, and the client may lose the answer.
    tokio::io::copy(&mut stream.take(DRAIN), &mut tokio::io::sink()).await.map(drop)
}
