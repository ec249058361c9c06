//! Tests plugins, data and publications on separate instances before they serve.

use std::sync::{Arc, Weak};

use super::error::InstanceError;
use super::{Instance, Place, Plugin};
use crate::data;
use crate::policy::contract::Role;

const TRIAL: Place = Place { role: Role::Trial, worker: 0, workers: 1 };

impl Plugin {
    /// Tests the plugin: creates an instance, passes the current data to it, and drops it. From
    /// then on, new versions of raw data must pass a test on this plugin.
    pub fn rehearse(self: &Arc<Self>) -> Result<(), InstanceError> {
        let mut instance = Instance::new(self, TRIAL)?;
        for source in self.data.iter().filter(|source| source.is_raw()) {
            let taker: Weak<dyn data::Taker> = Arc::<Self>::downgrade(self);
            source.add_taker(taker);
        }
        instance.feed(self, None)
    }

    /// Tests on a new instance what the control instance wants to publish.
    pub fn try_publications(&self, staged: &[(Arc<str>, Arc<[u8]>)]) -> Result<(), String> {
        if self.code.hooks.data.is_none() {
            return Err("the plugin takes no publications (it exports no data-sink)".to_owned());
        }
        let mut instance = Instance::with_data(self, TRIAL)?;
        let number = self.publications.number();
        let numbered = (number + 1..).zip(staged);
        for (number, (name, bytes)) in numbered {
            instance.take(self, name, number, bytes)?;
        }
        Ok(())
    }
}

impl data::Taker for Plugin {
    fn try_on(&self, name: &str, number: u64, bytes: &[u8]) -> Result<(), String> {
        Instance::new(self, TRIAL)?.feed(self, Some((name, number, bytes)))?;
        Ok(())
    }
}
