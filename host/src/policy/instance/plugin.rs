//! A configured plugin: read, verified, compiled and linked.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::error::LoadCause;
use crate::config;
use crate::data;
use crate::fetch::Client;
use crate::metrics::plugin::Series;
use crate::policy::component::{self, Code, Engine};
use crate::policy::imports::http::{Allowed, Carrier};
use crate::policy::imports::locality::Planned;
use crate::policy::shared::allowance::Allowance;
use crate::policy::shared::clock::Clock;
use crate::policy::shared::estate::Estate;
use crate::policy::shared::keyvalues::KeyValues;
use crate::policy::shared::ledger::Ledger;
use crate::policy::shared::publications::Publications;
use crate::policy::shared::shutdown::Shutdown;
use crate::policy::shared::tracker::TrackerView;
use crate::watch::Stamp;

/// Everything that the instances of one plugin share.
pub struct Plugin {
    pub name: Arc<str>,
    pub file: PathBuf,
    /// The file's stamp when it was read.
    pub stamp: Stamp,
    /// When it was loaded.
    pub since: SystemTime,
    pub identity: Identity,
    pub tracker: TrackerView,
    pub data: data::Sources,
    pub code: Arc<Code>,
    /// The machine's clock, except in trials without a tracker and in replays.
    pub clock: Clock,
    /// The seed of the fixed sequence of a policy without randomness; 0: the default sequence.
    pub seed: u64,
    /// The key-values of the policy. Like the series, the next version of the policy takes them
    /// over.
    pub store: Arc<KeyValues>,
    pub series: Arc<Series>,
    /// What its observer was last told about each peer, taken over likewise.
    pub ledger: Arc<Mutex<Ledger>>,
    /// The id of the last outcome.
    pub last_id: Arc<AtomicU64>,
    /// What its control instance publishes to the workers.
    pub publications: Arc<Publications>,
    /// The HTTP client of its control instance; `None`: no HTTP.
    pub http: Option<Arc<dyn Carrier>>,
    /// The series of trials, which are not exported.
    pub trial_series: Arc<Series>,
    /// The lines that it may write to the log.
    pub allowance: Arc<Allowance>,
    pub shutdown: Arc<Shutdown>,
    /// The plans that its trial defined.
    pub plans: OnceLock<Arc<[Planned]>>,
}

/// Everything that identifies a plugin. If any of it changes, the instances are created again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// SHA-256 of the file.
    pub digest: [u8; 32],
    /// The policy's `config`, as JSON.
    pub config: String,
    pub limits: config::PolicyLimits,
    pub allow: config::Allow,
    pub credential: Arc<[config::CredentialRule]>,
    /// Ordered by name.
    pub data: Vec<data::Definition>,
    /// The tracker's limits for what a policy may set.
    pub max_interval: u32,
    pub max_num_want: u32,
}

impl Plugin {
    /// Returns a digest of what tells the labels of this policy from those of others. On all nodes
    /// with the same policy it is the same.
    pub fn plan_names(&self) -> Sha256 {
        let Identity { digest, config, .. } = &self.identity;
        Sha256::new_with_prefix("karuta plan")
            .chain_update((self.name.len() as u64).to_le_bytes())
            .chain_update(self.name.as_bytes())
            .chain_update(digest)
            .chain_update(config.as_bytes())
            .chain_update((config.len() as u64).to_le_bytes())
    }

