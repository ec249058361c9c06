//! The ledger of announces for observers: how much a client has transferred since its last announce.
//!
//! A ledger is kept where observers are called, not in the store, so it costs announces nothing.
//! The difference of a dropped outcome is included in the next one. Its rules are those of the books,
//! but it is one of its own: it knows clients that are nobody's, and goes on while the books cannot
//! be written. What the books know is where it begins.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use karuta_accounts::{Bytes, LastReport, moved};
use karuta_bittorrent::{Event, InfoHash, PeerId};

use super::outcome::{Difference, Outcome};
use crate::policy::contract::Verdict;

/// The number of clients in each half of a ledger, about 150 bytes each.
const HALF: usize = 2_000_000;

/// The last reports of clients.
pub struct Ledger {
    /// The number of clients in a half.
    half: usize,
    /// Clients that have announced since the last swap. The halves swap when this one is full, or
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

/// Whose totals they are. The address is no part of it: a client with two addresses reports the same
/// totals from each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Key {
    /// A client of a member at a torrent, by the ids of the books.
    Member(u64, u64, PeerId),
    /// Any other.
    Stranger(InfoHash, PeerId),
}

/// A client's last report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    pub said: Bytes,
    pub at: Instant,
    /// Whether it was a peer of the swarm from then on.
    pub is_there: bool,
}

/// The last report of a client that is a peer of a swarm, as a snapshot keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    pub info_hash: InfoHash,
    pub peer_id: PeerId,
    pub said: Bytes,
    pub at: Instant,
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

impl Key {
    fn of(outcome: &Outcome) -> Self {
        match outcome.account {
            Some((member, torrent)) => Self::Member(member, torrent, outcome.peer_id),
            None => Self::Stranger(outcome.info_hash, outcome.peer_id),
        }
    }

    fn part(&self) -> usize {
        let (byte, peer_id) = match self {
            Self::Member(member, _, peer_id) => (*member as u8, peer_id),
            Self::Stranger(info_hash, peer_id) => (info_hash.0[19], peer_id),
        };
        usize::from(byte ^ peer_id.0[19]) % Ledger::PARTS
    }
}

impl Half {
    fn contains(&self, key: &Key) -> bool {
        self.parts[key.part()].contains_key(key)
    }

    fn insert(&mut self, key: Key, entry: Entry) {
        self.len += usize::from(self.parts[key.part()].insert(key, entry).is_none());
    }

    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let before = self.parts[key.part()].remove(key);
        self.len -= usize::from(before.is_some());
        before
    }
}

impl Ledger {
    /// How many parts [`Self::copy`] copies.
    pub const PARTS: usize = 64;

    /// Appends the rows of a part. Members' clients are not among them: the books know them.
    pub fn copy(&self, part: usize, into: &mut Vec<Row>) {
        for half in [&self.young, &self.old] {
            into.extend(half.parts[part].iter().filter_map(|(key, entry)| match (*key, *entry) {
                (Key::Stranger(info_hash, peer_id), Entry { said, at, is_there: true }) => {
                    Some(Row { info_hash, peer_id, said, at })
                }
                _ => None,
            }));
        }
    }

    /// Enters a row of a snapshot unless the client is known, or there is no room. Returns whether it
    /// did.
    pub fn put_back(&mut self, row: Row) -> bool {
        let Row { info_hash, peer_id, said, at } = row;
        self.begin_with(Key::Stranger(info_hash, peer_id), Entry { said, at, is_there: true })
    }

    /// Enters what the books know of a client, which reported it at `at`, as [`Self::put_back`] does.
    pub fn put_back_member(&mut self, report: &LastReport, at: Instant) -> bool {
        let LastReport { member, torrent, peer_id, said, is_active, .. } = *report;
        let entry = Entry { said, at, is_there: is_active };
        self.begin_with(Key::Member(member, torrent, peer_id), entry)
    }

    fn begin_with(&mut self, key: Key, entry: Entry) -> bool {
        let is_new =
            !self.young.contains(&key) && !self.old.contains(&key) && self.young.len < self.half;
        if is_new {
            self.young.insert(key, entry);
        }
        is_new
    }

