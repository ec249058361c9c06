//! Swarms: which peers share which torrent, kept in a [`Store`].

use std::net::SocketAddr;

use karuta_bittorrent::{Counts, Event, Family, InfoHash, PeerId, Peers};

mod announced;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod locality;
mod memory;
mod saved;
mod shared;

pub use locality::{InvalidPlan, Locality, Order, Plan, PlanId, PlanName};
pub use memory::{Memory, Options, Walk};
pub use saved::{Codec, Malformed, PIECE, Piece, Restored, SavedPeer};
pub use shared::{Applied, Arrival, FORMAT, Part, RefusedBatch, Sent, Shared, Sharing, Waiting};

/// Seconds since the daemon started: the only clock that a store knows.
pub type Seconds = u32;

/// An announce, as a store sees it.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// The swarm.
    pub info_hash: InfoHash,
    /// The announced address (canonical) and port: the key of the peer within its swarm.
    pub peer: SocketAddr,
    /// The client's id. It is kept only if answers need it, and is not part of the key.
    pub peer_id: PeerId,
    pub event: Event,
    /// Nothing is left to download.
    pub seeder: bool,
    /// The most other peers that are wanted.
    pub want: usize,
    /// The only family wanted, because a UDP answer carries one; `None` for both.
    pub only: Option<Family>,
    /// Where the peer is, kept until it announces again. `None`: far from all others, and any peers
    /// will do.
    pub locality: Option<Locality>,
    /// The peer is counted, but given to nobody, until it announces again.
    pub is_hidden: bool,
    pub now: Seconds,
}

/// The role of a peer in its swarm, ordered from peers that only take to peers that only give.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    Downloader,
    /// Has only part of the data and wants no more (BEP 21). A leecher in every count except
    /// `partial_seeds`.
    PartialSeed,
    Seeder,
}

impl Update {
    /// Returns where the peer is, if anybody may hear of it.
    fn known_locality(&self) -> Option<&Locality> {
        self.locality.as_ref().filter(|_| !self.is_hidden)
    }

    /// Returns the peer's role from now until it announces again.
    pub fn role(&self) -> Role {
        match self.event {
            // As in chihaya, a peer that completes is a seeder, regardless of `left`.
            Event::Completed => Role::Seeder,
            Event::Paused => Role::PartialSeed,
            _ if self.seeder => Role::Seeder,
            _ => Role::Downloader,
        }
    }
}

/// Why a store refused an announce.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The store is at its limit of swarms.
    #[error("torrent limit reached")]
    Torrents,
    /// The swarm, or the address in all swarms, is at its limit of peers.
    #[error("peer limit reached")]
    Peers,
}

/// What the limits would say to a peer if it announced now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Why an announce that does not stop would be refused.
    pub refusal: Option<Refusal>,
    /// Each is `None` if it is not limited.
    pub torrents: Option<Usage>,
    pub peers_of_torrent: Option<Usage>,
    pub peers_of_address: Option<Usage>,
}

/// How far a limit is used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    pub count: u64,
    pub limit: u64,
}

impl Usage {
    /// Returns `None` for a limit of 0, which means no limit.
    pub fn of(count: impl FnOnce() -> u64, limit: u64) -> Option<Self> {
        (limit > 0).then(|| Self { count: count(), limit })
    }

    pub fn is_full(self) -> bool {
        self.count >= self.limit
    }
}

/// A peer that may be given, as policies that rank peers see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    pub peer: SocketAddr,
    pub seeder: bool,
    /// 0 if it has none.
    pub label: u64,
    /// Time since its last announce, to the precision of the store's clock.
    pub age: Seconds,
}

/// How many swarms and peers a store holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    pub swarms: u64,
    pub ipv4: Population,
    pub ipv6: Population,
}

/// The peers of one address family, by role.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Population {
    pub seeders: u64,
    pub leechers: u64,
}

impl std::ops::Add for Population {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let seeders = self.seeders + other.seeders;
        Self { seeders, leechers: self.leechers + other.leechers }
    }
}

