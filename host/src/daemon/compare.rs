//! What is different from one loaded configuration to the next.

use super::confine::{exported, granted};
use super::loaded::Loaded;
use crate::admin::Report;
use crate::config::{self, Config};
use crate::confine::Wall;
use crate::policy::Change;

/// Compares two loaded configurations.
pub fn compare(earlier: &Loaded, later: &Loaded) -> Report {
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
pub fn needs_tokens(started: &Config, is: &Config) -> bool {
    !started.admin.is_local() && !is.admin.has_tokens()
}

/// Lists the changed keys that only take effect at a restart.
pub fn fixed(started: &Config, is: &Config, wall: &Wall) -> Vec<String> {
    let (old, new) = (&started.tracker, &is.tracker);
    // Only whether there is one: that is when tokens are used up.
    let is_called =
        |config: &Config| config.admin.gazelle.iter().any(|door| door.callback.is_some());
    let gazelle = |config: &Config| config.admin.gazelle.as_ref().map(|door| door.listen);
    let unit3d = |config: &Config| config.admin.unit3d.as_ref().map(|door| door.listen);
    let keys = [
        ("http", started.http != is.http),
        ("udp", started.udp != is.udp),
        ("admin.listen", started.admin.listen != is.admin.listen),
        ("admin.socket_group", started.admin.socket_group != is.admin.socket_group),
        ("admin.tls", started.admin.tls != is.admin.tls),
        ("admin.gazelle.listen", gazelle(started) != gazelle(is)),
        ("admin.gazelle.callback", is_called(started) != is_called(is)),
        ("admin.unit3d.listen", unit3d(started) != unit3d(is)),
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
