//! The service manager's watchdog, which restarts a process that no longer works.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::Notifier;

/// A sign of life of one thread.
#[derive(Clone, Default)]
pub struct Pulse(Arc<AtomicBool>);

impl Pulse {
    /// Tells that the thread is working.
    pub fn beat(&self) {
        self.0.store(true, Relaxed);
    }
}

/// Feeds the watchdog as long as all threads show signs of life.
pub struct Watchdog {
    /// The time without food after which it acts.
    timeout: Duration,
    pulses: Vec<Pulse>,
    notifier: Notifier,
}

/// How many times within the watchdog's time the threads are looked at.
const LOOKS: u32 = 4;
/// The shortest time between two looks.
const SHORTEST: Duration = Duration::from_millis(100);

impl Watchdog {
    /// Returns the watchdog that the service manager wants to be fed, if any.
    pub fn of_environment(pulses: Vec<Pulse>, notifier: Notifier) -> Option<Self> {
        let number = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
        let microseconds = number("WATCHDOG_USEC").filter(|time| *time > 0)?;
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let timeout = Duration::from_micros(microseconds);
        (is_ours && notifier.is_present()).then_some(Self { timeout, pulses, notifier })
    }

    /// Feeds until the task is dropped.
    pub async fn run(self) {
        let mut look = tokio::time::interval((self.timeout / LOOKS).max(SHORTEST));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            if self.all_alive() {
                self.notifier.feed_watchdog();
            }
        }
    }

    /// Returns whether every thread has shown a sign since this last returned `true`.
    fn all_alive(&self) -> bool {
        let alive = self.pulses.iter().all(|pulse| pulse.0.load(Relaxed));
        if alive {
            self.pulses.iter().for_each(|pulse| pulse.0.store(false, Relaxed));
        }
        alive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_must_have_been_seen_since_the_last_time() {
        let pulses = vec![Pulse::default(), Pulse::default()];
        let (timeout, notifier) = (Duration::from_secs(1), Notifier::default());
        let watchdog = Watchdog { timeout, pulses: pulses.clone(), notifier };
        assert!(!watchdog.all_alive());
        pulses[0].beat();
        assert!(!watchdog.all_alive(), "one of two");
        pulses[1].beat();
        assert!(watchdog.all_alive(), "both, though at different times");
        assert!(!watchdog.all_alive(), "not since");
    }
}
