//! What one version of the configuration says, from the file to the rules of each worker; and the
//! change from one version to the next.

use std::io;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use super::worker::Adopt;
use super::{Error, seconds};
use crate::admin::{self, Refusal, Report};
use crate::config::{self, Config};
use crate::data;
use crate::frontend::RouteTable;
use crate::limits::Limiter;
use crate::log;
use crate::metrics::{Metrics, Reload};
use crate::policy::{self, Change, Engine, Generation, LoadError, Scope, Stage, Swarms, When};
use crate::tracker::{Rules, Settings};

/// How long a worker may take to change over.
const PATIENCE: Duration = Duration::from_secs(10);

/// Loads versions of the configuration, and has the workers change over to them.
pub struct Versions {
    pub file: PathBuf,
    pub engine: Engine,
    pub swarms: Arc<dyn Swarms>,
    pub routes: RouteTable,
    pub opening: data::Opening,
    pub metrics: Arc<Metrics>,
    pub workers: Vec<UnboundedSender<Adopt>>,
    /// What the operator's side shows of the version that serves.
    pub shown: Arc<Mutex<Vec<admin::Policy>>>,
    /// What the process was started with.
    pub started: Arc<Config>,
    pub current: Arc<ArcSwap<Version>>,
}

/// A version that can serve.
#[derive(Clone)]
pub struct Version {
    pub config: Arc<Config>,
    pub generation: Generation,
}

impl Version {
    /// Loads and tries the plugins of a configuration; those of an earlier version that have not
    /// changed are taken over.
    pub fn load(
        config: Arc<Config>,
        engine: &Engine,
        swarms: Arc<dyn Swarms>,
        routes: &RouteTable,
        opening: &data::Opening,
        earlier: &Generation,
        failed: impl Fn(&str) -> bool,
    ) -> Result<Self, (usize, LoadError)> {
        let scope = Scope {
            max_interval: seconds(config.tracker.max_interval),
            max_num_want: config.tracker.num_want.max,
            peer_lifetime: config.tracker.peer_lifetime,
            swarms,
        };
        let whens = config.policies.iter().map(|policy| when(&policy.when, routes)).collect();
        let generation =
            Generation::load(engine, &config.policies, whens, &scope, opening, earlier, failed)?;
        Ok(Self { config, generation })
    }

    /// Makes the rules of every worker ready: instances for what is new since `earlier`.
    pub fn rules(
        &self,
        earlier: &Generation,
        workers: usize,
        metrics: &Metrics,
    ) -> Result<Vec<Rules>, (usize, LoadError)> {
        let tracker = &self.config.tracker;
        let settings = Settings {
            interval: seconds(tracker.announce_interval),
            min_interval: seconds(tracker.min_announce_interval),
            default_num_want: tracker.num_want.default,
            max_num_want: tracker.num_want.max,
        };
        let limits = Limiter::new(&tracker.limits).map(Arc::new);
        let rules = &|worker| {
            let links = self.generation.prepare(earlier, worker as u32, workers as u32, metrics)?;
            Ok(Rules { settings, limits: limits.clone(), links })
        };
        // An interpreter takes milliseconds to begin, and workers may be many.
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
                // Where there is no room for threads, one after the other.
                Err(_) => (0..workers).map(rules).collect(),
            }
        })
    }

    /// The data of all policies.
    pub fn data(&self) -> Vec<Arc<data::Source>> {
        let policies = self.generation.policies.iter();
        policies.flat_map(|policy| policy.supplier.plugin().data.iter().cloned()).collect()
    }

    /// What the operator's side shows.
    pub fn shown(&self) -> Vec<admin::Policy> {
        let show = |policy: &Arc<policy::Policy>| {
            let plugin = policy.supplier.plugin();
            admin::Policy {
                name: plugin.name.to_string(),
                data: plugin.data.clone(),
                digest: hex::encode(plugin.identity.digest),
                mode: policy.mode.name(),
            }
        };
        self.generation.policies.iter().map(show).collect()
    }
}

impl Versions {
    /// Reads the configuration again, and changes over to what it says. Returns when every worker
    /// has; or leaves everything as it was.
    pub fn reload(&mut self) -> Result<Report, Refusal> {
        let result = self.try_reload();
        match &result {
            Ok(report) => {
                self.metrics.reload(match report.changed() {
                    true => Reload::Applied,
                    false => Reload::Unchanged,
                });
                let needs_restart = report.needs_restart.join(", ");
                tracing::info!(generation = report.generation, needs_restart, "reloaded: {report}");
            }
            Err(refusal) => {
                self.metrics.reload(Reload::Refused);
                tracing::error!("the reload is refused, the old generation serves on: {refusal}");
            }
        }
        result
    }

