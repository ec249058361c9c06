//! Control instances: one for each policy that ticks or observes, on a thread of its own, off the
//! request path.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::probation::Probation;
use crate::metrics::{self, Cause, Hook, Verdict};
use crate::policy::component::THREAD_STACK;
use crate::policy::contract::Role;
use crate::policy::instance::{Failure, Instance, Place, Plugin};
use crate::policy::shared::inbox::{Receiver, Sender, inbox};
use crate::policy::shared::outcome::{Difference, Outcome};

/// Outcomes of a batch, bytes of them, and how long the first of one waits for others.
const BATCH: usize = 1000;
const BATCH_BYTES: usize = 512 * 1024;
const LINGER: Duration = Duration::from_millis(200);
/// How often a batch is offered.
const OFFERS: u32 = 3;
/// Every publication has instances made anew: at most so often.
const PUBLISH: Duration = Duration::from_secs(1);

/// The ids of outcomes grow while the daemon runs.
static LAST_ID: AtomicU64 = AtomicU64::new(0);

/// The thread of a control instance. It is told what is queued, and ends, when this is dropped.
pub struct Control {
    inbox: Sender,
    observes: bool,
    dropped: Arc<AtomicU64>,
}

impl Control {
    pub fn start(
        plugin: Arc<Plugin>,
        workers: u32,
        every: Duration,
        series: Arc<metrics::PolicySeries>,
    ) -> std::io::Result<Self> {
        let (inbox, received) = inbox();
        let presence = plugin.shutdown.enter(plugin.name.clone(), inbox.clone());
        let observes = plugin.code.hooks.observe.is_some();
        let dropped = series.dropped();
        let name = format!("control-{}", plugin.name);
        let control = ControlLoop {
            place: Place { role: Role::Control, worker: 0, workers },
            plugin,
            series,
            instance: None,
            probation: Probation::default(),
            not_before: Instant::now(),
            every,
            next_tick: Instant::now(),
            batch: Vec::new(),
            bytes: 0,
            first: None,
            offers: 0,
            staged: Vec::new(),
            published: None,
            logged: 0,
            unfit: None,
        };
        let work = move || {
            control.work(&received);
            drop(presence);
        };
        let thread = std::thread::Builder::new().name(name).stack_size(THREAD_STACK);
        thread.spawn(work)?;
        Ok(Self { inbox, observes, dropped })
    }

    pub fn observes(&self) -> bool {
        self.observes
    }

    /// Has the observer be told, if there is room in its queue. Never waits.
    pub fn tell(&self, outcome: Outcome) {
        if !self.inbox.tell(outcome) {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Has the instance be called every so often from now on.
    pub fn tick_every(&self, every: Duration) {
        self.inbox.command(|commands| commands.every = Some(every));
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.inbox.command(|commands| commands.end = true);
    }
}

/// What the thread works on.
struct ControlLoop {
    place: Place,
    plugin: Arc<Plugin>,
    series: Arc<metrics::PolicySeries>,
    instance: Option<Instance>,
    probation: Probation,
    /// When the next instance is made.
    not_before: Instant,
    every: Duration,
    next_tick: Instant,
    batch: Vec<(u64, Difference, Box<Outcome>)>,
    /// Bytes of the outcomes in it.
    bytes: usize,
    /// When the first outcome of the batch came.
    first: Option<Instant>,
    /// How often the batch was offered.
    offers: u32,
    /// What the instance wants published.
    staged: Vec<(Arc<str>, Arc<[u8]>)>,
    /// When the last publications were handed on.
    published: Option<Instant>,
    /// Causes that the log has seen, a bit each.
    logged: u32,
    /// The version of the raw data that no new instance came up with.
    unfit: Option<u64>,
}

impl ControlLoop {
    fn work(mut self, inbox: &Receiver) {
        loop {
            let now = Instant::now();
            let wait = self.due(now).saturating_duration_since(now);
            if let Some(outcome) = inbox.wait(wait) {
                self.enter(outcome);
                self.fill(inbox);
            }
            let commands = inbox.commands();
            if let Some(every) = commands.every {
                self.next_tick = Instant::now().max(self.next_tick - self.every + every);
                self.every = every;
            }
            if commands.end || self.plugin.shutdown.is_last() {
                return self.finish(inbox);
            }
            self.freshen();
            self.observe(false);
            self.tick();
            self.publish();
        }
    }

    fn is_full(&self) -> bool {
        self.batch.len() >= BATCH || self.bytes >= BATCH_BYTES
    }

    /// Has the batch grow by what is there.
    fn fill(&mut self, inbox: &Receiver) {
        while !self.is_full()
            && let Some(outcome) = inbox.next()
        {
            self.enter(outcome);
        }
    }

    /// When there is something to do, whatever comes.
    fn due(&self, now: Instant) -> Instant {
        // New data is looked for now and then.
        let mut due = now + Duration::from_millis(500);
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
            due = due.min(self.published.map_or(now, |published| published + PUBLISH));
        }
        due
    }

    fn enter(&mut self, outcome: Box<Outcome>) {
        if self.is_full() {
            // There is no instance to take them.
            self.series.count_dropped(1);
            return;
        }
        let lifetime = self.plugin.tracker.peer_lifetime;
        let difference = self.plugin.ledger.lock().enter(&outcome, lifetime);
        let id = LAST_ID.fetch_add(1, Relaxed) + 1;
        self.first.get_or_insert_with(Instant::now);
        self.bytes += outcome.size();
        self.batch.push((id, difference, outcome));
    }

    /// Has an instance with the newest raw data, if any will come up.
    fn freshen(&mut self) {
        let version = self.plugin.raw_version();
        let is_stale = self.instance.as_ref().is_some_and(|instance| instance.fed() != version);
        if is_stale && self.unfit != Some(version) {
            match Instance::with_data(&self.plugin, self.place) {
                Ok(fresh) => self.instance = Some(fresh),
                Err(reason) => {
                    self.unfit = Some(version);
                    self.complain("a new control instance did not come up", &reason.to_string());
                }
            }
        }
        if self.instance.is_some()
            || self.probation.has_failed()
            || Instant::now() < self.not_before
        {
            return;
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
            }
            Err(reason) => {
                self.complain("the control instance did not come up", &reason.to_string());
                self.let_go();
            }
        }
    }

