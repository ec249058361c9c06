//! The swarms: who shares which torrent, kept in a [`Store`].

use std::net::SocketAddr;

use karuta_bittorrent::{Counts, Event, Family, InfoHash, PeerId, Peers};

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod locality;
mod memory;

pub use locality::{InvalidPlan, Locality, Order, Plan, PlanId};
pub use memory::{Memory, Options};

/// Seconds since the daemon started: the only clock that a store knows.
pub type Seconds = u32;

/// One announce, as far as a store is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// The swarm.
    pub info_hash: InfoHash,
    /// The announced address, canonical, and port: the key of the peer within its swarm.
    pub peer: SocketAddr,
    /// What the client calls itself; kept only where answers need it, and no key to a peer.
    pub peer_id: PeerId,
    pub event: Event,
    /// Nothing is left to download.
    pub seeder: bool,
    /// How many other peers are wanted at most.
    pub want: usize,
    /// The only family wanted (a UDP answer carries one); `None`: both.
    pub only: Option<Family>,
    /// Where the peer is; kept until it announces again. `None`: it is far from everybody, and any
    /// peers will do.
    pub locality: Option<Locality>,
    pub now: Seconds,
}

/// What a peer does in its swarm, from those that take to those that only give.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    Downloader,
    /// It has not all, and wants no more (BEP 21): a leecher in all counts but one.
    PartialSeed,
    Seeder,
}

impl Update {
    /// The peer's role from now until it announces again.
    pub fn role(&self) -> Role {
        match self.event {
            // As chihaya has it, whoever completes is a seeder, whatever is left.
            Event::Completed => Role::Seeder,
            Event::Paused => Role::PartialSeed,
            _ if self.seeder => Role::Seeder,
            _ => Role::Downloader,
        }
    }
}

/// Why a store did not take an announce.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The store holds as many swarms as it may.
    #[error("torrent limit reached")]
    Torrents,
    /// The swarm, or the address in all swarms, has as many peers as it may.
    #[error("peer limit reached")]
    Peers,
}

/// A peer that may be given, as policies that order peers see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    pub peer: SocketAddr,
    pub seeder: bool,
    /// 0 where it has none.
    pub label: u64,
    /// Since it last announced; exact to the store's clock.
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

/// A peer store.
///
/// Every store keeps one record a peer, keyed by address and port, with a role, so that nobody is
/// counted twice, and passes [`conformance`](crate::conformance_suite). A call may wait (for a remote store); one that need
/// not costs nothing for it.
pub trait Store: Send + Sync + 'static {
    /// Enters the peer, or removes it if it stopped, and appends up to `want` other peers to
    /// `peers`. The counts are those after the update, the announcing peer included.
    ///
    /// A seeder, also a partial one, is given downloaders only. Among the peers that may be given, every
    /// choice is equally likely; with a [`Locality`], among those that are equally near, and all
    /// downloaders or all seeds, partial or not. Near are peers of either family whose labels, of the
    /// same plan, share one of its prefixes; all others are far. As many as the plan's far share says
    /// are far; near and far ones fill up for each other where one falls short. The announcing peer
    /// itself is never given, and a peer that stopped is given none.
    ///
    /// Where peer ids are kept, peers of either family with the same id (but for zeros) are one client.
    /// It is given none of its own peers; somebody with very many of them may be given too few of
    /// others. Of its peers of one role, only those of the family that has more are counted, so that
    /// nobody is counted less because another has his id.
    ///
    /// A download is counted where a peer that is known as a leecher completes, once while it is known,
    /// and not if its client is known as a seeder in the other family. The count outlives the swarm's
    /// last peer by as long as the store was told, or a little longer.
    fn announce(
        &self,
        update: &Update,
        rng: &mut impl rand::Rng,
        peers: &mut Peers,
    ) -> impl Future<Output = Result<Counts, Refusal>>;

    /// Is told which swarms are about to be asked for, so that it can have them at hand.
    fn expect(&self, info_hashes: &[InfoHash]);

    /// Appends what is known of each of these peers, the IPv4 ones first, in their order. Of those
    /// that have gone in the meantime there is nothing but the address.
    fn describe(
        &self,
        info_hash: InfoHash,
        peers: &Peers,
        now: Seconds,
        candidates: &mut Vec<Candidate>,
    ) -> impl Future<Output = ()>;

    /// The counts of one swarm; `None` where nothing is known of the torrent. Without peers there may be
    /// downloads still.
    fn counts(&self, info_hash: InfoHash) -> impl Future<Output = Option<Counts>>;

    /// What the store can say of a swarm without waiting, for policies that ask in the middle of a
    /// call.
    fn peek(&self, info_hash: InfoHash) -> Option<Counts>;

    /// Removes what has not announced within the last `lifetime` seconds, and downloads that have been
    /// kept long enough, a slice of the store at
    /// each call, and returns whether this call finished a round. No slice holds a lock for longer
    /// than a fraction of a millisecond. Until then a peer is counted and given as any other; a
    /// round is to be finished well within the lifetime.
    fn expire(&self, now: Seconds) -> impl Future<Output = bool>;

    fn totals(&self) -> impl Future<Output = Totals>;
}
