//! A host for tests on the build machine: it creates a policy from its `config`, calls its hooks with a
//! request that the test describes, and shows what the policy did.
//!
//! ```
//! # use karuta_plugin::{Announce, AnnounceFilter, Context, Error, Policy, Verdict, response};
//! # #[derive(serde::Deserialize)]
//! # struct Config {}
//! # struct Slow;
//! # impl Policy for Slow {
//! #     type Config = Config;
//! #     fn init(_: Config, _: &Context) -> Result<Self, Error> { Ok(Self) }
//! # }
//! # impl AnnounceFilter for Slow {
//! #     fn on_announce(&mut self, _: &Announce) -> Verdict {
//! #         response::set_interval(response::interval() * 2);
//! #         Verdict::Next
//! #     }
//! # }
//! use std::time::Duration;
//!
//! use karuta_plugin::testing::{self, Request};
//!
//! let mut policy: Slow = testing::init("{}")?;
//! let interval = Duration::from_mins(30);
//! let answer = Request { interval, ..Request::default() }.announce(&mut policy);
//! assert_eq!(answer.verdict, Verdict::Next);
//! assert_eq!(answer.interval, Duration::from_hours(1));
//! # Ok::<(), karuta_plugin::Error>(())
//! ```
//!
//! State is kept for each thread, which in `cargo test` is each test.
//!
//! # What is checked
//!
//! The host functions refuse and cut what the real host refuses and cuts, with these exceptions:
//!
//! | functions | not checked here |
//! |---|---|
//! | [`response`](crate::response) | `max_interval`, the maximum of `num_want`, and whether a peer's family can be sent |
//! | [`keyvalue`](crate::keyvalue) | `limits.storage`: the store is never full |
//! | [`http`](crate::http) | everything: it works on every instance, with any method, URL, header, body and timeout; only [`serve`] counts |
//! | [`publisher`](crate::publisher) | whether this is a control instance, and how often it publishes |
//! | [`signatures`](crate::signatures) | JWKs and signatures, for which [`set_keys`] stands in |
//! | [`metrics`](crate::metrics) | series of other policies, and the length of a help text |
//! | [`locality`](crate::locality) | plans of other policies, and whether all instances define the same ones |
//! | [`sets`](crate::sets) | how often a source is fetched again |
//! | [`log`](crate::log) | the level, the length of a line, and the number of lines a second |
//!
//! Deadlines and `limits.memory` do not apply either. `karuta plugin test` runs a component on the real
//! host.

pub(crate) mod control;
pub(crate) mod host;
#[cfg(test)]
mod tests;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, SystemTime},
};

use crate::{
    Announce, AnnounceFilter, Candidate, Context, Error, Event, InfoHash, Outcome, PeerRanker,
    Policy, Role, Scrape, ScrapeFilter, Transport, Verdict,
    account::{Marks, Rights},
    bindings::{
        imports::{
            locality as locality_types,
            types::{self, Traits},
        },
        observer, peer_ranker,
    },
    config,
    locality::Order,
    log::Level,
    response::{Place, Scope},
    units::seconds_down,
    values::to_words,
};

/// A request, and what the answer to it would say before the policy.
#[derive(Clone, Debug)]
pub struct Request {
    /// The torrent.
    pub info_hash: InfoHash,
    /// The whole peer id.
    pub peer_id: [u8; 20],
    /// The announced address.
    pub address: IpAddr,
    /// The announced port.
    pub port: u16,
    /// What the peer reports.
    pub event: Event,
    /// How the request came.
    pub transport: Transport,
    /// How many peers it asks for.
    pub num_want: u32,
    /// Bytes left to download; zero makes it a seeder. `None`: the client did not say.
    pub left: Option<u64>,
    /// Bytes uploaded.
    pub uploaded: u64,
    /// Bytes downloaded.
    pub downloaded: u64,
    /// Names and values of the query.
    pub query: Vec<(String, String)>,
    /// Names and values of the route's parameters.
    pub path: Vec<(String, String)>,
    /// Names and values of the headers.
    pub headers: Vec<(String, String)>,
    /// What the `credential` rule found.
    pub credential: Option<String>,
    /// The address of the client that asks, if it is not the announced one.
    pub client_address: Option<IpAddr>,
    /// A trusted proxy that the request came through.
    pub proxy: Option<SocketAddr>,
    /// The attributes that earlier policies set.
    pub attributes: Vec<(String, String)>,
    /// The time until the next announce.
    pub interval: Duration,
    /// The time that the client must wait at least.
    pub min_interval: Duration,
    /// The swarms that the host knows.
    pub swarms: Vec<(InfoHash, Swarm)>,
    /// The member that `accounts` knows.
    pub member: Option<Member>,
    /// The torrent that `accounts` knows.
    pub torrent: Option<Torrent>,
}

