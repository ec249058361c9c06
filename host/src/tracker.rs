//! The life of a request: limits, policies, the swarm, the answer. Independent of transports and of
//! WebAssembly.

use std::borrow::{Borrow, BorrowMut};
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use karuta_accounts::{Receipt, Search, unix_seconds};
use karuta_bittorrent::http::Retry;
use karuta_bittorrent::{Counts, Event, Family, InfoHash, Peers};
use karuta_swarm::{Seconds, Store, Update};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::books::Books;
use crate::decisions::{Recorder, SWARM_LIMITS, TRACKER_LIMITS};
use crate::exchange::{Account, Answer, Exchange, Ruling};
use crate::limits::Limiter;
use crate::metrics::Action;
use crate::policy::{Chain, NewLink};
use crate::recording::{Came, Tape};
use crate::time;

/// The failure reason for rate-limited clients.
pub const TOO_MANY: &str = "too many requests";

/// The maximum number of candidates that a policy orders.
const SAMPLE: usize = 256;

/// One worker thread's tracker. Only the store and the limits are shared.
pub struct Tracker<S> {
    store: Arc<S>,
    chain: RefCell<Chain>,
    recorder: RefCell<Recorder>,
    /// `None`: requests are not recorded.
    tape: Option<RefCell<Tape>>,
    rng: RefCell<SmallRng>,
    /// The info-hashes of the batch; a buffer.
    expected: RefCell<Vec<InfoHash>>,
    limits: RefCell<Option<Arc<Limiter>>>,
    settings: Cell<Settings>,
    /// `None`: the tracker knows no members.
    books: Option<Books>,
    /// The requests whose members are looked for; a buffer.
    search: RefCell<Search>,
    /// The other peers of the announce's member; a buffer.
    own: RefCell<Vec<SocketAddr>>,
    /// The start of the store's clock.
    start: Instant,
}

/// One version of the configuration, prepared for one worker.
pub struct Rules {
    pub settings: Settings,
    pub limits: Option<Arc<Limiter>>,
    pub links: Vec<NewLink>,
    /// The number of this version.
    pub generation: u64,
    /// Whether what this version does not need is parked, because the one before may come back.
    pub parks: bool,
}

/// The settings for answers.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Seconds.
    pub interval: u32,
    /// Seconds.
    pub min_interval: u32,
    pub default_num_want: u32,
    pub max_num_want: u32,
}

/// An announce on its way through the tracker. Frontends fill in the request and what they can
/// carry.
pub struct Passage {
    pub exchange: Box<Exchange>,
    pub carries: Carries,
    /// The peers of the answer.
    pub peers: Peers,
    /// The counts of the swarm after the announce, or why it is refused.
    pub result: Result<Counts, Refused>,
    /// What has refused it, if it is refused and no policy has.
    pub limit: &'static str,
    /// What its answer waits for, however it was decided; `None`: nothing.
    pub receipt: Option<Receipt>,
}

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The answer's `failure` and `retry` say why.
    Rejected,
    /// The client gets no answer.
    Dropped,
}

/// What a transport can carry.
#[derive(Clone, Copy, Debug)]
pub struct Carries {
    /// The only address family of peers; `None`: both.
    pub only: Option<Family>,
    /// The number of peers that fit.
    pub peers: u32,
}

impl Default for Passage {
    fn default() -> Self {
        Self {
            exchange: Box::default(),
            carries: Carries { only: None, peers: 0 },
            peers: Peers::default(),
            result: Err(Refused::Dropped),
            limit: TRACKER_LIMITS,
            receipt: None,
        }
    }
}

impl Borrow<Box<Exchange>> for Passage {
    fn borrow(&self) -> &Box<Exchange> {
        &self.exchange
    }
}

impl BorrowMut<Box<Exchange>> for Passage {
    fn borrow_mut(&mut self) -> &mut Box<Exchange> {
        &mut self.exchange
    }
}

