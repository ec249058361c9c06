//! All that knows of WebAssembly: the engine, plugins, their instances, the chain.

use std::sync::Arc;

mod bindings;
mod chain;
mod engine;
mod exchange;
mod host;
mod instance;
mod plugin;
mod state;
mod supply;
mod values;
mod wasi;

pub use chain::{Chain, Policy, Ruling, UNAVAILABLE, When};
pub use engine::{Engine, EngineError, THREAD_STACK};
pub use exchange::{Answer, Exchange, Request, Source};
pub use instance::{Instance, Place, Role};
pub use plugin::{LoadError, Plugin, Stage, hex};
pub use state::{Scope, Swarms};
pub use supply::Supplier;

/// Loads the plugins of a configuration and tries each: an instance is made and let go again.
///
/// # Errors
///
/// The position of the first policy that cannot be used, and why.
pub fn load(
    engine: &Engine,
    policies: &[crate::config::Policy],
    scope: &Scope,
) -> Result<Vec<Arc<Plugin>>, (usize, LoadError)> {
    let load = |(index, policy)| {
        let plugin = Plugin::load(engine, policy, scope.clone()).map_err(|error| (index, error))?;
        let trial = Place { role: Role::Trial, worker: 0, workers: 1 };
        Instance::new(&plugin, trial).map_err(|reason| (index, plugin.init_error(reason)))?;
        Ok(Arc::new(plugin))
    };
    policies.iter().enumerate().map(load).collect()
}