/// A member, which [`account`](crate::account) returns. Its default is a new one.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Its number.
    pub id: u64,
    /// What it may.
    pub rights: Rights,
    /// The number of its group.
    pub group: u32,
    /// The most torrents that it may download at a time; `None` for any number.
    pub slots: Option<u32>,
    /// Torrents that it seeds.
    pub seeding: u32,
    /// Torrents that it downloads.
    pub leeching: u32,
    /// Its peers at the torrent.
    pub here: u32,
}

/// A torrent, which [`account`](crate::account) returns. Its default is a new one.
#[derive(Clone, Copy, Debug)]
pub struct Torrent {
    /// Its number.
    pub id: u64,
    /// What is known of it.
    pub marks: Marks,
    /// What moderation says: 0 pending, 1 approved, 2 rejected, 3 postponed.
    pub status: u32,
    /// Why it was deleted.
    pub reason: u32,
    /// How much of an upload is credited, in percent.
    pub upload_percent: u32,
    /// How much of a download is counted, in percent.
    pub download_percent: u32,
}

impl Default for Member {
    fn default() -> Self {
        let rights = Rights::ENABLED | Rights::LEECH | Rights::VISIBLE;
        Self { id: 1, rights, group: 0, slots: None, seeding: 0, leeching: 0, here: 0 }
    }
}

impl Default for Torrent {
    fn default() -> Self {
        let (upload_percent, download_percent) = (100, 100);
        let marks = Marks::APPROVED;
        Self { id: 1, marks, status: 1, reason: 0, upload_percent, download_percent }
    }
}

/// The sizes of a swarm, which [`swarm`](crate::swarm) returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swarm {
    /// Peers with nothing left to download.
    pub seeders: u32,
    /// All other peers.
    pub leechers: u32,
    /// Completed downloads.
    pub completed: u32,
}

/// A peer that [`Request::rank`] offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address and port.
    pub address: SocketAddr,
    /// Whether it has nothing left to download.
    pub seeder: bool,
    /// Its label; 0 for none.
    pub label: u64,
    /// The time since it last announced, in whole seconds.
    pub age: Duration,
}

impl Default for Peer {
    /// A leecher on 192.0.2.1 that has just announced.
    fn default() -> Self {
        let address = SocketAddr::new(Ipv4Addr::new(192, 0, 2, 1).into(), 6881);
        Self { address, seeder: false, label: 0, age: Duration::ZERO }
    }
}

/// The part of an outcome that [`Request::outcome`] adds to the announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The number of the outcome.
    pub id: u64,
    /// What the policies decided.
    pub verdict: Verdict,
    /// The policy that decided.
    pub decided_by: Option<String>,
    /// Bytes uploaded since the previous announce.
    pub uploaded_delta: u64,
    /// Bytes downloaded since the previous announce.
    pub downloaded_delta: u64,
    /// The time since the previous announce, in whole seconds.
    pub since_previous: Option<Duration>,
    /// When the announce came, in whole milliseconds.
    pub time: SystemTime,
}

impl Default for Ending {
    /// A peer's first announce, admitted by every policy, at the time of [`clock::now`].
    ///
    /// [`clock::now`]: crate::clock::now
    fn default() -> Self {
        Self {
            id: 0,
            verdict: Verdict::Next,
            decided_by: None,
            uploaded_delta: 0,
            downloaded_delta: 0,
            since_previous: None,
            time: crate::clock::now(),
        }
    }
}

