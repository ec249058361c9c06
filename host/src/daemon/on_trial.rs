//! Trials: a new generation serves, and the one before comes back unless somebody confirms.

use std::time::{Instant, SystemTime};

use super::candidate::{Candidate, kept, on_disk, refusal};
use super::compare::{compare, fixed};
use super::guards::{Broken, Guarding};
use super::loaded::Loaded;
use super::reload::TRIAL;
use super::reloader::{Reloader, Role, Trial};
use super::worker::Order;
use crate::admin::{By, OnTrial, Refusal, Report, Trial as Terms, unix_seconds};
use crate::config::Config;
use crate::generations::{Action, FORMAT, Pin};
use crate::metrics::Reload;
use crate::state_dir::StateDir;
use crate::time;

impl Reloader {
    /// Serves a candidate on trial.
    pub(super) fn begin_trial(
        &mut self,
        by: &By,
        candidate: Candidate,
        terms: &Terms,
    ) -> Result<Report, Refusal> {
        let no = |reason: String| Refusal::of("trial", reason);
        if !candidate.report.needs_generation() {
            let reason =
                "no policy and no setting is different, so there is nothing to try; reload it";
            return Err(no(reason.to_owned()));
        }
        let previous = self.maker.current.load_full();
        let previous_generation = self.metrics.generation();
        let generations = self.keeper.generations.as_ref();
        let is_kept = generations.map_err(String::clone).and_then(|generations| {
            kept(generations, previous_generation, &self.maker.file).map(drop)
        });
        is_kept.map_err(|reason| no(format!("a restart could not come back: {reason}")))?;
        let folder = |config: &Config| StateDir::find(config.state_dir.as_deref()).ok();
        if folder(&candidate.loaded.config) != folder(&self.maker.started) {
            let reason =
                "`state_dir` is another one, where a restart would not find what to come back to";
            return Err(no(reason.to_owned()));
        }
        let now = unix_seconds(SystemTime::now());
        let pin = Pin {
            format: FORMAT,
            generation: previous_generation,
            rejected: candidate.loaded.content(),
            on_disk: on_disk(&self.maker.file),
            since: now,
            by: by.to_string(),
        };
        self.keeper
            .pin(&pin)
            .map_err(|reason| no(format!("a restart could not be made to come back: {reason}")))?;
        let guarding = Guarding::begin(
            &self.metrics,
            &self.history.lock(),
            &previous,
            &candidate.loaded,
            terms.max_change,
        );
        let role = Role { by, action: Action::Try, again: None, parks: true };
        let before = self.reloads.pin();
        // What is written says what a restart serves. Until then the file does.
        let served = self.serve(candidate, &role, |reloader| {
            reloader.forget_pin();
            None
        });
        let mut report = match served {
            Ok(report) => report,
            Err(refusal) => {
                // What a restart served before, it serves still.
                match before {
                    Some(before) => self.hold(before),
                    None => drop(self.release()),
                }
                return Err(refusal);
            }
        };
        previous.generation.rest_beside(&self.maker.current.load().generation);
        report.trial_seconds = Some(terms.time.as_secs());
        let trial = Trial {
            generation: report.generation,
            previous,
            previous_generation,
            until: Instant::now() + terms.time,
            guarding,
            pin,
        };
        self.reloads.set_trial(Some(OnTrial {
            generation: trial.generation,
            previous: previous_generation,
            by: by.to_string(),
            began: now,
            until: now + terms.time.as_secs(),
            guards: trial.guarding.look(&self.metrics, &self.maker.current.load()),
        }));
        tracing::warn!(generation = trial.generation, seconds = terms.time.as_secs(), "on trial");
        self.trial = Some(trial);
        Ok(report)
    }

    /// Stays with the generation on trial.
    pub(super) fn confirm(&mut self) -> Result<Report, Refusal> {
        let Some(generation) = self.trial.as_ref().map(|trial| trial.generation) else {
            return Err(Refusal::of(TRIAL, "no generation is on trial"));
        };
        // As long as a restart would take it back, it is not confirmed.
        if let Some(fault) = self.release() {
            return Err(Refusal::of("pin", fault));
        }
        self.trial = None;
        for worker in &self.workers {
            let _ = worker.send(Order::Settle);
        }
        let serving = self.maker.current.load();
        let (started, wall) = (&self.maker.started, &self.maker.wall);
        Ok(Report {
            generation,
            confirmed: true,
            needs_restart: fixed(started, &serving.config, wall),
            ..Report::default()
        })
    }

    /// Returns whether a rollback to this generation ends the trial.
    pub(super) fn ends_trial(&self, to: Option<u64>) -> bool {
        self.trial.as_ref().is_some_and(|trial| to.is_none_or(|to| to == trial.previous_generation))
    }

    /// Has the generation before the one on trial come back.
    pub(super) fn take_back(&mut self, by: &By) -> Result<Report, Refusal> {
        let Some(trial) = self.trial.take() else {
            return Err(Refusal::of(TRIAL, "no generation is on trial"));
        };
        let Trial { previous, previous_generation, pin, .. } = trial;
        let tried = self.maker.current.load_full();
        let mut report = compare(&tried, &previous);
        report.needs_restart = fixed(&self.maker.started, &previous.config, &self.maker.wall);
        report.exports = tried.config.export != previous.config.export;
        report.again = Some(previous_generation);
        // Each worker has parked its instances, so none is made.
        let rules = previous.rules(&previous.generation, self.workers.len(), &self.metrics, false);
        let rules = rules.map_err(|error| refusal(&previous.config, &error))?;
        self.switch(&mut report, Loaded::clone(&previous), Some(rules));
        // It was written when the trial began, and holds even if it cannot be written again.
        let pin = Pin { since: time::since_1970().as_secs(), by: by.to_string(), ..pin };
        let _ = self.keeper.pin(&pin);
        self.hold_written(pin, None);
        let role =
            Role { by, action: Action::TakenBack, again: Some(previous_generation), parks: false };
        self.keep(&mut report, &role);
        Ok(report)
    }

    /// Takes the trial back if its time is over, or a guard says so.
    pub fn watch_trial(&mut self) {
        let Some(trial) = &self.trial else { return };
        let seen = trial.guarding.look(&self.metrics, &self.maker.current.load());
        let broken = trial.guarding.judge(&seen);
        if let Some(mut shown) = self.reloads.trial() {
            shown.guards = seen;
            self.reloads.set_trial(Some(shown));
        }
        let is_over = Instant::now() >= trial.until;
        let Broken { policy, reason } = match broken {
            Some(broken) => broken,
            None if is_over => {
                Broken { policy: None, reason: "nobody has confirmed it".to_owned() }
            }
            None => return,
        };
        let generation = trial.generation;
        let taken = self.take_back(&By::Trial);
        let refusal = Refusal { policy, stage: TRIAL.to_owned(), reason };
        tracing::error!(generation, "took back a generation that was on trial: {refusal}");
        let tried = self.reloads.pinned().and_then(|pinned| {
            let mut digest = [0; 32];
            hex::decode_to_slice(pinned.rejected_sha256, &mut digest).ok().map(|()| digest)
        });
        let serving = &self.maker.current.load().config;
        let waiting = taken.as_ref().map(|report| report.needs_restart.clone()).unwrap_or_default();
        self.reloads.serve(serving, waiting);
        let action = Action::TakenBack.name();
        self.reloads.add(
            &By::Trial,
            action,
            self.metrics.generation(),
            serving,
            tried,
            &Err(refusal),
        );
        self.reloads.set_trial(None);
        self.metrics.reload(Reload::TakenBack);
    }
}
