//! The keys of the configuration, with their defaults.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use karuta_bittorrent as bittorrent;
use serde::{Deserialize, Deserializer, Serialize};

use url::Url;

use super::{
    accounts::Accounts,
    admin::Admin,
    decision_log::DecisionLog,
    export::{Export, FullScrape},
    log::Log,
    record::Record,
    run_as::RunAs,
    secret::Secret,
    share::Share,
    source::Source,
    tls::Tls,
    values::{self, CredentialRule, EditMode},
};

/// A complete configuration that has been checked.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub tracker: Tracker,
    /// HTTP listeners; none if the key is missing.
    pub http: Vec<Http>,
    /// UDP listeners; none if the key is missing.
    pub udp: Vec<Udp>,
    pub swarms: Swarms,
    /// If `None`, the tracker knows no members.
    pub accounts: Option<Accounts>,
    /// In calling order.
    pub policies: Vec<Policy>,
    pub admin: Admin,
    pub log: Log,
    /// `None`: requests are not recorded.
    #[serde(
        deserialize_with = "values::unless_false",
        serialize_with = "values::write_unless_false"
    )]
    pub record: Option<Record>,
    /// If `None`, decisions are not logged.
    pub decision_log: Option<DecisionLog>,
    /// Files with all torrents; none if the key is missing.
    pub export: Vec<Export>,
    pub stats: Stats,
    /// Where state is kept. If `None`, `$STATE_DIRECTORY`, or else the user's state folder.
    pub state_dir: Option<PathBuf>,
    /// If `None`, the daemon stays the user that it was started as.
    pub run_as: Option<RunAs>,
    /// Whether the kernel is asked to forbid writing where nothing has to be written.
    pub landlock: bool,
    /// The text that was parsed, so that later errors can show a position.
    #[serde(skip)]
    pub source: Source,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tracker: Tracker::default(),
            http: Vec::new(),
            udp: Vec::new(),
            swarms: Swarms::default(),
            accounts: None,
            policies: Vec::new(),
            admin: Admin::default(),
            log: Log::default(),
            record: Some(Record::default()),
            decision_log: None,
            export: Vec::new(),
            stats: Stats::default(),
            state_dir: None,
            run_as: None,
            landlock: true,
            source: Source::default(),
        }
    }
}

/// The answers to announces and scrapes.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tracker {
    /// The `interval` of an answer, unless a policy changes it.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub announce_interval: Duration,
    /// The `min interval` of an answer, unless a policy changes it.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub min_announce_interval: Duration,
    /// The most that a policy may set either interval to.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub max_interval: Duration,
    /// How long after its last announce a peer is forgotten; more than `max_interval`.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub peer_lifetime: Duration,
    pub num_want: NumWant,
    /// The most info-hashes in a scrape, 1 to 10 000.
    pub max_scrape: usize,
    /// Worker threads; 0 for one per core.
    pub workers: usize,
    /// Whether a peer that is alone in its swarm receives itself as the answer.
    pub echo_lone_peer: bool,
    pub limits: RateLimits,
}

impl Default for Tracker {
    fn default() -> Self {
        Self {
            announce_interval: Duration::from_mins(30),
            min_announce_interval: Duration::from_mins(15),
            max_interval: Duration::from_mins(40),
            peer_lifetime: Duration::from_mins(45),
            num_want: NumWant::default(),
            max_scrape: 74,
            workers: 0,
            echo_lone_peer: false,
            limits: RateLimits::default(),
        }
    }
}

/// The number of peers in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct NumWant {
    /// If the client does not ask for a number.
    pub default: u32,
    /// Whatever the client asks for.
    pub max: u32,
}

impl Default for NumWant {
    fn default() -> Self {
        Self { default: 50, max: 200 }
    }
}

/// A token bucket for each prefix of client addresses, before any policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimits {
    /// Requests that a prefix may make per second; 0 for no limit.
    pub per_second: u32,
    /// Requests that a prefix may make at once; 0 for as many as `per_second`.
    pub burst: u32,
    /// In bits, at most 32.
    pub ipv4_prefix: u8,
    /// In bits, at most 128.
    pub ipv6_prefix: u8,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { per_second: 0, burst: 0, ipv4_prefix: 32, ipv6_prefix: 56 }
    }
}