impl Default for Request {
    /// A leecher on 192.0.2.1 that announces over HTTP, to be answered with the configuration's
    /// defaults.
    fn default() -> Self {
        Self {
            info_hash: InfoHash::from_bytes([0xaa; 20]),
            peer_id: *b"-TR4050-abcdefghijkl",
            address: Ipv4Addr::new(192, 0, 2, 1).into(),
            port: 6881,
            event: Event::None,
            transport: Transport::Http,
            num_want: 50,
            left: None,
            uploaded: 0,
            downloaded: 0,
            query: Vec::new(),
            path: Vec::new(),
            headers: Vec::new(),
            credential: None,
            client_address: None,
            proxy: None,
            attributes: Vec::new(),
            interval: Duration::from_mins(30),
            min_interval: Duration::from_mins(15),
            swarms: Vec::new(),
            member: None,
            torrent: None,
        }
    }
}

/// The answer of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it decided.
    pub verdict: Verdict,
    /// The text of [`response::reject`](crate::response::reject).
    pub failure: Option<String>,
    /// What [`response::set_retry_in`](crate::response::set_retry_in) said, in whole minutes.
    pub retry_in: Option<Option<Duration>>,
    /// The text of [`response::warn`](crate::response::warn).
    pub warning: Option<String>,
    /// The time until the next announce, in whole seconds; at least one. The host would also apply
    /// `max_interval`.
    pub interval: Duration,
    /// The time that the client must wait at least, bounded as `interval` is.
    pub min_interval: Duration,
    /// The maximum number of peers in the answer. The host would bound it by the configuration.
    pub num_want: u32,
    /// Whether the info-hash of a scrape is answered with zeros.
    pub hidden: bool,
    /// What [`account::credit`](crate::account::credit) said: upload and download, in percent.
    pub credit: Option<(u32, u32)>,
    /// Whether [`account::hide_peer`](crate::account::hide_peer) was called.
    pub hides_peer: bool,
    /// The attributes of the request, followed by those that the policy set.
    pub attributes: Vec<(String, String)>,
    /// The peers of [`response::add_peer`](crate::response::add_peer).
    pub added: Vec<(SocketAddr, Place)>,
    /// The label of [`locality::assign`](crate::locality::assign), and its plan.
    pub locality: Option<Locality>,
    /// For which requests the verdict holds, and for how long, in whole seconds
    /// ([`response::remember`](crate::response::remember)).
    pub remember: Option<(Scope, Duration)>,
    /// The lines of the log; every level is shown.
    pub log: Vec<(Level, String)>,
}

/// A peer's label, and the plan by which its answer is picked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locality {
    /// The most significant bits first.
    pub label: u64,
    /// Lengths of prefixes in bits, nearest first.
    pub prefixes: Vec<u8>,
    /// Which peers come first.
    pub order: Order,
    /// The share of the answer that is kept for far peers.
    pub far_percent: u8,
    /// How many gateways a group has; 0 if there are none.
    pub gateways: u8,
}

/// Creates a policy named `test` from its `config`, written as JSON, on the only worker.
///
/// # Errors
///
/// Fails with what the operator would see.
pub fn init<P: Policy>(config: &str) -> Result<P, Error> {
    init_as(Role::Worker, config)
}

/// Creates a policy as [`init`] does, for a given role.
///
/// # Errors
///
/// Fails as [`init`] does.
pub fn init_as<P: Policy>(role: Role, config: &str) -> Result<P, Error> {
    let context = Context { name: "test".into(), role, worker: 0, workers: 1 };
    IS_INIT.set(true);
    let policy = config::parse(config).and_then(|config| P::init(config, &context));
    IS_INIT.set(false);
    policy
}

impl Request {
    /// Announces.
    pub fn announce(&self, policy: &mut impl AnnounceFilter) -> Answer {
        self.decide(|| policy.on_announce(&self.announced()))
    }

    /// Scrapes the one info-hash.
    pub fn scrape(&self, policy: &mut impl ScrapeFilter) -> Answer {
        let scrape = types::Scrape {
            info_hash: self.info_hash.to_words(),
            address: to_words(self.asker()),
            transport: self.transport,
            traits: self.traits(),
        };
        let request = Self { peer_id: [0; 20], ..self.clone() };
        request.decide(|| policy.on_scrape(&Scrape(scrape)))
    }

