//! A walk over all torrents that writes them piece by piece, so that nobody waits for it.

use std::sync::Arc;
use std::time::Instant;

use karuta_bittorrent::InfoHash;
use karuta_swarm::{Piece, SavedPeer, Seconds, Store};

use super::Wanted;
use super::format::{Torrent, write_peers};
use crate::time;

/// The time at which an export begins.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Of the store's clock.
    pub now: Seconds,
    pub unix_seconds: u64,
}

/// An export under way.
pub struct Export<S: Store> {
    store: Arc<S>,
    wanted: Wanted,
    clock: Clock,
    /// The part of the store that is listed next; `None`: all have been.
    part: Option<usize>,
    /// Torrents that have been listed and not written yet; the last is the next.
    queue: Vec<InfoHash>,
    /// Those of a part; a buffer.
    listed: Vec<InfoHash>,
    /// A torrent whose peers are being written.
    open: Option<Open<S>>,
    has_begun: bool,
    piece: Piece,
}

struct Open<S: Store> {
    walk: S::Walk,
    first: bool,
}

/// About how many bytes are written at once.
const CHUNK: usize = 32 * 1024;
/// The most torrents of a step, written or left out.
const AT_ONCE: usize = 1024;
/// How many torrents are fetched at once.
const AHEAD: usize = 32;

impl Clock {
    /// Returns the time of a store whose clock began at `start`.
    pub fn since(start: Instant) -> Self {
        let since_1970 = time::since_1970();
        Self {
            now: u32::try_from(start.elapsed().as_secs()).unwrap_or(u32::MAX),
            unix_seconds: since_1970.as_secs(),
        }
    }
}

impl<S: Store> Export<S> {
    pub fn new(store: Arc<S>, wanted: Wanted, clock: Clock) -> Self {
        Self {
            store,
            wanted,
            clock,
            part: Some(0),
            queue: Vec::new(),
            listed: Vec::new(),
            open: None,
            has_begun: false,
            piece: Piece::default(),
        }
    }

    /// Does a part of the work, and appends what it brings, which may be nothing. Returns `false` if
    /// nothing is left to do. A part takes a fraction of a millisecond, but for sorting all info-hashes
    /// and for torrents of very many peers in a format that counts them itself.
    pub fn next(&mut self, into: &mut Vec<u8>) -> bool {
        let format = self.wanted.format;
        let (head, tail) = format.frame();
        if !std::mem::replace(&mut self.has_begun, true) {
            into.extend_from_slice(head);
        }
        let waits = format.is_sorted() || self.queue.is_empty();
        if let Some(part) = self.part.filter(|_| waits && self.open.is_none()) {
            self.list(part);
            return true;
        }
        let end = into.len() + CHUNK;
        let mut looked_at = 0;
        while into.len() < end && looked_at < AT_ONCE {
            looked_at += 1;
            if self.open.is_some() {
                self.write_some_peers(into);
            } else if let Some(info_hash) = self.queue.pop() {
                self.write(info_hash, into);
            } else {
                break;
            }
        }
        let more = self.open.is_some() || !self.queue.is_empty() || self.part.is_some();
        if !more {
            into.extend_from_slice(tail);
        }
        more
    }

    /// Lists a part of the store, or notes that there is no such part.
    fn list(&mut self, part: usize) {
        let mut listed = std::mem::take(&mut self.listed);
        let more = self.store.list(part, &mut listed);
        let prefix = self.wanted.prefix;
        self.queue.extend(listed.drain(..).filter(|info_hash| prefix.covers(*info_hash)));
        self.listed = listed;
        self.part = more.then_some(part + 1);
        if !more && self.wanted.format.is_sorted() {
            self.queue.sort_unstable_by(|one, other| other.cmp(one));
        }
    }

