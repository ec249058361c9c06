//! The account of a call into a plugin.

use std::time::{Duration, Instant};

use crate::exchange::Asked;
use crate::policy::contract::bindings::imports::response::Scope;
use crate::policy::shared::shutdown::Shutdown;

/// The account of the current call.
#[derive(Default)]
pub struct Call {
    /// When the request came that it is about.
    pub moment: Option<Instant>,
    pub deadline: Duration,
    /// The clocks at the first tick of the engine during the call.
    pub first_tick: Option<Clocks>,
    /// The time that it has waited for anything outside.
    pub waited: Duration,
    /// Whether it began after the end of the process was announced.
    pub late: bool,
    /// Whether it was ended because its time was over.
    pub overdue: bool,
    /// The scope and the duration for which the plugin wants its verdict to be remembered.
    pub remember: Option<(Scope, Duration)>,
    /// What it has looked at, on which a remembered verdict depends, too.
    pub asked: Asked,
}

/// What the clocks show.
#[derive(Clone, Copy)]
pub struct Clocks {
    /// The processor time of this thread.
    pub processor: Duration,
    pub wall: Instant,
}

impl Call {
    /// Returns how much longer the call may wait; less if the process ends sooner.
    pub fn patience(&self, shutdown: Option<&Shutdown>) -> Duration {
        let left = self.deadline.saturating_sub(self.waited);
        let interrupt = shutdown.and_then(|shutdown| shutdown.interrupts(self.late));
        let interrupt = interrupt.map(|at| at.saturating_duration_since(Instant::now()));
        interrupt.map_or(left, |interrupt| interrupt.min(left))
    }
}
