//! Decides when a control instance is called, and for what: a state machine that gets the time from
//! its caller, which is a thread in the tracker (`control.rs`) or a trial in `karuta plugin test`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::probation::Probation;
use crate::metrics::{Cause, Hook, PolicySeries, Verdict};
use crate::policy::contract::Role;
use crate::policy::instance::{Failure, Instance, InstanceError, Place, Plugin};
use crate::policy::shared::outcome::{Difference, Outcome};

/// The maximum number of outcomes in a batch, their maximum size in bytes, and how long the first
/// outcome waits for others.
const BATCH: usize = 1000;
const BATCH_BYTES: usize = 512 * 1024;
const LINGER: Duration = Duration::from_millis(200);
/// The maximum number of times that a batch is offered.
const OFFERS: u32 = 3;
/// The minimum time between two publications, because each of them replaces all instances.
const PUBLISH: Duration = Duration::from_secs(1);
/// How often an idle loop checks for new data.
const LOOK: Duration = Duration::from_millis(500);

/// An outcome with its id, as it is passed to an observer.
pub type Told = (u64, Difference, Box<Outcome>);

/// The control instance of one policy, with its queued work.
pub struct ControlLoop {
    plugin: Arc<Plugin>,
    place: Place,
    series: Arc<PolicySeries>,
    instance: Option<Instance>,
    probation: Probation,
    /// The earliest time at which the next instance is created.
    not_before: Instant,
    every: Duration,
    next_tick: Instant,
    batch: Vec<Told>,
    /// The size of the outcomes in the batch, in bytes.
    bytes: usize,
    /// When the first outcome of the batch was added.
    first: Option<Instant>,
    /// How often the batch has been offered.
    offers: u32,
    /// What the instance has asked to publish.
    staged: BTreeMap<Arc<str>, Arc<[u8]>>,
    /// The time of the last publication.
    published: Option<Instant>,
    /// The causes that have been logged, one bit each.
    logged: u32,
    /// The version of the raw data with which a new instance failed to start.
    unfit: Option<u64>,
}

impl ControlLoop {
    /// Creates a loop without an instance. It ticks at once, and then at the interval `every`.
    pub fn new(
        plugin: Arc<Plugin>,
        workers: u32,
        every: Duration,
        series: Arc<PolicySeries>,
        now: Instant,
    ) -> Self {
        Self {
            plugin,
            place: Place { role: Role::Control, worker: 0, workers },
            series,
            instance: None,
            probation: Probation::default(),
            not_before: now,
            every,
            next_tick: now,
            batch: Vec::new(),
            bytes: 0,
            first: None,
            offers: 0,
            staged: BTreeMap::new(),
            published: None,
            logged: 0,
            unfit: None,
        }
    }

    /// Sets the interval of ticks, counted from the last tick.
    pub fn tick_every(&mut self, every: Duration, now: Instant) {
        self.next_tick = now.max(self.next_tick - self.every + every);
        self.every = every;
    }

    /// Returns when [`Self::advance`] must be called at the latest, even if nothing arrives.
    pub fn due(&self, now: Instant) -> Instant {
        let mut due = now + LOOK;
        let gone = self.instance.is_none();
        let hooks = &self.plugin.code.hooks;
        let held = |at: Instant| if gone { at.max(self.not_before) } else { at };
        if self.probation.has_failed() {
            return due;
        }
        if hooks.tick.is_some() {
            due = due.min(held(self.next_tick));
        }
        if let Some(first) = self.first {
            due = due.min(held(if self.is_full() { now } else { first + LINGER }));
        }
        if !self.staged.is_empty() {
            due = due.min(self.rests_until(now));
        }
        due
    }

    /// Does what is due: creates an instance, offers the batch, ticks, publishes.
    pub fn advance(&mut self, now: Instant) {
        let _ = self.freshen(now);
        let due = self.first.is_some_and(|first| now.duration_since(first) >= LINGER);
        if self.is_full() || due {
            self.observe(now);
        }
        if now >= self.next_tick && !self.plugin.shutdown.has_begun() {
            self.tick(now);
        }
        self.publish(now);
    }

