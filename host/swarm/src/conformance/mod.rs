//! The conformance suite of [`Store`](crate::Store)s: tests that take a function that makes one.

mod choice;
mod limits;
mod model;
mod records;
mod saved;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::{
    Locality, Options, Order, Plan, PlanId, PlanName, Population, Refusal, Role, Seconds, Standing,
    Store, Totals, Update, Usage,
};
use karuta_bittorrent::{Counts, Event, Family, InfoHash, PeerId, Peers};

/// Generates a test for each part of the suite, for the stores that `$make` makes from [`Options`].
#[macro_export]
macro_rules! conformance_suite {
    ($make:expr) => {
        $crate::conformance_suite! { $make =>
            roles_follow_every_event
            a_stop_of_an_unknown_peer_changes_nothing
            address_and_port_are_one_peer
            peer_ids_follow_their_peers
            a_client_of_both_families_is_one_peer
            a_borrowed_peer_id_hides_nobody
            own_addresses_are_not_given
            hidden_peers_are_counted_and_not_given
            leechers_are_given_anybody_but_themselves
            seeders_are_given_leechers
            partial_seeds_are_given_downloaders
            families_are_given_as_wanted
            answers_are_appended
            every_choice_is_equally_likely
            near_peers_come_first
            labels_of_another_plan_are_far
            equally_near_peers_are_equally_likely
            few_peers_of_a_group_are_given_far_ones
            gateways_are_replaced
            a_gateway_of_a_wider_group_is_one_of_each_group_in_it
            a_lone_peer_is_echoed_if_so_set
            torrents_are_limited
            the_use_of_limits_is_known
            peers_of_a_torrent_are_limited
            peers_of_an_address_are_limited
            downloads_outlive_their_swarm
            silent_peers_expire
            a_large_swarm_expires
            a_store_does_what_the_model_does
            threads_leave_the_totals_right
            a_restored_store_is_the_same
            a_peer_is_not_restored_twice
            a_younger_peer_is_not_overwritten
            silent_peers_are_not_restored
            limits_hold_for_what_is_restored
            a_walk_finds_all_who_stay
            torrents_are_listed_once
        }
    };
    ($make:expr => $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                $crate::conformance::$name($make);
            }
        )*
    };
}
pub use choice::*;
pub use limits::*;
pub use model::*;
pub use records::*;
pub use saved::*;

const LIFETIME: Seconds = 1000;

fn options() -> Options {
    Options { lifetime: LIFETIME, keep_downloads: 0, shards: 8, ..Options::default() }
}

/// A store under test, and the buffers for its announces.
struct Subject<S> {
    store: S,
    rng: SmallRng,
}

/// An answer: the counts, and the peers in order.
type Answer = Result<(Counts, Vec<SocketAddr>), Refusal>;

impl<S: Store> Subject<S> {
    fn new(store: S) -> Self {
        Self { store, rng: SmallRng::seed_from_u64(1) }
    }

    fn announce(&mut self, update: &Update) -> Answer {
        let mut peers = Peers::default();
        // A hint about the next announces changes nothing.
        self.store.expect(&[update.info_hash, info_hash(254)].repeat(40));
        // Whoever asks first hears the same, and uses up nothing.
        let standing = self.store.standing(update.info_hash, update.peer);
        assert_eq!(self.store.standing(update.info_hash, update.peer), standing);
        let counts = self.store.announce(update, &mut self.rng, &mut peers);
        let given = addresses(&peers);
        match counts {
            Ok(counts) => {
                assert!(update.event == Event::Stopped || standing.refusal.is_none());
                Ok((counts, given))
            }
            Err(refusal) => {
                assert_eq!(given, []);
                assert_eq!(standing.refusal, Some(refusal));
                Err(refusal)
            }
        }
    }

    fn enter(&mut self, update: &Update) -> Counts {
        self.announce(update).unwrap().0
    }

    fn given(&mut self, update: &Update) -> Vec<SocketAddr> {
        self.announce(update).unwrap().1
    }

    /// Runs two rounds: the first may have begun before the last change.
    fn expire(&self, now: Seconds) {
        for _ in 0..2 {
            while !self.store.expire(now) {}
        }
    }

    fn counts(&self, torrent: u8) -> Option<Counts> {
        self.store.counts(info_hash(torrent))
    }

    fn totals(&self) -> Totals {
        self.store.totals()
    }
}

fn plan_id(number: u8) -> PlanId {
    PlanId::of(PlanName([number; 8]))
}

fn info_hash(torrent: u8) -> InfoHash {
    InfoHash([torrent; 20])
}

/// A leecher that wants all peers.
fn leecher(peer: SocketAddr) -> Update {
    Update {
        info_hash: info_hash(0),
        peer,
        peer_id: PeerId([0; 20]),
        event: Event::None,
        seeder: false,
        want: 10_000,
        only: None,
        locality: None,
        is_hidden: false,
        now: 0,
    }
}

fn seeder(peer: SocketAddr) -> Update {
    Update { seeder: true, ..leecher(peer) }
}

fn stopped(peer: SocketAddr) -> Update {
    Update { event: Event::Stopped, ..leecher(peer) }
}

fn v4(number: u16) -> SocketAddr {
    (Ipv4Addr::from(0x0a00_0000 + u32::from(number)), 6881).into()
}

fn v6(number: u16) -> SocketAddr {
    (Ipv6Addr::from((0x2001_0db8 << 96) + u128::from(number)), 6881).into()
}

fn addresses(peers: &Peers) -> Vec<SocketAddr> {
    let port = |bytes: &[u8]| u16::from_be_bytes(bytes.try_into().unwrap());
    let v4 = peers.ipv4.chunks(6).map(|bytes| {
        let ip: [u8; 4] = bytes[..4].try_into().unwrap();
        SocketAddr::from((ip, port(&bytes[4..])))
    });
    let v6 = peers.ipv6.chunks(18).map(|bytes| {
        let ip: [u8; 16] = bytes[..16].try_into().unwrap();
        SocketAddr::from((ip, port(&bytes[16..])))
    });
    let mut all: Vec<_> = v4.chain(v6).collect();
    all.sort_unstable();
    all
}

fn counts(seeders: u32, leechers: u32, completed: u32) -> Counts {
    Counts { seeders, leechers, completed, partial_seeds: 0 }
}

fn client(number: u16) -> PeerId {
    let mut id = PeerId([b'-'; 20]);
    id.0[..2].copy_from_slice(&number.to_be_bytes());
    id
}

/// Makes a label: one of four sites, with five racks each, with seven machines each, in one of
/// three plans.
fn label(number: u16) -> u64 {
    let number = u64::from(number);
    (number % 4) << 62 | (number % 5) << 50 | (number % 7) << 20
}