/// An HTTP listener.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Port 0 selects any free port.
    #[serde(deserialize_with = "values::listen")]
    pub listen: SocketAddr,
    /// For an IPv6 address: do not accept IPv4 too.
    pub only_v6: bool,
    /// Routes of announces, in the syntax of `matchit`: `{name}` is a parameter that fills a
    /// segment.
    pub announce: Vec<String>,
    /// Routes of scrapes; none disables scrapes.
    pub scrape: Vec<String>,
    /// How long an idle connection is kept open.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub keep_alive: Duration,
    /// How long a client may take to send the head of a request.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub header_timeout: Duration,
    /// The maximum size of a request's head in bytes, 8 KiB to 1 MiB.
    #[serde(deserialize_with = "values::size_in_memory")]
    pub max_request: usize,
    /// The most concurrent connections, over all workers; 0 for what the limit on open files
    /// allows.
    pub max_connections: usize,
    pub real_ip: Option<RealIp>,
    /// If set, the listener speaks HTTPS.
    pub tls: Option<Tls>,
    /// The folder whose files `.well-known/acme-challenge/TOKEN` are served (RFC 8555); it existed
    /// when the configuration was read.
    pub acme_webroot: Option<PathBuf>,
    /// Whether the `ip` parameter of an announce is used (BEP 3).
    pub allow_address_override: bool,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: any_address(6969),
            only_v6: false,
            announce: routes("announce"),
            scrape: routes("scrape"),
            keep_alive: Duration::from_secs(30),
            header_timeout: Duration::from_secs(5),
            max_request: 16 * 1024,
            max_connections: 0,
            real_ip: None,
            tls: None,
            acme_webroot: None,
            allow_address_override: false,
        }
    }
}

/// How a trusted proxy passes on the client's address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RealIp {
    /// The header's name, in lower case.
    pub header: String,
    /// The trusted proxies; never empty, and without bits after the prefix.
    #[serde(deserialize_with = "values::networks", serialize_with = "values::write_networks")]
    pub trusted: Vec<IpNet>,
}

/// A UDP listener.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Udp {
    /// Port 0 selects any free port.
    #[serde(deserialize_with = "values::listen")]
    pub listen: SocketAddr,
    /// For an IPv6 address: do not accept IPv4 too.
    pub only_v6: bool,
    /// Routes of the path in BEP 41 URL data, for their parameters. Other paths are not refused.
    pub announce: Vec<String>,
    /// The key of connection ids. If `None`, a secret that is kept in the state folder.
    pub connection_id_secret: Option<Secret>,
    /// How long a connection id is valid.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub connection_id_lifetime: Duration,
    pub error_budget: ErrorBudget,
}

impl Default for Udp {
    fn default() -> Self {
        Self {
            listen: any_address(6969),
            only_v6: false,
            announce: routes("announce"),
            connection_id_secret: None,
            connection_id_lifetime: Duration::from_mins(2),
            error_budget: ErrorBudget::default(),
        }
    }
}

/// How many wrong connection ids from one prefix are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ErrorBudget {
    /// 0 to answer none.
    pub per_second: u32,
    /// In bits, at most 32.
    pub ipv4_prefix: u8,
    /// In bits, at most 128.
    pub ipv6_prefix: u8,
}

impl Default for ErrorBudget {
    fn default() -> Self {
        Self { per_second: 10, ipv4_prefix: 24, ipv6_prefix: 56 }
    }
}

/// What is kept in swarms.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Swarms {
    pub limits: SwarmLimits,
    /// Whether dictionary answers contain `peer id` (BEP 3), which costs memory.
    pub keep_peer_ids: bool,
    /// How long the download count of a torrent is kept after its last peer; 0 for not at all.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub keep_downloads: Duration,
    /// `None`: there are none.
    #[serde(
        deserialize_with = "values::unless_false",
        serialize_with = "values::write_unless_false"
    )]
    pub snapshot: Option<Snapshot>,
    /// If `None`, a scrape without an info-hash is refused.
    pub full_scrape: Option<FullScrape>,
    /// If `None`, the swarms are this process's own.
    pub share: Option<Share>,
}

/// How swarms are kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Snapshot {
    /// The folder of the snapshots. If `None`, one in the state folder.
    pub path: Option<PathBuf>,
    /// How long after a snapshot the next one begins; at least 10 seconds.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub every: Duration,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { path: None, every: Duration::from_mins(5) }
    }
}