    fn try_reload(&mut self) -> Result<Report, Refusal> {
        let config = config::load(&self.file).map(Arc::new).map_err(|error| Refusal {
            policy: None,
            stage: "configuration".to_owned(),
            reason: error.to_string(),
        })?;
        let earlier = self.current.load_full();
        let refuse = |(at, error): (usize, LoadError)| Refusal {
            policy: Some(error.policy.to_string()),
            stage: error.stage.to_string(),
            reason: refused(&config, at, &error).to_string(),
        };
        let version = Version::load(
            config.clone(),
            &self.engine,
            self.swarms.clone(),
            &self.routes,
            &data::Opening { fetch: data::Fetch::Now, ..self.opening.clone() },
            &earlier.generation,
            |name| self.metrics.summary(name).failed,
        )
        .map_err(refuse)?;
        let mut report = compare(&earlier, &version);
        report.needs_restart = fixed(&self.started, &version.config);
        report.generation = self.metrics.generation();
        if report.changed() {
            let rules = version
                .rules(&earlier.generation, self.workers.len(), &self.metrics)
                .map_err(refuse)?;
            self.publish(rules);
            report.generation += 1;
            self.metrics.set_generation(report.generation);
            log::set_level(version.config.log.level);
            *self.shown.lock() = version.shown();
            self.metrics.set_data(version.data());
        }
        version
            .generation
            .serve(self.workers.len(), &self.metrics)
            .unwrap_or_else(|error| tracing::error!(%error, "a control instance"));
        self.current.store(Arc::new(version));
        Ok(report)
    }

    fn publish(&self, rules: Vec<Rules>) {
        let (done, finished) = channel();
        for (worker, rules) in self.workers.iter().zip(rules) {
            let _ = worker.send(Adopt { rules, done: done.clone() });
        }
        drop(done);
        for _ in &self.workers {
            if finished.recv_timeout(PATIENCE).is_err() {
                tracing::error!("a worker does not change over");
            }
        }
    }
}

/// What changes from one version to the next.
fn compare(earlier: &Version, later: &Version) -> Report {
    let (was, is) = (&*earlier.config, &*later.config);
    let mut report = Report::default();
    for policy in &later.generation.policies {
        let name = policy.supplier.plugin().name.to_string();
        match earlier.generation.change(policy) {
            Change::Added => report.added.push(name),
            Change::Replaced => report.replaced.push(name),
            Change::Kept => {
                let of = |config: &Config| {
                    let policy = config.policies.iter().find(|policy| policy.name == name)?;
                    let config::Policy { when, on_error, mode, tick, watch, .. } = policy;
                    Some((when.clone(), *on_error, *mode, *tick, *watch))
                };
                if of(was) != of(is) {
                    report.changed.push(name);
                }
            }
        }
    }
    for policy in &earlier.generation.policies {
        let name = &policy.supplier.plugin().name;
        if later.generation.find(name).is_none() {
            report.removed.push(name.to_string());
        }
    }
    let names = |config: &Config| -> Vec<String> {
        config.policies.iter().map(|policy| policy.name.clone()).collect()
    };
    report.reordered =
        report.added.is_empty() && report.removed.is_empty() && names(was) != names(is);
    let answers = |config: &Config| {
        let tracker = &config.tracker;
        let intervals =
            (tracker.announce_interval, tracker.min_announce_interval, tracker.max_interval);
        (intervals, tracker.num_want, tracker.limits, config.log.level)
    };
    report.settings = answers(was) != answers(is);

    report
}

/// The keys of what is made once for the life of the process, as far as they have changed since.
fn fixed(started: &Config, is: &Config) -> Vec<String> {
    let (old, new) = (&started.tracker, &is.tracker);
    let keys = [
        ("http", started.http != is.http),
        ("udp", started.udp != is.udp),
        ("admin", started.admin != is.admin),
        ("swarms", started.swarms != is.swarms),
        ("tracker.workers", old.workers != new.workers),
        ("tracker.peer_lifetime", old.peer_lifetime != new.peer_lifetime),
        ("tracker.max_scrape", old.max_scrape != new.max_scrape),
        ("tracker.echo_lone_peer", old.echo_lone_peer != new.echo_lone_peer),
        ("log.format", started.log.format != is.log.format),
        ("state_dir", started.state_dir != is.state_dir),
    ];
    let changed = keys.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(key, _)| key.to_owned()).collect()
}

/// The error of a start whose policy cannot be used, at its place in the configuration.
pub fn refused(config: &Config, at: usize, error: &LoadError) -> Error {
    let LoadError { policy, file, stage, reason } = error;
    let who = format!("(policy `{policy}`, plugin {})", file.display());
    let source = &config.source;
    Error::Config(match stage {
        Stage::Init => source.plugin_error(at, &format!("{reason} {who}")),
        Stage::Digest => source.error(&format!("policies[{at}].sha256"), format!("{reason} {who}")),
        Stage::Data => {
            let (name, reason) = reason.split_once(": ").unwrap_or(("", reason));
            source.error(&format!("policies[{at}].data.{name}"), format!("{reason} {who}"))
        }
        _ => source.error(&format!("policies[{at}].plugin"), format!("{stage}: {reason} {who}")),
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