impl<S: Store> Tracker<S> {
    /// Creates a worker's tracker. `start` is the same for all workers of a store.
    pub fn new(
        store: Arc<S>,
        rules: Rules,
        recorder: Recorder,
        tape: Option<Tape>,
        books: Option<Books>,
        start: Instant,
    ) -> Self {
        let tracker = Self {
            store,
            chain: RefCell::default(),
            recorder: RefCell::new(recorder),
            tape: tape.map(RefCell::new),
            rng: RefCell::new(SmallRng::from_os_rng()),
            expected: RefCell::default(),
            limits: RefCell::default(),
            settings: Cell::new(rules.settings),
            books,
            search: RefCell::default(),
            own: RefCell::default(),
            start,
        };
        tracker.adopt(rules);
        tracker
    }

    /// Switches to other rules, between two requests.
    pub fn adopt(&self, rules: Rules) {
        self.settings.set(rules.settings);
        *self.limits.borrow_mut() = rules.limits;
        self.chain.borrow_mut().adopt(rules.links, rules.parks);
        self.recorder.borrow_mut().adopt(rules.generation);
        if let Some(tape) = &self.tape {
            tape.borrow_mut().adopt(rules.generation);
        }
    }

    /// Stays with the rules in use: what was parked goes.
    pub fn settle(&self) {
        self.chain.borrow_mut().settle();
    }

    /// Refreshes the policies' data between requests, hands over noted decisions, and follows the machine's
    /// clock.
    pub fn freshen(&self) {
        self.chain.borrow_mut().freshen();
        self.recorder.borrow_mut().hand_over();
        time::follow();
    }