    /// Writes a torrent, unless it has too few peers or is gone.
    fn write(&mut self, info_hash: InfoHash, into: &mut Vec<u8>) {
        let ahead = self.queue.len();
        if ahead.is_multiple_of(AHEAD) {
            self.store.expect(&self.queue[ahead.saturating_sub(AHEAD)..]);
        }
        let Some(counts) = self.store.counts(info_hash) else { return };
        let Wanted { format, min_peers, peers, .. } = self.wanted;
        if counts.seeders.saturating_add(counts.leechers) < min_peers {
            return;
        }
        let mut known = Vec::new();
        let mut minutes = 0;
        if format.needs_peers() {
            let silent = self.gather(info_hash, &mut known);
            minutes = self.clock.unix_seconds.saturating_sub(silent.into()) / 60;
        }
        let torrent = Torrent { info_hash, counts, minutes, peers: &known };
        torrent.write(format, into);
        if format == super::Format::Ndjson {
            if peers {
                into.extend_from_slice(br#","peers":["#);
                self.open = Some(Open { walk: S::Walk::from(info_hash), first: true });
            } else {
                into.extend_from_slice(b"}\n");
            }
        }
    }

    /// Collects the peers of a torrent. Returns how long ago the last of them announced.
    fn gather(&mut self, info_hash: InfoHash, known: &mut Vec<SavedPeer>) -> Seconds {
        let mut walk = S::Walk::from(info_hash);
        let mut silent = Seconds::MAX;
        while self.store.next_piece(&mut walk, self.clock.now, &mut self.piece) {
            known.append(&mut self.piece.peers);
            silent = silent.min(self.piece.deserted);
        }
        known.iter().map(|peer| peer.age).min().unwrap_or(silent)
    }

    /// Writes the next peers of the torrent that is open, or closes it.
    fn write_some_peers(&mut self, into: &mut Vec<u8>) {
        let Some(open) = &mut self.open else { return };
        if self.store.next_piece(&mut open.walk, self.clock.now, &mut self.piece) {
            write_peers(&self.piece.peers, open.first, into);
            open.first &= self.piece.peers.is_empty();
        } else {
            into.extend_from_slice(b"]}\n");
            self.open = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;

    use karuta_bittorrent::{Event, PeerId, Peers};
    use karuta_swarm::{Memory, Options, Update};
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::super::{Format, Prefix};
    use super::*;

    const CLOCK: Clock = Clock { now: 500, unix_seconds: 1_000_000 };

    fn info_hash(number: u32) -> InfoHash {
        let mut bytes = [7; 20];
        bytes[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
        InfoHash(bytes)
    }

    /// Returns a store with `many` torrents of up to three peers, and one of 3000.
    fn store(many: u32) -> Arc<Memory> {
        let store = Memory::new(Options { shards: 8, ..Options::default() });
        let mut rng = SmallRng::seed_from_u64(1);
        let mut enter = |torrent: u32, peer: u32, now| {
            let update = Update {
                info_hash: info_hash(torrent),
                peer: SocketAddr::new((0x0a00_0000 + peer).to_be_bytes().into(), 6881),
                peer_id: PeerId::UNKNOWN,
                event: Event::None,
                seeder: peer.is_multiple_of(2),
                want: 0,
                only: None,
                locality: None,
                is_hidden: false,
                now,
            };
            store.announce(&update, &mut rng, &mut Peers::default()).unwrap();
        };
        for torrent in 0..many {
            (0..=torrent % 3).for_each(|peer| enter(torrent, peer, 380));
        }
        (0..3000).for_each(|peer| enter(many, peer, 440));
        Arc::new(store)
    }

    fn export(store: &Arc<Memory>, format: Format, edit: fn(&mut Wanted)) -> Vec<u8> {
        let mut wanted = Wanted { format, min_peers: 0, prefix: Prefix::default(), peers: false };
        edit(&mut wanted);
        let (mut all, mut chunk) = (Vec::new(), Vec::new());
        let mut export = Export::new(store.clone(), wanted, CLOCK);
        while export.next(&mut chunk) {
            assert!(chunk.len() < 3 * CHUNK, "{}", chunk.len());
            all.append(&mut chunk);
        }
        all.append(&mut chunk);
        all
    }

    fn lines(bytes: Vec<u8>) -> Vec<String> {
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_torrent_is_written_once_with_the_counts_of_a_scrape() {
        let store = store(5_000);
        let mut expected = BTreeMap::new();
        for number in 0..=5_000 {
            let counts = store.counts(info_hash(number)).unwrap();
            expected.insert(info_hash(number), (counts.seeders, counts.leechers));
        }
        let bytes = export(&store, Format::Bin, |_| ());
        let found = bytes.chunks_exact(28).map(|record| {
            let number = |at| u32::from_be_bytes(*record[at..].first_chunk().unwrap());
            (InfoHash(*record.first_chunk().unwrap()), (number(20), number(24)))
        });
        let found: Vec<_> = found.collect();
        assert_eq!(found.len(), expected.len());
        assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), expected);
    }

    #[test]
    fn bencode_is_sorted_and_whole() {
        let store = store(2_000);
        let bytes = export(&store, Format::Ben, |_| ());
        assert!(bytes.starts_with(b"d5:filesd20:") && bytes.ends_with(b"eee"));
        let mut rest = bytes[9..bytes.len() - 2].to_vec();
        let mut before = None;
        let mut found = 0;
        while !rest.is_empty() {
            let hash: [u8; 20] = *rest[3..].first_chunk().unwrap();
            assert!(before < Some(hash));
            (before, found) = (Some(hash), found + 1);
            let end = rest[23..].windows(2).position(|two| two == b"ee").unwrap();
            rest.drain(..23 + end + 2);
        }
        assert_eq!(found, 2_001);
    }

    #[test]
    fn few_peers_and_other_prefixes_are_left_out() {
        let store = store(300);
        assert_eq!(lines(export(&store, Format::Txt, |w| w.min_peers = 3)).len(), 101);
        let some = lines(export(&store, Format::Txt, |w| w.prefix = "9".parse().unwrap()));
        assert!(some.len() > 5 && some.iter().all(|line| line.starts_with('9')));
    }

    #[test]
    fn peers_and_ages_are_written_where_they_are_wanted() {
        let store = store(30);
        let count = |format| lines(export(&store, format, |_| ()));
        let minutes = |line: &String| line.split(':').nth(1).unwrap().parse::<u64>().unwrap();
        let dumped: Vec<_> = count(Format::Statedump).iter().map(minutes).collect();
        let at = |minute| dumped.iter().filter(|found| **found == minute).count();
        assert_eq!((at((1_000_000 - 120) / 60), at((1_000_000 - 60) / 60)), (30, 1));
        assert!(count(Format::Aquatic).iter().any(|line| line.ends_with(" 1500 1500")));
        let json = lines(export(&store, Format::Ndjson, |w| w.peers = true));
        let mut peers = 0;
        for line in &json {
            let torrent: serde_json::Value = serde_json::from_str(line).unwrap();
            let known = torrent["peers"].as_array().unwrap();
            assert_eq!(
                known.len() as u64,
                torrent["complete"].as_u64().unwrap() + torrent["incomplete"].as_u64().unwrap()
            );
            peers += known.len();
        }
        assert_eq!((json.len(), peers), (31, 60 + 3000));
    }

    #[test]
    fn an_empty_store_is_written_too() {
        let store = Arc::new(Memory::new(Options::default()));
        assert_eq!(export(&store, Format::Ben, |_| ()), b"d5:filesdee");
        assert_eq!(export(&store, Format::Txt, |_| ()), b"");
    }
}
