//! Replaces what serves while the tracker serves: by the configuration file, by an earlier generation, or
//! on trial.

use std::time::SystemTime;

use super::candidate::{Maker, on_disk};
use super::reloader::{Reloader, Role};
use crate::admin::{By, CONFIRM, Expected, Refusal, Report, Terms, Wish, unix_seconds};
use crate::config;
use crate::generations::{Action, Content, FORMAT, Pin, digest_of};
use crate::metrics::Reload;
use crate::policy::Purpose;

/// The stages of what is refused because there is no such trial, or no such generation.
const ROLLBACK: &str = "rollback";
pub const TRIAL: &str = "trial";

impl Reloader {
    /// Does what is wished. Returns when every worker has switched. If that is refused, nothing changes.
    pub fn obey(&mut self, by: &By, wish: &Wish) -> Result<Report, Refusal> {
        self.manager.reloading();
        let reloading = self.manager.extend_timeout();
        let found = config::digest(&self.maker.file).ok();
        let (action, result) = match wish {
            Wish::Reload(terms @ Terms { trial: Some(_), .. }) => {
                (Action::Try.name(), self.reload(by, terms))
            }
            Wish::Reload(terms) => (Action::Reload.name(), self.reload(by, terms)),
            Wish::Confirm => (CONFIRM, self.confirm()),
            Wish::Rollback { to, text } => {
                let (action, result) = match self.ends_trial(*to) {
                    true => (Action::TakenBack.name(), self.take_back(by)),
                    false => (Action::Rollback.name(), self.roll_back(by, *to, *text)),
                };
                (action, result.map(|report| if *text { self.with_text(report) } else { report }))
            }
        };
        // Somebody has asked for what is not there, which says nothing about what serves.
        let is_idle = |refusal: &Refusal| {
            !matches!(wish, Wish::Reload(_)) && [TRIAL, ROLLBACK].contains(&&*refusal.stage)
        };
        let is_idle = result.as_ref().is_err_and(is_idle);
        let serving = &self.maker.current.load().config;
        if !is_idle {
            self.reloads.add(by, action, self.metrics.generation(), serving, found, &result);
        }
        // Who sees that a trial is over finds its end among the reloads.
        if self.trial.is_none() {
            self.reloads.set_trial(None);
        }
        drop(reloading);
        self.manager.ready();
        match &result {
            Ok(report) => {
                let outcome = match action {
                    CONFIRM => None,
                    _ if action == Action::TakenBack.name() => Some(Reload::TakenBack),
                    _ if report.has_changes() => Some(Reload::Applied),
                    _ => Some(Reload::Unchanged),
                };
                outcome.into_iter().for_each(|outcome| self.metrics.reload(outcome));
                let needs_restart = report.needs_restart.join(", ");
                tracing::info!(
                    generation = report.generation,
                    action,
                    needs_restart,
                    "reloaded: {report}"
                );
                for remark in &report.remarks {
                    tracing::warn!(generation = report.generation, "{remark}");
                }
            }
            Err(refusal) if is_idle => tracing::warn!(action, "refused: {refusal}"),
            Err(refusal) => {
                self.metrics.reload(Reload::Refused);
                tracing::error!(
                    action,
                    "refused the reload; the old generation keeps serving: {refusal}"
                );
            }
        }
        result
    }

    /// Serves the configuration file.
    fn reload(&mut self, by: &By, terms: &Terms) -> Result<Report, Refusal> {
        let Terms { expected, anyway, trial } = terms;
        self.must_not_be_on_trial()?;
        let config = self.maker.read(expected)?;
        if !anyway && let Some(reason) = obstacle(&self.maker, self.reloads.pin().as_ref()) {
            return Err(Refusal::of("pin", reason));
        }
        let candidate = self.maker.load(config, Purpose::Serve)?;
        previewed(expected, &candidate.loaded.content())?;
        if let Some(terms) = trial {
            return self.begin_trial(by, candidate, terms);
        }
        let role = Role { by, action: Action::Reload, again: None, parks: false };
        self.serve(candidate, &role, |reloader| reloader.release())
    }

