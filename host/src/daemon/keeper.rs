//! Keeps the generations that serve, as far as that is possible.

use std::sync::Arc;
use std::time::SystemTime;

use super::loaded::Loaded;
use crate::admin::{Archive, Reloads, unix_seconds};
use crate::data::DataSource;
use crate::generations::{
    Action, Content, FORMAT, Generations, Pin, Served, ServedData, ServedPolicy,
};
use crate::policy::Policy;
use crate::state_dir::StateDir;

/// The keeper of generations. What fails is logged and shown, and stops nothing.
#[derive(Clone)]
pub struct Keeper {
    /// Or why they are not kept.
    pub generations: Archive,
    pub reloads: Arc<Reloads>,
}

/// What is to be known of a generation besides its policies.
pub struct Occasion<'a> {
    pub generation: u64,
    pub by: &'a str,
    pub action: Action,
    pub again: Option<u64>,
    pub changes: String,
}

/// Opens the generations of the state folder.
pub fn open(state: Option<&StateDir>) -> Archive {
    match state {
        Some(state) => Generations::open(state).map(Arc::new),
        None => Err("there is no state folder".to_owned()),
    }
}

impl Keeper {
    /// Keeps a generation that serves, or notes why that is not possible.
    pub fn keep(&self, loaded: &Loaded, occasion: Occasion<'_>) {
        let Ok(generations) = &self.generations else { return };
        let Occasion { generation, by, action, again, changes } = occasion;
        let now = unix_seconds(SystemTime::now());
        let known = generations.all().into_iter().find(|kept| kept.generation == generation);
        let known = known.and_then(|kept| kept.served.ok());
        let content = loaded.content();
        if known.as_ref().is_some_and(|known| known.content == content) {
            return self.reloads.set_fault(None);
        }
        let served = Served {
            format: FORMAT,
            generation,
            // One that has a newer text has served since it began.
            time: known.as_ref().map_or(now, |known| known.time),
            by: by.to_owned(),
            action: known.as_ref().map_or(action, |known| known.action),
            again: known.as_ref().map_or(again, |known| known.again),
            changes: known.map_or(changes, |known| known.changes),
            content,
            policies: policies(loaded),
            karuta: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let plugins = loaded.generation.policies.iter().map(|policy| {
            let plugin = policy.plugin();
            (hex::encode(plugin.identity.digest), plugin.file.clone())
        });
        let plugins: Vec<_> = plugins.collect();
        let done = generations.keep(&served, loaded.config.source.text(), &plugins, now);
        let fault =
            done.err().map(|error| format!("generation {generation} could not be kept: {error}"));
        if let Some(reason) = &fault {
            tracing::error!(generation, "no rollback to this generation: {reason}");
        }
        self.reloads.set_fault(fault);
    }

    /// Has a start serve what a pin says. Returns why it will not.
    pub fn pin(&self, pin: &Pin) -> Result<(), String> {
        let generations = self.generations.as_ref().map_err(String::clone)?;
        generations.set_pin(pin).map_err(|error| error.to_string())
    }

    /// Has a start serve the configuration file. Returns why one may serve an earlier generation all the
    /// same.
    pub fn unpin(&self) -> Option<String> {
        let error = self.generations.as_ref().ok()?.unpin().err()?;
        let fault =
            format!("a restart may serve an earlier generation: cannot remove the pin: {error}");
        tracing::error!("{fault}");
        Some(fault)
    }

    /// Returns the number that a configuration has from its start on: that of the last generation, if it
    /// is the same.
    pub fn number(&self, loaded: &Loaded) -> u64 {
        let Ok(generations) = &self.generations else { return 1 };
        let last = generations.all().pop().and_then(|kept| kept.served.ok());
        match last.filter(|last| last.generation == generations.last()) {
            Some(last) if last.content == loaded.content() => last.generation,
            _ => generations.last() + 1,
        }
    }

    /// Returns the generation before the one that serves, which is `serving`: the newest before it, or
    /// before the one that it is again, that is another one.
    ///
    /// # Errors
    ///
    /// There is none, in a sentence.
    pub fn before(&self, generation: u64, serving: &Content) -> Result<u64, String> {
        let kept = self.generations.as_ref().map_err(String::clone)?.all();
        let all: Vec<_> = kept.into_iter().filter_map(|kept| kept.served.ok()).collect();
        let mut first = generation;
        while let Some(again) =
            all.iter().find(|one| one.generation == first).and_then(|one| one.again)
            && again < first
        {
            first = again;
        }
        let others = all.iter().filter(|one| one.generation < first && one.content != *serving);
        let before = others.map(|one| one.generation).max();
        before.ok_or_else(|| format!("no generation before {first} is kept"))
    }

    /// Returns whether a generation is kept.
    pub fn has(&self, generation: u64) -> bool {
        let generations = self.generations.as_ref();
        generations.is_ok_and(|kept| kept.all().iter().any(|one| one.generation == generation))
    }
}

fn policies(loaded: &Loaded) -> Vec<ServedPolicy> {
    let data = |source: &Arc<DataSource>| ServedData {
        name: source.definition().name.to_string(),
        version: source.number(),
        entries: source.entries(),
    };
    let named = loaded.config.policies.iter().zip(&loaded.generation.policies);
    let served = named.map(|(config, policy): (_, &Arc<Policy>)| ServedPolicy {
        name: config.name.clone(),
        plugin: config.plugin.clone(),
        data: policy.plugin().data.iter().map(data).collect(),
    });
    served.collect()
}
