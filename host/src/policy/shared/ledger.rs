//! The ledger of announces for observers: how much a peer has transferred since its last announce.
//!
//! A ledger is kept where observers are called, not in the store, so it costs announces nothing.
//! The difference of a dropped outcome is included in the next one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use karuta_bittorrent::{Event, InfoHash};

use super::outcome::{Difference, Outcome};
use crate::policy::contract::Verdict;

/// The number of peers in each half of a ledger, about 150 bytes each.
const HALF: usize = 2_000_000;

/// The last reports of peers.
pub struct Ledger {
    /// The number of peers in a half.
    half: usize,
    /// Peers that have announced since the last swap. The halves swap when this one is full, or
    /// when a peer's lifetime has passed; the old half is then dropped.
    young: Half,
    old: Half,
    turned: Option<Instant>,
}

/// In parts, so that a snapshot need not copy it in one go.
struct Half {
    parts: Box<[HashMap<Key, Entry>]>,
    len: usize,
}

type Key = (InfoHash, SocketAddr);

/// A peer's last report, as a snapshot keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    pub info_hash: InfoHash,
    pub peer: SocketAddr,
    pub uploaded: u64,
    pub downloaded: u64,
    pub at: Instant,
}

#[derive(Clone, Copy)]
struct Entry {
    uploaded: u64,
    downloaded: u64,
    at: Instant,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { half: HALF, young: Half::default(), old: Half::default(), turned: None }
    }
}

impl Default for Half {
    fn default() -> Self {
        Self { parts: (0..Ledger::PARTS).map(|_| HashMap::new()).collect(), len: 0 }
    }
}

impl Half {
    fn part(&mut self, (info_hash, peer): &Key) -> &mut HashMap<Key, Entry> {
        &mut self.parts[usize::from(info_hash.0[19] ^ peer.port() as u8) % Ledger::PARTS]
    }

    fn insert(&mut self, key: Key, entry: Entry) -> Option<Entry> {
        let before = self.part(&key).insert(key, entry);
        self.len += usize::from(before.is_none());
        before
    }

    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let before = self.part(key).remove(key);
        self.len -= usize::from(before.is_some());
        before
    }
}

impl Ledger {
    /// How many parts [`Self::copy`] copies.
    pub const PARTS: usize = 64;

    /// Appends the rows of a part.
    pub fn copy(&self, part: usize, into: &mut Vec<Row>) {
        for half in [&self.young, &self.old] {
            into.extend(half.parts[part].iter().map(|((info_hash, peer), entry)| {
                let Entry { uploaded, downloaded, at } = *entry;
                Row { info_hash: *info_hash, peer: *peer, uploaded, downloaded, at }
            }));
        }
    }

    /// Enters a row unless the peer is known, or there is no room. Returns whether it did.
    pub fn put_back(&mut self, row: Row) -> bool {
        let Row { info_hash, peer, uploaded, downloaded, at } = row;
        let key = (info_hash, peer);
        let is_new = !self.young.part(&key).contains_key(&key)
            && !self.old.part(&key).contains_key(&key)
            && self.young.len < self.half;
        if is_new {
            self.young.insert(key, Entry { uploaded, downloaded, at });
        }
        is_new
    }

    /// Enters an outcome, and returns the difference. A peer that has just started, or reports less
    /// than before, has transferred nothing. Refused announces are not entered, because
    /// anyone may have sent them.
    pub fn enter(&mut self, outcome: &Outcome, lifetime: Duration) -> Difference {
        let Outcome { uploaded, downloaded, at, .. } = *outcome;
        if !matches!(outcome.verdict, Verdict::Next | Verdict::Accept) {
            return Difference::default();
        }
        self.turn(at, lifetime);
        let key = (outcome.info_hash, outcome.peer);
        let before = match outcome.event {
            Event::Stopped => self.young.remove(&key),
            _ => self.young.insert(key, Entry { uploaded, downloaded, at }),
        };
        let Some(before) = before.or_else(|| self.old.remove(&key)) else {
            return Difference::default();
        };
        let age = at.saturating_duration_since(before.at);
        if age > lifetime {
            return Difference::default();
        }
        let began = outcome.event == Event::Started
            || uploaded < before.uploaded
            || downloaded < before.downloaded;
        let since = |now: u64, then: u64| if began { 0 } else { now - then };
        Difference {
            uploaded: since(uploaded, before.uploaded),
            downloaded: since(downloaded, before.downloaded),
            seconds: Some(u32::try_from(age.as_secs()).unwrap_or(u32::MAX)),
        }
    }

