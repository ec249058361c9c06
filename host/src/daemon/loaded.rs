//! A configuration that can serve: loaded policies, and the rules of each worker.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

use super::error::{Error, seconds};
use crate::admin;
use crate::config::{self, Config};
use crate::data;
use crate::decisions::{self, Decisions};
use crate::frontend::RouteTable;
use crate::generations::Content;
use crate::limits::Limiter;
use crate::metrics::Metrics;
use crate::policy::{
    self, Generation, LoadCause, LoadError, Policy, Purpose, Swarms, TrackerView, When,
};
use crate::recording::{Rings, Scene, ScenePolicy, SceneSource};
use crate::tracker::{Rules, Settings};

/// A loader of configurations.
pub struct Loader {
    pub policies: policy::Loader,
    pub swarms: Arc<dyn Swarms>,
    pub routes: RouteTable,
}

/// A configuration that is to serve.
#[derive(Clone)]
pub struct Wanted {
    pub config: Arc<Config>,
    /// Those of the configuration, each with the file that its plugin is read from.
    pub policies: Vec<config::Policy>,
}

/// A configuration with its loaded policies.
#[derive(Clone)]
pub struct Loaded {
    pub config: Arc<Config>,
    pub generation: Generation,
    /// `tracker.limits`, with what each client has used up.
    limits: Option<Arc<Limiter>>,
}

impl Loader {
    /// Loads and tests the policies of the configuration that the process starts with.
    pub fn load(&self, wanted: Wanted) -> Result<Loaded, Error> {
        let Wanted { config, policies } = wanted;
        let (whens, view) = (self.whens(&config), view(&config, self.swarms.clone()));
        let generation = self.policies.load(&policies, whens, &view);
        let generation = generation.map_err(|error| refused(&config, &error))?;
        let limits = Limiter::new(&config.tracker.limits).map(Arc::new);
        Ok(Loaded { config, generation, limits })
    }

    /// Loads and tests the policies of a later configuration, for a `purpose`. Policies that have not
    /// changed since `earlier` are kept, unless they have `failed`, and so is what clients have used up of
    /// limits.
    pub fn reload(
        &self,
        wanted: Wanted,
        earlier: &Loaded,
        failed: impl Fn(&str) -> bool,
        purpose: Purpose,
    ) -> Result<Loaded, LoadError> {
        let Wanted { config, policies } = wanted;
        let (whens, view) = (self.whens(&config), view(&config, self.swarms.clone()));
        let before = &earlier.generation;
        let generation = self.policies.reload(&policies, whens, &view, before, failed, purpose)?;
        let limits = match config.tracker.limits == earlier.config.tracker.limits {
            true => earlier.limits.clone(),
            false => Limiter::new(&config.tracker.limits).map(Arc::new),
        };
        Ok(Loaded { config, generation, limits })
    }

    fn whens(&self, config: &Config) -> Vec<When> {
        config.policies.iter().map(|policy| when(&policy.when, &self.routes)).collect()
    }
}

/// Returns what policies see of the tracker.
pub fn view(config: &Config, swarms: Arc<dyn Swarms>) -> TrackerView {
    TrackerView {
        max_interval: seconds(config.tracker.max_interval),
        max_num_want: config.tracker.num_want.max,
        peer_lifetime: config.tracker.peer_lifetime,
        swarms,
    }
}

impl From<Arc<Config>> for Wanted {
    fn from(config: Arc<Config>) -> Self {
        Self { policies: config.policies.clone(), config }
    }
}

impl Loaded {
    /// Prepares the rules of every worker, with instances of the policies that are new since
    /// `earlier`. What these rules do not need is parked if they `park`.
    pub fn rules(
        &self,
        earlier: &Generation,
        workers: usize,
        metrics: &Metrics,
        parks: bool,
    ) -> Result<Vec<Rules>, LoadError> {
        let settings = self.settings();
        let generation = metrics.generation() + 1;
        let rules = &|worker| {
            let links = self.generation.prepare(earlier, worker as u32, workers as u32, metrics)?;
            Ok(Rules { settings, limits: self.limits.clone(), links, generation, parks })
        };
        // An interpreter takes milliseconds to start, and there may be many workers.
        thread::scope(|scope| {
            let begin = |worker| {
                let thread = thread::Builder::new().stack_size(policy::THREAD_STACK);
                thread.spawn_scoped(scope, move || rules(worker))
            };
            match (0..workers).map(begin).collect::<io::Result<Vec<_>>>() {
                Ok(threads) => {
                    let end = |thread: ScopedJoinHandle<_>| {
                        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
                    };
                    threads.into_iter().map(end).collect()
                }
                // If no thread can be started, the rules are prepared one after the other.
                Err(_) => (0..workers).map(rules).collect(),
            }
        })
    }

    /// Returns the settings for answers.
    pub fn settings(&self) -> Settings {
        let tracker = &self.config.tracker;
        Settings {
            interval: seconds(tracker.announce_interval),
            min_interval: seconds(tracker.min_announce_interval),
            default_num_want: tracker.num_want.default,
            max_num_want: tracker.num_want.max,
        }
    }

    /// Returns whether `tracker.limits` would refuse a client now.
    pub fn is_exhausted(&self, client: IpAddr) -> bool {
        self.limits.as_ref().is_some_and(|limits| limits.is_exhausted(client, Instant::now()))
    }