impl Default for Swarms {
    fn default() -> Self {
        Self {
            limits: SwarmLimits::default(),
            keep_peer_ids: false,
            keep_downloads: Duration::from_hours(24),
            snapshot: Some(Snapshot::default()),
            full_scrape: None,
            share: None,
        }
    }
}

/// What everyone may know of the tracker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stats {
    /// The path on all HTTP listeners at which totals are served; no route of theirs. If `None`, they
    /// are not.
    pub public: Option<String>,
}

/// Limits on swarms and peers; 0 for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SwarmLimits {
    pub torrents: usize,
    pub peers_per_torrent: usize,
    pub peers_per_address: usize,
}

/// One policy of the chain.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Unique, of 1 to 40 of `a` to `z`, `0` to `9` and `-`.
    pub name: String,
    /// The component; the file existed when the configuration was read.
    pub plugin: PathBuf,
    /// The digest that the component must have.
    #[serde(default, deserialize_with = "values::sha256", serialize_with = "values::write_sha256")]
    pub sha256: Option<[u8; 32]>,
    #[serde(default)]
    pub mode: Mode,
    #[serde(default)]
    pub when: When,
    /// Where the credential is looked for; the first that is present and not empty.
    #[serde(default)]
    pub credential: Vec<CredentialRule>,
    #[serde(default)]
    pub on_error: OnError,
    /// Passed to the plugin's `init` as JSON; always an object.
    #[serde(default = "empty_object", deserialize_with = "object")]
    pub config: serde_json::Value,
    /// The data sources of the plugin, by names of 1 to 40 of `a` to `z`, `0` to `9`, `-` and `_`.
    #[serde(default)]
    pub data: BTreeMap<String, DataSource>,
    /// How often a control instance with a tick is called.
    #[serde(
        default = "default_tick",
        deserialize_with = "values::duration",
        serialize_with = "values::write_duration"
    )]
    pub tick: Duration,
    #[serde(default)]
    pub limits: PolicyLimits,
    #[serde(default)]
    pub allow: Allow,
    /// Whether the configuration is reloaded when the plugin's file changes.
    #[serde(default)]
    pub watch: bool,
}

/// What a policy may access outside the sandbox. Only its control instance may, except for
/// `random`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Allow {
    /// What it may request over HTTP: by origin, and by path prefix in whole segments.
    #[serde(deserialize_with = "values::urls", serialize_with = "values::write_urls")]
    pub http: Vec<Url>,
    /// Environment variables.
    pub env: Vec<String>,
    pub folders: Vec<Folder>,
    /// If `false`, a fixed sequence, the same for all instances of the policy.
    pub random: bool,
}

impl Default for Allow {
    fn default() -> Self {
        Self { http: Vec::new(), env: Vec::new(), folders: Vec::new(), random: true }
    }
}

/// A folder that a policy may use.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// It existed when the configuration was read.
    pub path: PathBuf,
    /// The path that the policy sees.
    pub at: String,
    #[serde(default)]
    pub write: bool,
}

/// A file, a URL or a query that is reread while the tracker runs, or a list that is only edited.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DataSource {
    /// Either this, `url`, `query` or `site`. If it is `required`, the file existed when the configuration was read.
    pub file: Option<PathBuf>,
    /// With `https`, or with `http` to this machine or if `insecure`.
    #[serde(default, deserialize_with = "values::url", serialize_with = "values::write_url")]
    pub url: Option<Url>,
    /// A `SELECT` in the site's database.
    pub query: Option<String>,
    /// The name of a list that is only edited, and shared by all sources that name it.
    pub site: Option<String>,
    /// The URL of the database of a query, which is `accounts.database`.
    #[serde(skip)]
    pub database: Option<Secret>,
    pub format: DataFormat,
    /// In bytes, at least 1.
    #[serde(default = "max_data", deserialize_with = "values::size")]
    pub max_size: u64,
    #[serde(default)]
    pub required: bool,
    /// How long after the last fetch of the URL or query the next begins; 5 minutes by default.
    #[serde(
        default,
        deserialize_with = "values::some_duration",
        serialize_with = "values::write_some_duration"
    )]
    pub every: Option<Duration>,
    /// The limit for a whole fetch; 10 seconds by default.
    #[serde(
        default,
        deserialize_with = "values::some_duration",
        serialize_with = "values::write_some_duration"
    )]
    pub timeout: Option<Duration>,
    /// Headers of the request, by lower-case name.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Whether the URL may be fetched without TLS from another machine.
    #[serde(default)]
    pub insecure: bool,
    /// How long after its fetch the data is valid; no limit by default.
    #[serde(
        default,
        deserialize_with = "values::some_duration",
        serialize_with = "values::write_some_duration"
    )]
    pub max_age: Option<Duration>,
    /// Whether entries can be added and removed while the tracker runs; not for `Raw`.
    #[serde(default)]
    pub edits: EditMode,
    /// Only of info-hashes that can be edited.
    #[serde(default)]
    pub fifo: Option<Fifo>,
}

