//! A plugin as the configuration names it: read, verified, compiled, linked, and ready to make
//! instances.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre};

use super::bindings::hooks;
use super::engine::Engine;
use super::host::http::Allowed;
use super::host::locality::Planned;
use super::instance::{Instance, Place, Role};
use super::ledger::Ledger;
use super::publications::Publications;
use super::state::{Scope, State};
use super::storage::Store;
use crate::config;
use crate::data;
use crate::fetch::Client;
use crate::metrics::Hook;
use crate::metrics::plugin::Series;
use crate::watch::{self, Stamp};

/// The version of the contract that this host offers.
pub const CONTRACT: &str = "0.1.0";

/// Bytes of a component.
const LARGEST: u64 = 256 << 20;

/// The interfaces of `karuta:policy` that this host implements for plugins.
const OFFERED: [&str; 12] = [
    "types",
    "request",
    "response",
    "swarm",
    "locality",
    "sets",
    "signatures",
    "keyvalue",
    "log",
    "metrics",
    "http",
    "publisher",
];

/// The interfaces of `karuta:policy` that this host calls.
const CALLED: [&str; 7] = [
    "lifecycle",
    "announce-filter",
    "scrape-filter",
    "peer-ranker",
    "observer",
    "data-sink",
    "ticker",
];

/// Everything that the instances of one plugin have in common.
pub struct Plugin {
    pub name: Arc<str>,
    pub file: PathBuf,
    /// The file as it was when it was read.
    pub stamp: Stamp,
    pub identity: Identity,
    pub scope: Scope,
    pub data: data::Sources,
    pub(super) code: Arc<Code>,
    /// The key-values and the series of the policy, which the next version of it takes over.
    pub(super) store: Arc<Store>,
    pub(super) series: Arc<Series>,
    /// What its observer was told last of each peer, handed on likewise.
    pub(super) ledger: Arc<Mutex<Ledger>>,
    /// What its control instance hands to the workers.
    pub(super) publications: Arc<Publications>,
    /// What its control instance may ask; `None`: nothing.
    pub(super) http: Option<Arc<Client>>,
    /// The series of trials, which nobody sees.
    pub(super) trial_series: Arc<Series>,
    /// What its trial defined.
    pub(super) plans: OnceLock<Arc<[Planned]>>,
}

/// A component, compiled and linked.
pub(super) struct Code {
    pub pre: InstancePre<State>,
    pub hooks: Hooks,
}

/// What makes a plugin another one: where any of it changes, its instances are made anew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// SHA-256 of the file.
    pub digest: [u8; 32],
    /// The policy's `config`, as JSON.
    pub config: String,
    pub limits: config::PolicyLimits,
    pub allow: config::Allow,
    pub credential: Arc<[config::CredentialRule]>,
    /// In the order of their names.
    pub data: Vec<data::Definition>,
    /// What a policy may set, from the configuration of the tracker.
    pub max_interval: u32,
    pub max_num_want: u32,
}

/// Which hooks a component exports.
pub(super) struct Hooks {
    pub lifecycle: hooks::lifecycle::GuestIndices,
    pub announce: Option<hooks::announce_filter::GuestIndices>,
    pub scrape: Option<hooks::scrape_filter::GuestIndices>,
    pub rank: Option<hooks::peer_ranker::GuestIndices>,
    pub observe: Option<hooks::observer::GuestIndices>,
    pub data: Option<hooks::data_sink::GuestIndices>,
    pub tick: Option<hooks::ticker::GuestIndices>,
}

impl Hooks {
    /// Whether there is such a hook on requests.
    pub fn has(&self, hook: Hook) -> bool {
        match hook {
            Hook::Announce => self.announce.is_some(),
            Hook::Scrape => self.scrape.is_some(),
            Hook::Rank => self.rank.is_some(),
            Hook::Observe | Hook::Data | Hook::Tick | Hook::Init => false,
        }
    }

    /// Whether there is something to call off the request path.
    pub fn has_control(&self) -> bool {
        self.observe.is_some() || self.tick.is_some()
    }
}

/// Why a plugin cannot be used.
#[derive(Debug)]
pub struct LoadError {
    pub policy: Arc<str>,
    pub file: PathBuf,
    pub stage: Stage,
    pub reason: String,
}

