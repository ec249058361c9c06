//! Control instances: one for each policy that ticks or observes, on a thread of its own, off the
//! request path.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::engine::THREAD_STACK;
use super::instance::{Failure, Instance, Place, Role};
use super::ledger::{Difference, Outcome};
use super::plugin::Plugin;
use super::supply::{FRUITLESS, PAUSE};
use crate::metrics::{self, Hook, Verdict};

/// Outcomes that wait for their observer; what comes beyond them is dropped and counted.
const QUEUE: usize = 16 * 1024;
/// Outcomes of a batch, and how long the first of one waits for others.
const BATCH: usize = 1000;
const LINGER: Duration = Duration::from_millis(200);
/// How often a batch is offered.
const OFFERS: u32 = 3;
/// Every publication has instances made anew: at most so often.
const PUBLISH: Duration = Duration::from_secs(1);
/// How long outcomes that are queued at the end may take, in deadlines of `limits.control`.
const LAST_CALLS: u32 = 1;

/// The ids of outcomes grow while the daemon runs.
static LAST_ID: AtomicU64 = AtomicU64::new(0);

/// The thread of a control instance, which ends with the last of these.
pub struct Control {
    orders: SyncSender<Order>,
    observes: bool,
    dropped: Arc<AtomicU64>,
    thread: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

enum Order {
    Outcome(Box<Outcome>),
    /// Tick so often from now on.
    Every(Duration),
    /// Call the observer once more, and end.
    End,
}

impl Control {
    pub fn start(
        plugin: Arc<Plugin>,
        workers: u32,
        every: Duration,
        series: Arc<metrics::Policy>,
    ) -> std::io::Result<Self> {
        let (orders, queue) = sync_channel(QUEUE);
        let observes = plugin.code.hooks.observe.is_some();
        let dropped = series.dropped();
        let name = format!("control-{}", plugin.name);
        let desk = Desk {
            place: Place { role: Role::Control, worker: 0, workers },
            plugin,
            series,
            instance: None,
            fruitless: 0,
            proven: false,
            not_before: Instant::now(),
            every,
            next_tick: Instant::now(),
            batch: Vec::new(),
            first: None,
            offers: 0,
            staged: Vec::new(),
            published: None,
            logged: 0,
        };
        let thread = std::thread::Builder::new().name(name).stack_size(THREAD_STACK);
        let thread = thread.spawn(move || desk.work(&queue))?;
        Ok(Self { orders, observes, dropped, thread: Some(thread).into() })
    }

    pub fn observes(&self) -> bool {
        self.observes
    }

