//! `karuta:policy/metrics`: the plugin's own series.

use std::sync::Arc;

use crate::metrics::plugin::{Kind, Series};
use crate::policy::bindings::imports::metrics::Host;
use crate::policy::state::State;

/// What an instance has of its policy's series.
pub struct Meter {
    pub series: Arc<Series>,
    pub worker: u32,
}

impl Meter {
    fn register(&self, kind: Kind, name: &str, help: &str) -> Result<u32, String> {
        self.series.register(kind, name, help).map_err(|refused| refused.to_string())
    }
}

impl Host for State {
    fn counter(&mut self, name: String, help: String) -> Result<u32, String> {
        self.meter.register(Kind::Counter, &name, &help)
    }

    fn gauge(&mut self, name: String, help: String) -> Result<u32, String> {
        self.meter.register(Kind::Gauge, &name, &help)
    }

    fn add(&mut self, id: u32, delta: u64) {
        self.meter.series.add(id, delta, self.meter.worker);
    }

    fn set(&mut self, id: u32, value: f64) {
        self.meter.series.set(id, value);
    }
}
