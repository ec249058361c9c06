//! The policies of one version of the configuration: loaded, tested, ready to serve.

use std::sync::Arc;
use std::time::Instant;

use karuta_accounts::LastReport;

use super::chain::{NewLink, Policy, When};
use super::component::Engine;
use super::contract::Role;
use super::instance::{LoadCause, LoadError, Place, Plugin};
use super::shared::estate::Estate;
use super::shared::kept::Kept;
use super::shared::tracker::TrackerView;
use super::supply::{Service, Slot};
use crate::config::{self, EditMode, Mode};
use crate::data;
use crate::metrics::{CONTROL, Metrics};

/// A loader of generations.
pub struct Loader {
    pub engine: Arc<Engine>,
    pub estate: Estate,
    pub opening: data::Opening,
}

/// The policies of one version of the configuration. Workers share it, but not its instances.
#[derive(Clone, Default)]
pub struct Generation {
    pub policies: Vec<Arc<Policy>>,
}

/// What a generation is loaded for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    Serve,
    /// To see whether it could serve.
    Look,
}

/// What happens to a policy from one generation to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Its instances stay.
    Kept,
    /// Its instances are created again.
    Replaced,
    Added,
}

impl Loader {
    /// Loads the policies of the first configuration, each with its `when`, and tests each by
    /// creating and dropping an instance.
    ///
    /// # Errors
    ///
    /// The first policy that cannot be used, and why.
    pub fn load(
        &self,
        policies: &[config::Policy],
        whens: Vec<When>,
        tracker: &TrackerView,
    ) -> Result<Generation, LoadError> {
        let (earlier, failed) = (&Generation::default(), |_: &str| false);
        self.follow(policies, whens, tracker, &self.opening, earlier, failed, Purpose::Serve)
    }

    /// Loads a later generation, for a `purpose`. Plugins that have not changed since `earlier` are kept,
    /// with their instances, unless they have `failed`. Data is fetched at once.
    ///
    /// # Errors
    ///
    /// Fails like [`Loader::load`].
    pub fn reload(
        &self,
        policies: &[config::Policy],
        whens: Vec<When>,
        tracker: &TrackerView,
        earlier: &Generation,
        failed: impl Fn(&str) -> bool,
        purpose: Purpose,
    ) -> Result<Generation, LoadError> {
        let opening = data::Opening { fetch: data::Fetch::Now, ..self.opening.clone() };
        self.follow(policies, whens, tracker, &opening, earlier, failed, purpose)
    }

    #[allow(clippy::too_many_arguments, reason = "both callers have all of them")]
    fn follow(
        &self,
        policies: &[config::Policy],
        whens: Vec<When>,
        tracker: &TrackerView,
        opening: &data::Opening,
        earlier: &Generation,
        failed: impl Fn(&str) -> bool,
        purpose: Purpose,
    ) -> Result<Generation, LoadError> {
        let load = |(at, (policy, when)): (usize, (&config::Policy, When))| {
            let before = earlier.find(&policy.name);
            let known = before.map(|before| before.plugin());
            let service = Plugin::load(&self.engine, &self.estate, policy, tracker, opening, known)
                .and_then(|plugin| match before {
                    Some(before)
                        if Arc::ptr_eq(before.plugin(), &plugin) && !failed(&plugin.name) =>
                    {
                        Ok(before.service.clone())
                    }
                    _ => begin(&plugin, purpose),
                });
            let service = service.map_err(|cause| self::failed(at, policy, cause))?;
            let config::Policy { on_error, mode, tick, watch, .. } = *policy;
            Ok(Arc::new(Policy { service, when, on_error, mode, tick, watch }))
        };
        let policies = policies.iter().zip(whens).enumerate().map(load);
        let generation = Generation { policies: policies.collect::<Result<_, _>>()? };
        generation.one_may(|plugin| plugin.has_plans(), "defines locality plans")?;
        generation.one_may(|plugin| plugin.code.hooks.rank.is_some(), "orders peers")?;
        Ok(generation)
    }
}