/// A peer store.
///
/// Every store keeps one record per peer, keyed by address and port, with a role, so that no peer
/// is counted twice, and passes [`conformance`](crate::conformance_suite). No call waits for
/// anything outside of this process.
pub trait Store: Send + Sync + 'static {
    /// Enters the peer, or removes it if it stopped, and appends up to `want` other peers to
    /// `peers`. Returns the counts after the update, which include the announcing peer.
    ///
    /// A seeder, partial or not, is given only downloaders. All choices among the eligible peers
    /// are equally likely; with a [`Locality`], among those that are equally near, and either all
    /// downloaders or all seeds (partial or not). Peers of either family are near if their labels,
    /// of the same plan, share one of its prefixes; all others are far. The plan's far share says
    /// how many far peers are given. If there are too few near peers, far ones replace them, and
    /// the other way round. The announcing peer itself is never given, nor is one that is hidden, and a
    /// peer that stopped is given none.
    ///
    /// If peer ids are kept, peers of either family with the same id (except zeros) are one client.
    /// A client is given none of its own peers; if it has very many, it may get fewer of the
    /// others. Of a client's peers of one role, only those of the family that has more are counted,
    /// so a client cannot lower counts by copying the id of another.
    ///
    /// A download is counted when a peer that is known as a leecher completes: once while the peer
    /// is known, and not if its client is known as a seeder in the other family. The count is kept
    /// after the swarm's last peer for as long as the store was told, or a little longer.
    fn announce(
        &self,
        update: &Update,
        rng: &mut impl rand::Rng,
        peers: &mut Peers,
    ) -> Result<Counts, Refusal>;

    /// Tells the store which swarms will be asked for soon, so that it can fetch them.
    fn expect(&self, info_hashes: &[InfoHash]);

    /// Appends what is known of each of these peers, IPv4 first, in order. For peers that have gone
    /// in the meantime, only the address is known.
    fn describe(
        &self,
        info_hash: InfoHash,
        peers: &Peers,
        now: Seconds,
        candidates: &mut Vec<Candidate>,
    );

    /// Returns the counts of one swarm, or `None` if the torrent is unknown. A swarm without peers
    /// may still have downloads.
    fn counts(&self, info_hash: InfoHash) -> Option<Counts>;

    /// Returns what the limits would say to a peer that announces now. Nothing is counted.
    fn standing(&self, info_hash: InfoHash, peer: SocketAddr) -> Standing;

    /// Removes peers that have not announced within the last `lifetime` seconds, and expired counts
    /// of downloads. Each call handles one slice of the store, and returns whether it finished a
    /// round. No slice holds a lock for longer than a fraction of a millisecond. Until then an
    /// expired peer is counted and given like any other, so a round should finish well within the
    /// lifetime.
    fn expire(&self, now: Seconds) -> bool;

    /// Appends the torrents of one part of the store, those with peers or with downloads, in no
    /// order. Parts are numbered from 0 on. Returns `false` if there is no such part. Holds locks no
    /// longer than [`Self::expire`] does.
    fn list(&self, part: usize, torrents: &mut Vec<InfoHash>) -> bool;

    /// The position of a walk over all torrents; the default is the beginning. A walk from an
    /// info-hash is over that torrent alone.
    type Walk: Default + From<InfoHash> + Send;

    /// Copies what outlives the process of the next torrent, or of the next peers of a large one,
    /// and moves on. Returns `false`, and is at the beginning again, if there is no more. Holds locks
    /// no longer than [`Self::expire`] does.
    ///
    /// Torrents that have peers, or downloads, from the beginning of a walk to its end are found; of
    /// the peers of a large swarm, those that announce meanwhile may be missing, or found twice.
    fn next_piece(&self, walk: &mut Self::Walk, now: Seconds, piece: &mut Piece) -> bool;

    /// Enters the peers and downloads of a piece, as if they had announced to this store `age`
    /// seconds before `now`. Limits apply. Downloads are not added up: of two counts, the higher one
    /// stays, and of two records of a peer, the younger one. Localities are not restored, so the peers are far from all others until they announce.
    fn restore(&self, piece: &Piece, now: Seconds) -> Restored;

    fn totals(&self) -> Totals;
}