/// Named pipes whose lines edit a list. They are made when they are missing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fifo {
    pub add: Option<PathBuf>,
    /// A pipe is of one list, and of one way.
    pub delete: Option<PathBuf>,
}

impl Fifo {
    /// Returns the paths, each with its key.
    pub fn paths(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let paths = [("add", &self.add), ("delete", &self.delete)];
        paths.into_iter().filter_map(|(key, path)| Some((key, path.as_deref()?)))
    }
}

/// The format of a data source. All except `Raw` are texts, one entry per line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataFormat {
    /// Any bytes that the plugin understands.
    Raw,
    /// 40 or 64 hexadecimal digits of either case.
    InfoHashes,
    /// Addresses and address ranges, optionally followed by a blank and a number.
    Addresses,
    Strings,
}

impl DataFormat {
    /// Returns the name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::InfoHashes => "info-hashes",
            Self::Addresses => "addresses",
            Self::Strings => "strings",
        }
    }
}

/// Whether a policy's verdicts are enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    #[default]
    Enforce,
    /// It is called and counted, but never enforced.
    Shadow,
}

impl Mode {
    /// Returns the name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
        }
    }
}

/// Which requests a policy is called for; an empty list means all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    pub transports: Vec<Transport>,
    pub events: Vec<Event>,
    /// Routes, as the listeners declare them.
    pub routes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    Http,
    Https,
    Udp,
}

/// The event of an announce; `Paused` is from BEP 21.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    None,
    Started,
    Stopped,
    Completed,
    Paused,
}

impl From<Transport> for bittorrent::Transport {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Http => Self::Http,
            Transport::Https => Self::Https,
            Transport::Udp => Self::Udp,
        }
    }
}

impl From<Event> for bittorrent::Event {
    fn from(event: Event) -> Self {
        match event {
            Event::None => Self::None,
            Event::Started => Self::Started,
            Event::Stopped => Self::Stopped,
            Event::Completed => Self::Completed,
            Event::Paused => Self::Paused,
        }
    }
}

/// What happens to a request if the policy fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// The client gets a failure.
    #[default]
    Reject,
    /// The next policy decides.
    Next,
    /// The client gets no answer.
    Drop,
}

/// The limits of a policy, for each of its instances unless stated otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyLimits {
    /// Linear memory in bytes, 64 KiB to 4 GiB.
    #[serde(deserialize_with = "values::size")]
    pub memory: u64,
    /// Size of its key-values in bytes, for all instances together, 64 KiB to 64 GiB.
    #[serde(deserialize_with = "values::size")]
    pub storage: u64,
    /// Processor time of one call for a request.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub deadline: Duration,
    /// Processor time of `init`.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub init: Duration,
    /// Processor time of one `on-data`.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub data: Duration,
    /// Processor time of one call of its control instance.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub control: Duration,
}

impl Default for PolicyLimits {
    fn default() -> Self {
        Self {
            memory: 32 << 20,
            storage: 16 << 20,
            deadline: Duration::from_millis(5),
            init: Duration::from_secs(5),
            data: Duration::from_secs(1),
            control: Duration::from_secs(10),
        }
    }
}

fn any_address(port: u16) -> SocketAddr {
    SocketAddr::from(([0u16; 8], port))
}

fn routes(verb: &str) -> Vec<String> {
    vec![format!("/{verb}"), format!("/{verb}/{{passkey}}"), format!("/{{passkey}}/{verb}")]
}

fn max_data() -> u64 {
    64 << 20
}

fn default_tick() -> Duration {
    Duration::from_secs(10)
}

fn empty_object() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}

fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<serde_json::Value, D::Error> {
    // a map would also accept null, as an empty map
    serde_json::Map::deserialize(deserializer).map(serde_json::Value::Object)
}
