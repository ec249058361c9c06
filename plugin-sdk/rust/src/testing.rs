//! A host for tests on the machine that builds: makes a policy from its `config`, calls its hooks
//! with a request that the test describes, and shows what came out.
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
//! use karuta_plugin::testing::{self, Request};
//!
//! let mut policy: Slow = testing::init("{}")?;
//! let answer = Request { interval: 1800, ..Request::default() }.announce(&mut policy);
//! assert_eq!(answer.verdict, Verdict::Next);
//! assert_eq!(answer.interval, 3600);
//! # Ok::<(), String>(())
//! ```
//!
//! Bounds that the real host puts on an answer are not applied here.

pub(crate) mod control;
pub(crate) mod host;
#[cfg(test)]
mod tests;

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::SystemTime,
};

use crate::{
    Announce, AnnounceFilter, Context, Error, Event, InfoHash, Policy, Role, Scrape, ScrapeFilter,
    Transport, Verdict,
    bindings::imports::{
        locality as locality_types,
        types::{self, Traits},
    },
    config,
    locality::Order,
    log::Level,
    response::{Place, Scope},
    swarm::Stats,
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
    /// Bytes left to download; zero makes it a seeder, the highest number is for not said.
    pub left: u64,
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
    /// Who asks, where it is not the announced address.
    pub client_address: Option<IpAddr>,
    /// A trusted proxy that the request came through.
    pub proxy: Option<SocketAddr>,
    /// What earlier policies left.
    pub attributes: Vec<(String, String)>,
    /// Seconds until the next announce.
    pub interval: u32,
    /// Seconds that the client must wait at least.
    pub min_interval: u32,
    /// The torrents that the host knows.
    pub swarms: Vec<(InfoHash, Stats)>,
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
            left: u64::MAX,
            uploaded: 0,
            downloaded: 0,
            query: Vec::new(),
            path: Vec::new(),
            headers: Vec::new(),
            credential: None,
            client_address: None,
            proxy: None,
            attributes: Vec::new(),
            interval: 1800,
            min_interval: 900,
            swarms: Vec::new(),
        }
    }
}

/// What a policy answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it decided.
    pub verdict: Verdict,
    /// The text of [`response::reject`](crate::response::reject).
    pub failure: Option<String>,
    /// What [`response::set_retry_in`](crate::response::set_retry_in) said.
    pub retry_in: Option<Option<u32>>,
    /// The text of [`response::warn`](crate::response::warn).
    pub warning: Option<String>,
    /// Seconds until the next announce.
    pub interval: u32,
    /// Seconds that the client must wait at least.
    pub min_interval: u32,
    /// How many peers the answer holds at most.
    pub num_want: u32,
    /// Whether the info-hash of a scrape is answered with zeros.
    pub hidden: bool,
    /// What the policy left for those behind it, the last last.
    pub attributes: Vec<(String, String)>,
    /// The peers of [`response::add_peer`](crate::response::add_peer).
    pub added: Vec<(SocketAddr, Place)>,
    /// The label of [`locality::assign`](crate::locality::assign), and its plan.
    pub locality: Option<Locality>,
    /// For which requests the verdict holds, and for how many seconds
    /// ([`response::remember`](crate::response::remember)).
    pub remember: Option<(Scope, u32)>,
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
    /// What is preferred to what.
    pub order: Order,
    /// The share of the answer that is kept for far peers.
    pub far_percent: u8,
}

/// Makes a policy from its `config`, written as JSON.
///
/// # Errors
///
/// The text that the operator would see.
pub fn init<P: Policy>(config: &str) -> Result<P, String> {
    let context = Context { name: "test".into(), role: Role::Worker, worker: 0, workers: 1 };
    config::parse(config).and_then(|config| P::init(config, &context)).map_err(Error::into_text)
}

impl Request {
    /// Announces.
    pub fn announce(&self, policy: &mut impl AnnounceFilter) -> Answer {
        let [client, ..] = self.peer_id.as_chunks().0 else { unreachable!("there are 20 bytes") };
        let client = u64::from_be_bytes(*client);
        let seeder = if self.left == 0 { Traits::SEEDER } else { Traits::empty() };
        let announce = types::Announce {
            info_hash: self.info_hash.to_words(),
            address: to_words(self.address),
            client: ((client >> 32) as u32, client as u32),
            port: self.port,
            event: self.event,
            transport: self.transport,
            num_want: self.num_want,
            traits: self.traits() | seeder,
        };
        self.decide(|| policy.on_announce(&Announce(announce)))
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
        let answer = Answer {
            verdict: Verdict::Next,
            failure: None,
            retry_in: None,
            warning: None,
            interval: self.interval,
            min_interval: self.min_interval,
            num_want: self.num_want,
            hidden: false,
            attributes: self.attributes.clone(),
            added: Vec::new(),
            locality: None,
            remember: None,
            log: Vec::new(),
        };
        EXCHANGE.set(Some(Exchange { request: self.clone(), answer }));
        let verdict = hook();
        let exchange = EXCHANGE.take().expect("nothing takes it but this");
        Answer { verdict, ..exchange.answer }
    }
}