    /// Serves an earlier generation in place of the configuration file.
    fn roll_back(&mut self, by: &By, to: Option<u64>, text: bool) -> Result<Report, Refusal> {
        self.must_not_be_on_trial()?;
        let no = |reason: String| Refusal::of(ROLLBACK, reason);
        let generations = self.keeper.generations.clone().map_err(no)?;
        let serving = self.maker.current.load().content();
        let to = match to {
            Some(to) => to,
            None => self.keeper.before(self.metrics.generation(), &serving).map_err(no)?,
        };
        let (served, candidate) = self.maker.load_kept(&generations, to)?;
        if served.content == serving {
            // Its file is wanted.
            return match text {
                true => {
                    let generation = self.metrics.generation();
                    Ok(Report { generation, again: Some(to), ..Report::default() })
                }
                false => Err(no(format!("generation {to} is what serves"))),
            };
        }
        let on_disk = on_disk(&self.maker.file);
        // What was turned down stays so, if it is still there.
        let before = self.reloads.pin().filter(|pin| pin.holds_for(&on_disk));
        let role = Role { by, action: Action::Rollback, again: Some(to), parks: false };
        let pin = (!on_disk.seems(&served.content)).then(|| Pin {
            format: FORMAT,
            generation: to,
            rejected: before.map_or(serving, |pin| pin.rejected),
            on_disk,
            since: unix_seconds(SystemTime::now()),
            by: by.to_string(),
        });
        let mut report = self.serve(candidate, &role, |reloader| match pin {
            Some(pin) => {
                reloader.hold(pin);
                None
            }
            None => reloader.release(),
        })?;
        let fault = self.reloads.pinned().and_then(|pinned| pinned.fault);
        let fault = fault.map(|fault| format!("a restart will serve the file again: {fault}"));
        report.remarks.extend(fault);
        Ok(report)
    }

    /// Adds the text of the file that serves, if a start that reads it would serve the same.
    fn with_text(&self, mut report: Report) -> Report {
        let others = self.others_on_disk(report.again.unwrap_or(report.generation));
        let loaded = self.maker.current.load();
        report.text = others.is_empty().then(|| loaded.config.source.text().to_owned());
        report.remarks.extend(others);
        report
    }

    /// Says which plugins would be others if a start read the file of an earlier generation.
    fn others_on_disk(&self, generation: u64) -> Vec<String> {
        let loaded = self.maker.current.load();
        let content = loaded.content();
        let is_other = |policy: &&config::Policy| {
            digest_of(&policy.plugin).ok().as_ref() != content.plugins.get(&policy.name)
        };
        let others = loaded.config.policies.iter().filter(is_other);
        others
            .map(|policy| {
                let plugin = policy.plugin.display();
                format!("{plugin} is not the plugin of generation {generation}")
            })
            .collect()
    }

    fn must_not_be_on_trial(&self) -> Result<(), Refusal> {
        let Some(trial) = &self.trial else { return Ok(()) };
        let reason = format!(
            "generation {} is on trial; keep it with `karuta confirm`, or take it back with `karuta \
             rollback`",
            trial.generation
        );
        Err(Refusal::of(TRIAL, reason))
    }
}

/// Returns why what is on the disk must not be reloaded, in a sentence.
pub fn obstacle(maker: &Maker, pin: Option<&Pin>) -> Option<String> {
    // What could not be read then may be there by now.
    let is_rejected = |pin: &&Pin| on_disk(&maker.file) == pin.rejected;
    pin.filter(is_rejected).map(|pin| {
        let file = maker.file.display();
        let generation = pin.generation;
        format!(
            "{file} was turned down for generation {generation}; change it or its plugins, or use \
             `--anyway`"
        )
    })
}

/// Checks that a candidate is what the caller has looked at.
pub fn previewed(expected: &Expected, content: &Content) -> Result<(), Refusal> {
    match &expected.previewed {
        Some(previewed) if *previewed != content.digest() => {
            Err(Refusal::of("expect", "the file or a plugin has changed since the preview"))
        }
        _ => Ok(()),
    }
}
