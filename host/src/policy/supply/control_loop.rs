//! What a control instance is called for, and when: a state machine that is handed the time. A thread
//! drives it in the tracker (`control.rs`), a trial in `karuta plugin test`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::probation::Probation;
use crate::metrics::{Cause, Hook, PolicySeries, Verdict};
use crate::policy::contract::Role;
use crate::policy::instance::{Failure, Instance, InstanceError, Place, Plugin};
use crate::policy::shared::outcome::{Difference, Outcome};

/// Outcomes of a batch, bytes of them, and how long the first of one waits for others.
const BATCH: usize = 1000;
const BATCH_BYTES: usize = 512 * 1024;
const LINGER: Duration = Duration::from_millis(200);
/// How often a batch is offered.
const OFFERS: u32 = 3;
/// Each publication renews all instances, so there is at most one in this time.
const PUBLISH: Duration = Duration::from_secs(1);
/// How often a loop without work looks for new data.
const LOOK: Duration = Duration::from_millis(500);

/// An outcome with its id, as an observer is told of it.
pub type Told = (u64, Difference, Box<Outcome>);

/// The control instance of one policy, and what waits for it.
pub struct ControlLoop {
    plugin: Arc<Plugin>,
    place: Place,
    series: Arc<PolicySeries>,
    instance: Option<Instance>,
    probation: Probation,
    /// When the next instance is made.
    not_before: Instant,
    every: Duration,
    next_tick: Instant,
    batch: Vec<Told>,
    /// Bytes of the outcomes in it.
    bytes: usize,
    /// When the first outcome of the batch came.
    first: Option<Instant>,
    /// How often the batch was offered.
    offers: u32,
    /// What the instance wants published.
    staged: BTreeMap<Arc<str>, Arc<[u8]>>,
    /// When the last publications were handed on.
    published: Option<Instant>,
    /// Causes that the log has seen, a bit each.
    logged: u32,
    /// The version of the raw data that no new instance came up with.
    unfit: Option<u64>,
}

impl ControlLoop {
    /// Makes a loop without an instance, which ticks at once and then `every` so often.
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

    /// Ticks `every` so often from now on, counted from the last tick.
    pub fn tick_every(&mut self, every: Duration, now: Instant) {
        self.next_tick = now.max(self.next_tick - self.every + every);
        self.every = every;
    }

    /// When there is something to do, whatever comes.
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

    /// Does what is due: makes an instance, offers the batch, ticks, publishes.
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

    /// Whether the batch takes no more outcomes.
    pub fn is_full(&self) -> bool {
        self.batch.len() >= BATCH || self.bytes >= BATCH_BYTES
    }

    /// The outcomes that wait to be offered.
    pub fn batch(&self) -> &[Told] {
        &self.batch
    }

    /// Puts outcomes back that were offered before, in the place of those that wait.
    pub fn restore(&mut self, batch: Vec<Told>, now: Instant) {
        self.bytes = batch.iter().map(|(.., outcome)| outcome.size()).sum();
        self.first = (!batch.is_empty()).then_some(now);
        self.offers = 0;
        self.batch = batch;
    }

    /// Adds an outcome to the batch; drops it if the batch is full, which has no instance to take it.
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

    /// Makes an instance with the newest raw data, unless there is one that has it, or the last ones
    /// failed too recently. The log has the error, too.
    pub fn freshen(&mut self, now: Instant) -> Result<(), InstanceError> {
        let version = self.plugin.raw_version();
        let is_stale = self.instance.as_ref().is_some_and(|instance| instance.fed() != version);
        if is_stale && self.unfit != Some(version) {
            match Instance::with_data(&self.plugin, self.place) {
                Ok(fresh) => self.instance = Some(fresh),
                Err(reason) => {
                    self.unfit = Some(version);
                    self.complain("cannot renew control instance; the old one goes on", &reason);
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

    /// Whether there is an instance to call.
    pub fn has_instance(&self) -> bool {
        self.instance.is_some()
    }

    /// How long after `now` the next instance is made; `None`: no more are.
    pub fn pause(&self, now: Instant) -> Option<Duration> {
        let pause = self.not_before.saturating_duration_since(now);
        (!self.probation.has_failed()).then_some(pause)
    }

    /// Offers the batch: `None` if there is no instance or no observer; else how it went. A batch that
    /// is not taken stays, and is dropped after the third time.
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

    /// Drops the batch after its next offer, whatever becomes of that.
    pub fn offer_once_more(&mut self) {
        self.offers = OFFERS - 1;
    }

    /// Ticks: `None` if there is no instance or no ticker; else how it went. Ticks that were missed
    /// are not made up for.
    pub fn tick(&mut self, now: Instant) -> Option<Result<(), String>> {
        self.plugin.code.hooks.tick.as_ref()?;
        let instance = self.instance.as_mut()?;
        self.next_tick = (self.next_tick + self.every).max(now);
        let unix_ms = self.plugin.clock.unix().as_millis();
        let start = Instant::now();
        let result = instance.tick(u64::try_from(unix_ms).unwrap_or(u64::MAX))?;
        Some(self.settle(Hook::Tick, start, result, now))
    }

    /// Hands on what the instance wants published, if the plugin's rehearsal takes it; `None` if there
    /// is nothing, or the last publication was too recent.
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
                self.complain("refused what was published; the last good version stays", &reason);
                Some(Err(reason))
            }
        }
    }

    /// What waits to be published, by name.
    pub fn staged(&self) -> &BTreeMap<Arc<str>, Arc<[u8]>> {
        &self.staged
    }

    /// Forgets what waits to be published.
    pub fn forget_staged(&mut self) {
        self.staged.clear();
    }

    /// When the next publication may be handed on.
    pub fn rests_until(&self, now: Instant) -> Instant {
        self.published.map_or(now, |published| published + PUBLISH)
    }

    /// The fuel that the instance has left, on an engine that counts it.
    pub fn fuel(&self) -> Option<u64> {
        self.instance.as_ref()?.fuel()
    }

    /// Counts what is left as dropped.
    pub fn end(self, queued: usize) {
        self.series.count_dropped((self.batch.len() + queued) as u64);
        self.series.memory(0);
    }

    /// Counts a call, and takes down what it asks for.
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

    /// Lets go of the instance, which is lost.
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
                "control instance failed for good; it starts again at a reload"
            );
        }
    }

    /// Logs each cause once, because a plugin that fails often would fill the log.
    fn log(&mut self, hook: Hook, failure: &Failure) {
        let bit = 1 << failure.cause as u32;
        let (policy, cause, hook) = (&*self.plugin.name, failure.cause.name(), hook.name());
        if self.plugin.shutdown.has_begun() && failure.cause == Cause::Deadline {
            tracing::warn!(policy, hook, "interrupted a call because the daemon stops");
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
