//! The keys of a file of cases.

mod account;
mod control;
mod expect;
mod values;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

pub use self::account::Account;
pub use self::control::{Observe, Outcome, Reply, Tick};
pub use self::expect::{Expect, Label, Part, Remember, Request, Verdict, Wanted};
pub use self::values::{Clock, Hash, Id, Place};
use crate::config::{self, CredentialRule, DataFormat, PolicyLimits};

/// The settings that all cases share, and the cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    #[serde(default = "empty")]
    pub config: serde_json::Value,
    #[serde(default)]
    pub credential: Vec<CredentialRule>,
    #[serde(default)]
    pub data: BTreeMap<String, Source>,
    #[serde(default)]
    pub keyvalues: BTreeMap<String, String>,
    #[serde(default)]
    pub clock: Clock,
    #[serde(default)]
    pub seed: u64,
    #[serde(default)]
    pub limits: PolicyLimits,
    #[serde(default)]
    pub swarms: BTreeMap<Hash, Counts>,
    #[serde(default)]
    pub http: BTreeMap<Place, Reply>,
    pub cases: Vec<Case>,
}

fn empty() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

/// One instance and its calls. Its own settings replace those of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    pub config: Option<serde_json::Value>,
    pub credential: Option<Vec<CredentialRule>>,
    pub data: Option<BTreeMap<String, Source>>,
    pub keyvalues: Option<BTreeMap<String, String>>,
    pub clock: Option<Clock>,
    pub seed: Option<u64>,
    pub limits: Option<PolicyLimits>,
    pub swarms: Option<BTreeMap<Hash, Counts>>,
    pub http: Option<BTreeMap<Place, Reply>>,
    /// Part of the error with which `init`, or the data, is refused.
    pub refused: Option<String>,
    pub announce: Option<Announce>,
    pub scrape: Option<Scrape>,
    pub rank: Option<Rank>,
    pub observe: Option<Observe>,
    pub tick: Option<Tick>,
    pub expect: Option<Expect>,
    #[serde(default)]
    pub calls: Vec<Call>,
}

/// One of several calls.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// How far the clock advances before it.
    #[serde(default, deserialize_with = "config::duration")]
    pub after: Duration,
    /// New versions of data sources.
    #[serde(default)]
    pub data: BTreeMap<String, Version>,
    /// Part of the error with which the plugin refuses the data.
    pub refused: Option<String>,
    /// The answers of URLs from now on.
    #[serde(default)]
    pub http: BTreeMap<Place, Reply>,
    pub announce: Option<Announce>,
    pub scrape: Option<Scrape>,
    pub rank: Option<Rank>,
    pub observe: Option<Observe>,
    pub tick: Option<Tick>,
    pub expect: Option<Expect>,
}

/// The request of a case or a call.
#[derive(Clone, Copy)]
pub enum Ask<'a> {
    Announce(&'a Announce),
    Scrape(&'a Scrape),
    Rank(&'a Rank),
    Observe(&'a Observe),
    Tick,
}

impl Case {
    /// Returns its own request; more than one is an error.
    pub fn asks(&self) -> Vec<Ask<'_>> {
        let Self { announce, scrape, rank, observe, tick, .. } = self;
        asks(announce, scrape, rank, observe, tick)
    }
}

impl Call {
    /// Returns its request; more than one is an error.
    pub fn asks(&self) -> Vec<Ask<'_>> {
        let Self { announce, scrape, rank, observe, tick, .. } = self;
        asks(announce, scrape, rank, observe, tick)
    }
}

fn asks<'a>(
    announce: &'a Option<Announce>,
    scrape: &'a Option<Scrape>,
    rank: &'a Option<Rank>,
    observe: &'a Option<Observe>,
    tick: &'a Option<Tick>,
) -> Vec<Ask<'a>> {
    let asks = [
        announce.as_ref().map(Ask::Announce),
        scrape.as_ref().map(Ask::Scrape),
        rank.as_ref().map(Ask::Rank),
        observe.as_ref().map(Ask::Observe),
        tick.as_ref().map(|Tick {}| Ask::Tick),
    ];
    asks.into_iter().flatten().collect()
}

/// A data source.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    pub format: DataFormat,
    pub lines: Option<Vec<String>>,
    pub text: Option<String>,
    /// Relative to the file of cases.
    pub file: Option<PathBuf>,
}

/// The content of a data source from now on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Version {
    pub lines: Option<Vec<String>>,
    pub text: Option<String>,
    pub file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Counts {
    pub seeders: u32,
    pub leechers: u32,
    pub completed: u32,
}

/// An announce; missing keys default to those of a leecher at 192.0.2.1.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Announce {
    pub info_hash: Hash,
    pub peer_id: Id,
    pub address: IpAddr,
    /// The client's address, if it is not `address`.
    pub client_address: Option<IpAddr>,
    pub port: u16,
    pub event: config::Event,
    pub transport: config::Transport,
    pub left: Option<u64>,
    pub uploaded: u64,
    pub downloaded: u64,
    pub num_want: u32,
    pub proxied: bool,
    pub overridden: bool,
    pub query: BTreeMap<String, String>,
    pub path: BTreeMap<String, String>,
    pub headers: BTreeMap<String, String>,
    /// The attributes that earlier policies left.
    pub attributes: BTreeMap<String, String>,
    pub account: Account,
    /// The answer so far, in seconds.
    pub interval: u32,
    pub min_interval: u32,
}

impl Default for Announce {
    fn default() -> Self {
        Self {
            info_hash: Hash::default(),
            peer_id: Id::default(),
            address: Ipv4Addr::new(192, 0, 2, 1).into(),
            client_address: None,
            port: 6881,
            event: config::Event::None,
            transport: config::Transport::Http,
            left: Some(1),
            uploaded: 0,
            downloaded: 0,
            num_want: 50,
            proxied: false,
            overridden: false,
            query: BTreeMap::new(),
            path: BTreeMap::new(),
            headers: BTreeMap::new(),
            attributes: BTreeMap::new(),
            account: Account::default(),
            interval: 1800,
            min_interval: 900,
        }
    }
}

/// One info-hash of a scrape.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scrape {
    pub info_hash: Hash,
    pub address: IpAddr,
    pub transport: config::Transport,
    pub query: BTreeMap<String, String>,
    pub path: BTreeMap<String, String>,
    pub headers: BTreeMap<String, String>,
    pub attributes: BTreeMap<String, String>,
    pub account: Account,
}

impl Default for Scrape {
    fn default() -> Self {
        let Announce { info_hash, address, transport, .. } = Announce::default();
        Self {
            info_hash,
            address,
            transport,
            query: BTreeMap::new(),
            path: BTreeMap::new(),
            headers: BTreeMap::new(),
            attributes: BTreeMap::new(),
            account: Account::default(),
        }
    }
}

/// Peers for a ranker to rank, and the announce that they are for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rank {
    #[serde(default)]
    pub announce: Announce,
    pub candidates: Vec<Candidate>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    pub peer: SocketAddr,
    #[serde(default)]
    pub seeder: bool,
    #[serde(default)]
    pub label: Label,
    /// Time since its last announce.
    #[serde(default, deserialize_with = "config::duration")]
    pub age: Duration,
}
