//! Compares the store under test with a plain one, through random histories.

use super::*;

/// One step of a model test. Peers are numbers; see [`Model::peer`].
#[derive(Clone, Debug)]
enum Step {
    Announce {
        torrent: u8,
        peer: u16,
        event: Event,
        seeder: bool,
        want: usize,
        only: Option<Family>,
        locality: Option<Locality>,
        is_hidden: bool,
        /// Selects its peer id; see [`Model::peer_id`].
        client: Option<u8>,
    },
    /// Consecutive peers that join or stop.
    Crowd {
        torrent: u8,
        first: u16,
        count: u16,
        event: Event,
        seeder: bool,
        /// The label is that of the first peer.
        locality: Option<Locality>,
        is_hidden: bool,
        /// Whether 16 consecutive peers, over both families, are one client.
        alike: bool,
    },
    Pass {
        seconds: Seconds,
    },
    Expire,
}

fn localities() -> impl Strategy<Value = Option<Locality>> {
    let prefixes = prop::sample::subsequence(vec![64, 60, 30, 16, 8, 2, 1, 0], 0..=8);
    let order = prop_oneof![Just(Order::NearFirst), Just(Order::RoleFirst)];
    let far_percent = prop_oneof![Just(0), 0..=100_u8];
    let gateways = prop_oneof![3 => Just(0), 2 => 1..5_u8, 1 => Just(255)];
    let id = prop_oneof![8 => Just(1), 1 => Just(2), 1 => Just(3)];
    let locality = (0..140_u16, prefixes, order, (far_percent, gateways), id);
    prop::option::weighted(
        0.7,
        locality.prop_map(|(number, prefixes, order, (far_percent, gateways), id)| Locality {
            label: label(number),
            plan: Plan::new(&prefixes, order, far_percent).unwrap().with_gateways(gateways),
            id: plan_id(id),
        }),
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let torrent = 0..3_u8;
    let event = prop_oneof![
        4 => Just(Event::None),
        2 => Just(Event::Started),
        3 => Just(Event::Stopped),
        3 => Just(Event::Completed),
        1 => Just(Event::Paused),
    ];
    let only = prop_oneof![Just(None), Just(Some(Family::Ipv4)), Just(Some(Family::Ipv6))];
    let peer = prop_oneof![0..6_u16, 0..300_u16];
    let want = prop_oneof![0..5_usize, 0..80_usize, 500..700_usize];
    let client = prop::option::of(0..4_u8);
    let is_hidden = || prop::bool::weighted(0.2);
    let bools = (any::<bool>(), is_hidden());
    let announce = (torrent.clone(), peer, event, bools, want, only, localities(), client)
        .prop_map(|(torrent, peer, event, (seeder, is_hidden), want, only, locality, client)| {
            Step::Announce { torrent, peer, event, seeder, want, only, locality, is_hidden, client }
        });
    let event = prop_oneof![
        3 => Just(Event::None),
        2 => Just(Event::Stopped),
        1 => Just(Event::Paused),
    ];
    let bools = (any::<bool>(), any::<bool>(), is_hidden());
    let crowd = (torrent, 0..300_u16, 0..400_u16, event, bools, localities()).prop_map(
        |(torrent, first, count, event, (seeder, alike, is_hidden), locality)| Step::Crowd {
            torrent,
            first,
            count,
            event,
            seeder,
            locality,
            is_hidden,
            alike,
        },
    );
    let step = prop_oneof![
        12 => announce,
        2 => crowd,
        3 => (0..LIFETIME).prop_map(|seconds| Step::Pass { seconds }),
        1 => Just(Step::Expire),
    ];
    prop::collection::vec(step, 1..60)
}

fn model_options() -> impl Strategy<Value = Options> {
    let limit = |limits: [u32; 3]| prop::sample::select(limits.to_vec());
    let kept = prop::sample::select(vec![0, LIFETIME / 2, 2 * LIFETIME]);
    let limits = (limit([0, 0, 2]), limit([0, 0, 90]), limit([0, 0, 5]));
    (any::<bool>(), any::<bool>(), kept, limits).prop_map(
        |(keep_peer_ids, echo_lone_peer, keep_downloads, (torrents, peers, address))| Options {
            keep_downloads,
            keep_peer_ids,
            echo_lone_peer,
            max_torrents: torrents.into(),
            max_peers_per_torrent: peers,
            max_peers_per_address: address,
            ..options()
        },
    )
}

/// The simplest possible store.
struct Model {
    options: Options,
    swarms: BTreeMap<u8, ModelSwarm>,
    /// The downloads of swarms without peers, and since when they are kept.
    downloads: BTreeMap<u8, (u32, Seconds)>,
}

#[derive(Default)]
struct ModelSwarm {
    completed: u32,
    peers: BTreeMap<SocketAddr, ModelPeer>,
}

struct ModelPeer {
    role: Role,
    /// Whether a download of it was counted.
    downloaded: bool,
    peer_id: PeerId,
    announced: Seconds,
    locality: Option<Locality>,
    /// The last level at which it is given others, and is given to them.
    reach: usize,
    is_hidden: bool,
}

impl Model {
    /// Returns the address of a peer: three of four are IPv4, and four share an address.
    fn peer(number: u16) -> SocketAddr {
        let (host, port) = (number / 4, 1000 + number % 4);
        let mut peer = if host % 4 == 3 { v6(host) } else { v4(host) };
        peer.set_port(port);
        peer
    }

    /// Returns the id of one of a few clients, one of which is unknown, or an id of its own.
    fn peer_id(client: Option<u8>, announces: u32) -> PeerId {
        let mut id = [0; 20];
        match client {
            Some(client) => id[19] = client,
            None => id[..4].copy_from_slice(&announces.to_be_bytes()),
        }
        PeerId(id)
    }

    /// Returns whether two peers are known to be the same client.
    fn same_client(&self, a: (&SocketAddr, &ModelPeer), b: (&SocketAddr, &ModelPeer)) -> bool {
        self.options.keep_peer_ids
            && a.0.is_ipv4() != b.0.is_ipv4()
            && a.1.peer_id == b.1.peer_id
            && a.1.peer_id != PeerId::UNKNOWN
    }

    fn admits(&self, torrent: u8, peer: SocketAddr) -> Result<(), Refusal> {
        let full = |limit: u64, count: usize| limit != 0 && limit <= count as u64;
        let swarm = self.swarms.get(&torrent);
        if swarm.is_some_and(|swarm| swarm.peers.contains_key(&peer)) {
            return Ok(());
        }
        if swarm.is_none() && full(self.options.max_torrents, self.swarms.len()) {
            return Err(Refusal::Torrents);
        }
        let everybody = self.swarms.values().flat_map(|swarm| swarm.peers.keys());
        let of_address = everybody.filter(|other| other.ip() == peer.ip()).count();
        if full(self.options.max_peers_per_torrent.into(), swarm.map_or(0, |s| s.peers.len()))
            || full(self.options.max_peers_per_address.into(), of_address)
        {
            return Err(Refusal::Peers);
        }
        Ok(())
    }

    fn announce(&mut self, torrent: u8, update: &Update) -> Result<Counts, Refusal> {
        if update.event == Event::Stopped {
            if let Some(swarm) = self.swarms.get_mut(&torrent) {
                swarm.peers.remove(&update.peer);
            }
            let counts = self.counts(torrent).unwrap_or_default();
            self.drop_empty(update.now);
            return Ok(counts);
        }
        self.admits(torrent, update.peer)?;
        let reach = self.reach(torrent, update);
        let left = self.downloads.remove(&torrent).map_or(0, |(completed, _)| completed);
        let swarm = self.swarms.entry(torrent).or_default();
        swarm.completed += left;
        let before = swarm.peers.get(&update.peer);
        let was_counted = before.is_some_and(|before| before.downloaded);
        let was_leecher = before.is_some_and(|before| before.role != Role::Seeder);
        let downloaded = update.event == Event::Completed && was_leecher && !was_counted;
        let peer = ModelPeer {
            role: match (update.event, update.seeder) {
                (Event::Completed, _) => Role::Seeder,
                (Event::Paused, _) => Role::PartialSeed,
                (_, true) => Role::Seeder,
                (_, false) => Role::Downloader,
            },
            downloaded: was_counted || downloaded,
            peer_id: update.peer_id,
            announced: update.now,
            locality: update.locality,
            reach,
            is_hidden: update.is_hidden,
        };
        swarm.peers.insert(update.peer, peer);
        let swarm = &self.swarms[&torrent];
        let me = (&update.peer, &swarm.peers[&update.peer]);
        let is_known_seeder =
            |other: (_, &ModelPeer)| self.same_client(me, other) && other.1.role == Role::Seeder;
        let new = downloaded && !swarm.peers.iter().any(is_known_seeder);
        if let Some(swarm) = self.swarms.get_mut(&torrent) {
            swarm.completed += u32::from(new);
        }
        Ok(self.counts(torrent).unwrap())
    }

    fn counts(&self, torrent: u8) -> Option<Counts> {
        let Some(swarm) = self.swarms.get(&torrent) else {
            let (completed, _) = self.downloads.get(&torrent)?;
            return Some(counts(0, 0, *completed));
        };
        let of = |role| {
            // Each client counts in the family with most of its peers; a peer with an unknown id
            // counts alone.
            let mut clients = BTreeMap::<[u8; 20], [u32; 2]>::new();
            for (address, peer) in swarm.peers.iter().filter(|(_, peer)| peer.role == role) {
                let family = usize::from(self.options.keep_peer_ids && address.is_ipv6());
                clients.entry(peer.peer_id.0).or_default()[family] += 1;
            }
            let count = |(id, [v4, v6]): (&[u8; 20], &[u32; 2])| match *id == [0; 20] {
                true => v4 + v6,
                false => *v4.max(v6),
            };
            clients.iter().map(count).sum()
        };
        let [downloaders, partial_seeds, seeders] =
            [Role::Downloader, Role::PartialSeed, Role::Seeder].map(of);
        let counts = counts(seeders, downloaders + partial_seeds, swarm.completed);
        Some(Counts { partial_seeds, ..counts })
    }

    fn expire(&mut self, now: Seconds) {
        for swarm in self.swarms.values_mut() {
            swarm.peers.retain(|_, peer| now - peer.announced <= self.options.lifetime);
        }
        self.drop_empty(now);
        self.downloads.retain(|_, (_, since)| now - *since <= self.options.keep_downloads);
    }

    fn drop_empty(&mut self, now: Seconds) {
        let kept = self.options.keep_downloads > 0;
        for (torrent, swarm) in self.swarms.extract_if(.., |_, swarm| swarm.peers.is_empty()) {
            if kept && swarm.completed > 0 {
                self.downloads.insert(torrent, (swarm.completed, now));
            }
        }
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals { swarms: self.swarms.len() as u64, ..Totals::default() };
        for (address, peer) in self.swarms.values().flat_map(|swarm| &swarm.peers) {
            let family = if address.is_ipv4() { &mut totals.ipv4 } else { &mut totals.ipv6 };
            let seeder = peer.role == Role::Seeder;
            *(if seeder { &mut family.seeders } else { &mut family.leechers }) += 1;
        }
        totals
    }

    /// Checks that the peers are an answer to `update`, which has been entered.
    fn check_answer(&self, torrent: u8, update: &Update, peers: &Peers) {
        let given = addresses(peers);
        let different: BTreeSet<_> = given.iter().copied().collect();
        assert_eq!(different.len(), given.len(), "a peer was given twice");
        if update.event == Event::Stopped {
            assert_eq!(given, []);
            return;
        }
        let swarm = &self.swarms[&torrent].peers;
        let me = &swarm[&update.peer];
        let i_give = me.role != Role::Downloader;
        // The plan's last level, and whether other groups are given only those who reach them.
        let by_gateways = update.locality.filter(|mine| mine.plan.gateways() > 0);
        let wanted = |family| update.only.is_none_or(|only| only == family);
        let may_be_given: BTreeSet<_> = swarm
            .iter()
            .filter(|(address, peer)| {
                **address != update.peer
                    && !peer.is_hidden
                    && wanted(Family::of(address.ip()))
                    && !self.same_client((&update.peer, &swarm[&update.peer]), (*address, *peer))
                    && !(i_give && peer.role != Role::Downloader)
                    && by_gateways.is_none_or(|mine| {
                        let (level, takes) = Self::class(&mine, peer);
                        level <= me.reach && !(takes && peer.reach < level)
                    })
            })
            .map(|(address, _)| *address)
            .collect();
        if may_be_given.is_empty() && self.options.echo_lone_peer {
            let echo = update.want > 0 && !update.is_hidden && wanted(Family::of(update.peer.ip()));
            assert_eq!(given, if echo { vec![update.peer] } else { vec![] });
        } else {
            assert_eq!(given.len(), update.want.min(may_be_given.len()));
            assert!(different.is_subset(&may_be_given));
            if let Some(locality) = &update.locality {
                let classes = |peers: &BTreeSet<SocketAddr>| -> Vec<_> {
                    peers.iter().map(|peer| Self::class(locality, &swarm[peer])).collect()
                };
                let mut given = classes(&different);
                given.sort_unstable();
                let last = me.reach.min(locality.plan.levels());
                let expected =
                    Self::classes(locality, last, update.want, classes(&may_be_given), i_give);
                assert_eq!(given, expected);
            }
        }

        let ids = peers.ipv4_ids.iter().chain(&peers.ipv6_ids);
        if self.options.keep_peer_ids {
            assert_eq!((peers.ipv4_ids.len(), peers.ipv6_ids.len()), {
                (peers.ipv4.len() / 6, peers.ipv6.len() / 18)
            });
            let mut expected: Vec<_> = given.iter().map(|peer| swarm[peer].peer_id.0).collect();
            let mut ids: Vec<_> = ids.map(|id| id.0).collect();
            expected.sort_unstable();
            ids.sort_unstable();
            assert_eq!(ids, expected);
        } else {
            assert_eq!(ids.count(), 0);
        }
    }
}

impl Model {
    /// Returns how far a peer will reach that announces: no further than where enough others are
    /// seeds, or are given to those beyond.
    fn reach(&self, torrent: u8, update: &Update) -> usize {
        const ALL: usize = usize::MAX;
        let Some(mine) = update.locality else { return ALL };
        if mine.plan.gateways() == 0 || update.role() != Role::Downloader {
            return ALL;
        }
        let wanted = |peer: &SocketAddr| {
            *peer != update.peer && update.only.is_none_or(|only| only == Family::of(peer.ip()))
        };
        let others = self.swarms.get(&torrent).into_iter().flat_map(|swarm| &swarm.peers);
        let others = others.filter(|(peer, of)| wanted(peer) && !of.is_hidden);
        let others: Vec<_> = others.map(|(_, of)| of).collect();
        let enough = |level: &usize| {
            let is_usable = |peer: &&&ModelPeer| {
                let (of, takes) = Self::class(&mine, peer);
                of <= *level && (!takes || *level < peer.reach)
            };
            mine.plan.gateways() <= others.iter().filter(is_usable).count()
        };
        (0..mine.plan.levels()).find(enough).unwrap_or(ALL)
    }

    /// Returns how many of the plan's prefixes a peer does not share, and whether it is a
    /// downloader.
    fn class(mine: &Locality, peer: &ModelPeer) -> (usize, bool) {
        let shares = |level: &usize| {
            let bits = mine.plan.prefix(*level);
            peer.locality.is_some_and(|other| {
                let prefix = |label: u64| u128::from(label) >> (64 - bits);
                other.id == mine.id && prefix(other.label) == prefix(mine.label)
            })
        };
        let levels = mine.plan.levels();
        ((0..levels).find(shares).unwrap_or(levels), peer.role == Role::Downloader)
    }

    /// Returns the classes of the peers in an answer, chosen one by one from all classes.
    fn classes(
        mine: &Locality,
        last: usize,
        want: usize,
        mut all: Vec<(usize, bool)>,
        i_give: bool,
    ) -> Vec<(usize, bool)> {
        let is_far = |level: usize| level == last;
        let far = all.iter().filter(|(level, _)| is_far(*level)).count();
        let share = match mine.plan.gateways() {
            0 => mine.plan.far_share(want),
            _ if last == 0 => 0,
            _ if i_give => mine.plan.far_share(want),
            _ => mine.plan.gateway_share(want),
        };
        let mut near = want - share.min(far);
        match mine.plan.order() {
            Order::NearFirst => all.sort_unstable(),
            Order::RoleFirst => all.sort_unstable_by_key(|&(level, takes)| (takes, level)),
        }
        all.retain(|&(level, _)| {
            let taken = is_far(level) || near > 0;
            near -= usize::from(!is_far(level) && taken);
            taken
        });
        all.truncate(want);
        all.sort_unstable();
        all
    }
}

pub fn a_store_does_what_the_model_does<S: Store>(make: impl Fn(Options) -> S) {
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    let run = |(options, steps): (Options, Vec<Step>)| {
        let mut subject = Subject::new(make(options));
        let mut model = Model { options, swarms: BTreeMap::new(), downloads: BTreeMap::new() };
        let (mut now, mut announces) = (0, 0_u32);
        let mut announce =
            |subject: &mut Subject<S>, model: &mut Model, torrent, client, mut update: Update| {
                announces += 1;
                update.info_hash = info_hash(torrent);
                update.peer_id = Model::peer_id(client, announces);
                let mut peers = Peers::default();
                let answer = subject.store.announce(&update, &mut subject.rng, &mut peers);
                assert_eq!(answer, model.announce(torrent, &update), "{update:?}");
                if answer.is_ok() {
                    model.check_answer(torrent, &update, &peers);
                } else {
                    assert!(peers.is_empty());
                }
            };
        for step in steps {
            match step {
                Step::Announce {
                    torrent,
                    peer,
                    event,
                    seeder,
                    want,
                    only,
                    locality,
                    is_hidden,
                    client,
                } => {
                    let peer = Update { is_hidden, now, ..leecher(Model::peer(peer)) };
                    let update = Update { event, seeder, want, only, locality, ..peer };
                    announce(&mut subject, &mut model, torrent, client, update);
                }
                Step::Crowd {
                    torrent,
                    first,
                    count,
                    event,
                    seeder,
                    locality,
                    is_hidden,
                    alike,
                } => {
                    for number in first..first + count {
                        let peer = Update { is_hidden, ..leecher(Model::peer(number)) };
                        let locality = locality.map(|at| Locality { label: label(number), ..at });
                        let update = Update { event, seeder, want: 3, locality, now, ..peer };
                        let client = alike.then_some((100 + number / 16) as u8);
                        announce(&mut subject, &mut model, torrent, client, update);
                    }
                }
                Step::Pass { seconds } => now += seconds,
                Step::Expire => {
                    subject.expire(now);
                    model.expire(now);
                }
            }
            for torrent in 0..3 {
                assert_eq!(subject.counts(torrent), model.counts(torrent));
            }
            assert_eq!(subject.totals(), model.totals());
        }
        Ok(())
    };
    TestRunner::new(config).run(&(model_options(), steps()), run).unwrap();
}