    /// Reads, verifies, compiles and links the plugin of a policy, or returns the earlier one if
    /// nothing has changed. Runs none of its code.
    pub fn load(
        engine: &Engine,
        estate: &Estate,
        policy: &config::Policy,
        tracker: &TrackerView,
        opening: &data::Opening,
        earlier: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, LoadCause> {
        let name: Arc<str> = policy.name.as_str().into();
        let (stamp, bytes, digest) = read(policy)?;
        let identity = Identity {
            digest,
            config: policy.config.to_string(),
            limits: policy.limits,
            allow: policy.allow.clone(),
            credential: policy.credential.clone().into(),
            data: definitions(&name, policy),
            max_interval: tracker.max_interval,
            max_num_want: tracker.max_num_want,
        };
        let is_same =
            |earlier: &&Arc<Self>| earlier.identity == identity && earlier.clock.is(&estate.clock);
        if let Some(same) = earlier.filter(is_same) {
            return Ok(same.clone());
        }
        let code = match earlier.filter(|earlier| earlier.identity.digest == digest) {
            Some(same) => same.code.clone(),
            None => {
                let (component, footprint) =
                    component::compile(engine, &bytes, &digest).map_err(LoadCause::Compile)?;
                let code = component::link(engine, &component, footprint);
                Arc::new(code.map_err(LoadCause::Link)?)
            }
        };
        let sources = earlier.map_or(&[][..], |earlier| &earlier.data);
        let data = data::open(&identity.data, opening, sources)
            .map_err(|(name, reason)| LoadCause::Data { name, reason })?;
        let http = http(&identity.allow);
        let file = policy.plugin.clone();
        let of_component = format!("{name} {}", hex::encode(digest)).into();
        Ok(Arc::new(Self {
            data,
            file,
            stamp,
            since: SystemTime::now(),
            identity,
            tracker: tracker.clone(),
            code,
            clock: estate.clock.clone(),
            seed: estate.seed,
            store: estate.stores.of(&name),
            series: estate.series.of(&name),
            ledger: estate.ledgers.of(&name),
            last_id: estate.last_id.clone(),
            publications: estate.publications.of(&of_component),
            http,
            trial_series: estate.series.hidden(&name),
            allowance: estate.allowances.of(&name),
            shutdown: estate.shutdown.clone(),
            plans: OnceLock::new(),
            name,
        }))
    }

    /// Returns the same plugin in another estate, with its code and its data, and nothing that its instances
    /// have kept. It does not write to the log.
    pub fn again(&self, estate: &Estate, tracker: &TrackerView) -> Self {
        let name = self.name.clone();
        Self {
            file: self.file.clone(),
            stamp: self.stamp,
            since: self.since,
            identity: self.identity.clone(),
            tracker: tracker.clone(),
            data: self.data.clone(),
            code: self.code.clone(),
            clock: estate.clock.clone(),
            seed: estate.seed,
            store: estate.stores.of(&name),
            series: estate.series.of(&name),
            ledger: estate.ledgers.of(&name),
            last_id: estate.last_id.clone(),
            publications: self.publications.clone(),
            http: self.http.clone(),
            trial_series: estate.series.hidden(&name),
            allowance: Arc::new(Allowance::nothing()),
            shutdown: estate.shutdown.clone(),
            plans: OnceLock::new(),
            name,
        }
    }

    /// Compiles the plugin of a policy into the engine's artifacts. Returns `false` if it is there
    /// already.
    pub fn warm(engine: &Engine, policy: &config::Policy) -> Result<bool, LoadCause> {
        let (_, bytes, digest) = read(policy)?;
        component::warm(engine, &bytes, &digest).map_err(LoadCause::Compile)
    }

    /// Returns whether the plugin defines locality plans.
    pub fn has_plans(&self) -> bool {
        self.plans.get().is_some_and(|plans| !plans.is_empty())
    }

    /// Returns a number that grows with each new version of any of the data, and with each
    /// publication.
    pub fn data_version(&self) -> u64 {
        self.data.iter().map(|source| source.number()).sum::<u64>() + self.publications.number()
    }

    /// Returns a number that grows with each new version of what workers have in memory: raw data
    /// and publications.
    pub fn fed_version(&self) -> u64 {
        self.raw_version() + self.publications.number()
    }

    /// Returns a number that grows with each new version of the raw data, which control instances
    /// have in memory.
    pub fn raw_version(&self) -> u64 {
        self.data.iter().filter(|source| source.is_raw()).map(|source| source.number()).sum()
    }

    /// Fetches the memory of its sets where these info-hashes would be into the processor's caches.
    pub fn fetch(&self, info_hashes: impl Iterator<Item = [u8; 20]> + Clone) {
        let sets = self.data.iter().filter(|source| source.has_info_hashes());
        sets.for_each(|set| set.fetch(info_hashes.clone()));
    }

    /// Returns whether data that the configuration requires is missing.
    pub fn lacks_data(&self) -> bool {
        self.data.iter().any(|source| source.is_missing())
    }

    /// Returns whether the plugin needs raw data before it may decide.
    pub fn requires_raw(&self) -> bool {
        self.data.iter().any(|source| source.is_raw() && source.definition().required)
    }

    /// Drops data that comes from disk, where another version of the plugin may have left it.
    /// Returns `false` if there is none.
    pub fn forget_kept(&self) -> bool {
        let forgotten = self.data.iter().filter(|source| source.is_raw() && source.forget_kept());
        forgotten.count() > 0
    }
}

/// Reads a plugin's file, and returns its SHA-256.
fn read(policy: &config::Policy) -> Result<(Stamp, Vec<u8>, [u8; 32]), LoadCause> {
    let (stamp, bytes) = component::read(&policy.plugin).map_err(LoadCause::Read)?;
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    if policy.sha256.is_some_and(|pin| pin != digest) {
        return Err(LoadCause::Digest(digest));
    }
    Ok((stamp, bytes, digest))
}

fn definitions(name: &Arc<str>, policy: &config::Policy) -> Vec<data::Definition> {
    let define = |(source, key): (&String, &config::DataSource)| data::Definition {
        policy: name.clone(),
        name: source.as_str().into(),
        origin: origin(key),
        format: key.format,
        max_size: key.max_size,
        required: key.required,
        // A list that is only edited would be nothing without it.
        edits: if key.site.is_some() { config::EditMode::On } else { key.edits },
    };
    policy.data.iter().map(define).collect()
}

fn http(allow: &config::Allow) -> Option<Arc<dyn Carrier>> {
    let allowed = Allowed(allow.http.clone());
    (!allowed.0.is_empty()).then(|| Arc::new(Client::new(allowed)) as Arc<dyn Carrier>)
}

fn origin(key: &config::DataSource) -> data::Origin {
    let pace = data::Pace {
        every: key.every.unwrap_or(data::EVERY),
        timeout: key.timeout.unwrap_or(data::TIMEOUT),
        max_age: key.max_age,
    };
    if let Some(name) = &key.site {
        return data::Origin::Site(name.as_str().into());
    }
    match (&key.file, &key.url, &key.query, &key.database) {
        (Some(file), ..) => data::Origin::File(file.clone()),
        (None, Some(url), ..) => data::Origin::Url(data::Remote {
            url: url.clone(),
            pace,
            headers: key.headers.clone(),
            insecure: key.insecure,
        }),
        (None, None, Some(sql), Some(database)) => {
            data::Origin::Query(data::Query { sql: sql.clone(), database: database.clone(), pace })
        }
        // The configuration is refused if all are missing, or the database of a query.
        (None, None, ..) => data::Origin::File(PathBuf::new()),
    }
}