    /// Has the observer be told, if there is room in its queue. Never waits.
    pub fn tell(&self, outcome: Outcome) {
        if let Err(TrySendError::Full(_)) = self.orders.try_send(Order::Outcome(outcome.into())) {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Has the instance be called every so often from now on.
    pub fn tick_every(&self, every: Duration) {
        let _ = self.orders.send(Order::Every(every));
    }

    /// Offers what is queued once more, and waits for the end.
    pub fn finish(&self) {
        let _ = self.orders.send(Order::End);
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

/// What the thread works on.
struct Desk {
    place: Place,
    plugin: Arc<Plugin>,
    series: Arc<metrics::Policy>,
    instance: Option<Instance>,
    /// Instances in a row that failed without one call that returned.
    fruitless: u32,
    /// The instance has returned from a call.
    proven: bool,
    /// When the next instance is made.
    not_before: Instant,
    every: Duration,
    next_tick: Instant,
    batch: Vec<(u64, Difference, Box<Outcome>)>,
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
}

impl Desk {
    fn work(mut self, queue: &Receiver<Order>) {
        loop {
            let now = Instant::now();
            let wait = self.due(now).saturating_duration_since(now);
            match queue.recv_timeout(wait) {
                Ok(Order::Outcome(outcome)) => {
                    self.enter(outcome);
                    while self.batch.len() < BATCH {
                        match queue.try_recv() {
                            Ok(Order::Outcome(outcome)) => self.enter(outcome),
                            Ok(order) => {
                                if self.obey(order) {
                                    return self.finish(queue);
                                }
                            }
                            Err(_) => break,
                        }
                    }
                }
                Ok(order) => {
                    if self.obey(order) {
                        return self.finish(queue);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.finish(queue),
            }
            self.freshen();
            self.observe(false);
            self.tick();
            self.publish();
        }
    }

    /// Whether the order is to end.
    fn obey(&mut self, order: Order) -> bool {
        match order {
            Order::Outcome(outcome) => self.enter(outcome),
            Order::Every(every) => {
                self.next_tick = Instant::now().max(self.next_tick - self.every + every);
                self.every = every;
            }
            Order::End => return true,
        }
        false
    }

    /// When there is something to do, whatever comes.
    fn due(&self, now: Instant) -> Instant {
        // New data is looked for now and then.
        let mut due = now + Duration::from_millis(500);
        let gone = self.instance.is_none();
        let hooks = &self.plugin.code.hooks;
        let held = |at: Instant| if gone { at.max(self.not_before) } else { at };
        if self.has_failed() {
            return due;
        }
        if hooks.tick.is_some() {
            due = due.min(held(self.next_tick));
        }
        if let Some(first) = self.first {
            due = due.min(held(if self.batch.len() >= BATCH { now } else { first + LINGER }));
        }
        if !self.staged.is_empty() {
            due = due.min(self.published.map_or(now, |published| published + PUBLISH));
        }
        due
    }

    fn has_failed(&self) -> bool {
        self.fruitless >= FRUITLESS
    }

    fn enter(&mut self, outcome: Box<Outcome>) {
        if self.batch.len() >= BATCH {
            // There is no instance to take them.
            self.series.count_dropped(1);
            return;
        }
        let lifetime = self.plugin.scope.peer_lifetime;
        let difference = self.plugin.ledger.lock().enter(&outcome, lifetime);
        let id = LAST_ID.fetch_add(1, Relaxed) + 1;
        self.first.get_or_insert_with(Instant::now);
        self.batch.push((id, difference, outcome));
    }

    /// Has an instance with the newest raw data, if any will come up.
    fn freshen(&mut self) {
        let version = self.plugin.raw_version();
        if self.instance.as_ref().is_some_and(|instance| instance.fed() != version) {
            match Instance::with_data(&self.plugin, self.place) {
                Ok(fresh) => self.instance = Some(fresh),
                Err(reason) => self.complain("a new control instance did not come up", &reason),
            }
        }
        if self.instance.is_some() || self.has_failed() || Instant::now() < self.not_before {
            return;
        }
        match Instance::with_data(&self.plugin, self.place) {
            Ok(instance) => {
                if self.fruitless > 0 || self.proven {
                    self.series.restart();
                } else {
                    self.series.call(Hook::Init, Verdict::Ok);
                }
                self.series.memory(instance.memory());
                self.proven = false;
                self.instance = Some(instance);
            }
            Err(reason) => {
                self.complain("the control instance did not come up", &reason);
                self.let_go();
            }
        }
    }

    fn observe(&mut self, at_once: bool) {
        let full = self.batch.len() >= BATCH;
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
            self.first = None;
            self.offers = 0;
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.plugin.code.hooks.tick.is_none() || now < self.next_tick {
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
                self.proven = true;
                self.fruitless = 0;
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
                if self.logged & bit == 0 {
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
        if !self.proven {
            self.fruitless += 1;
        }
        let pause = match self.fruitless {
            0 | 1 => Duration::ZERO,
            n => PAUSE * 2_u32.pow(n.min(FRUITLESS) - 2),
        };
        self.not_before = Instant::now() + pause;
        if self.has_failed() {
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
                self.series.call(Hook::Data, Verdict::Error);
                self.complain(
                    "what was published is refused, the last good version stays",
                    &reason,
                );
            }
        }
    }

    /// Offers what is queued once more. What takes too long is left.
    fn finish(mut self, queue: &Receiver<Order>) {
        let end = Instant::now() + self.plugin.identity.limits.control * LAST_CALLS;
        while Instant::now() < end && self.instance.is_some() {
            while self.batch.len() < BATCH
                && let Ok(order) = queue.try_recv()
            {
                self.obey(order);
            }
            if self.batch.is_empty() {
                break;
            }
            self.offers = OFFERS - 1;
            self.observe(true);
        }
        let left = self.batch.len() + queue.try_iter().count();
        self.series.count_dropped(left as u64);
        self.series.memory(0);
    }

    fn complain(&self, what: &str, reason: &str) {
        let policy = &*self.plugin.name;
        tracing::warn!(policy, reason, "{what}");
    }
}
