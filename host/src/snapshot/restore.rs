//! Restores a snapshot.

use std::io::{Read, Seek};
use std::time::{Duration, Instant};

use karuta_blocks::Header;
use karuta_swarm::{Piece, Restored, Seconds, Store};

use super::read::{Contents, Sink, Unreadable, read_twice};
use crate::policy::{Kept, KeptKind};

/// What a snapshot is restored into.
pub struct Restorer<'a, S> {
    pub store: &'a S,
    /// The time of the store.
    pub now: Seconds,
    pub policies: &'a [Kept],
    /// The time by the wall clock: milliseconds since 1970.
    pub unix_ms: u64,
}

/// What became of a snapshot.
#[derive(Debug)]
pub struct Outcome {
    pub contents: Contents,
    pub peers: Restored,
    /// Key-values and rows of ledgers that were entered.
    pub records: u64,
    /// Those that have expired, or whose policy is no longer there, or that no longer fit.
    pub left_out: u64,
}

impl<S: Store> Restorer<'_, S> {
    /// Reads a file, and enters all of its whole blocks. Everything is as much older as time has
    /// passed by the wall clock; not at all if that has gone back.
    ///
    /// # Errors
    ///
    /// The file cannot be used; then nothing was entered.
    pub fn restore(self, file: impl Read + Seek) -> Result<Outcome, Unreadable> {
        let mut entering = Entering {
            passed: Duration::ZERO,
            started: Instant::now(),
            peers: Restored::default(),
            records: 0,
            left_out: 0,
            of: self,
        };
        let contents = read_twice(file, &mut entering)?;
        let Entering { peers, records, left_out, .. } = entering;
        Ok(Outcome { contents, peers, records, left_out })
    }
}

struct Entering<'a, S> {
    of: Restorer<'a, S>,
    passed: Duration,
    started: Instant,
    peers: Restored,
    records: u64,
    left_out: u64,
}

impl<S: Store> Sink for Entering<'_, S> {
    fn begin(&mut self, header: &Header) {
        self.passed = Duration::from_millis(self.of.unix_ms.saturating_sub(header.created));
    }

    fn piece(&mut self, piece: &mut Piece) {
        let passed = Seconds::try_from(self.passed.as_secs()).unwrap_or(Seconds::MAX);
        piece.deserted = piece.deserted.saturating_add(passed);
        for peer in &mut piece.peers {
            peer.age = peer.age.saturating_add(passed);
        }
        self.peers += self.of.store.restore(piece, self.of.now);
    }

    fn record(&mut self, policy: &str, kind: KeptKind, rest: &mut &[u8]) -> bool {
        let kept = self.of.policies.iter().find(|kept| &*kept.policy == policy);
        let entered = match kept {
            Some(kept) => kept.restore(kind, rest, self.started, self.passed),
            None => Kept::skip(kind, rest).map(|()| false),
        };
        self.records += u64::from(entered == Ok(true));
        self.left_out += u64::from(entered == Ok(false));
        entered.is_ok()
    }
}
