//! Runs a plugin without a tracker, but with the tracker's code: for the checks, tests and
//! benchmarks of `karuta plugin`.

mod ask;
mod web;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use karuta_bittorrent::{Counts, InfoHash};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub use self::ask::{Ended, Question, Said};
use self::web::Web;
pub use self::web::{Answers, Asked, Reply};
use crate::config::{Allow, CredentialRule, DataFormat, EditMode, PolicyLimits};
use crate::data::{self, Taker as _};
use crate::metrics::plugin::Registry;
use crate::metrics::{CONTROL, Hook, Metrics};
use crate::policy::component::{self, Code, Engine, Refusal};
use crate::policy::contract::Role;
use crate::policy::imports::http::Carrier;
use crate::policy::instance::{Identity, Instance, Place, Plugin};
use crate::policy::shared::clock::Clock;
use crate::policy::shared::keyvalues::KeyValues;
use crate::policy::shared::outcome::Outcome;
use crate::policy::shared::tracker::{Swarms, TrackerView};
use crate::policy::supply::{ControlLoop, Told};
use crate::watch::Stamp;

/// A component that this host accepts, compiled and linked.
#[derive(Clone)]
pub struct Component {
    code: Arc<Code>,
    digest: [u8; 32],
}

/// The environment of a trial.
#[derive(Clone, Default)]
pub struct Setting {
    pub name: String,
    pub config: Value,
    pub credential: Vec<CredentialRule>,
    pub data: BTreeMap<String, Given>,
    pub keyvalues: BTreeMap<String, String>,
    /// The time since 1970 at which the clock starts.
    pub clock: Duration,
    /// The seed of the random bytes.
    pub seed: u64,
    pub limits: PolicyLimits,
    /// The swarms that the plugin sees.
    pub swarms: HashMap<InfoHash, Counts>,
    /// The answers to the HTTP requests of its control instance.
    pub http: Answers,
    /// In seconds.
    pub max_interval: u32,
    pub max_num_want: u32,
}

/// A data source with the given content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub format: DataFormat,
    pub bytes: Vec<u8>,
}

/// An instance of a plugin as on a worker, and a control instance if the plugin has hooks for one,
/// on a clock that stands still.
pub struct Trial {
    plugin: Arc<Plugin>,
    instance: Instance,
    /// A call failed, so the next one needs a new instance.
    poisoned: bool,
    /// Only if the plugin has hooks off the request path.
    control: Option<ControlLoop>,
    web: Arc<Web>,
    /// Outcomes for the next batch.
    ended: Vec<Outcome>,
    /// The batch that the observer was offered last.
    last: Vec<Told>,
}

impl Component {
    /// Compiles and links a component. None of its code runs.
    ///
    /// # Errors
    ///
    /// Fails if this host cannot use the component; says why, and what would fix it.
    pub fn load(engine: &Engine, bytes: &[u8]) -> Result<Self, Refusal> {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let (component, footprint) = component::compile(engine, bytes, &digest)?;
        let code = component::link(engine, &component, footprint)?;
        Ok(Self { code: Arc::new(code), digest })
    }

    /// Checks that the bytes begin as a component does.
    ///
    /// # Errors
    ///
    /// Fails if they do not, and says what they are instead.
    pub fn recognise(bytes: &[u8]) -> Result<(), Refusal> {
        component::recognise(bytes)
    }

    /// Reads a file that may be a component.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read.
    pub fn read(path: &std::path::Path) -> Result<Vec<u8>, String> {
        component::read(path).map(|(_, bytes)| bytes)
    }

    /// Returns the footprint of each instance before it runs.
    pub fn footprint(&self) -> impl fmt::Display {
        self.code.footprint
    }

    /// Returns whether it decides on announces, and whether on scrapes.
    pub fn decides(&self) -> (bool, bool) {
        (self.code.hooks.has(Hook::Announce), self.code.hooks.has(Hook::Scrape))
    }

    /// Creates an instance without calling its `init`.
    ///
    /// # Errors
    ///
    /// Fails if the instance cannot be created.
    pub fn instantiate(&self, setting: &Setting) -> Result<(), String> {
        let plugin = self.plugin(setting, None)?;
        Ok(Instance::hollow(&plugin, TRIAL)?)
    }