    /// Returns whether the batch has no room for another outcome.
    pub fn is_full(&self) -> bool {
        self.batch.len() >= BATCH || self.bytes >= BATCH_BYTES
    }

    /// Returns the outcomes that have not been accepted yet.
    pub fn batch(&self) -> &[Told] {
        &self.batch
    }

    /// Replaces the batch with outcomes that were offered before.
    pub fn restore(&mut self, batch: Vec<Told>, now: Instant) {
        self.bytes = batch.iter().map(|(.., outcome)| outcome.size()).sum();
        self.first = (!batch.is_empty()).then_some(now);
        self.offers = 0;
        self.batch = batch;
    }

    /// Adds an outcome to the batch. Drops it if the batch is full, which means that no instance
    /// takes it.
    pub fn enter(&mut self, outcome: Box<Outcome>, now: Instant) {
        if self.is_full() {
            self.series.count_dropped(1);
            return;
        }
        let lifetime = self.plugin.tracker.peer_lifetime;
        let difference = self.plugin.ledger.lock().enter(&outcome, lifetime);
        let id = self.plugin.last_id.fetch_add(1, Relaxed) + 1;
        self.first.get_or_insert(now);
        self.bytes += outcome.size();
        self.batch.push((id, difference, outcome));
    }

    /// Creates an instance with the newest raw data, unless the current one has it, or the last
    /// ones failed too recently.
    ///
    /// # Errors
    ///
    /// Fails if the instance cannot be created. The error is also logged.
    pub fn freshen(&mut self, now: Instant) -> Result<(), InstanceError> {
        let version = self.plugin.raw_version();
        let is_stale = self.instance.as_ref().is_some_and(|instance| instance.fed() != version);
        if is_stale && self.unfit != Some(version) {
            match Instance::with_data(&self.plugin, self.place) {
                Ok(fresh) => self.instance = Some(fresh),
                Err(reason) => {
                    self.unfit = Some(version);
                    self.complain("cannot renew control instance; the old one stays", &reason);
                    return Err(reason);
                }
            }
        }
        if self.instance.is_some() || self.probation.has_failed() || now < self.not_before {
            return Ok(());
        }
        match Instance::with_data(&self.plugin, self.place) {
            Ok(instance) => {
                if self.probation.is_restart() {
                    self.series.restart();
                } else {
                    self.series.call(Hook::Init, Verdict::Ok);
                }
                self.series.memory(instance.memory());
                self.probation.renew();
                self.instance = Some(instance);
                Ok(())
            }
            Err(reason) => {
                self.complain("cannot start control instance", &reason);
                self.let_go(now);
                Err(reason)
            }
        }
    }

    /// Returns whether there is an instance to call.
    pub fn has_instance(&self) -> bool {
        self.instance.is_some()
    }

    /// Returns the time from `now` until the next instance is created; `None` if none will be.
    pub fn pause(&self, now: Instant) -> Option<Duration> {
        let pause = self.not_before.saturating_duration_since(now);
        (!self.probation.has_failed()).then_some(pause)
    }

    /// Offers the batch, and returns the result; `None` if there is no instance or no observer. A
    /// batch that is not accepted stays, and is dropped after the third offer.
    pub fn observe(&mut self, now: Instant) -> Option<Result<(), String>> {
        let instance = self.instance.as_mut()?;
        self.offers += 1;
        let start = Instant::now();
        let result = instance.observe(&self.batch)?;
        let result = self.settle(Hook::Observe, start, result, now);
        if result.is_ok() || self.offers >= OFFERS {
            if result.is_err() {
                self.series.count_dropped(self.batch.len() as u64);
            }
            self.batch.clear();
            self.bytes = 0;
            self.first = None;
            self.offers = 0;
        }
        Some(result)
    }

    /// Makes the next offer of the batch the last one.
    pub fn offer_once_more(&mut self) {
        self.offers = OFFERS - 1;
    }

    /// Ticks, and returns the result; `None` if there is no instance or no ticker. Missed ticks are
    /// skipped.
    pub fn tick(&mut self, now: Instant) -> Option<Result<(), String>> {
        self.plugin.code.hooks.tick.as_ref()?;
        let instance = self.instance.as_mut()?;
        self.next_tick = (self.next_tick + self.every).max(now);
        let unix_ms = self.plugin.clock.unix().as_millis();
        let start = Instant::now();
        let result = instance.tick(u64::try_from(unix_ms).unwrap_or(u64::MAX))?;
        Some(self.settle(Hook::Tick, start, result, now))
    }

