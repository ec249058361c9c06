//! What one version of the configuration says of policies: loaded, tried, ready to serve.

use std::sync::Arc;

use super::chain::{NewLink, Policy, When};
use super::engine::Engine;
use super::instance::{Instance, Place, Role};
use super::plugin::{LoadError, Plugin};
use super::state::Scope;
use super::supply::{Slot, Supplier};
use crate::config::{self, Mode};
use crate::data;
use crate::metrics::{CONTROL, Metrics};

/// The policies of one version of the configuration. Workers share it, but no instance of it.
#[derive(Clone, Default)]
pub struct Generation {
    pub policies: Vec<Arc<Policy>>,
}

/// What became of a policy from one generation to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Its instances go on.
    Kept,
    /// Its instances are made anew.
    Replaced,
    Added,
}

impl Generation {
    /// Loads the policies of a configuration and tries each that is new: an instance of it is made
    /// and let go again. Plugins that have not changed are taken over from `earlier`, and their
    /// instances too, unless they have `failed`.
    ///
    /// # Errors
    ///
    /// The position of the first policy that cannot be used, and why.
    pub fn load(
        engine: &Engine,
        policies: &[config::Policy],
        whens: Vec<When>,
        scope: &Scope,
        opening: &data::Opening,
        earlier: &Self,
        failed: impl Fn(&str) -> bool,
    ) -> Result<Self, (usize, LoadError)> {
        let load = |(at, (policy, when)): (usize, (&config::Policy, When))| {
            let before = earlier.find(&policy.name);
            let plugin = before.map(|before| before.supplier.plugin());
            let fail = |error| (at, error);
            let plugin = Plugin::load(engine, policy, scope, opening, plugin).map_err(fail)?;
            let supplier = match before {
                Some(before)
                    if Arc::ptr_eq(before.supplier.plugin(), &plugin) && !failed(&plugin.name) =>
                {
                    before.supplier.clone()
                }
                _ => {
                    try_out(&plugin)
                        .or_else(|error| match plugin.forget_kept() {
                            true => try_out(&plugin),
                            false => Err(error),
                        })
                        .map_err(fail)?;
                    Supplier::start(plugin.clone())
                        .map_err(|error| fail(plugin.init_error(error.to_string())))?
                }
            };
            let config::Policy { on_error, mode, tick, watch, .. } = *policy;
            Ok(Arc::new(Policy { supplier, when, on_error, mode, tick, watch }))
        };
        let policies = policies.iter().zip(whens).enumerate().map(load);
        let generation = Self { policies: policies.collect::<Result<_, _>>()? };
        generation.check_planners()?;
        generation.check_rankers()?;
        Ok(generation)
    }

    /// Refuses a second policy with plans: a peer has one label.
    fn check_planners(&self) -> Result<(), (usize, LoadError)> {
        let mut planners = self.policies.iter().enumerate().filter(|(_, policy)| {
            policy.mode == Mode::Enforce && policy.supplier.plugin().has_plans()
        });
        match (planners.next(), planners.next()) {
            (Some((_, first)), Some((at, second))) => {
                let reason = format!(
                    "defines locality plans, as policy `{}` does; one policy may",
                    first.supplier.plugin().name
                );
                Err((at, second.supplier.plugin().init_error(reason)))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a second policy that orders peers.
    fn check_rankers(&self) -> Result<(), (usize, LoadError)> {
        let mut rankers = self.policies.iter().enumerate().filter(|(_, policy)| {
            policy.mode == Mode::Enforce && policy.supplier.plugin().code.hooks.rank.is_some()
        });
        match (rankers.next(), rankers.next()) {
            (Some((_, first)), Some((at, second))) => {
                let reason = format!(
                    "orders peers, as policy `{}` does; one policy may",
                    first.supplier.plugin().name
                );
                Err((at, second.supplier.plugin().init_error(reason)))
            }
            _ => Ok(()),
        }
    }

    /// Prepares the chain of one worker: instances for what is new since `earlier`.
    ///
    /// # Errors
    ///
    /// The position of the first policy whose instance did not come up, and why.
    pub fn prepare(
        &self,
        earlier: &Self,
        worker: u32,
        workers: u32,
        metrics: &Metrics,
    ) -> Result<Vec<NewLink>, (usize, LoadError)> {
        let place = Place { role: Role::Worker, worker, workers };
        let prepare = |(at, policy): (usize, &Arc<Policy>)| {
            let plugin = policy.supplier.plugin();
            let slot = match earlier.change(policy) {
                Change::Kept => None,
                Change::Replaced | Change::Added => {
                    let slot = Slot::new(&policy.supplier, place);
                    Some(slot.map_err(|reason| (at, plugin.init_error(reason)))?)
                }
            };
            let series = metrics.policy(&plugin.name, worker);
            Ok(NewLink { policy: policy.clone(), slot, series })
        };
        self.policies.iter().enumerate().map(prepare).collect()
    }

    /// Starts the control instances of what serves from now on.
    pub fn serve(&self, workers: usize, metrics: &Metrics) -> std::io::Result<()> {
        let serve = |policy: &Arc<Policy>| {
            let series = || metrics.policy(&policy.supplier.plugin().name, CONTROL);
            policy.supplier.serve(workers as u32, policy.tick, series)
        };
        self.policies.iter().try_for_each(serve)
    }

    /// What becomes of a policy of a later generation.
    pub fn change(&self, later: &Policy) -> Change {
        let plugin = later.supplier.plugin();
        match self.find(&plugin.name) {
            None => Change::Added,
            Some(earlier) if Arc::ptr_eq(&earlier.supplier, &later.supplier) => Change::Kept,
            Some(_) => Change::Replaced,
        }
    }

    pub fn find(&self, name: &str) -> Option<&Arc<Policy>> {
        self.policies.iter().find(|policy| &*policy.supplier.plugin().name == name)
    }
}

/// Makes an instance, hands it the data there is, and lets it go again.
fn try_out(plugin: &Arc<Plugin>) -> Result<(), LoadError> {
    let trial = Place { role: Role::Trial, worker: 0, workers: 1 };
    let mut instance = Instance::new(plugin, trial).map_err(|reason| plugin.init_error(reason))?;
    plugin.take_data();
    instance.feed(plugin, None).map_err(|reason| plugin.data_error(reason))
}