    fn observe(&mut self, at_once: bool) {
        let full = self.is_full();
        let due = self.first.is_some_and(|first| full || at_once || first.elapsed() >= LINGER);
        let Some(instance) = self.instance.as_mut().filter(|_| due) else { return };
        self.offers += 1;
        let start = Instant::now();
        let result = instance.observe(&self.batch);
        let taken = self.settle(Hook::Observe, start, result);
        if taken || self.offers >= OFFERS {
            if !taken {
                self.series.count_dropped(self.batch.len() as u64);
            }
            self.batch.clear();
            self.bytes = 0;
            self.first = None;
            self.offers = 0;
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let ends = self.plugin.shutdown.has_begun();
        if self.plugin.code.hooks.tick.is_none() || now < self.next_tick || ends {
            return;
        }
        let Some(instance) = self.instance.as_mut() else { return };
        // Ticks that were missed are not made up for.
        self.next_tick = (self.next_tick + self.every).max(now);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let result = instance.tick(u64::try_from(unix.as_millis()).unwrap_or(u64::MAX));
        self.settle(Hook::Tick, now, result);
    }

    /// Counts a call, and does what it asks for; whether it went well.
    fn settle(
        &mut self,
        hook: Hook,
        start: Instant,
        result: Option<Result<Result<(), String>, Failure>>,
    ) -> bool {
        match result {
            None => true,
            Some(Ok(result)) => {
                if let Some(instance) = &mut self.instance {
                    self.series.memory(instance.memory());
                    for (name, bytes) in instance.take_staged() {
                        self.staged.retain(|(known, _)| *known != name);
                        self.staged.push((name, bytes));
                    }
                }
                self.probation.prove();
                let verdict = if result.is_ok() { Verdict::Ok } else { Verdict::Error };
                self.series.call(hook, verdict);
                self.series.duration(hook, verdict, start.elapsed());
                if let Err(reason) = &result {
                    self.complain("a policy's control instance reports an error", reason);
                }
                result.is_ok()
            }
            Some(Err(failure)) => {
                self.series.call(hook, Verdict::Error);
                self.series.error(hook, failure.cause);
                let bit = 1 << failure.cause as u32;
                if self.plugin.shutdown.has_begun() && failure.cause == Cause::Deadline {
                    let (policy, hook) = (&*self.plugin.name, hook.name());
                    tracing::warn!(policy, hook, "a call is interrupted, for the daemon ends");
                } else if self.logged & bit == 0 {
                    self.logged |= bit;
                    let (policy, cause) = (&*self.plugin.name, failure.cause.name());
                    let (hook, detail) = (hook.name(), &failure.detail);
                    tracing::error!(
                        policy,
                        hook,
                        cause,
                        detail,
                        "a policy's control instance failed; further failures of this cause are only counted"
                    );
                }
                self.let_go();
                false
            }
        }
    }

    /// Lets go of the instance, because it is of no use any more.
    fn let_go(&mut self) {
        self.instance = None;
        self.series.memory(0);
        self.probation.fail();
        self.not_before = Instant::now() + self.probation.pause();
        if self.probation.has_failed() {
            self.series.set_failed(true);
            let policy = &*self.plugin.name;
            tracing::error!(policy, "the control instance has failed for good, until a reload");
        }
    }

    /// Hands on what the instance wants published, if a trial takes it.
    fn publish(&mut self) {
        let resting = self.published.is_some_and(|published| published.elapsed() < PUBLISH);
        if self.staged.is_empty() || resting {
            return;
        }
        self.published = Some(Instant::now());
        let staged = std::mem::take(&mut self.staged);
        match self.plugin.try_publications(&staged) {
            Ok(()) => {
                self.plugin.publications.replace(staged.into_iter());
                self.series.call(Hook::Data, Verdict::Ok);
            }
            Err(reason) => {
                self.complain("what was published is refused, the last good version stays", &reason)
            }
        }
    }

    /// Offers what is queued once more, for as long as a call may take. What takes longer is left.
    fn finish(mut self, inbox: &Receiver) {
        let end = Instant::now() + self.plugin.identity.limits.control;
        while Instant::now() < end {
            self.fill(inbox);
            if self.batch.is_empty() {
                break;
            }
            // The last call may have taken the instance with it.
            self.freshen();
            if self.instance.is_none() {
                break;
            }
            self.offers = OFFERS - 1;
            self.observe(true);
        }
        let left = self.batch.len() + std::iter::from_fn(|| inbox.next()).count();
        self.series.count_dropped(left as u64);
        self.series.memory(0);
    }

    fn complain(&self, what: &str, reason: &str) {
        let policy = &*self.plugin.name;
        tracing::warn!(policy, reason, "{what}");
    }
}
