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

/// The host functions of control instances, with the signatures of the contract's bindings.
pub(crate) mod control {
    pub(crate) mod publisher {
        use super::super::PUBLISHED;

        pub(crate) fn publish(name: &str, data: &[u8]) -> Result<(), String> {
            PUBLISHED.with_borrow_mut(|published| {
                published.retain(|(known, _)| known != name);
                published.push((name.to_owned(), data.to_vec()));
            });
            Ok(())
        }
    }

    pub(crate) mod http {
        use super::super::SERVED;
        use crate::bindings::control::http::Response;

        pub(crate) fn fetch(
            _: &str,
            url: &str,
            _: &[(String, String)],
            _: &[u8],
            _: u32,
        ) -> Result<Response, String> {
            let served = SERVED.with_borrow(|served| served.get(url).cloned());
            let (status, body) = served.ok_or_else(|| format!("{url}: no such host"))?;
            Ok(Response { status, headers: Vec::new(), body })
        }
    }
}

/// The host functions, with the signatures of the contract's bindings.
pub(crate) mod host {
    pub(crate) mod locality {
        pub(crate) use super::super::locality_types::Plan;
        use super::super::{Locality, PLANS, change};

        pub(crate) fn define(plan: &Plan) -> Result<u32, String> {
            if plan.prefixes.len() > 8 {
                return Err("a plan has at most 8 prefixes".into());
            }
            if plan.prefixes.iter().any(|&bits| bits > 64) {
                return Err("a prefix is longer than a label's 64 bits".into());
            }
            if !plan.prefixes.is_sorted_by(|longer, shorter| longer > shorter) {
                return Err("prefixes become shorter from one to the next: nearest first".into());
            }
            if plan.far_percent > 100 {
                return Err("a far share is at most 100 percent".into());
            }
            PLANS.with_borrow_mut(|plans| {
                plans.push(plan.clone());
                Ok(plans.len() as u32 - 1)
            })
        }

        pub(crate) fn assign(label: u64, plan: u32) {
            let plan = PLANS.with_borrow(|plans| plans.get(plan as usize).cloned());
            change(|answer| {
                if let Some(Plan { prefixes, order, far_percent }) = plan {
                    answer.locality = Some(Locality { label, prefixes, order, far_percent });
                }
            });
        }
    }

    pub(crate) mod request {
        use super::super::{ask, to_words, types};

        type Pairs = [(String, String)];

        fn last(pairs: &Pairs, name: &str) -> Option<String> {
            pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone())
        }

