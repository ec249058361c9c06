//! Replaces the configuration while the tracker serves.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use super::confine::{exported, granted};
use super::exports::Orders;
use super::loaded::{Loaded, Loader, refused, warn};
use super::socket_file;
use super::worker::Adopt;
use crate::admin::{Access, By, Refusal, Reloads, Report, ShownPolicy};
use crate::config::{self, Config};
use crate::confine::Wall;
use crate::decisions::Decisions;
use crate::doors::Doors;
use crate::log;
use crate::metrics::{Metrics, Reload, Renewal};
use crate::policy::{Change, LoadError};
use crate::recording::Rings;
use crate::service::Notifier;
use crate::tls::{Certificates, PATIENCE as PAIR_PATIENCE};
use crate::tracker::Rules;

/// How long a worker may take to adopt new rules.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reloads the configuration, and switches the workers to it.
pub struct Reloader {
    pub file: PathBuf,
    pub loader: Loader,
    pub metrics: Arc<Metrics>,
    pub decisions: Arc<Decisions>,
    /// `None`: requests are not recorded.
    pub rings: Option<Arc<Rings>>,
    pub manager: Notifier,
    pub workers: Vec<UnboundedSender<Adopt>>,
    /// The policies in use, as the admin API shows them.
    pub shown: Arc<Mutex<Vec<ShownPolicy>>>,
    /// The configuration that the process was started with.
    pub started: Arc<Config>,
    pub current: Arc<ArcSwap<Loaded>>,
    pub certificates: Arc<Certificates>,
    /// What policies can write to, whatever the configuration says by now.
    pub wall: Wall,
    /// The tokens of the admin API.
    pub access: Arc<Access>,
    pub doors: Doors,
    /// What has become of reloads.
    pub reloads: Arc<Reloads>,
    pub exports: Orders,
}

impl Reloader {
    /// Reads the configuration again and switches to it. Returns when every worker has switched. If
    /// the configuration is refused, or the digest of its file is not the `expected` one, nothing
    /// changes.
    pub fn reload(&mut self, by: &By, expected: Option<[u8; 32]>) -> Result<Report, Refusal> {
        self.manager.reloading();
        let reloading = self.manager.extend_timeout();
        let found = config::digest(&self.file).ok();
        let result = self.try_reload(expected);
        let serving = &self.current.load().config;
        self.reloads.add(by, self.metrics.generation(), serving, found, &result);
        drop(reloading);
        self.manager.ready();
        match &result {
            Ok(report) => {
                self.metrics.reload(match report.has_changes() {
                    true => Reload::Applied,
                    false => Reload::Unchanged,
                });
                let needs_restart = report.needs_restart.join(", ");
                tracing::info!(generation = report.generation, needs_restart, "reloaded: {report}");
            }
            Err(refusal) => {
                self.metrics.reload(Reload::Refused);
                tracing::error!("refused the reload; the old generation keeps serving: {refusal}");
            }
        }
        result
    }