    /// Lets a policy rank the peers of the answer, and returns its order. The host would drop
    /// duplicates and indices out of range, and append the missing ones; it would ignore any change
    /// to the answer.
    pub fn rank(&self, policy: &mut impl PeerRanker, peers: &[Peer]) -> Vec<u32> {
        let candidate = |peer: &Peer| {
            Candidate(peer_ranker::Candidate {
                address: to_words(peer.address.ip()),
                port: peer.address.port(),
                seeder: peer.seeder,
                label: peer.label,
                age_seconds: seconds_down(peer.age),
            })
        };
        let candidates: Vec<_> = peers.iter().map(candidate).collect();
        self.during(|| policy.rank(&self.announced(), &candidates)).0
    }

    /// Returns how this announce ended, for [`Observer::observe`](crate::Observer::observe).
    #[must_use]
    pub fn outcome(&self, ending: &Ending) -> Outcome {
        let since_1970 = ending.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Outcome(observer::Outcome {
            id: ending.id,
            announce: self.announced().0,
            peer_id: self.peer_id.to_vec(),
            credential: self.credential.clone(),
            attributes: self.attributes.clone(),
            verdict: ending.verdict,
            decided_by: ending.decided_by.clone(),
            left: self.left.unwrap_or(u64::MAX),
            uploaded: self.uploaded,
            downloaded: self.downloaded,
            uploaded_delta: ending.uploaded_delta,
            downloaded_delta: ending.downloaded_delta,
            seconds_since_previous: ending.since_previous.map(seconds_down),
            unix_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
        })
    }

    fn announced(&self) -> Announce {
        let [client, ..] = self.peer_id.as_chunks().0 else { unreachable!("there are 20 bytes") };
        let client = u64::from_be_bytes(*client);
        let seeder = if self.left == Some(0) { Traits::SEEDER } else { Traits::empty() };
        Announce(types::Announce {
            info_hash: self.info_hash.to_words(),
            address: to_words(self.address),
            client: ((client >> 32) as u32, client as u32),
            port: self.port,
            event: self.event,
            transport: self.transport,
            num_want: self.num_want,
            traits: self.traits() | seeder,
        })
    }

    fn asker(&self) -> IpAddr {
        self.client_address.unwrap_or(self.address)
    }

    fn traits(&self) -> Traits {
        let mut traits = Traits::empty();
        traits.set(Traits::IPV6, self.address.is_ipv6());
        traits.set(Traits::PROXIED, self.proxy.is_some());
        traits.set(Traits::OVERRIDDEN, self.asker() != self.address);
        traits.set(Traits::CREDENTIAL, self.credential.is_some());
        traits
    }

    fn decide(&self, hook: impl FnOnce() -> Verdict) -> Answer {
        let (verdict, answer) = self.during(hook);
        Answer { verdict, ..answer }
    }

    /// Calls a hook while this request is the one that the host functions are about.
    fn during<T>(&self, hook: impl FnOnce() -> T) -> (T, Answer) {
        let answer = Answer {
            verdict: Verdict::Next,
            failure: None,
            retry_in: None,
            warning: None,
            interval: self.interval,
            min_interval: self.min_interval,
            num_want: self.num_want,
            hidden: false,
            credit: None,
            hides_peer: false,
            attributes: self.attributes.clone(),
            added: Vec::new(),
            locality: None,
            remember: None,
            log: Vec::new(),
        };
        EXCHANGE.set(Some(Exchange { request: self.clone(), answer }));
        let returned = hook();
        let exchange = EXCHANGE.take().expect("only this takes it");
        (returned, exchange.answer)
    }
}

/// The current request, and its answer so far.
struct Exchange {
    request: Request,
    answer: Answer,
}

thread_local! {
    static EXCHANGE: RefCell<Option<Exchange>> = const { RefCell::new(None) };
}

/// The content of a data source.
#[derive(Clone, Debug)]
pub enum Data {
    /// In the format `info-hashes`.
    InfoHashes(Vec<InfoHash>),
    /// In the format `addresses`: an address, the length of its prefix in bits, and the number of the
    /// prefix.
    Addresses(Vec<(IpAddr, u8, u64)>),
    /// In the format `strings`.
    Strings(Vec<String>),
    /// In the format `raw`. The test itself calls [`DataSink::on_data`](crate::DataSink::on_data).
    Raw,
}

/// Declares a data source for the rest of the test, or replaces its content.
pub fn set_data(name: &str, data: Data) {
    DATA.with_borrow_mut(|sources| match sources.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = data,
        None => sources.push((name.into(), data)),
    });
}