/// The request under way, and its answer as it is so far.
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
    /// In the format `addresses`: an address, how many bits of it make the prefix, and the number
    /// behind it.
    Addresses(Vec<(IpAddr, u8, u64)>),
    /// In the format `strings`.
    Strings(Vec<String>),
    /// In the format `raw`. The test itself calls [`DataSink::on_data`](crate::DataSink::on_data).
    Raw,
}

/// Declares a data source for the rest of the test, or gives one another content.
pub fn set_data(name: &str, data: Data) {
    DATA.with_borrow_mut(|sources| match sources.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = data,
        None => sources.push((name.into(), data)),
    });
}

thread_local! {
    static DATA: RefCell<Vec<(String, Data)>> = const { RefCell::new(Vec::new()) };
}

/// How often the policy has asked for a data source to be fetched again.
#[must_use]
pub fn refreshed(name: &str) -> usize {
    REFRESHED.with_borrow(|names| names.iter().filter(|known| *known == name).count())
}

/// Sets the clock of this thread, which stands still from then on. Before that it is the machine's.
pub fn set_time(now: SystemTime) {
    TIME.set(Some(now));
}

/// What [`clock::now`](crate::clock::now) is here.
pub(crate) fn now() -> SystemTime {
    TIME.get().unwrap_or_else(SystemTime::now)
}

/// Whether a signature (the last) by an algorithm (the first) of a message is right.
pub type Verifier = Box<dyn Fn(&str, &[u8], &[u8]) -> bool>;

/// Has keys be made of JWKs by `load` from now on, on this thread. An error is one of
/// [`Key::from_jwk`](crate::signatures::Key::from_jwk).
pub fn set_keys(load: impl Fn(&str) -> Result<Verifier, String> + 'static) {
    LOADER.set(Some(Box::new(load)));
}

type Loader = Box<dyn Fn(&str) -> Result<Verifier, String>>;

thread_local! {
    static REFRESHED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static TIME: Cell<Option<SystemTime>> = const { Cell::new(None) };
    static LOADER: RefCell<Option<Loader>> = const { RefCell::new(None) };
    /// Keys by their ids; `None` where one was forgotten.
    static KEYS: RefCell<Vec<Option<Verifier>>> = const { RefCell::new(Vec::new()) };
}

/// What a series of the policy's own shows, as far as this test goes.
#[must_use]
pub fn metric(name: &str) -> Option<f64> {
    SERIES.with_borrow(|all| all.iter().find(|(known, ..)| known == name).map(|(.., value)| *value))
}

/// An entry of [`keyvalue`](crate::keyvalue). Nothing is ever full.
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

/// Looks at the request under way; the default where there is none.
fn ask<T: Default>(question: impl FnOnce(&Exchange) -> T) -> T {
    EXCHANGE.with_borrow(|exchange| exchange.as_ref().map(question).unwrap_or_default())
}

/// Changes the answer under way, where there is one.
fn change(change: impl FnOnce(&mut Answer)) {
    EXCHANGE.with_borrow_mut(|exchange| {
        if let Some(exchange) = exchange {
            change(&mut exchange.answer);
        }
    });
}

thread_local! {
    static PLANS: RefCell<Vec<locality_types::Plan>> = const { RefCell::new(Vec::new()) };
}

thread_local! {
    static PUBLISHED: RefCell<Vec<(String, Vec<u8>)>> = const { RefCell::new(Vec::new()) };
    static SERVED: RefCell<HashMap<String, (u16, Vec<u8>)>> = RefCell::default();
}

/// What was published on this thread, the newest of each name.
#[must_use]
pub fn published() -> Vec<(String, Vec<u8>)> {
    PUBLISHED.with_borrow(Clone::clone)
}

/// Answers requests to a URL on this thread with a status and a body.
pub fn serve(url: &str, status: u16, body: &[u8]) {
    SERVED.with_borrow_mut(|served| served.insert(url.to_owned(), (status, body.to_vec())));
}