    /// Enters an outcome, and returns the difference. A refused announce is not entered, because anyone
    /// may have sent it; that of a member is, as in the books.
    pub fn enter(&mut self, outcome: &Outcome, lifetime: Duration) -> Difference {
        let Outcome { event, account, at, .. } = *outcome;
        let is_let_in = matches!(outcome.verdict, Verdict::Next | Verdict::Accept);
        if !is_let_in && account.is_none() {
            return Difference::default();
        }
        self.turn(at, lifetime);
        let key = Key::of(outcome);
        let age = |known: &Entry| at.saturating_duration_since(known.at);
        let known = self.young.remove(&key).or_else(|| self.old.remove(&key));
        let known = known.filter(|known| age(known) <= lifetime);
        let Some(said) = outcome.said().or(known.map(|known| known.said)) else {
            return Difference::default();
        };
        let is_there = is_let_in && event != Event::Stopped;
        self.young.insert(key, Entry { said, at, is_there });
        let Some(known) = known else { return Difference::default() };
        let Bytes { uploaded, downloaded } = moved(Some(known.said), said);
        let seconds = u32::try_from(age(&known).as_secs()).unwrap_or(u32::MAX);
        Difference { uploaded, downloaded, seconds: known.is_there.then_some(seconds) }
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
        assert_eq!(
            enter(Event::Started, 16, 60, 40),
            (2, 0, Some(10)),
            "repeated until it succeeds"
        );
        assert_eq!(enter(Event::Stopped, 100, 60, 41), (84, 0, Some(1)));
        assert_eq!(enter(Event::Stopped, 100, 60, 42), (0, 0, None), "over the other family");
        assert_eq!(enter(Event::Started, 101, 60, 50), (1, 0, None), "it was not there");
        assert_eq!(enter(Event::None, 300, 300, 151), (0, 0, None), "it was given up");
    }

    #[test]
    fn a_member_s_client_is_its_own_and_is_counted_at_either_hash_and_when_refused() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        let mut enter = |account, hash, verdict, uploaded| {
            let mut one = outcome(Event::None, uploaded, 0, now);
            (one.account, one.info_hash, one.verdict) = (account, InfoHash([hash; 20]), verdict);
            let Difference { uploaded, seconds, .. } = ledger.enter(&one, LIFETIME);
            (uploaded, seconds.is_some())
        };
        let (first, second) = (Some((1, 12)), Some((2, 12)));
        assert_eq!(enter(first, 1, Verdict::Next, 10), (0, false));
        assert_eq!(enter(second, 1, Verdict::Next, 70), (0, false), "another member's");
        assert_eq!(enter(None, 1, Verdict::Next, 100), (0, false), "nobody's");
        assert_eq!(enter(first, 2, Verdict::Next, 15), (5, true), "a hybrid torrent's other hash");
        assert_eq!(enter(first, 2, Verdict::Reject, 20), (5, true));
        assert_eq!(enter(first, 1, Verdict::Accept, 27), (7, false), "it was not there");
        assert_eq!(enter(second, 1, Verdict::Next, 71), (1, true));
        assert_eq!(enter(None, 1, Verdict::Next, 102), (2, true));
        assert_eq!(enter(None, 2, Verdict::Next, 200), (0, false), "it may be another torrent");
        assert_eq!(enter(Some((1, 13)), 1, Verdict::Next, 99), (0, false), "another torrent");
    }

    #[test]
    fn a_client_that_does_not_say_adds_nothing_until_it_does() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        let mut enter = |uploaded: Option<u64>| {
            let mut one = outcome(Event::None, uploaded.unwrap_or(0), 0, now);
            one.has_totals = uploaded.is_some();
            let Difference { uploaded, seconds, .. } = ledger.enter(&one, LIFETIME);
            (uploaded, seconds.is_some())
        };
        assert_eq!(enter(None), (0, false));
        assert_eq!(enter(Some(10)), (0, false), "the first");
        assert_eq!(enter(None), (0, true));
        assert_eq!(enter(Some(15)), (5, true));
    }

    #[test]
    fn a_ledger_goes_on_from_what_the_books_know() {
        let now = Instant::now();
        let mut ledger = Ledger::default();
        let report = |peer_id, uploaded, is_active| LastReport {
            member: 1,
            torrent: 12,
            peer_id: PeerId([peer_id; 20]),
            said: Bytes { uploaded, downloaded: 0 },
            is_active,
            seen_at: 0,
        };
        assert!(ledger.put_back_member(&report(1, 10, true), now));
        assert!(ledger.put_back_member(&report(2, 10, false), now));
        assert!(!ledger.put_back_member(&report(1, 0, true), now), "it is known");
        let mut enter = |peer_id, second| {
            let mut one = outcome(Event::None, 15, 0, now + Duration::from_secs(second));
            (one.account, one.peer_id) = (Some((1, 12)), PeerId([peer_id; 20]));
            let Difference { uploaded, seconds, .. } = ledger.enter(&one, LIFETIME);
            (uploaded, seconds)
        };
        assert_eq!(enter(1, 30), (5, Some(30)));
        assert_eq!(enter(2, 30), (5, None), "it had stopped");
        let mut rows = Vec::new();
        (0..Ledger::PARTS).for_each(|part| ledger.copy(part, &mut rows));
        assert_eq!(rows, [], "the books have them");
    }

    /// Returns the outcome of one of many clients, which has uploaded `uploaded` bytes.
    fn of(client: u32, uploaded: u64, at: Instant) -> Outcome {
        let mut one = outcome(Event::None, uploaded, 0, at);
        one.peer_id.0[..4].copy_from_slice(&client.to_be_bytes());
        one
    }

    #[test]
    fn peers_that_are_gone_are_forgotten() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        for client in 0..1000 {
            ledger.enter(&of(client, 1, start), LIFETIME);
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