/// How far a plugin came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    Read,
    Digest,
    Compile,
    Link,
    Data,
    Init,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Digest => "digest",
            Self::Compile => "compile",
            Self::Link => "link",
            Self::Data => "data",
            Self::Init => "init",
        })
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policy, file, stage, reason } = self;
        write!(f, "policy `{policy}` ({}): {stage}: {reason}", file.display())
    }
}

impl std::error::Error for LoadError {}

impl Plugin {
    /// Reads, verifies, compiles and links the plugin of a policy, or takes the earlier one where
    /// nothing of it has changed. No code of it runs.
    pub fn load(
        engine: &Engine,
        policy: &config::Policy,
        scope: &Scope,
        opening: &data::Opening,
        earlier: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, LoadError> {
        let name: Arc<str> = policy.name.as_str().into();
        let fail = |stage, reason| LoadError {
            policy: name.clone(),
            file: policy.plugin.clone(),
            stage,
            reason,
        };
        let (stamp, bytes) = watch::read(&policy.plugin, LARGEST)
            .map_err(|unread| fail(Stage::Read, unread.reason(&policy.plugin)))?;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        if policy.sha256.is_some_and(|pin| pin != digest) {
            let reason = format!("the file's SHA-256 is {}, not the one pinned", hex(&digest));
            return Err(fail(Stage::Digest, reason));
        }
        let identity = Identity {
            digest,
            config: policy.config.to_string(),
            limits: policy.limits,
            allow: policy.allow.clone(),
            credential: policy.credential.clone().into(),
            data: definitions(&name, policy),
            max_interval: scope.max_interval,
            max_num_want: scope.max_num_want,
        };
        if let Some(same) = earlier.filter(|earlier| earlier.identity == identity) {
            return Ok(same.clone());
        }
        let code = match earlier.filter(|earlier| earlier.identity.digest == digest) {
            Some(same) => same.code.clone(),
            None => {
                let component = compile(engine, &bytes, &digest)
                    .map_err(|reason| fail(Stage::Compile, reason))?;
                Arc::new(link(engine, &component).map_err(|reason| fail(Stage::Link, reason))?)
            }
        };
        let sources = earlier.map_or(&[][..], |earlier| &earlier.data);
        let data = data::open(&identity.data, opening, sources)
            .map_err(|(source, reason)| fail(Stage::Data, format!("{source}: {reason}")))?;
        let http = http(&identity.allow);
        let file = policy.plugin.clone();
        Ok(Arc::new(Self {
            data,
            file,
            stamp,
            identity,
            scope: scope.clone(),
            code,
            store: engine.stores.of(&name),
            series: engine.series.of(&name),
            ledger: engine.ledgers.of(&name),
            publications: engine.publications.of(&format!("{name} {}", hex(&digest)).into()),
            http,
            trial_series: engine.series.hidden(&name),
            plans: OnceLock::new(),
            name,
        }))
    }

    /// Whether peers are picked by plans of it.
    pub fn has_plans(&self) -> bool {
        self.plans.get().is_some_and(|plans| !plans.is_empty())
    }

    /// Grows with each new version of any of its data, and with each publication.
    pub fn data_version(&self) -> u64 {
        self.data.iter().map(|source| source.number()).sum::<u64>() + self.publications.number()
    }

    /// Grows with each new version of what workers have in their memory: raw data and
    /// publications.
    pub fn fed_version(&self) -> u64 {
        self.raw_version() + self.publications.number()
    }

    /// Grows with each new version of its raw data, which control instances have in their memory.
    pub fn raw_version(&self) -> u64 {
        self.data.iter().filter(|source| source.is_raw()).map(|source| source.number()).sum()
    }

    /// Tries on a fresh instance what the control instance wants published.
    pub(super) fn try_publications(&self, staged: &[(Arc<str>, Arc<[u8]>)]) -> Result<(), String> {
        if self.code.hooks.data.is_none() {
            return Err("the plugin takes nothing (it exports no data-sink)".to_owned());
        }
        let trial = Place { role: Role::Trial, worker: 0, workers: 1 };
        let mut instance = Instance::new(self, trial)?;
        instance.feed(self, None)?;
        let number = self.publications.number();
        let numbered = (number + 1..).zip(staged);
        for (number, (name, bytes)) in numbered {
            instance.take(self, name, number, bytes)?;
        }
        Ok(())
    }

    /// Whether data is missing that the configuration requires.
    pub fn lacks_data(&self) -> bool {
        self.data.iter().any(|source| source.is_missing())
    }

    /// Whether it must have raw data before it may decide.
    pub fn requires_raw(&self) -> bool {
        self.data.iter().any(|source| source.is_raw() && source.definition().required)
    }

    /// Forgets data that comes from disk, which another version of the plugin may have left;
    /// `false`: there is none.
    pub fn forget_kept(&self) -> bool {
        let forgotten = self.data.iter().filter(|source| source.is_raw() && source.forget_kept());
        forgotten.count() > 0
    }

    /// Has new versions of raw data be tried on this plugin first.
    pub fn take_data(self: &Arc<Self>) {
        for source in self.data.iter().filter(|source| source.is_raw()) {
            let taker: Weak<dyn data::Taker> = Arc::<Self>::downgrade(self);
            source.add_taker(taker);
        }
    }

    /// The error for data that an instance did not take; the reason begins with the data's name.
    pub fn data_error(&self, reason: String) -> LoadError {
        LoadError { stage: Stage::Data, ..self.init_error(reason) }
    }

    /// The error for an instance that did not come up.
    pub fn init_error(&self, reason: String) -> LoadError {
        LoadError { policy: self.name.clone(), file: self.file.clone(), stage: Stage::Init, reason }
    }
}

impl data::Taker for Plugin {
    fn try_on(&self, name: &str, number: u64, bytes: &[u8]) -> Result<(), String> {
        let trial = Place { role: Role::Trial, worker: 0, workers: 1 };
        Instance::new(self, trial)?.feed(self, Some((name, number, bytes)))
    }
}

fn definitions(name: &Arc<str>, policy: &config::Policy) -> Vec<data::Definition> {
    let define = |(source, key): (&String, &config::DataSource)| data::Definition {
        policy: name.clone(),
        name: source.as_str().into(),
        origin: origin(key),
        format: key.format,
        max_size: key.max_size,
        required: key.required,
    };
    policy.data.iter().map(define).collect()
}

fn http(allow: &config::Allow) -> Option<Arc<Client>> {
    let allowed = Allowed(allow.http.clone());
    (!allowed.0.is_empty()).then(|| Arc::new(Client::new(allowed)))
}

fn origin(key: &config::DataSource) -> data::Origin {
    match (&key.file, &key.url) {
        (Some(file), _) => data::Origin::File(file.clone()),
        (None, Some(url)) => data::Origin::Url(data::Remote {
            url: url.clone(),
            every: key.every.unwrap_or(data::EVERY),
            timeout: key.timeout.unwrap_or(data::TIMEOUT),
            headers: key.headers.clone(),
            insecure: key.insecure,
            max_age: key.max_age,
        }),
        // The configuration is refused where there is neither.
        (None, None) => data::Origin::File(PathBuf::new()),
    }
}

fn compile(engine: &Engine, bytes: &[u8], digest: &[u8; 32]) -> Result<Component, String> {
    match bytes {
        [b'\0', b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => {}
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => {
            return Err("is a core module, not a component; build it for wasm32-wasip2, or wrap \
                        it with `wasm-tools component new`"
                .into());
        }
        [b'\0', b'a', b's', b'm', ..] => {
            return Err("is WebAssembly of a version that this host does not know".into());
        }
        _ => return Err("is not a WebAssembly component".into()),
    }
    engine.compile(bytes, digest).map_err(|error| format!("{error:#}"))
}

fn link(engine: &Engine, component: &Component) -> Result<Code, String> {
    let shape = component.component_type();
    for (name, _) in shape.imports(engine.wasmtime()) {
        if let Some(reason) = refusal(name) {
            return Err(reason);
        }
    }
    let pre = engine.linker().instantiate_pre(component).map_err(|error| format!("{error:#}"))?;
    let exports: Vec<String> = shape
        .exports(engine.wasmtime())
        .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentInstance(_)))
        .map(|(name, _)| name.to_owned())
        .collect();
    for (interface, version) in exports.iter().filter_map(|name| ours(name)) {
        if !compatible(version) {
            return Err(format!(
                "exports {interface} of karuta:policy {version}; this host offers {CONTRACT}"
            ));
        }
        if !CALLED.contains(&interface) {
            return Err(format!(
                "exports karuta:policy/{interface}, which this host does not call"
            ));
        }
    }
    let has = |wanted: &str| {
        exports.iter().filter_map(|name| ours(name)).any(|(interface, _)| interface == wanted)
    };
    if !has("lifecycle") {
        return Err(
            "exports no karuta:policy/lifecycle; is it a plugin for another host?".to_owned()
        );
    }
    let text = |error: wasmtime::Error| format!("{error:#}");
    let hooks = Hooks {
        lifecycle: hooks::lifecycle::GuestIndices::new(&pre).map_err(text)?,
        announce: has("announce-filter")
            .then(|| hooks::announce_filter::GuestIndices::new(&pre))
            .transpose()
            .map_err(text)?,
        scrape: has("scrape-filter")
            .then(|| hooks::scrape_filter::GuestIndices::new(&pre))
            .transpose()
            .map_err(text)?,
        rank: has("peer-ranker")
            .then(|| hooks::peer_ranker::GuestIndices::new(&pre))
            .transpose()
            .map_err(text)?,
        observe: has("observer")
            .then(|| hooks::observer::GuestIndices::new(&pre))
            .transpose()
            .map_err(text)?,
        data: has("data-sink")
            .then(|| hooks::data_sink::GuestIndices::new(&pre))
            .transpose()
            .map_err(text)?,
        tick: has("ticker")
            .then(|| hooks::ticker::GuestIndices::new(&pre))
            .transpose()
            .map_err(text)?,
    };
    Ok(Code { pre, hooks })
}

