//! Answers over UDP that wait until their announces are in the books.

use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use karuta_accounts::{Receipt, settle};
use karuta_bittorrent::{Family, Transport};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::batch::{Outbox, PeerAddr};
use crate::metrics::{self, Action, Outcome};

/// Those of packets that were received together: at most as many as an outbox holds.
pub struct Late {
    pub answers: Vec<LateAnswer>,
    pub socket: Rc<AsyncFd<UdpSocket>>,
    pub series: Arc<metrics::Worker>,
    /// When the packets came.
    pub start: Instant,
    /// The worker does not end while it is held.
    pub _open: watch::Receiver<bool>,
}

/// The answer to an announce.
pub struct LateAnswer {
    pub receipt: Receipt,
    /// Empty: no answer.
    pub body: Vec<u8>,
    pub source: PeerAddr,
    pub family: Family,
    pub outcome: Outcome,
}

impl Late {
    /// Sends the answers when all of them are in the books.
    pub async fn send(self) {
        let mut outbox = Outbox::of(self.socket.get_ref());
        for LateAnswer { receipt, mut body, source, family, outcome } in self.answers {
            settle(receipt).await;
            let took = self.start.elapsed();
            self.series.request(Transport::Udp, Action::Announce, family, outcome, took);
            if !body.is_empty() {
                outbox.push(&mut body, source);
            }
        }
        outbox.send(&self.socket).await;
    }
}
