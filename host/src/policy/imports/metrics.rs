//! `karuta:policy/metrics`: the plugin's own series.

use std::sync::Arc;

use wasmtime::component::HasData;

use crate::metrics::plugin::{Kind, Series};
use crate::policy::contract::bindings::imports::metrics::Host;

/// An instance's access to its policy's series.
pub struct Meter {
    pub series: Arc<Series>,
    pub worker: u32,
}

impl Meter {
    fn register(&self, kind: Kind, name: &str, help: &str) -> Result<u32, String> {
        self.series.register(kind, name, help).map_err(|refused| refused.to_string())
    }
}

/// The series of the policy.
pub struct View<'a> {
    pub meter: &'a Meter,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

impl Host for View<'_> {
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