    /// Takes announces that came together through limits, policies and swarms, and records them: each
    /// step for all of them, so that they share what it fetches into the processor's caches. Within a
    /// step, they keep their order. `came` says how each of them came, by its place.
    pub fn announce<'a>(
        &self,
        batch: &mut [Passage],
        came: impl Fn(usize) -> Came<'a>,
        now: Instant,
    ) {
        let watched = self.recorder.borrow().is_watched();
        for passage in &mut *batch {
            passage.peers.clear();
            self.begin(&mut passage.exchange, passage.carries.peers, now, watched);
        }
        self.look_up(batch);
        self.chain.borrow_mut().announce(batch);
        self.expect(batch);
        for passage in &mut *batch {
            // What refuses it now, if no policy has.
            passage.limit = match passage.exchange.answer.ruling {
                Ruling::Open | Ruling::Accepted => SWARM_LIMITS,
                Ruling::Rejected | Ruling::Dropped => TRACKER_LIMITS,
            };
            passage.result = self.enter(passage, now);
            let exchange = &passage.exchange;
            if watched || passage.result.is_err() || exchange.trace.is_used() {
                self.note(exchange, Action::Announce, passage.limit);
            }
        }
        self.enter_books(batch);
        let chain = self.chain.borrow();
        batch.iter().for_each(|passage| chain.observe(&passage.exchange));
        if let Some(tape) = &self.tape {
            let (mut tape, took) = (tape.borrow_mut(), now.elapsed());
            for (at, Passage { exchange, result, limit, .. }) in batch.iter().enumerate() {
                if let Some(next) = batch.get(at + 1) {
                    Tape::fetch(&next.exchange, came(at + 1));
                }
                tape.write(exchange, came(at), false, result.ok(), limit, took);
            }
            tape.publish();
        }
    }

    /// Enters announces of members in the books.
    fn enter_books(&self, batch: &mut [Passage]) {
        let Some(books) = &self.books else { return };
        let now = unix_seconds();
        for passage in batch {
            passage.receipt = books.enter(&passage.exchange, passage.result.is_ok(), now);
        }
    }

    /// Fetches the swarms of those of a batch that are not refused.
    fn expect(&self, batch: &[Passage]) {
        let mut expected = self.expected.borrow_mut();
        expected.clear();
        let exchanges = batch.iter().map(|passage| &passage.exchange);
        let admitted = exchanges.filter(|exchange| obey(exchange.answer.ruling).is_ok());
        expected.extend(admitted.map(|exchange| exchange.request.announce.info_hash));
        self.store.expect(&expected);
    }

    /// Updates the swarm of an announce that is not refused, and selects peers.
    fn enter(&self, passage: &mut Passage, now: Instant) -> Result<Counts, Refused> {
        let Passage { exchange, carries, peers, .. } = passage;
        obey(exchange.answer.ruling)?;
        let mut own = self.own.borrow_mut();
        if let Some(books) = &self.books {
            books.meet(exchange, unix_seconds(), &mut own);
        }
        let Exchange { request, answer, .. } = &mut **exchange;
        let announce = &request.announce;
        let stopped = announce.event == Event::Stopped;
        let wanted = if stopped { 0 } else { answer.num_want.min(carries.peers) as usize };
        add_first(answer, *carries, wanted, peers);
        let left = wanted - peers.len();
        let ranks = left > 0 && self.chain.borrow().ranks();
        let want = if ranks { (4 * left).min(SAMPLE).max(left) } else { left };
        let update = Update {
            info_hash: announce.info_hash,
            peer: SocketAddr::new(request.address, announce.port),
            peer_id: announce.peer_id,
            event: announce.event,
            seeder: announce.is_seeder(),
            want: if want > 0 { want + own.len() } else { 0 },
            only: carries.only,
            locality: answer.locality,
            is_hidden: answer.is_peer_hidden,
            now: self.seconds(now),
        };
        let first = if ranks { std::mem::take(peers) } else { Peers::default() };
        let rng = &mut *self.rng.borrow_mut();
        let counts = self.store.announce(&update, rng, peers).map_err(|refusal| {
            answer.extras.make().failure = Some(refusal.to_string());
            answer.decided_by = None;
            answer.ruling = Ruling::Rejected;
            Refused::Rejected
        })?;
        if !own.is_empty() {
            let most = if ranks { want } else { wanted };
            leave_out(peers, &own, most, rng);
        }
        if ranks {
            self.rank(exchange, left, peers, update.now);
            peers.put_first(first);
        }
        mix(&exchange.answer, wanted, peers, rng);
        Ok(counts)
    }

    /// Keeps `wanted` of the peers: those that a policy ranks first.
    fn rank(&self, exchange: &mut Box<Exchange>, wanted: usize, peers: &mut Peers, now: Seconds) {
        let mut candidates = Vec::with_capacity(peers.len());
        let info_hash = exchange.request.announce.info_hash;
        self.store.describe(info_hash, peers, now, &mut candidates);
        let ordered = self.chain.borrow_mut().rank(exchange, &candidates);
        let order = ordered.unwrap_or_else(|| (0..candidates.len() as u32).collect());
        peers.pick(order.iter().take(wanted).map(|index| *index as usize));
    }

    /// Decides each info-hash of a scrape, appends its counts, and records it.
    pub fn scrape(
        &self,
        exchange: &mut Box<Exchange>,
        came: Came,
        info_hashes: &[InfoHash],
        counts: &mut Vec<Counts>,
        now: Instant,
    ) -> Result<(), Refused> {
        let result = self.count(exchange, info_hashes, counts, now);
        if let Some(tape) = &self.tape {
            let mut tape = tape.borrow_mut();
            tape.write(exchange, came, true, None, TRACKER_LIMITS, now.elapsed());
            tape.publish();
        }
        result
    }

    fn count(
        &self,
        exchange: &mut Box<Exchange>,
        info_hashes: &[InfoHash],
        counts: &mut Vec<Counts>,
        now: Instant,
    ) -> Result<(), Refused> {
        counts.clear();
        let watched = self.recorder.borrow().is_watched();
        self.begin(exchange, 0, now, watched);
        self.look_up(std::slice::from_mut(exchange));
        if let Err(refused) = obey(exchange.answer.ruling) {
            if let Some(first) = info_hashes.first() {
                exchange.request.announce.info_hash = *first;
            }
            self.note(exchange, Action::Scrape, TRACKER_LIMITS);
            return Err(refused);
        }
        self.store.expect(info_hashes);
        for info_hash in info_hashes {
            exchange.request.announce.info_hash = *info_hash;
            self.reset(exchange, 0);
            if let Some(books) = &self.books {
                books.look_up_torrent(exchange);
            }
            self.chain.borrow_mut().scrape(exchange);
            let obeyed = obey(exchange.answer.ruling);
            if watched || obeyed.is_err() || exchange.trace.is_used() {
                self.note(exchange, Action::Scrape, TRACKER_LIMITS);
            }
            obeyed?;
            let known = match exchange.answer.hidden {
                true => None,
                false => self.store.counts(*info_hash),
            };
            counts.push(known.unwrap_or_default());
        }
        Ok(())
    }

    /// Begins a request, and refuses it if its client has made too many.
    fn begin(&self, exchange: &mut Exchange, carries: u32, now: Instant, watched: bool) {
        exchange.begin(now, watched);
        self.reset(exchange, carries);
        if !self.admits(exchange.request.client, now) {
            exchange.answer.fail(TOO_MANY, Retry::Minutes(1));
            exchange.answer.ruling = Ruling::Rejected;
            exchange.request.account = Account::default();
        }
    }

    /// Notes whose the requests are that are not refused.
    fn look_up(&self, batch: &mut [impl BorrowMut<Box<Exchange>>]) {
        if let Some(books) = &self.books {
            books.look_up(batch, &mut self.search.borrow_mut());
        }
    }

    /// Returns whether a client has not made too many requests; if so, this is one more.
    pub fn admits(&self, client: IpAddr, now: Instant) -> bool {
        self.limits.borrow().as_ref().is_none_or(|limits| limits.admit(client, now))
    }

    fn reset(&self, exchange: &mut Exchange, carries: u32) {
        let Settings { interval, min_interval, default_num_want, max_num_want } =
            self.settings.get();
        let (interval, min_interval) = match &self.books {
            Some(books) => books.intervals(interval, min_interval),
            None => (interval, min_interval),
        };
        let wanted = exchange.request.announce.num_want.unwrap_or(default_num_want);
        exchange.answer.reset(interval, min_interval, wanted.min(max_num_want).min(carries));
        exchange.trace.clear();
    }

    /// Notes what became of a request. `limit` is what has refused it if no policy has.
    #[cold]
    fn note(&self, exchange: &Exchange, action: Action, limit: &'static str) {
        let chain = self.chain.borrow();
        let mut recorder = self.recorder.borrow_mut();
        recorder.note(exchange, action, limit, || chain.credential(exchange));
    }

    fn seconds(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.start).as_secs()).unwrap_or(u32::MAX)
    }
}