    fn plugin(&self, setting: &Setting, http: Option<Arc<dyn Carrier>>) -> Result<Plugin, String> {
        let name: Arc<str> = setting.name.as_str().into();
        let source = |(source, given): (&String, &Given)| {
            let definition = data::Definition {
                policy: name.clone(),
                name: source.as_str().into(),
                origin: data::Origin::File(PathBuf::new()),
                format: given.format,
                max_size: u64::MAX,
                required: true,
                edits: EditMode::Off,
            };
            let failed = |reason| format!("{source}: {reason}");
            data::DataSource::given(definition, &given.bytes).map_err(failed)
        };
        let data = setting.data.iter().map(source).collect::<Result<data::Sources, _>>()?;
        let registry = Arc::<Registry>::default();
        let clock = Clock::standing(setting.clock);
        let store = KeyValues::default();
        for (key, value) in &setting.keyvalues {
            store
                .put(key.as_bytes(), value.as_bytes(), None, setting.limits.storage, clock.now())
                .map_err(|refused| format!("the key-value `{key}`: {refused}"))?;
        }
        Ok(Plugin {
            file: PathBuf::new(),
            stamp: Stamp::default(),
            since: SystemTime::UNIX_EPOCH,
            identity: Identity {
                digest: self.digest,
                config: setting.config.to_string(),
                limits: setting.limits,
                allow: Allow { random: false, ..Allow::default() },
                credential: setting.credential.clone().into(),
                data: data.iter().map(|source| source.definition().clone()).collect(),
                max_interval: setting.max_interval,
                max_num_want: setting.max_num_want,
            },
            tracker: TrackerView {
                max_interval: setting.max_interval,
                max_num_want: setting.max_num_want,
                peer_lifetime: Duration::from_secs(setting.max_interval.into()),
                swarms: Arc::new(Fixed(setting.swarms.clone())),
            },
            data,
            code: self.code.clone(),
            clock,
            seed: setting.seed,
            store: Arc::new(store),
            series: registry.hidden(&name),
            ledger: Arc::default(),
            last_id: Arc::default(),
            publications: Arc::default(),
            http,
            trial_series: registry.hidden(&name),
            allowance: Arc::default(),
            shutdown: Arc::default(),
            plans: OnceLock::new(),
            name,
        })
    }
}

const TRIAL: Place = Place { role: Role::Trial, worker: 0, workers: 1 };
const WORKER: Place = Place { role: Role::Worker, worker: 0, workers: 1 };
/// The tick interval of a trial, which is not used: a case says when its plugin ticks.
const TICK: Duration = Duration::from_secs(60);

/// The swarms of a test.
struct Fixed(HashMap<InfoHash, Counts>);

impl Swarms for Fixed {
    fn counts(&self, info_hash: InfoHash) -> Option<Counts> {
        self.0.get(&info_hash).copied()
    }
}

impl Trial {
    /// Tries the plugin as a reload does, then creates its instances with their data.
    ///
    /// # Errors
    ///
    /// Fails if the plugin refuses its `config` or its data, or if its code fails.
    pub fn start(component: &Component, setting: &Setting) -> Result<Self, String> {
        let web = Arc::new(Web::new(setting.http.clone()));
        let plugin = Arc::new(component.plugin(setting, Some(web.clone()))?);
        Instance::with_data(&plugin, TRIAL)?;
        let instance = Instance::with_data(&plugin, WORKER)?;
        let mut trial = Self {
            plugin,
            instance,
            poisoned: false,
            control: None,
            web,
            ended: Vec::new(),
            last: Vec::new(),
        };
        if trial.plugin.code.hooks.has_control() {
            let series = Metrics::new(Default::default).policy(&trial.plugin.name, CONTROL);
            let now = trial.plugin.clock.now();
            let mut control = ControlLoop::new(trial.plugin.clone(), 1, TICK, series, now);
            control.freshen(now)?;
            trial.control = Some(control);
        }
        Ok(trial)
    }

    /// Replaces the worker's instance with another one of the same plugin.
    ///
    /// # Errors
    ///
    /// Fails as [`Trial::start`] does.
    pub fn renew(&mut self) -> Result<(), String> {
        self.instance = Instance::with_data(&self.plugin, WORKER)?;
        self.poisoned = false;
        Ok(())
    }

    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        self.plugin.clock.advance(by);
    }

    /// Replaces the answers of some URLs.
    pub fn answer(&self, answers: Answers) {
        self.web.answer(answers);
    }

    /// Gives a data source a new version, and replaces the instances.
    ///
    /// # Errors
    ///
    /// Fails if the plugin refuses the version, or if there is no such source. The current version
    /// stays.
    pub fn offer(&mut self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let known = self.plugin.data.iter().find(|source| *source.definition().name == *name);
        let source = known.ok_or_else(|| format!("there is no data source `{name}`"))?;
        if source.is_raw() {
            self.plugin.try_on(name, source.number() + 1, bytes)?;
        }
        source.offer(bytes).map_err(|reason| format!("{name}: {reason}"))?;
        if source.is_raw() {
            self.renew()?;
            if let Some(control) = &mut self.control {
                control.freshen(self.plugin.clock.now())?;
            }
        }
        Ok(())
    }

    /// Returns a value of the policy's key-values.
    pub fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.plugin.store.get(key, self.plugin.clock.now())
    }

    /// Returns the size in bytes of linear memory, tables, and what the engine keeps besides.
    pub fn memory(&self) -> usize {
        self.instance.memory()
    }
}