    /// Publishes what the instance has asked to publish, if a rehearsal of the plugin accepts it.
    /// Returns `None` if there is nothing to publish, or the last publication was too recent.
    pub fn publish(&mut self, now: Instant) -> Option<Result<(), String>> {
        if self.staged.is_empty() || now < self.rests_until(now) {
            return None;
        }
        self.published = Some(now);
        let staged: Vec<_> = std::mem::take(&mut self.staged).into_iter().collect();
        match self.plugin.try_publications(&staged) {
            Ok(()) => {
                self.plugin.publications.replace(staged.into_iter());
                self.series.call(Hook::Data, Verdict::Ok);
                Some(Ok(()))
            }
            Err(reason) => {
                self.complain("publication refused; the last good version stays", &reason);
                Some(Err(reason))
            }
        }
    }

    /// Returns what has not been published yet, by name.
    pub fn staged(&self) -> &BTreeMap<Arc<str>, Arc<[u8]>> {
        &self.staged
    }

    /// Drops what has not been published yet.
    pub fn forget_staged(&mut self) {
        self.staged.clear();
    }

    /// Returns the earliest time of the next publication.
    pub fn rests_until(&self, now: Instant) -> Instant {
        self.published.map_or(now, |published| published + PUBLISH)
    }

    /// Returns the remaining fuel of the instance, on an engine that counts it.
    pub fn fuel(&self) -> Option<u64> {
        self.instance.as_ref()?.fuel()
    }

    /// Counts the batch and `queued` further outcomes as dropped.
    pub fn end(self, queued: usize) {
        self.series.count_dropped((self.batch.len() + queued) as u64);
        self.series.memory(0);
    }

    /// Counts a call, and stages what it has asked to publish.
    fn settle(
        &mut self,
        hook: Hook,
        start: Instant,
        result: Result<Result<(), String>, Failure>,
        now: Instant,
    ) -> Result<(), String> {
        match result {
            Ok(result) => {
                if let Some(instance) = &mut self.instance {
                    self.series.memory(instance.memory());
                    self.staged.append(&mut instance.take_staged());
                }
                self.probation.prove();
                let verdict = if result.is_ok() { Verdict::Ok } else { Verdict::Error };
                self.series.call(hook, verdict);
                self.series.duration(hook, verdict, start.elapsed());
                if let Err(reason) = &result {
                    self.complain("control instance reports an error", reason);
                }
                result
            }
            Err(failure) => {
                self.series.call(hook, Verdict::Error);
                self.series.error(hook, failure.cause);
                self.log(hook, &failure);
                self.let_go(now);
                Err(failure.to_string())
            }
        }
    }

    /// Drops the instance, which has failed.
    fn let_go(&mut self, now: Instant) {
        self.instance = None;
        self.series.memory(0);
        self.probation.fail();
        self.not_before = now + self.probation.pause();
        if self.probation.has_failed() {
            self.series.set_failed(true);
            let policy = &*self.plugin.name;
            tracing::error!(
                policy,
                "control instance has failed for good; the next reload starts it again"
            );
        }
    }

    /// Logs each cause once, so that a plugin that fails often does not fill the log.
    fn log(&mut self, hook: Hook, failure: &Failure) {
        let bit = 1 << failure.cause as u32;
        let (policy, cause, hook) = (&*self.plugin.name, failure.cause.name(), hook.name());
        if self.plugin.shutdown.has_begun() && failure.cause == Cause::Deadline {
            tracing::warn!(policy, hook, "interrupted a call; the daemon is stopping");
        } else if self.logged & bit == 0 {
            self.logged |= bit;
            tracing::error!(
                policy,
                hook,
                cause,
                detail = failure.detail,
                "control instance failed; further failures of this cause are only counted"
            );
        }
    }

    fn complain(&self, what: &str, reason: &(impl std::fmt::Display + ?Sized)) {
        let policy = &*self.plugin.name;
        tracing::warn!(policy, %reason, "{what}");
    }
}