    fn turn(&mut self, now: Instant, lifetime: Duration) {
        let last = *self.turned.get_or_insert(now);
        if self.young.len >= self.half || now.saturating_duration_since(last) > lifetime {
            self.turned = Some(now);
            self.old = std::mem::take(&mut self.young);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Exchange;

    const LIFETIME: Duration = Duration::from_secs(100);

    fn outcome(event: Event, uploaded: u64, downloaded: u64, at: Instant) -> Outcome {
        let mut exchange = Exchange::default();
        exchange.request.announce.event = event;
        exchange.request.announce.uploaded = uploaded;
        exchange.request.announce.downloaded = downloaded;
        exchange.now = at;
        Outcome::new(&exchange, &[], Verdict::Next)
    }

    #[test]
    fn amounts_are_differences_to_the_last_announce() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        let mut enter = |event, uploaded, downloaded, second| {
            let at = start + Duration::from_secs(second);
            let difference = ledger.enter(&outcome(event, uploaded, downloaded, at), LIFETIME);
            (difference.uploaded, difference.downloaded, difference.seconds)
        };
        assert_eq!(enter(Event::Started, 5, 7, 0), (0, 0, None), "the first");
        assert_eq!(enter(Event::None, 15, 27, 10), (10, 20, Some(10)));
        assert_eq!(enter(Event::None, 14, 50, 20), (0, 0, Some(10)), "it has begun anew");
        assert_eq!(enter(Event::Completed, 14, 60, 30), (0, 10, Some(10)));
        assert_eq!(enter(Event::Started, 99, 99, 40), (0, 0, Some(10)));
        assert_eq!(enter(Event::Stopped, 100, 99, 41), (1, 0, Some(1)));
        assert_eq!(enter(Event::None, 200, 200, 50), (0, 0, None), "it had stopped");
        assert_eq!(enter(Event::None, 300, 300, 151), (0, 0, None), "it was given up");
    }

    /// Returns the outcome of one of many peers, which has uploaded `uploaded` bytes.
    fn of(peer: u32, uploaded: u64, at: Instant) -> Outcome {
        let mut one = outcome(Event::None, uploaded, 0, at);
        one.peer.set_ip(std::net::Ipv4Addr::from_bits(peer).into());
        one
    }

    #[test]
    fn peers_that_are_gone_are_forgotten() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        for peer in 0..1000 {
            ledger.enter(&of(peer, 1, start), LIFETIME);
        }
        for turn in 1..=2 {
            ledger.enter(&of(0, 1, start + turn * 2 * LIFETIME), LIFETIME);
        }
        assert_eq!(ledger.young.len + ledger.old.len, 1);
    }

    #[test]
    fn the_oldest_peers_give_way() {
        let start = Instant::now();
        let mut ledger = Ledger { half: 1000, ..Ledger::default() };
        let many = 2000;
        for peer in 0..many {
            ledger.enter(&of(peer, 1, start), LIFETIME);
        }
        // It announces again, so it is not one of the oldest.
        ledger.enter(&of(many - 1, 2, start), LIFETIME);
        for peer in many..many + 10 {
            ledger.enter(&of(peer, 1, start), LIFETIME);
        }
        assert!(ledger.young.len + ledger.old.len <= 2000);
        let mut uploaded = |peer| ledger.enter(&of(peer, 5, start), LIFETIME).uploaded;
        assert_eq!([uploaded(0), uploaded(many - 1), uploaded(many + 9)], [0, 3, 4]);
    }

    #[test]
    fn refused_peers_are_not_entered() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        let mut enter = |verdict, uploaded| {
            let mut one = of(1, uploaded, start);
            one.verdict = verdict;
            let Difference { uploaded, seconds, .. } = ledger.enter(&one, LIFETIME);
            (uploaded, seconds)
        };
        assert_eq!(enter(Verdict::Reject, 1), (0, None));
        assert_eq!(enter(Verdict::Next, 2), (0, None), "the first");
        assert_eq!(enter(Verdict::Drop, 10), (0, None));
        assert_eq!(enter(Verdict::Accept, 20), (18, Some(0)), "nothing is lost");
    }
}
