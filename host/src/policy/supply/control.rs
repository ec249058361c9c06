//! Control instances: one for each policy that ticks or observes, on a thread of its own, off the
//! request path.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::control_loop::ControlLoop;
use crate::metrics;
use crate::policy::component::THREAD_STACK;
use crate::policy::instance::Plugin;
use crate::policy::shared::inbox::{Receiver, Sender, inbox};
use crate::policy::shared::outcome::Outcome;
use crate::policy::shared::shutdown::Shutdown;
use crate::process;

/// The thread of a control instance. When this is dropped, it offers what is queued and ends.
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
        let shutdown = plugin.shutdown.clone();
        let limit = plugin.identity.limits.control;
        let control = ControlLoop::new(plugin, workers, every, series, Instant::now());
        let work = move || {
            process::lower_priority(process::BEHIND);
            work(control, &received, &shutdown, limit);
            drop(presence);
        };
        let thread = std::thread::Builder::new().name(name).stack_size(THREAD_STACK);
        thread.spawn(work)?;
        Ok(Self { inbox, observes, dropped })
    }

    pub fn observes(&self) -> bool {
        self.observes
    }

    /// Queues an outcome for the observer; drops it if the queue is full. Never waits.
    pub fn tell(&self, outcome: Outcome) {
        if !self.inbox.tell(outcome) {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Sets how often the instance ticks from now on.
    pub fn tick_every(&self, every: Duration) {
        self.inbox.command(|commands| commands.every = Some(every));
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.inbox.command(|commands| commands.end = true);
    }
}

fn work(mut control: ControlLoop, inbox: &Receiver, shutdown: &Shutdown, limit: Duration) {
    loop {
        let now = Instant::now();
        let wait = control.due(now).saturating_duration_since(now);
        if let Some(outcome) = inbox.wait(wait) {
            control.enter(outcome, Instant::now());
            fill(&mut control, inbox);
        }
        let commands = inbox.commands();
        if let Some(every) = commands.every {
            control.tick_every(every, Instant::now());
        }
        if commands.end || shutdown.is_last() {
            return finish(control, inbox, limit);
        }
        control.advance(Instant::now());
    }
}

/// Fills the batch with what is queued.
fn fill(control: &mut ControlLoop, inbox: &Receiver) {
    while !control.is_full()
        && let Some(outcome) = inbox.next()
    {
        control.enter(outcome, Instant::now());
    }
}

/// Offers what is queued once more, for as long as one call may take, and counts the rest as dropped.
fn finish(mut control: ControlLoop, inbox: &Receiver, limit: Duration) {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        fill(&mut control, inbox);
        if control.batch().is_empty() {
            break;
        }
        // The last call may have taken the instance with it.
        let _ = control.freshen(Instant::now());
        if !control.has_instance() {
            break;
        }
        control.offer_once_more();
        control.observe(Instant::now());
    }
    let queued = std::iter::from_fn(|| inbox.next()).count();
    control.end(queued);
}