/// Why an import cannot be given; `None` where it can, as far as its name goes.
fn refusal(import: &str) -> Option<String> {
    if let Some((interface, version)) = ours(import) {
        if !compatible(version) {
            return Some(format!(
                "imports {interface} of karuta:policy {version}; this host offers {CONTRACT}"
            ));
        }
        if !OFFERED.contains(&interface) {
            return Some(format!("imports karuta:policy/{interface}, which this host lacks"));
        }
        return None;
    }
    if import.starts_with("wasi:http/") {
        return Some(format!(
            "imports {import}, which is not offered; outbound HTTP is karuta:policy/http's `fetch`"
        ));
    }
    if import.starts_with("wasi:") {
        return match import.split_once("@") {
            Some((_, version)) if !version.starts_with("0.2.") => {
                Some(format!("imports {import}; this host offers WASI 0.2"))
            }
            _ => None,
        };
    }
    Some(format!("imports {import}, which this host lacks"))
}

/// The interface and version of a name such as `karuta:policy/request@0.1.0`.
fn ours(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix("karuta:policy/")?;
    Some(rest.split_once('@').unwrap_or((rest, "without a version")))
}

fn compatible(version: &str) -> bool {
    version.starts_with("0.1.")
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_are_refused_by_name() {
        let cases = [
            ("karuta:policy/request@0.1.0", None),
            ("karuta:policy/request@0.1.7", None),
            ("wasi:cli/environment@0.2.6", None),
            (
                "karuta:policy/request@0.2.0",
                Some("imports request of karuta:policy 0.2.0; this host offers 0.1.0"),
            ),
            (
                "karuta:policy/teleport@0.1.0",
                Some("imports karuta:policy/teleport, which this host lacks"),
            ),
            (
                "wasi:http/outgoing-handler@0.2.0",
                Some(
                    "imports wasi:http/outgoing-handler@0.2.0, which is not offered; outbound \
                     HTTP is karuta:policy/http's `fetch`",
                ),
            ),
            (
                "wasi:clocks/wall-clock@0.3.0",
                Some("imports wasi:clocks/wall-clock@0.3.0; this host offers WASI 0.2"),
            ),
            ("env", Some("imports env, which this host lacks")),
        ];
        for (import, expected) in cases {
            assert_eq!(refusal(import).as_deref(), expected, "{import}");
        }
    }
}
