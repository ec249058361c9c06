//! `karuta:policy/log`, and what a plugin writes to its standard output: into the host's log, with
//! bounds on the length of a line and on the lines a second.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::policy::bindings::imports::log::{Host, Level};
use crate::policy::plugin::Plugin;
use crate::policy::state::State;
use crate::text::cut;

/// Lines that may come at once, and lines that are gained a second.
const BURST: f64 = 50.0;
const PER_SECOND: f64 = 10.0;

/// The lines that one policy may write: all its instances together, those to come too, by whatever
/// way.
pub struct Allowance(Mutex<Left>);

struct Left {
    lines: f64,
    since: Instant,
    suppressed: u64,
}

/// Where the lines of one instance go.
pub struct Sink {
    policy: Arc<str>,
    allowance: Arc<Allowance>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self(Mutex::new(Left { lines: BURST, since: Instant::now(), suppressed: 0 }))
    }
}

impl Allowance {
    /// Takes one line, and says how many were left out before it; `None`: so is this one.
    fn take(&self) -> Option<u64> {
        let mut left = self.0.lock();
        let now = Instant::now();
        let gained = now.duration_since(left.since).as_secs_f64() * PER_SECOND;
        left.since = now;
        left.lines = (left.lines + gained).min(BURST);
        if left.lines < 1.0 {
            left.suppressed += 1;
            return None;
        }
        left.lines -= 1.0;
        Some(std::mem::take(&mut left.suppressed))
    }
}

impl Sink {
    pub fn new(plugin: &Plugin) -> Self {
        Self { policy: plugin.name.clone(), allowance: plugin.allowance.clone() }
    }

    pub fn write(&self, level: Level, message: String) {
        if !enabled(level) {
            return;
        }
        let Some(suppressed) = self.allowance.take() else { return };
        let policy = &*self.policy;
        if suppressed > 0 {
            tracing::warn!(policy, lines = suppressed, "log lines of a plugin left out");
        }
        let message = cut(message);
        match level {
            Level::Trace => tracing::trace!(target: "plugin", policy, "{message}"),
            Level::Debug => tracing::debug!(target: "plugin", policy, "{message}"),
            Level::Info => tracing::info!(target: "plugin", policy, "{message}"),
            Level::Warn => tracing::warn!(target: "plugin", policy, "{message}"),
            Level::Error => tracing::error!(target: "plugin", policy, "{message}"),
        }
    }
}

fn enabled(level: Level) -> bool {
    match level {
        Level::Trace => tracing::enabled!(target: "plugin", tracing::Level::TRACE),
        Level::Debug => tracing::enabled!(target: "plugin", tracing::Level::DEBUG),
        Level::Info => tracing::enabled!(target: "plugin", tracing::Level::INFO),
        Level::Warn => tracing::enabled!(target: "plugin", tracing::Level::WARN),
        Level::Error => tracing::enabled!(target: "plugin", tracing::Level::ERROR),
    }
}

impl Host for State {
    fn enabled(&mut self, level: Level) -> bool {
        enabled(level)
    }

    fn write(&mut self, level: Level, message: String) {
        self.log.write(level, message);
    }
}