thread_local! {
    static DATA: RefCell<Vec<(String, Data)>> = const { RefCell::new(Vec::new()) };
}

/// Returns how often the policy has asked for a data source to be fetched again. Every call counts,
/// though the host fetches at most once in ten seconds.
#[must_use]
pub fn refreshed(name: &str) -> usize {
    REFRESHED.with_borrow(|names| names.iter().filter(|known| *known == name).count())
}

/// Sets the clock of this thread, which stands still from then on. Before that it is the machine's
/// clock.
pub fn set_time(now: SystemTime) {
    TIME.set(Some(now));
}

/// Returns what a test has set the clock to.
pub(crate) fn now() -> Option<SystemTime> {
    TIME.get()
}

/// Returns whether a signature is valid, from the algorithm, the message and the signature.
pub type Verifier = Box<dyn Fn(&str, &[u8], &[u8]) -> bool>;

/// Loads keys with `load` from now on, on this thread; its errors are those of
/// [`Key::from_jwk`](crate::signatures::Key::from_jwk). No signature is verified here: the real host's
/// cryptography, and its checks of a JWK, are not part of this crate.
pub fn set_keys(load: impl Fn(&str) -> Result<Verifier, Error> + 'static) {
    LOADER.set(Some(Box::new(load)));
}

type Loader = Box<dyn Fn(&str) -> Result<Verifier, Error>>;

thread_local! {
    static REFRESHED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static TIME: Cell<Option<SystemTime>> = const { Cell::new(None) };
    static LOADER: RefCell<Option<Loader>> = const { RefCell::new(None) };
    /// Keys by their ids; `None` for one that was forgotten.
    static KEYS: RefCell<Vec<Option<Verifier>>> = const { RefCell::new(Vec::new()) };
    /// Whether `init` is running, outside of which no plan can be defined.
    static IS_INIT: Cell<bool> = const { Cell::new(false) };
}

/// Returns the value of one of the policy's own series, as far as this test counted.
#[must_use]
pub fn metric(name: &str) -> Option<f64> {
    SERIES.with_borrow(|all| all.iter().find(|(known, ..)| known == name).map(|(.., value)| *value))
}

/// An entry of [`keyvalue`](crate::keyvalue).
struct Entry {
    stored: Stored,
    /// By the test's clock; `None`: never.
    expires: Option<SystemTime>,
}

enum Stored {
    Bytes(Vec<u8>),
    Counter(i64),
}

thread_local! {
    static STORE: RefCell<HashMap<Vec<u8>, Entry>> = RefCell::default();
    /// Name, whether it is a counter, value.
    static SERIES: RefCell<Vec<(String, bool, f64)>> = const { RefCell::new(Vec::new()) };
}

/// Looks at the current request; returns the default if there is none.
fn ask<T: Default>(question: impl FnOnce(&Exchange) -> T) -> T {
    EXCHANGE.with_borrow(|exchange| exchange.as_ref().map(question).unwrap_or_default())
}

/// Changes the current answer, if there is one.
fn change(change: impl FnOnce(&mut Answer)) {
    EXCHANGE.with_borrow_mut(|exchange| {
        if let Some(exchange) = exchange {
            change(&mut exchange.answer);
        }
    });
}

thread_local! {
    /// Each with its gateways.
    static PLANS: RefCell<Vec<(locality_types::Plan, u8)>> = const { RefCell::new(Vec::new()) };
}

thread_local! {
    static PUBLISHED: RefCell<Vec<(String, Vec<u8>)>> = const { RefCell::new(Vec::new()) };
    static SERVED: RefCell<HashMap<String, (u16, Vec<u8>)>> = RefCell::default();
}

/// Returns what was published on this thread, the newest of each name. The host would let a fresh
/// instance accept it first, and hand it on at most once a second.
#[must_use]
pub fn published() -> Vec<(String, Vec<u8>)> {
    PUBLISHED.with_borrow(Clone::clone)
}

/// Answers requests to a URL on this thread with a status and a body, whatever their method, headers
/// and body are. `allow.http` is not checked.
pub fn serve(url: &str, status: u16, body: &[u8]) {
    SERVED.with_borrow_mut(|served| served.insert(url.to_owned(), (status, body.to_vec())));
}