fn obey(ruling: Ruling) -> Result<(), Refused> {
    match ruling {
        Ruling::Open | Ruling::Accepted => Ok(()),
        Ruling::Rejected => Err(Refused::Rejected),
        Ruling::Dropped => Err(Refused::Dropped),
    }
}

/// Removes `own` from the peers, and then as many others as exceed `most`.
fn leave_out(peers: &mut Peers, own: &[SocketAddr], most: usize, rng: &mut impl Rng) {
    let others = peers.iter().enumerate().filter(|(_, peer)| !own.contains(peer));
    let mut places: Vec<usize> = others.map(|(place, _)| place).collect();
    while places.len() > most {
        places.remove(rng.random_range(0..places.len()));
    }
    peers.pick(places.into_iter());
}

/// Puts the first peers of policies in front, as far as the transport can carry them.
fn add_first(answer: &mut Answer, carries: Carries, wanted: usize, peers: &mut Peers) {
    let carried =
        |peer: &SocketAddr| carries.only.is_none_or(|family| family == Family::of(peer.ip()));
    let Some(extras) = answer.extras.get_mut() else { return };
    extras.first.retain(carried);
    extras.mixed.retain(carried);
    for peer in extras.first.iter().take(wanted) {
        let end = peers.len_of(Family::of(peer.ip()));
        peers.insert(end, *peer);
    }
}