    fn try_reload(&mut self, expected: Option<[u8; 32]>) -> Result<Report, Refusal> {
        let wrong = |stage: &str| {
            let stage = stage.to_owned();
            |error: config::Error| Refusal { policy: None, stage, reason: error.to_string() }
        };
        let config = config::load(&self.file).map(Arc::new).map_err(wrong("configuration"))?;
        let digest = config.source.digest();
        if expected.is_some_and(|expected| expected != digest) {
            let reason = format!("the file has changed, its SHA-256 is {}", hex::encode(digest));
            return Err(Refusal { policy: None, stage: "expect".to_owned(), reason });
        }
        socket_file::group(&config).map_err(|error| Refusal {
            policy: None,
            stage: "configuration".to_owned(),
            reason: error.to_string(),
        })?;
        let certificates = Certificates::load(&config, PAIR_PATIENCE).map_err(|error| {
            self.metrics.renewal(Renewal::Refused);
            wrong("certificates")(error)
        })?;
        let earlier = self.current.load_full();
        let refuse = |error: LoadError| Refusal {
            policy: Some(error.policy.to_string()),
            stage: error.cause.stage().to_owned(),
            reason: refused(&config, &error).to_string(),
        };
        let failed = |name: &str| self.metrics.summary(name).failed;
        let loaded = self.loader.reload(config.clone(), &earlier, failed);
        let loaded = loaded.map_err(refuse)?;
        let mut report = compare(&earlier, &loaded);
        report.needs_restart = fixed(&self.started, &loaded.config, &self.wall);
        report.generation = self.metrics.generation();
        if report.needs_generation() {
            let rules = loaded
                .rules(&earlier.generation, self.workers.len(), &self.metrics)
                .map_err(refuse)?;
            report.generation += 1;
            // Before the first worker decides by it.
            loaded.enter(report.generation, &self.decisions, self.rings.as_deref());
            self.publish(rules);
            self.metrics.set_generation(report.generation);
            log::set_levels(&loaded.config.log);
            *self.shown.lock() = loaded.shown();
            self.metrics.set_data(loaded.data());
        } else {
            // The file is another one, if only by its comments.
            loaded.enter(report.generation, &self.decisions, self.rings.as_deref());
        }
        if let Err(error) = loaded.generation.serve(self.workers.len(), &self.metrics) {
            tracing::error!(%error, "cannot start control instance");
        }
        if !needs_tokens(&self.started, &loaded.config) {
            report.tokens = self.access.adopt(&loaded.config.admin);
        }
        report.exports = earlier.config.export != loaded.config.export;
        self.exports.adopt(&loaded.config, &self.wall);
        for source in loaded.data() {
            source.keep_edits();
            source.end_edits();
        }
        self.doors.adopt(loaded.fifos());
        warn(&loaded.config);
        report.certificates = self.certificates.adopt(&certificates, &self.metrics);
        self.metrics.configured(loaded.config.source.hash());
        self.current.store(Arc::new(loaded));
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
                tracing::error!("worker did not adopt the new generation");
            }
        }
    }
}

/// Compares two loaded configurations.
fn compare(earlier: &Loaded, later: &Loaded) -> Report {
    let (was, is) = (&*earlier.config, &*later.config);
    let mut report = Report::default();
    for policy in &later.generation.policies {
        let name = policy.plugin().name.to_string();
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
        let name = &policy.plugin().name;
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
        let log = (config.log.level, config.log.levels.clone());
        (intervals, tracker.num_want, tracker.limits, log)
    };
    report.settings = answers(was) != answers(is);

    report
}

/// Returns whether the admin API still listens where it needs tokens, and there are none any more.
/// It then keeps the old ones.
fn needs_tokens(started: &Config, is: &Config) -> bool {
    !started.admin.is_local() && !is.admin.has_tokens()
}

/// Lists the changed keys that only take effect at a restart.
fn fixed(started: &Config, is: &Config, wall: &Wall) -> Vec<String> {
    let (old, new) = (&started.tracker, &is.tracker);
    let listen = |config: &Config| config.admin.gazelle.as_ref().map(|door| door.listen);
    let keys = [
        ("http", started.http != is.http),
        ("udp", started.udp != is.udp),
        ("admin.listen", started.admin.listen != is.admin.listen),
        ("admin.socket_group", started.admin.socket_group != is.admin.socket_group),
        ("admin.tls", started.admin.tls != is.admin.tls),
        ("admin.gazelle.listen", listen(started) != listen(is)),
        ("admin.tokens", needs_tokens(started, is)),
        ("stats", started.stats != is.stats),
        ("swarms", started.swarms != is.swarms),
        ("accounts", started.accounts != is.accounts),
        ("tracker.workers", old.workers != new.workers),
        ("tracker.peer_lifetime", old.peer_lifetime != new.peer_lifetime),
        ("tracker.max_scrape", old.max_scrape != new.max_scrape),
        ("tracker.echo_lone_peer", old.echo_lone_peer != new.echo_lone_peer),
        ("log.format", started.log.format != is.log.format),
        ("log.file", started.log.file != is.log.file),
        ("record", started.record != is.record),
        ("decision_log", started.decision_log != is.decision_log),
        ("state_dir", started.state_dir != is.state_dir),
        ("run_as", started.run_as != is.run_as),
        ("landlock", started.landlock != is.landlock),
        ("export", !exported(is).all(|folder| wall.permits(folder))),
        ("policies[].allow.folders", !granted(is).all(|folder| wall.permits(folder))),
    ];
    let changed = keys.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(key, _)| key.to_owned()).collect()
}