        pub(crate) fn peer_id() -> Vec<u8> {
            ask(|exchange| exchange.request.peer_id.to_vec())
        }
        pub(crate) fn left() -> u64 {
            ask(|exchange| exchange.request.left)
        }
        pub(crate) fn uploaded() -> u64 {
            ask(|exchange| exchange.request.uploaded)
        }
        pub(crate) fn downloaded() -> u64 {
            ask(|exchange| exchange.request.downloaded)
        }
        pub(crate) fn query_param(name: &str) -> Option<String> {
            ask(|exchange| last(&exchange.request.query, name))
        }
        pub(crate) fn path_param(name: &str) -> Option<String> {
            ask(|exchange| last(&exchange.request.path, name))
        }
        pub(crate) fn header(name: &str) -> Option<String> {
            ask(|exchange| {
                let mut headers = exchange.request.headers.iter();
                headers
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, text)| text.clone())
            })
        }
        pub(crate) fn credential() -> Option<String> {
            ask(|exchange| exchange.request.credential.clone())
        }
        pub(crate) fn client_address() -> types::Address {
            ask(|exchange| to_words(exchange.request.asker()))
        }
        pub(crate) fn socket_address() -> (types::Address, u16) {
            ask(|exchange| match exchange.request.proxy {
                Some(proxy) => (to_words(proxy.ip()), proxy.port()),
                None => (to_words(exchange.request.asker()), exchange.request.port),
            })
        }
        pub(crate) fn attribute(name: &str) -> Option<String> {
            ask(|exchange| last(&exchange.request.attributes, name))
        }
    }

    pub(crate) mod response {
        use std::net::SocketAddr;

        use super::super::{Place, Scope, ask, change, types};
        use crate::values::address as ip;

        pub(crate) fn fail(reason: &str) {
            change(|answer| answer.failure = Some(reason.into()));
        }
        pub(crate) fn retry_in(minutes: Option<u32>) {
            change(|answer| answer.retry_in = Some(minutes));
        }
        pub(crate) fn warn(message: &str) {
            change(|answer| answer.warning = Some(message.into()));
        }
        pub(crate) fn interval() -> u32 {
            ask(|exchange| exchange.request.interval)
        }
        pub(crate) fn min_interval() -> u32 {
            ask(|exchange| exchange.request.min_interval)
        }
        pub(crate) fn set_interval(seconds: u32) {
            change(|answer| answer.interval = seconds);
        }
        pub(crate) fn set_min_interval(seconds: u32) {
            change(|answer| answer.min_interval = seconds);
        }
        pub(crate) fn set_num_want(count: u32) {
            change(|answer| answer.num_want = count);
        }
        pub(crate) fn set_attribute(name: &str, value: &str) {
            change(|answer| answer.attributes.push((name.into(), value.into())));
        }
        pub(crate) fn add_peer(address: types::Address, port: u16, place: Place) {
            let peer = SocketAddr::new(ip(address), port);
            change(|answer| answer.added.push((peer, place)));
        }
        pub(crate) fn remember(scope: Scope, seconds: u32) {
            change(|answer| answer.remember = Some((scope, seconds)));
        }
        pub(crate) fn hide() {
            change(|answer| answer.hidden = true);
        }
    }

    pub(crate) mod sets {
        use std::net::IpAddr;

        use super::super::{DATA, Data, InfoHash, REFRESHED, types};
        use crate::values;

        fn look<T>(set: u32, look: impl FnOnce(&Data) -> Option<T>) -> Option<T> {
            DATA.with_borrow(|sources| look(&sources.get(set as usize)?.1))
        }
        pub(crate) fn open(name: &str) -> Result<u32, String> {
            let at = DATA.with_borrow(|all| all.iter().position(|(known, _)| known == name));
            at.map(|at| at as u32).ok_or_else(|| format!("no data source `{name}`"))
        }
        pub(crate) fn has_info_hash(set: u32, info_hash: types::InfoHash) -> bool {
            let info_hash = InfoHash::from_words(info_hash);
            let found = look(set, |data| match data {
                Data::InfoHashes(set) => Some(set.contains(&info_hash)),
                _ => None,
            });
            found.unwrap_or(false)
        }
        pub(crate) fn has_string(set: u32, value: &str) -> bool {
            let found = look(set, |data| match data {
                Data::Strings(set) => Some(set.iter().any(|text| text == value)),
                _ => None,
            });
            found.unwrap_or(false)
        }
        pub(crate) fn match_address(set: u32, words: types::Address) -> Option<u64> {
            let asked = values::address(words);
            let width = if asked.is_ipv4() { 32 } else { 128 };
            let bits = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_bits().into(),
                IpAddr::V6(address) => address.to_bits(),
            };
            let holds = |(first, prefix, _): &&(IpAddr, u8, u64)| {
                let rest = width - u32::from(*prefix).min(width);
                let differ = bits(*first) ^ bits(asked);
                first.is_ipv4() == asked.is_ipv4() && differ.checked_shr(rest).unwrap_or(0) == 0
            };
            look(set, |data| match data {
                Data::Addresses(ranges) => {
                    Some(ranges.iter().filter(holds).max_by_key(|range| range.1)?.2)
                }
                _ => None,
            })
        }
        pub(crate) fn sources() -> Vec<(String, String)> {
            let format = |data: &Data| match data {
                Data::InfoHashes(_) => "info-hashes",
                Data::Addresses(_) => "addresses",
                Data::Strings(_) => "strings",
                Data::Raw => "raw",
            };
            DATA.with_borrow(|sources| {
                let named = sources.iter().map(|(name, data)| (name.clone(), format(data).into()));
                named.collect()
            })
        }
        pub(crate) fn refresh(name: &str) {
            REFRESHED.with_borrow_mut(|names| names.push(name.into()));
        }
    }

    pub(crate) mod keyvalue {
        use std::time::Duration;

        use super::super::{Entry, STORE, Stored, now};

        fn entry(stored: Stored, ttl: Option<u32>) -> Entry {
            let expires = ttl.map(|seconds| now() + Duration::from_secs(seconds.into()));
            Entry { stored, expires }
        }
        /// Takes away what has expired.
        fn sweep() {
            let now = now();
            STORE.with_borrow_mut(|store| {
                store.retain(|_, entry| entry.expires.is_none_or(|expires| expires > now));
            });
        }
        pub(crate) fn get(key: &[u8]) -> Option<Vec<u8>> {
            sweep();
            STORE.with_borrow(|store| match &store.get(key)?.stored {
                Stored::Bytes(bytes) => Some(bytes.clone()),
                Stored::Counter(count) => Some(count.to_string().into_bytes()),
            })
        }
        pub(crate) fn put(key: &[u8], value: &[u8], ttl: Option<u32>) -> Result<(), String> {
            let entry = entry(Stored::Bytes(value.into()), ttl);
            STORE.with_borrow_mut(|store| store.insert(key.into(), entry));
            Ok(())
        }
        pub(crate) fn delete(key: &[u8]) {
            STORE.with_borrow_mut(|store| store.remove(key));
        }
        pub(crate) fn increment(key: &[u8], delta: i64, ttl: Option<u32>) -> Result<i64, String> {
            sweep();
            STORE.with_borrow_mut(|store| {
                let made = || entry(Stored::Counter(0), ttl);
                let entry = store.entry(key.into()).or_insert_with(made);
                let Stored::Counter(count) = &mut entry.stored else {
                    return Err("the key has a value that is not a counter".into());
                };
                let sum = count.checked_add(delta);
                *count = sum.ok_or("the counter would leave the range of 64 bits")?;
                Ok(*count)
            })
        }
    }

    pub(crate) mod metrics {
        use super::super::SERIES;

        fn register(name: &str, counts: bool) -> Result<u32, String> {
            SERIES.with_borrow_mut(|all| {
                let known = all.iter().position(|(known, ..)| known == name);
                let at = known.unwrap_or_else(|| {
                    all.push((name.into(), counts, 0.0));
                    all.len() - 1
                });
                match all[at].1 == counts {
                    true => Ok(at as u32),
                    false => Err("there is a series of another kind of that name".into()),
                }
            })
        }
        pub(crate) fn counter(name: &str, _: &str) -> Result<u32, String> {
            register(name, true)
        }
        pub(crate) fn gauge(name: &str, _: &str) -> Result<u32, String> {
            register(name, false)
        }
        pub(crate) fn add(id: u32, delta: u64) {
            SERIES.with_borrow_mut(|all| {
                if let Some((_, true, value)) = all.get_mut(id as usize) {
                    *value += delta as f64;
                }
            });
        }
        pub(crate) fn set(id: u32, new: f64) {
            SERIES.with_borrow_mut(|all| {
                if let Some((_, false, value)) = all.get_mut(id as usize) {
                    *value = new;
                }
            });
        }
    }

    pub(crate) mod signatures {
        use super::super::{KEYS, LOADER};

        pub(crate) fn load_key(jwk: &str) -> Result<u32, String> {
            let verifier = LOADER.with_borrow(|load| match load {
                Some(load) => load(jwk),
                None => Err("there are no keys in a test but those of `testing::set_keys`".into()),
            })?;
            KEYS.with_borrow_mut(|keys| {
                keys.push(Some(verifier));
                Ok(keys.len() as u32 - 1)
            })
        }
        pub(crate) fn forget_key(key: u32) {
            KEYS.with_borrow_mut(|keys| keys[key as usize] = None);
        }
        pub(crate) fn verify(key: u32, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
            KEYS.with_borrow(|keys| {
                let verifier = keys.get(key as usize).and_then(Option::as_ref);
                verifier.is_some_and(|verifier| verifier(algorithm, message, signature))
            })
        }
    }

    pub(crate) mod swarm {
        use super::super::{InfoHash, Stats, ask, types};

        const EMPTY: Stats = Stats { seeders: 0, leechers: 0, completed: 0 };

        pub(crate) fn current() -> Stats {
            ask(|exchange| Some(exchange.request.info_hash))
                .and_then(|info_hash| lookup(info_hash.to_words()))
                .unwrap_or(EMPTY)
        }
        pub(crate) fn lookup(info_hash: types::InfoHash) -> Option<Stats> {
            let info_hash = InfoHash::from_words(info_hash);
            ask(|exchange| {
                let mut swarms = exchange.request.swarms.iter();
                swarms.find(|(known, _)| *known == info_hash).map(|(_, stats)| *stats)
            })
        }
    }

    pub(crate) mod log {
        use super::super::{Level, change};

        pub(crate) fn enabled(_: Level) -> bool {
            true
        }
        pub(crate) fn write(level: Level, message: &str) {
            change(|answer| answer.log.push((level, message.into())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{log, request, response, swarm};

    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {}

    /// Writes down all that it is told, and changes all that it can.
    #[derive(Default)]
    struct Witness(Vec<String>);

    impl Policy for Witness {
        type Config = Config;
        fn init(_: Config, context: &Context) -> Result<Self, Error> {
            Ok(Self(vec![context.name.clone()]))
        }
    }

    impl AnnounceFilter for Witness {
        fn on_announce(&mut self, announce: &Announce) -> Verdict {
            self.0 = vec![
                announce.info_hash().to_string(),
                announce.address().to_string(),
                String::from_utf8_lossy(&announce.client()).into_owned(),
                announce.port().to_string(),
                format!("{:?} {:?}", announce.event(), announce.transport()),
                announce.num_want().to_string(),
                format!("{} {}", announce.is_seeder(), announce.is_proxied()),
                format!("{} {}", announce.is_overridden(), announce.has_credential()),
                String::from_utf8_lossy(&request::peer_id()).into_owned(),
                format!("{} {} {}", request::left(), request::uploaded(), request::downloaded()),
                format!("{:?} {:?}", request::query_param("a"), request::query_param("b")),
                format!("{:?} {:?}", request::path_param("a"), request::header("x-a")),
                format!("{:?} {:?}", request::credential(), request::attribute("a")),
                format!("{} {}", request::client_address(), request::socket_address()),
                format!("{:?}", swarm::current()),
                format!("{:?}", swarm::lookup(InfoHash::from_bytes([1; 20]))),
            ];
            response::set_retry_in(Some(5));
            response::warn("soon");
            response::set_interval(response::interval() + 1);
            response::set_min_interval(response::min_interval() + 1);
            response::set_num_want(3);
            response::set_attribute("b", "c");
            response::add_peer("192.0.2.9:81".parse().unwrap(), response::Place::Mixed);
            let scope = response::Scope::CLIENT | response::Scope::ROLE;
            response::remember(scope, std::time::Duration::from_secs(60));
            log::info!("{} lines", self.0.len());
            log::warn!("plain");
            response::reject("no")
        }
    }

    impl ScrapeFilter for Witness {
        fn on_scrape(&mut self, scrape: &Scrape) -> Verdict {
            self.0 = vec![
                scrape.info_hash().to_string(),
                scrape.address().to_string(),
                format!("{:?}", scrape.transport()),
                format!("{} {}", scrape.is_proxied(), scrape.has_credential()),
                format!("{:?}", request::peer_id() == [0; 20]),
            ];
            response::hide();
            Verdict::Next
        }
    }

    fn pairs(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.into(), value.into())]
    }

    #[test]
    fn a_policy_sees_the_whole_announce_and_may_change_the_whole_answer() {
        let stats = Stats { seeders: 1, leechers: 2, completed: 3 };
        let request = Request {
            address: "2001:db8::1".parse().unwrap(),
            client_address: Some("192.0.2.7".parse().unwrap()),
            proxy: Some("10.0.0.1:80".parse().unwrap()),
            event: Event::Completed,
            transport: Transport::Https,
            left: 0,
            uploaded: 1,
            downloaded: 2,
            query: pairs("a", "1"),
            path: pairs("a", "2"),
            headers: pairs("X-A", "3"),
            credential: Some("4".into()),
            attributes: pairs("a", "5"),
            swarms: vec![(InfoHash::from_bytes([0xaa; 20]), stats)],
            ..Request::default()
        };
        let mut policy = init::<Witness>("{}").unwrap();
        assert_eq!(policy.0, ["test"]);
        let answer = request.announce(&mut policy);
        assert_eq!(
            policy.0,
            [
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                "2001:db8::1",
                "-TR4050-",
                "6881",
                "Event::Completed Transport::Https",
                "50",
                "true true",
                "true true",
                "-TR4050-abcdefghijkl",
                "0 1 2",
                r#"Some("1") None"#,
                r#"Some("2") Some("3")"#,
                r#"Some("4") Some("5")"#,
                "192.0.2.7 10.0.0.1:80",
                "Stats { seeders: 1, leechers: 2, completed: 3 }",
                "None",
            ]
        );
        let expected = Answer {
            verdict: Verdict::Reject,
            failure: Some("no".into()),
            retry_in: Some(Some(5)),
            warning: Some("soon".into()),
            interval: 1801,
            min_interval: 901,
            num_want: 3,
            hidden: false,
            attributes: vec![("a".into(), "5".into()), ("b".into(), "c".into())],
            added: vec![("192.0.2.9:81".parse().unwrap(), Place::Mixed)],
            locality: None,
            remember: Some((Scope::CLIENT | Scope::ROLE, 60)),
            log: vec![(Level::Info, "16 lines".into()), (Level::Warn, "plain".into())],
        };
        assert_eq!(answer, expected);
    }

    #[test]
    fn a_policy_sees_the_scrape_and_may_hide_it() {
        let mut policy = Witness::default();
        let request = Request { transport: Transport::Udp, ..Request::default() };
        let answer = request.scrape(&mut policy);
        let hash = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        assert_eq!(policy.0, [hash, "192.0.2.1", "Transport::Udp", "false false", "true"]);
        assert!(answer.hidden);
        assert_eq!(answer.verdict, Verdict::Next);
    }

    #[test]
    fn outside_a_request_there_is_nothing() {
        assert_eq!(request::peer_id(), [0; 20]);
        assert_eq!(request::query_param("a"), None);
        assert_eq!(response::interval(), 0);
        log::error!("lost");
    }
}
