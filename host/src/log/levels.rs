//! Which lines are logged: by target, and those that policies write by policy too.

use std::collections::BTreeMap;

use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::filter::Targets;

use crate::config::{Log, LogLevel};

/// The levels of what policies write. Their lines share one target.
pub struct Policies {
    /// Of those that are not named.
    others: LevelFilter,
    named: BTreeMap<String, LevelFilter>,
}

impl Policies {
    pub fn of(log: &Log) -> Self {
        let others = log.levels.get(PLUGIN).unwrap_or(&log.level);
        let named = log.levels.iter().filter_map(|(target, level)| {
            Some((target.strip_prefix(POLICY)?.to_owned(), filter(*level)))
        });
        Self { others: filter(*others), named: named.collect() }
    }

    /// Returns whether a policy's line of a level is logged.
    pub fn allow(&self, policy: &str, level: Level) -> bool {
        level <= *self.named.get(policy).unwrap_or(&self.others)
    }

    /// Returns the level that lets all of them pass.
    fn most(&self) -> LevelFilter {
        self.named.values().copied().chain([self.others]).max().unwrap_or(self.others)
    }
}

/// The target of lines that policies write.
const PLUGIN: &str = "plugin";
/// Stands before the name of a policy in the configuration.
const POLICY: &str = "policy.";

/// The client of an engine of shared swarms, which logs each of its attempts while a server is away.
/// What is cut off, and why, is in lines of our own.
const CLIENT: &str = "redis";

/// Returns the log filter. Libraries log warnings at most: the compiler alone would log hundreds of
/// thousands of lines.
pub fn targets(log: &Log) -> Targets {
    let level = filter(log.level);
    let own = log.levels.iter().filter(|(target, _)| !target.starts_with(POLICY));
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets([("karuta", level), ("audit", level), (CLIENT, LevelFilter::OFF)])
        .with_targets(own.map(|(target, level)| (target.clone(), filter(*level))))
        .with_target(PLUGIN, Policies::of(log).most())
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(level: LogLevel, levels: &[(&str, LogLevel)]) -> Log {
        let levels = levels.iter().map(|(target, level)| ((*target).to_owned(), *level)).collect();
        Log { level, levels, ..Log::default() }
    }

    #[test]
    fn the_longest_target_decides() {
        let log = log(
            LogLevel::Info,
            &[("karuta::tls", LogLevel::Error), ("karuta::tls::files", LogLevel::Trace)],
        );
        let targets = targets(&log);
        for (target, level, logged) in [
            ("karuta::daemon", Level::INFO, true),
            ("karuta::daemon", Level::DEBUG, false),
            ("karuta::tls", Level::WARN, false),
            ("karuta::tls::files", Level::TRACE, true),
            ("plugin", Level::INFO, true),
            ("plugin", Level::DEBUG, false),
            ("hyper", Level::WARN, true),
            ("hyper", Level::INFO, false),
            ("redis::cluster_handling", Level::ERROR, false),
        ] {
            assert_eq!(targets.would_enable(target, &level), logged, "{target} {level}");
        }
    }

    #[test]
    fn a_policy_has_the_level_of_its_name_or_of_all() {
        let log =
            log(LogLevel::Info, &[("plugin", LogLevel::Error), ("policy.jwt", LogLevel::Debug)]);
        let policies = Policies::of(&log);
        assert!(policies.allow("jwt", Level::DEBUG) && !policies.allow("jwt", Level::TRACE));
        assert!(policies.allow("clients", Level::ERROR) && !policies.allow("clients", Level::WARN));
        assert!(targets(&log).would_enable("plugin", &Level::DEBUG), "or jwt could not log");
    }

    #[test]
    fn a_library_that_is_named_logs() {
        let log = log(LogLevel::Info, &[("redis", LogLevel::Warn)]);
        assert!(targets(&log).would_enable("redis::cluster_handling", &Level::WARN));
    }

    #[test]
    fn all_karuta_at_another_level_than_policies() {
        let log = log(LogLevel::Warn, &[("karuta", LogLevel::Debug)]);
        assert!(targets(&log).would_enable("karuta::daemon", &Level::DEBUG));
        assert!(!targets(&log).would_enable("plugin", &Level::INFO));
    }
}
