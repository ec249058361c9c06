//! `karuta:policy/log`, and what a plugin writes to its standard output: into the host's log, with
//! bounds on the length of a line and on the lines a second.

use std::sync::Arc;
use std::time::Instant;

use crate::policy::bindings::imports::log::{Host, Level};
use crate::policy::state::State;

/// Bytes of a line.
const LINE: usize = 4096;
/// Lines that may come at once, and lines that one instance gains a second.
const BURST: f64 = 50.0;
const PER_SECOND: f64 = 10.0;

/// Where the lines of one instance go.
pub struct Sink {
    policy: Arc<str>,
    allowance: f64,
    since: Instant,
    suppressed: u64,
}

impl Sink {
    pub fn new(policy: Arc<str>) -> Self {
        Self { policy, allowance: BURST, since: Instant::now(), suppressed: 0 }
    }

    pub fn write(&mut self, level: Level, message: &str) {
        if !enabled(level) {
            return;
        }
        let now = Instant::now();
        let gained = now.duration_since(self.since).as_secs_f64() * PER_SECOND;
        self.since = now;
        self.allowance = (self.allowance + gained).min(BURST);
        if self.allowance < 1.0 {
            self.suppressed += 1;
            return;
        }
        self.allowance -= 1.0;
        let policy = &*self.policy;
        if self.suppressed > 0 {
            tracing::warn!(policy, lines = self.suppressed, "log lines of a plugin left out");
            self.suppressed = 0;
        }
        let message = &message[..message.floor_char_boundary(LINE)];
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
        self.log.write(level, &message);
    }
}
