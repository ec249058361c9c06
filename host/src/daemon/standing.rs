//! What serves from the start on.

use std::sync::Arc;

use super::Tracker;
use super::error::Error;
use super::keeper::{Keeper, Occasion};
use super::loaded::{Loaded, Loader, Wanted};
use super::start::Pinned;
use crate::admin::{Archive, Reloads};
use crate::config;
use crate::generations::Action;

/// What serves from the start on.
pub struct Standing {
    pub loaded: Loaded,
    pub keeper: Keeper,
    /// The number of this generation.
    pub number: u64,
    /// If it serves in place of the configuration file: the earlier generation that it is again.
    again: Option<u64>,
}

impl Standing {
    /// Loads what is pinned, or the configuration.
    pub fn load(
        loader: &Loader,
        tracker: &Tracker,
        pinned: Option<Pinned>,
        generations: Archive,
    ) -> Result<Self, Error> {
        let (pin, wanted) = match pinned {
            Some(Pinned { pin, wanted }) => (Some(pin), wanted),
            None => (None, Ok(Wanted::from(tracker.config.clone()))),
        };
        let loaded = wanted.and_then(|wanted| match loader.load(wanted) {
            Err(error) if pin.is_some() => Err(error.to_string()),
            loaded => Ok(loaded),
        });
        let (loaded, fault) = match loaded {
            Ok(loaded) => (loaded?, None),
            // A tracker that serves what was turned down is better than none.
            Err(reason) => {
                let config = config::load(&tracker.file).map_err(Error::Config)?;
                (loader.load(Arc::new(config).into())?, Some(reason))
            }
        };
        let reloads = Arc::new(Reloads::new(loaded.config.clone()));
        let keeper = Keeper { generations, reloads };
        let number = keeper.number(&loaded);
        let again = pin.as_ref().map(|pin| pin.generation).filter(|_| fault.is_none());
        match (pin, fault) {
            (Some(pin), None) => {
                let (generation, by) = (pin.generation, &pin.by);
                tracing::warn!(generation, by, "pinned: the configuration file is not in use");
                tracker.metrics.set_pinned(Some(generation));
                keeper.reloads.set_pin(Some((pin, None)));
            }
            (Some(pin), Some(reason)) => {
                let generation = pin.generation;
                tracing::error!(
                    generation,
                    reason,
                    "cannot serve what is pinned; the configuration file serves"
                );
                let fault = format!("what was pinned cannot serve, so the file does: {reason}");
                keeper.reloads.set_fault(Some(fault));
            }
            // What was turned down is no longer what is on the disk.
            (None, _) => keeper.reloads.set_fault(keeper.unpin()),
        }
        Ok(Self { loaded, keeper, number, again })
    }

    /// Keeps it, unless it is what served last.
    pub fn keep(&self) {
        if self.keeper.has(self.number) {
            return;
        }
        let fault = self.keeper.reloads.fault();
        let occasion = Occasion {
            generation: self.number,
            by: "the start",
            action: Action::Start,
            again: self.again,
            changes: String::new(),
        };
        self.keeper.keep(&self.loaded, occasion);
        if fault.is_some() {
            self.keeper.reloads.set_fault(fault);
        }
    }
}
