//! Everything that creates and keeps the instances of one policy.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::control::Control;
use super::slot::Supplier;
use crate::metrics;
use crate::policy::instance::Plugin;

/// The supplier of a policy's instances and, once its generation serves, its control instance.
pub struct Service {
    supplier: Arc<Supplier>,
    /// Only if the plugin has hooks for it.
    control: OnceLock<Control>,
}

/// A tick interval that no trial of a generation lasts.
const REST: Duration = Duration::from_hours(365 * 24);

impl Service {
    /// Starts the thread that creates instances. It ends with the last service and slot of the
    /// plugin.
    pub fn start(plugin: Arc<Plugin>) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self { supplier: Supplier::start(plugin)?, control: OnceLock::new() }))
    }

    pub fn supplier(&self) -> &Arc<Supplier> {
        &self.supplier
    }

    pub fn plugin(&self) -> &Arc<Plugin> {
        self.supplier.plugin()
    }

    pub fn control(&self) -> Option<&Control> {
        self.control.get()
    }

    /// Has the control instance rest, until [`Self::serve`].
    pub fn rest(&self) {
        if let Some(control) = self.control() {
            control.tick_every(REST);
        }
    }

    /// Starts the control instance, if the plugin has one. If it is already running, sets its tick
    /// interval.
    pub fn serve(
        &self,
        workers: u32,
        every: Duration,
        series: impl FnOnce() -> Arc<metrics::PolicySeries>,
    ) -> std::io::Result<()> {
        match self.control() {
            Some(control) => control.tick_every(every),
            None if self.plugin().code.hooks.has_control() => {
                let control = Control::start(self.plugin().clone(), workers, every, series())?;
                let _ = self.control.set(control);
            }
            None => {}
        }
        Ok(())
    }
}