/// Puts the mixed peers of policies at random places among the swarm's own, if the swarm has
/// returned any of that family. In a full answer they replace the last of the swarm's peers, but
/// never all of them.
fn mix(answer: &Answer, wanted: usize, peers: &mut Peers, rng: &mut impl Rng) {
    let Some(extras) = answer.extras.get() else { return };
    for family in [Family::Ipv4, Family::Ipv6] {
        let of = |list: &[SocketAddr]| {
            list.iter().filter(|peer| Family::of(peer.ip()) == family).count()
        };
        let first = of(&extras.first[..extras.first.len().min(wanted)]);
        let all = peers.len_of(family);
        let own = all - first;
        if own == 0 {
            continue;
        }
        let room = wanted.saturating_sub(peers.len());
        let hidden = of(&extras.mixed).min(room + own - 1);
        peers.truncate(family, all - hidden.saturating_sub(room));
        let mixed = extras.mixed.iter().filter(|peer| Family::of(peer.ip()) == family);
        for peer in mixed.take(hidden) {
            let place = rng.random_range(first..=peers.len_of(family));
            peers.insert(place, *peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use karuta_swarm::{Options, Shared};

    use super::*;
    use crate::decisions::Decisions;
    use crate::exchange::Exchange;
    use crate::metrics::Metrics;
    use crate::recording::{Record, Rings};

    const ROUNDS: usize = 500;

    /// Returns peers `{net}.0.0.1:1`, `{net}.0.0.2:1` and so on; for IPv6, of `2001:db8:{net}::`.
    fn some(family: Family, net: u8, count: u8) -> Vec<SocketAddr> {
        let address = |n| match family {
            Family::Ipv4 => std::net::IpAddr::from([net, 0, 0, n]),
            Family::Ipv6 => {
                std::net::IpAddr::from([0x2001, 0xdb8, net.into(), 0, 0, 0, 0, n.into()])
            }
        };
        (1..=count).map(|n| SocketAddr::new(address(n), 1)).collect()
    }

    /// Returns many answers, each of `first`, the swarm's own peers, and those mixed in.
    fn answers(
        first: &[SocketAddr],
        own: &[SocketAddr],
        mixed: &[SocketAddr],
        wanted: usize,
    ) -> impl Iterator<Item = Vec<SocketAddr>> {
        let (first, own, mixed) = (first.to_vec(), own.to_vec(), mixed.to_vec());
        let mut rng = SmallRng::seed_from_u64(1);
        std::iter::repeat_with(move || {
            let mut answer = Exchange::default().answer;
            let extras = answer.extras.make();
            (extras.first, extras.mixed) = (first.clone(), mixed.clone());
            let mut peers = Peers::default();
            add_first(&mut answer, Carries { only: None, peers: 200 }, wanted, &mut peers);
            for peer in own.iter().take(wanted - peers.len()) {
                peers.insert(usize::MAX / 18, *peer);
            }
            mix(&answer, wanted, &mut peers, &mut rng);
            peers.iter().collect()
        })
        .take(ROUNDS)
    }

    fn common(answer: &[SocketAddr], with: &[SocketAddr]) -> usize {
        answer.iter().filter(|peer| with.contains(peer)).count()
    }

    #[test]
    fn a_request_that_is_decided_can_be_read_from_the_rings() {
        let rings = Rings::new(1 << 20, 1, Duration::ZERO, 0);
        let settings =
            Settings { interval: 60, min_interval: 30, default_num_want: 9, max_num_want: 9 };
        let rules = Rules { settings, limits: None, links: vec![], generation: 7, parks: false };
        let decisions = Arc::new(Decisions::new(Arc::new(Metrics::new(Default::default))));
        let (store, now) = (Arc::new(Shared::alone(Options::default())), Instant::now());
        let (recorder, tape) = (decisions.recorder(), Some(rings.tape()));
        let tracker = Tracker::new(store, rules, recorder, tape, None, now);
        let mut batch: Vec<_> = std::iter::repeat_with(Passage::default).take(3).collect();
        tracker.announce(&mut batch, |at| Came::Udp([&b"a"[..], b"b", b"c"][at]), now);
        let mut exchange = Box::default();
        tracker.scrape(&mut exchange, Came::Udp(b"d"), &[], &mut vec![], now).unwrap();
        let mut found = Vec::new();
        rings.read(|bytes| {
            let record = Record::read(bytes).unwrap();
            let leechers = record.counts.map(|counts| counts.leechers);
            found.push((record.request.to_vec(), record.is_scrape, record.interval, leechers));
        });
        let announce = |request: &[u8]| (request.to_vec(), false, 60, Some(1));
        let scrape = (b"d".to_vec(), true, 0, None);
        assert_eq!(found, [announce(b"a"), announce(b"b"), announce(b"c"), scrape]);
    }

    #[test]
    fn own_peers_are_left_out_and_no_more_than_wanted_stay() {
        let mut rng = SmallRng::seed_from_u64(1);
        let (v4, v6) = (some(Family::Ipv4, 1, 5), some(Family::Ipv6, 1, 5));
        let own = [v4[1], v6[2]];
        for most in [20, 8, 7, 1, 0] {
            let mut peers = Peers::default();
            v4.iter().chain(&v6).for_each(|peer| peers.insert(usize::MAX / 18, *peer));
            leave_out(&mut peers, &own, most, &mut rng);
            let left: Vec<_> = peers.iter().collect();
            assert_eq!(left.len(), most.min(8));
            assert!(left.iter().all(|peer| !own.contains(peer)));
        }
    }

    #[test]
    fn peers_are_mixed_in_at_any_place_after_the_first() {
        let [first, own, mixed] =
            [(1, 1), (2, 3), (3, 1)].map(|(net, n)| some(Family::Ipv4, net, n));
        let mut places = std::collections::BTreeSet::new();
        for answer in answers(&first, &own, &mixed, 50) {
            assert_eq!((answer.len(), answer[0]), (5, first[0]));
            assert_eq!(common(&answer, &own), 3);
            places.insert(answer.iter().position(|peer| *peer == mixed[0]).unwrap());
        }
        assert_eq!(places.into_iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn mixed_in_peers_take_places_of_a_full_answer_but_never_all() {
        let own = some(Family::Ipv4, 2, 10);
        for (wanted, count, expected) in [(10, 3, 3), (10, 20, 9), (4, 3, 3), (1, 3, 0), (12, 3, 3)]
        {
            let mixed = some(Family::Ipv4, 3, count);
            for answer in answers(&[], &own, &mixed, wanted) {
                assert_eq!(common(&answer, &mixed), expected, "{wanted} {count}");
                let filled = wanted.min(10 + expected);
                assert_eq!(answer.len(), filled, "{wanted} {count}");
                assert_eq!(common(&answer, &own), filled - expected);
            }
        }
    }

    #[test]
    fn without_peers_of_the_family_none_are_mixed_in() {
        let [mixed, first] = [3, 1].map(|net| some(Family::Ipv4, net, 2));
        let others = some(Family::Ipv6, 2, 3);
        for answer in answers(&[], &[], &mixed, 50) {
            assert_eq!(answer, []);
        }
        for answer in answers(&[], &others, &mixed, 50) {
            assert_eq!(answer, others);
        }
        for answer in answers(&first, &others, &mixed, 50) {
            assert_eq!(answer, [first.clone(), others.clone()].concat());
        }
        let both = [mixed, some(Family::Ipv6, 3, 2)].concat();
        for answer in answers(&[], &others, &both, 4) {
            assert_eq!((answer.len(), common(&answer, &others)), (4, 2), "one had room");
        }
    }
}
