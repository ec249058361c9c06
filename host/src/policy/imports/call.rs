//! The account of one call into a plugin.

use std::time::{Duration, Instant};

use crate::policy::contract::bindings::imports::response::Scope;
use crate::policy::shared::shutdown::Shutdown;

/// The account of the call under way.
#[derive(Default)]
pub struct Call {
    pub deadline: Duration,
    /// What the clocks said when the first tick of the engine fell into the call.
    pub account: Option<Account>,
    /// How long it has waited for what is outside of it.
    pub waited: Duration,
    /// It began when the end of the process was announced already.
    pub late: bool,
    /// The call was ended because its time was over.
    pub overdue: bool,
    /// For which requests the plugin wants its verdict to hold, and how long.
    pub remember: Option<(Scope, Duration)>,
}

#[derive(Clone, Copy)]
pub struct Account {
    /// Time that this thread had spent on a processor.
    pub processor: Duration,
    pub wall: Instant,
}

impl Call {
    /// How long the call may wait, beside what it has waited already; less where the end of the
    /// process comes first.
    pub fn patience(&self, shutdown: Option<&Shutdown>) -> Duration {
        let left = self.deadline.saturating_sub(self.waited);
        let interrupt = shutdown.and_then(|shutdown| shutdown.interrupts(self.late));
        let interrupt = interrupt.map(|at| at.saturating_duration_since(Instant::now()));
        interrupt.map_or(left, |interrupt| interrupt.min(left))
    }
}