/// Compiles the plugin of each policy into the engine's artifacts. Calls `done` with each policy, and
/// with `false` if its plugin was there already.
///
/// # Errors
///
/// The first policy whose plugin cannot be compiled. The others are compiled all the same.
pub fn warm(
    engine: &Engine,
    policies: &[config::Policy],
    mut done: impl FnMut(&str, bool),
) -> Result<(), LoadError> {
    let mut first = Ok(());
    for (at, policy) in policies.iter().enumerate() {
        match Plugin::warm(engine, policy) {
            Ok(compiled) => done(&policy.name, compiled),
            Err(cause) => first = first.and(Err(failed(at, policy, cause))),
        }
    }
    first
}

fn failed(at: usize, policy: &config::Policy, cause: LoadCause) -> LoadError {
    LoadError { at, policy: policy.name.as_str().into(), file: policy.plugin.clone(), cause }
}

/// Tests a plugin and starts its service. If the plugin refuses data that an earlier version has
/// left on disk, that data is dropped.
fn begin(plugin: &Arc<Plugin>, purpose: Purpose) -> Result<Arc<Service>, LoadCause> {
    // Who only looks takes no data from those that serve.
    plugin.rehearse().or_else(|error| match purpose == Purpose::Serve && plugin.forget_kept() {
        true => plugin.rehearse(),
        false => Err(error),
    })?;
    Service::start(plugin.clone()).map_err(|error| LoadCause::Init(error.to_string()))
}

impl Generation {
    /// Rejects a second policy that does what only one policy may do: a peer has one label, an
    /// answer one order.
    fn one_may(&self, does: impl Fn(&Plugin) -> bool, what: &str) -> Result<(), LoadError> {
        let enforced = |(_, policy): &(usize, &Arc<Policy>)| {
            policy.mode == Mode::Enforce && does(policy.plugin())
        };
        let mut doers = self.policies.iter().enumerate().filter(enforced);
        match (doers.next(), doers.next()) {
            (Some((_, first)), Some((at, second))) => {
                let first = &first.plugin().name;
                let reason = format!("{what}, like policy `{first}`; only one policy may");
                Err(error(at, second.plugin(), LoadCause::Init(reason)))
            }
            _ => Ok(()),
        }
    }

    /// Prepares the chain of one worker, with instances of the policies that are new since
    /// `earlier`.
    ///
    /// # Errors
    ///
    /// The first policy whose instance cannot be created, and why.
    pub fn prepare(
        &self,
        earlier: &Self,
        worker: u32,
        workers: u32,
        metrics: &Metrics,
    ) -> Result<Vec<NewLink>, LoadError> {
        let place = Place { role: Role::Worker, worker, workers };
        let prepare = |(at, policy): (usize, &Arc<Policy>)| {
            let plugin = policy.plugin();
            let slot = match earlier.change(policy) {
                Change::Kept => None,
                Change::Replaced | Change::Added => {
                    let slot = Slot::new(policy.service.supplier(), place);
                    Some(slot.map_err(|cause| error(at, plugin, cause.into()))?)
                }
            };
            let series = metrics.policy(&plugin.name, worker);
            Ok(NewLink { policy: policy.clone(), slot, series })
        };
        self.policies.iter().enumerate().map(prepare).collect()
    }

    /// Returns the same policies in another estate, which share their code and their data with these, and
    /// nothing else.
    ///
    /// # Errors
    ///
    /// There can be no thread for the first of these policies.
    pub fn again(&self, estate: &Estate, tracker: &TrackerView) -> Result<Self, LoadError> {
        let again = |(at, policy): (usize, &Arc<Policy>)| {
            let plugin = Arc::new(policy.plugin().again(estate, tracker));
            let service = Service::start(plugin.clone())
                .map_err(|reason| error(at, &plugin, LoadCause::Init(reason.to_string())))?;
            let Policy { service: _, ref when, on_error, mode, tick, watch } = **policy;
            Ok(Arc::new(Policy { service, when: when.clone(), on_error, mode, tick, watch }))
        };
        let policies = self.policies.iter().enumerate().map(again);
        Ok(Self { policies: policies.collect::<Result<_, _>>()? })
    }

