//! `karuta:policy/log` and a plugin's standard output: writes to the host's log, with limits on the
//! length of a line and on the lines per second.

use std::sync::Arc;

use wasmtime::component::HasData;

use crate::log;
use crate::policy::contract::bindings::imports::log::{Host, Level};
use crate::policy::shared::allowance::Allowance;
use crate::text::cut;

/// The destination of one instance's lines.
#[derive(Clone)]
pub struct Sink {
    policy: Arc<str>,
    allowance: Arc<Allowance>,
}

impl Sink {
    pub fn new(policy: &Arc<str>, allowance: &Arc<Allowance>) -> Self {
        Self { policy: policy.clone(), allowance: allowance.clone() }
    }

    pub fn write(&self, level: Level, message: String) {
        if !enabled(&self.policy, level) {
            return;
        }
        let Some(suppressed) = self.allowance.take() else { return };
        let policy = &*self.policy;
        if suppressed > 0 {
            tracing::warn!(
                policy,
                lines = suppressed,
                "dropped log lines; the plugin logs too much"
            );
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

/// Returns whether a policy's line of a level is logged.
fn enabled(policy: &str, level: Level) -> bool {
    macro_rules! passes {
        ($level:expr) => {
            tracing::enabled!(target: "plugin", $level) && log::allows(policy, $level)
        };
    }
    match level {
        Level::Trace => passes!(tracing::Level::TRACE),
        Level::Debug => passes!(tracing::Level::DEBUG),
        Level::Info => passes!(tracing::Level::INFO),
        Level::Warn => passes!(tracing::Level::WARN),
        Level::Error => passes!(tracing::Level::ERROR),
    }
}

/// The log, within one policy's limits.
pub struct View<'a> {
    pub log: &'a Sink,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

impl Host for View<'_> {
    fn enabled(&mut self, level: Level) -> bool {
        enabled(&self.log.policy, level)
    }

    fn write(&mut self, level: Level, message: String) {
        self.log.write(level, message);
    }
}