    /// Says what is decided by from a generation on.
    pub fn enter(&self, generation: u64, decisions: &Decisions, rings: Option<&Rings>) {
        if let Some(rings) = rings {
            rings.enter(generation, self.scene(generation));
        }
        let config = format!("{:012x}", self.config.source.hash());
        let policies = &self.generation.policies;
        let digest = |policy: &Arc<Policy>| {
            let plugin = policy.plugin();
            let digest = &hex::encode(plugin.identity.digest)[..12];
            (plugin.name.to_string(), digest.to_owned())
        };
        let scene = decisions::Scene { config, digests: policies.iter().map(digest).collect() };
        decisions.enter(generation, scene, |name| {
            policies
                .iter()
                .any(|policy| &*policy.plugin().name == name && policy.mode == config::Mode::Shadow)
        });
    }

    /// Returns what says what recordings are made of.
    fn scene(&self, generation: u64) -> SceneSource {
        let config = hex::encode(self.config.source.digest());
        let http = self.config.http.iter().flat_map(|one| one.announce.iter().chain(&one.scrape));
        let udp = self.config.udp.iter().flat_map(|one| &one.announce);
        let routes: Vec<_> = http.chain(udp).cloned().collect();
        let policies = self.generation.policies.iter().map(|policy| {
            let plugin = policy.plugin();
            let (name, digest) = (plugin.name.to_string(), hex::encode(plugin.identity.digest));
            let mode = policy.mode.name().to_owned();
            (ScenePolicy { name, digest, mode, data: BTreeMap::new() }, plugin.data.clone())
        });
        let policies: Vec<_> = policies.collect();
        Arc::new(move || Scene {
            generation,
            config: config.clone(),
            routes: routes.clone(),
            policies: policies
                .iter()
                .map(|(policy, data)| {
                    let sources = data.iter().map(|source| {
                        let name = source.definition().name.to_string();
                        (name, (source.number(), source.entries()))
                    });
                    ScenePolicy { data: sources.collect(), ..policy.clone() }
                })
                .collect(),
            ..Scene::default()
        })
    }

    /// Returns the digests of the configuration and its plugins.
    pub fn content(&self) -> Content {
        let plugins = self.generation.policies.iter().map(|policy| {
            let plugin = policy.plugin();
            (plugin.name.to_string(), hex::encode(plugin.identity.digest))
        });
        let sha256 = hex::encode(self.config.source.digest());
        Content { sha256, plugins: plugins.collect() }
    }

    /// Returns the data of all policies.
    pub fn data(&self) -> Vec<Arc<data::DataSource>> {
        let policies = self.generation.policies.iter();
        policies.flat_map(|policy| policy.plugin().data.iter().cloned()).collect()
    }

    /// Returns the fifos of lists, each with its list.
    pub fn fifos(&self) -> impl Iterator<Item = (&config::Fifo, Arc<data::DataSource>)> {
        let policies = self.config.policies.iter().zip(&self.generation.policies);
        policies.flat_map(|(config, policy)| {
            let fifos =
                config.data.iter().filter_map(|(name, source)| Some((name, source.fifo.as_ref()?)));
            fifos.filter_map(|(name, fifo)| {
                let mut data = policy.plugin().data.iter();
                Some((fifo, data.find(|data| *data.definition().name == **name)?.clone()))
            })
        })
    }

    /// Returns the policies as the admin API shows them.
    pub fn shown(&self) -> Vec<admin::ShownPolicy> {
        let show = |policy: &Arc<Policy>| {
            let plugin = policy.plugin();
            admin::ShownPolicy {
                name: plugin.name.to_string(),
                data: plugin.data.clone(),
                digest: hex::encode(plugin.identity.digest),
                mode: policy.mode.name(),
                plugin: plugin.file.clone(),
                since: plugin.since,
            }
        };
        self.generation.policies.iter().map(show).collect()
    }
}

/// Logs what is unusual about a configuration.
pub fn warn(config: &Config) {
    for (key, said) in config.warnings() {
        tracing::warn!(%key, "unusual configuration: {said}");
    }
}

/// Returns a load error with its position in the configuration.
pub fn refused(config: &Config, error: &LoadError) -> Error {
    let LoadError { at, policy, file, cause } = error;
    let source = &config.source;
    let key = |key: &str| format!("policies[{at}].{key}");
    let who = format!("(policy `{policy}`, plugin {})", file.display());
    Error::Config(match cause {
        LoadCause::Init(reason) => source.plugin_error(*at, &format!("{reason} {who}")),
        LoadCause::Digest(_) => source.error(&key("sha256"), format!("{cause} {who}")),
        LoadCause::Data { name, reason } => {
            source.error(&key(&format!("data.{name}")), format!("{reason} {who}"))
        }
        LoadCause::Read(_) | LoadCause::Compile(_) | LoadCause::Link(_) => {
            source.error(&key("plugin"), format!("{}: {cause} {who}", cause.stage()))
        }
    })
}

fn when(when: &config::When, routes: &RouteTable) -> When {
    let mut routes = routes.clone();
    When {
        transports: when.transports.iter().map(|one| (*one).into()).collect(),
        events: when.events.iter().map(|one| (*one).into()).collect(),
        routes: when.routes.iter().map(|route| routes.id(route)).collect(),
    }
}
