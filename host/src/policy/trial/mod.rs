//! A plugin by itself, without a tracker: what `karuta plugin` checks, tests and measures, by the
//! code that runs it in one.

mod ask;
mod web;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use karuta_bittorrent::{Counts, InfoHash};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub use self::ask::{Ended, Question, Said};
use self::web::Web;
pub use self::web::{Answers, Asked, Reply};
use crate::config::{Allow, CredentialRule, DataFormat, PolicyLimits};
use crate::data::{self, Taker as _};
use crate::metrics::plugin::Registry;
use crate::metrics::{CONTROL, Hook, Metrics};
use crate::policy::component::{self, Code, Engine, Refusal};
use crate::policy::contract::Role;
use crate::policy::imports::clock::Clock;
use crate::policy::imports::http::Carrier;
use crate::policy::instance::{Identity, Instance, Place, Plugin};
use crate::policy::shared::keyvalues::KeyValues;
use crate::policy::shared::outcome::Outcome;
use crate::policy::shared::tracker::{Swarms, TrackerView};
use crate::policy::supply::{ControlLoop, Told};
use crate::watch::Stamp;

/// A component that this host takes, compiled and linked.
#[derive(Clone)]
pub struct Component {
    code: Arc<Code>,
    digest: [u8; 32],
}

/// What a plugin is tried with.
#[derive(Clone, Default)]
pub struct Setting {
    pub name: String,
    pub config: Value,
    pub credential: Vec<CredentialRule>,
    pub data: BTreeMap<String, Given>,
    pub keyvalues: BTreeMap<String, String>,
    /// What the clock says at the start, since 1970.
    pub clock: Duration,
    /// Which sequence of random bytes there is.
    pub seed: u64,
    pub limits: PolicyLimits,
    /// What the plugin sees of the swarms.
    pub swarms: HashMap<InfoHash, Counts>,
    /// What its control instance may ask.
    pub http: Answers,
    /// Seconds.
    pub max_interval: u32,
    pub max_num_want: u32,
}

/// A data source whose content is at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub format: DataFormat,
    pub bytes: Vec<u8>,
}

/// One instance of a plugin as a worker has it, and a control instance where it has one, on a clock
/// that stands still.
pub struct Trial {
    plugin: Arc<Plugin>,
    instance: Instance,
    /// A call failed: the next one has a new instance.
    poisoned: bool,
    /// Where the plugin has hooks off the request path.
    control: Option<ControlLoop>,
    web: Arc<Web>,
    /// Outcomes for the next batch.
    ended: Vec<Box<Outcome>>,
    /// What its observer was offered last.
    last: Vec<Told>,
}

impl Component {
    /// Compiles and links a component; no code of it runs.
    ///
    /// # Errors
    ///
    /// Why it is of no use to this host, and what would mend it.
    pub fn load(engine: &Engine, bytes: &[u8]) -> Result<Self, Refusal> {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let (component, footprint) = component::compile(engine, bytes, &digest)?;
        let code = component::link(engine, &component, footprint)?;
        Ok(Self { code: Arc::new(code), digest })
    }

    /// Refuses what does not even begin as a component.
    ///
    /// # Errors
    ///
    /// What it is instead.
    pub fn recognise(bytes: &[u8]) -> Result<(), Refusal> {
        component::recognise(bytes)
    }

    /// Reads a file that may be a component.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    pub fn read(path: &std::path::Path) -> Result<Vec<u8>, String> {
        component::read(path).map(|(_, bytes)| bytes)
    }

    /// What each instance of it takes before it runs.
    pub fn footprint(&self) -> impl fmt::Display {
        self.code.footprint
    }

    /// Whether it decides on announces; and on scrapes.
    pub fn decides(&self) -> (bool, bool) {
        (self.code.hooks.has(Hook::Announce), self.code.hooks.has(Hook::Scrape))
    }

    /// Makes an instance without calling its `init`.
    ///
    /// # Errors
    ///
    /// Why there is none.
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
/// A case says itself when its plugin ticks.
const TICK: Duration = Duration::from_secs(60);

/// Swarms that are as a test wants them.
struct Fixed(HashMap<InfoHash, Counts>);

impl Swarms for Fixed {
    fn counts(&self, info_hash: InfoHash) -> Option<Counts> {
        self.0.get(&info_hash).copied()
    }
}

impl Trial {
    /// Tries the plugin as a reload does, then makes its instances, with its data.
    ///
    /// # Errors
    ///
    /// What the plugin says against its `config` or its data, or how its code failed.
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

    /// Another instance of the same plugin, as a worker has it.
    ///
    /// # Errors
    ///
    /// As [`Trial::start`].
    pub fn renew(&mut self) -> Result<(), String> {
        self.instance = Instance::with_data(&self.plugin, WORKER)?;
        self.poisoned = false;
        Ok(())
    }

    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        self.plugin.clock.advance(by);
    }

    /// Has URLs answer something else from now on.
    pub fn answer(&self, answers: Answers) {
        self.web.answer(answers);
    }

    /// Gives a data source a new version; instances with it take the place of the others.
    ///
    /// # Errors
    ///
    /// Why the plugin refuses it, or there is no such source; the version before stays.
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

    /// A value of the policy's key-values.
    pub fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.plugin.store.get(key, self.plugin.clock.now())
    }

    /// Bytes of linear memory and tables, and what the engine keeps beside.
    pub fn memory(&self) -> usize {
        self.instance.memory()
    }
}
