//! What serves is switched to something else: the workers, and all that is not a worker's.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use karuta_accounts::Accounts;
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;

use super::accounts::donors;
use super::candidate::{Candidate, Maker, refusal};
use super::compare::needs_tokens;
use super::exports::Orders;
use super::guards::Guarding;
use super::keeper::{Keeper, Occasion};
use super::loaded::{Loaded, warn};
use super::worker::Order;
use crate::admin::{Access, By, Refusal, Reloads, Report, ShownPolicy};
use crate::decisions::Decisions;
use crate::doors::Doors;
use crate::generations::{Action, Pin};
use crate::history::History;
use crate::log;
use crate::metrics::Metrics;
use crate::recording::Rings;
use crate::service::Notifier;
use crate::tls::Certificates;
use crate::tracker::Rules;

/// How long a worker may take to adopt new rules.
const PATIENCE: Duration = Duration::from_secs(10);

/// Changes what serves, one change at a time, and switches the workers to it.
pub struct Reloader {
    pub maker: Arc<Maker>,
    pub metrics: Arc<Metrics>,
    pub decisions: Arc<Decisions>,
    /// `None`: requests are not recorded.
    pub rings: Option<Arc<Rings>>,
    pub manager: Notifier,
    pub workers: Vec<UnboundedSender<Order>>,
    /// The policies in use, as the admin API shows them.
    pub shown: Arc<Mutex<Vec<ShownPolicy>>>,
    pub certificates: Arc<Certificates>,
    /// The tokens of the admin API.
    pub access: Arc<Access>,
    /// `None`: there are none.
    pub accounts: Option<Arc<Accounts>>,
    pub doors: Doors,
    /// What has become of reloads.
    pub reloads: Arc<Reloads>,
    pub exports: Orders,
    pub keeper: Keeper,
    /// The last minutes, with which a trial is compared.
    pub history: Arc<Mutex<History>>,
    pub trial: Option<Trial>,
}

/// What a candidate serves as.
pub(super) struct Role<'a> {
    pub by: &'a By,
    pub action: Action,
    /// The generation that it is again.
    pub again: Option<u64>,
    /// Whether the generation before may come back.
    pub parks: bool,
}

/// A generation that serves unless it is not confirmed.
pub struct Trial {
    pub generation: u64,
    /// What comes back, with its number. The workers have parked its instances.
    pub previous: Arc<Loaded>,
    pub previous_generation: u64,
    pub until: Instant,
    pub guarding: Guarding,
    /// What a restart serves until it is confirmed.
    pub pin: Pin,
}

impl Reloader {
    /// Serves a candidate, if anything is different for the workers or `action` is not a mere reload.
    /// `settle` says what a restart serves, and returns why one will not; it is called when nothing else
    /// can fail any more.
    pub(super) fn serve(
        &mut self,
        candidate: Candidate,
        role: &Role<'_>,
        settle: impl FnOnce(&mut Self) -> Option<String>,
    ) -> Result<Report, Refusal> {
        let Candidate { loaded, certificates, mut report } = candidate;
        let earlier = self.maker.current.load_full();
        let needs_generation = report.needs_generation() || role.action != Action::Reload;
        let rules = needs_generation.then(|| {
            loaded
                .rules(&earlier.generation, self.workers.len(), &self.metrics, role.parks)
                .map_err(|error| refusal(&loaded.config, &error))
        });
        let rules = rules.transpose()?;
        let fault = settle(self);
        report.again = role.again;
        self.switch(&mut report, loaded, rules);
        if let Some(certificates) = certificates {
            report.certificates = self.certificates.adopt(&certificates, &self.metrics);
        }
        self.keep(&mut report, role);
        report.remarks.extend(fault);
        Ok(report)
    }

    /// Switches everything to what is to serve: the workers if there are `rules`, and all that is not a
    /// worker's.
    pub(super) fn switch(
        &mut self,
        report: &mut Report,
        loaded: Loaded,
        rules: Option<Vec<Rules>>,
    ) {
        report.generation = self.metrics.generation();
        if let Some(rules) = rules {
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
        if !needs_tokens(&self.maker.started, &loaded.config) {
            report.tokens = self.access.adopt(&loaded.config.admin);
        }
        if let Some(accounts) = &self.accounts {
            accounts.set_donors(donors(&loaded.config));
        }
        self.exports.adopt(&loaded.config, &self.maker.wall);
        for source in loaded.data() {
            source.keep_edits();
            source.end_edits();
        }
        self.doors.adopt(loaded.fifos());
        warn(&loaded.config);
        self.metrics.configured(loaded.config.source.hash());
        self.maker.current.store(Arc::new(loaded));
    }

    /// Keeps what serves by now.
    pub(super) fn keep(&self, report: &mut Report, role: &Role<'_>) {
        let occasion = Occasion {
            generation: report.generation,
            by: &role.by.to_string(),
            action: role.action,
            again: role.again,
            changes: report.to_string(),
        };
        self.keeper.keep(&self.maker.current.load(), occasion);
        report.remarks.extend(self.reloads.fault());
    }

    fn publish(&self, rules: Vec<Rules>) {
        let (done, finished) = channel();
        for (worker, rules) in self.workers.iter().zip(rules) {
            let _ = worker.send(Order::Adopt { rules, done: done.clone() });
        }
        drop(done);
        for _ in &self.workers {
            if finished.recv_timeout(PATIENCE).is_err() {
                tracing::error!("worker did not adopt the new generation");
            }
        }
    }

    /// Has a restart serve what a pin says, as what serves now does.
    pub(super) fn hold(&mut self, pin: Pin) {
        let fault = self.keeper.pin(&pin).err();
        self.hold_written(pin, fault);
    }

    /// As [`Self::hold`], with a pin that was written, or could not be.
    pub(super) fn hold_written(&mut self, pin: Pin, fault: Option<String>) {
        let generation = pin.generation;
        tracing::warn!(
            generation,
            by = pin.by,
            fault,
            "pinned: the configuration file is not in use"
        );
        self.metrics.set_pinned(Some(generation));
        self.reloads.set_pin(Some((pin, fault)));
    }

    /// Has a restart serve the configuration file. Returns why one may not.
    pub(super) fn release(&mut self) -> Option<String> {
        let fault = self.keeper.unpin();
        if self.reloads.pin().is_some() {
            tracing::info!("no longer pinned");
        }
        self.forget_pin();
        fault
    }

    /// Takes note that the configuration file serves.
    pub(super) fn forget_pin(&mut self) {
        self.metrics.set_pinned(None);
        self.reloads.set_pin(None);
    }
}