    /// Starts the control instances of this generation.
    pub fn serve(&self, workers: usize, metrics: &Metrics) -> std::io::Result<()> {
        let serve = |policy: &Arc<Policy>| {
            let series = || metrics.policy(&policy.plugin().name, CONTROL);
            policy.service.serve(workers as u32, policy.tick, series)
        };
        self.policies.iter().try_for_each(serve)
    }

    /// Has the control instances rest that `later` does not have, until this generation serves again.
    pub fn rest_beside(&self, later: &Self) {
        let is_kept = |one: &Arc<Policy>| {
            later.policies.iter().any(|other| Arc::ptr_eq(&one.service, &other.service))
        };
        for policy in self.policies.iter().filter(|one| !is_kept(one)) {
            policy.service.rest();
        }
    }

    /// Returns what happens to a policy of a later generation.
    pub fn change(&self, later: &Policy) -> Change {
        let plugin = later.plugin();
        match self.find(&plugin.name) {
            None => Change::Added,
            Some(earlier) if Arc::ptr_eq(&earlier.service, &later.service) => Change::Kept,
            Some(_) => Change::Replaced,
        }
    }

    /// Returns the state of every policy that outlives the process.
    pub fn kept(&self) -> Vec<Kept> {
        let kept = self.policies.iter().map(|policy| {
            let plugin = policy.plugin();
            Kept {
                policy: plugin.name.clone(),
                store: plugin.store.clone(),
                storage: plugin.identity.limits.storage,
                ledger: plugin.ledger.clone(),
            }
        });
        kept.collect()
    }

    /// Returns whether any policy is told how announces ended.
    pub fn observes(&self) -> bool {
        self.observers().next().is_some()
    }

    /// Has all observers go on from what a client reported to the books at `at`.
    pub fn go_on_from(&self, report: &LastReport, at: Instant) {
        for plugin in self.observers() {
            plugin.ledger.lock().put_back_member(report, at);
        }
    }

    fn observers(&self) -> impl Iterator<Item = &Arc<Plugin>> {
        let plugins = self.policies.iter().map(|policy| policy.plugin());
        plugins.filter(|plugin| plugin.code.hooks.observe.is_some())
    }

    /// Returns whether what a policy says on one worker may depend on what it was asked on another.
    pub fn shares_state(&self) -> bool {
        self.policies.iter().any(|policy| policy.plugin().code.imports("keyvalue"))
    }

    /// Returns the policies that may answer otherwise if they are asked again with the same clock, each with a
    /// reason; the credentials of the requests may be missing.
    pub fn unrepeatable(&self, without_credentials: bool) -> Vec<(String, String)> {
        let reasons = |policy: &Arc<Policy>| {
            let plugin = policy.plugin();
            let hooks = &plugin.code.hooks;
            let missing = plugin.data.iter().filter(|source| source.current().is_none());
            let missing = missing
                .map(|source| format!("its data `{}` is not here", source.definition().name));
            let edited = plugin.data.iter().filter(|source| {
                source.definition().edits != EditMode::Off && source.edits().is_none()
            });
            let edited = edited.map(|source| {
                format!("edits of its list `{}` are not known here", source.definition().name)
            });
            let control = hooks.has_control().then(|| match plugin.http.is_some() {
                true => "its control instance, which may fetch over HTTP, does not run".to_owned(),
                false => "its control instance does not run".to_owned(),
            });
            let looks = !plugin.identity.credential.is_empty();
            let hidden = (without_credentials && looks)
                .then(|| "it looks at credentials, which are hidden".to_owned());
            let name = plugin.name.to_string();
            let all = control.into_iter().chain(hidden).chain(missing).chain(edited);
            all.map(move |reason| (name.clone(), reason)).collect::<Vec<_>>()
        };
        self.policies.iter().flat_map(reasons).collect()
    }

    pub fn find(&self, name: &str) -> Option<&Arc<Policy>> {
        self.policies.iter().find(|policy| &*policy.plugin().name == name)
    }
}

fn error(at: usize, plugin: &Plugin, cause: LoadCause) -> LoadError {
    LoadError { at, policy: plugin.name.clone(), file: plugin.file.clone(), cause }
}
