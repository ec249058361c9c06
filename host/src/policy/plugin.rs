//! A plugin as the configuration names it: read, verified, compiled, linked, and ready to make
//! instances.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::clock::Clock;
use super::component::{self, Code};
use super::engine::Engine;
use super::host::http::{Allowed, Carrier};
use super::host::locality::Planned;
use super::host::log::Allowance;
use super::instance::{Instance, Place, Role};
use super::ledger::Ledger;
use super::publications::Publications;
use super::shutdown::Shutdown;
use super::state::Scope;
use super::storage::Store;
use crate::config;
use crate::data;
use crate::fetch::Client;
use crate::metrics::plugin::Series;
use crate::watch::Stamp;

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
    /// That of the machine, but in trials without a tracker.
    pub(super) clock: Clock,
    /// What the fixed sequence of a policy without randomness begins with; 0: its own.
    pub(super) seed: u64,
    /// The key-values and the series of the policy, which the next version of it takes over.
    pub(super) store: Arc<Store>,
    pub(super) series: Arc<Series>,
    /// What its observer was told last of each peer, handed on likewise.
    pub(super) ledger: Arc<Mutex<Ledger>>,
    /// What its control instance hands to the workers.
    pub(super) publications: Arc<Publications>,
    /// What its control instance may ask; `None`: nothing.
    pub(super) http: Option<Arc<dyn Carrier>>,
    /// The series of trials, which nobody sees.
    pub(super) trial_series: Arc<Series>,
    /// The lines that it may write to the log.
    pub(super) allowance: Arc<Allowance>,
    pub(super) shutdown: Arc<Shutdown>,
    /// What its trial defined.
    pub(super) plans: OnceLock<Arc<[Planned]>>,
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
        let (stamp, bytes) =
            component::read(&policy.plugin).map_err(|reason| fail(Stage::Read, reason))?;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        if policy.sha256.is_some_and(|pin| pin != digest) {
            let reason =
                format!("the file's SHA-256 is {}, not the one pinned", hex::encode(digest));
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
                let code = component::load(engine, &bytes, &digest);
                Arc::new(code.map_err(|(stage, refusal)| fail(stage, refusal.to_string()))?)
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
            clock: Clock::default(),
            seed: 0,
            store: engine.stores.of(&name),
            series: engine.series.of(&name),
            ledger: engine.ledgers.of(&name),
            publications: engine.publications.of(&format!("{name} {}", hex::encode(digest)).into()),
            http,
            trial_series: engine.series.hidden(&name),
            allowance: engine.allowances.of(&name),
            shutdown: engine.shutdown().clone(),
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
        let mut instance = Instance::with_data(self, trial)?;
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

fn http(allow: &config::Allow) -> Option<Arc<dyn Carrier>> {
    let allowed = Allowed(allow.http.clone());
    (!allowed.0.is_empty()).then(|| Arc::new(Client::new(allowed)) as Arc<dyn Carrier>)
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
