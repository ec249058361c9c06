//! An instance of a plugin, and calls into it.

mod error;
mod plugin;
mod rehearsal;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use karuta_swarm::Candidate;
use wasmtime::{Store, Trap};

pub use self::error::{InstanceError, LoadCause, LoadError};
pub use self::plugin::{Identity, Plugin};
use crate::config;
use crate::data::Content;
use crate::exchange::{Asked, Exchange};
use crate::metrics::plugin::Series;
use crate::metrics::{Cause, Hook};
use crate::policy::component::engine;
use crate::policy::contract::bindings::hooks;
use crate::policy::contract::bindings::imports::response::Scope;
use crate::policy::contract::{Role, Verdict, values};
use crate::policy::imports::call::Call;
use crate::policy::imports::keyvalue::Storage;
use crate::policy::imports::locality::Plans;
use crate::policy::imports::log::Sink;
use crate::policy::imports::memory::Memory;
use crate::policy::imports::metrics::Meter;
use crate::policy::imports::signatures::Keys;
use crate::policy::imports::state::State;
use crate::policy::imports::wasi::{Granted, Wasi};
use crate::policy::shared::keyvalues;
use crate::policy::shared::outcome::{self, Difference, Outcome};
use crate::text::cut;

/// The most bytes that a plugin may pass to the host in one call. Control instances may pass as
/// many more as their memory limit; the functions for them check lengths themselves.
const HOST_CALL: usize = 1024 * 1024;
/// The most resources that an instance may hold.
const HANDLES: usize = 1024;

/// A store with one instance of a component. Never shared, and discarded after a trap.
pub struct Instance {
    store: Store<State>,
    announce: Option<hooks::announce_filter::Guest>,
    scrape: Option<hooks::scrape_filter::Guest>,
    rank: Option<hooks::peer_ranker::Guest>,
    observe: Option<hooks::observer::Guest>,
    data: Option<hooks::data_sink::Guest>,
    tick: Option<hooks::ticker::Guest>,
    role: Role,
    /// The version of the raw data and publications that it has received.
    fed: u64,
    deadline: Duration,
    /// The deadline of hooks off the request path.
    control: Duration,
}

/// The role of an instance, and the worker that it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub role: Role,
    pub worker: u32,
    pub workers: u32,
}

/// A call that did not return.
#[derive(Debug)]
pub struct Failure {
    pub cause: Cause,
    /// The duration of the call since the first tick of the engine's clock in it.
    pub spent: Duration,
    /// The error with its backtrace. It contains nothing from the request.
    pub detail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause.name(), self.detail)
    }
}

impl Instance {
    /// Creates an instance and calls its `init`. The error is the plugin's own, or says how its
    /// code failed.
    pub fn new(plugin: &Plugin, place: Place) -> Result<Self, InstanceError> {
        // A trial stores and counts separately, and both end with it.
        let (store, series) = match place.role {
            Role::Trial => (Arc::default(), &plugin.trial_series),
            Role::Worker | Role::Control => (plugin.store.clone(), &plugin.series),
        };
        Self::make(plugin, place, store, series.clone(), &plugin.series)
    }

    /// Creates an instance with the newest data of its plugin.
    pub fn with_data(plugin: &Plugin, place: Place) -> Result<Self, InstanceError> {
        let mut instance = Self::new(plugin, place)?;
        instance.feed(plugin, None)?;
        Ok(instance)
    }

    /// Creates an instance with all its data, to answer a question. It behaves like a worker's
    /// instance, but nothing that it stores or counts is visible outside.
    pub fn scratch(plugin: &Plugin) -> Result<Self, InstanceError> {
        let place = Place { role: Role::Worker, worker: 0, workers: 1 };
        let store = Arc::new(keyvalues::KeyValues::over(&plugin.store));
        let hidden = &plugin.trial_series;
        let mut instance = Self::make(plugin, place, store, hidden.clone(), hidden)?;
        instance.feed(plugin, None)?;
        Ok(instance)
    }

    /// Creates an instance without calling its `init`, to test whether that is possible.
    pub fn hollow(plugin: &Plugin, place: Place) -> Result<(), InstanceError> {
        let hidden = &plugin.trial_series;
        Self::instantiate(plugin, place, Arc::default(), hidden.clone(), hidden).map(drop)
    }

    fn make(
        plugin: &Plugin,
        place: Place,
        shared: Arc<keyvalues::KeyValues>,
        series: Arc<Series>,
        tally: &Arc<Series>,
    ) -> Result<Self, InstanceError> {
        let (mut instance, lifecycle) = Self::instantiate(plugin, place, shared, series, tally)?;
        let context = hooks::lifecycle::Context {
            name: &plugin.name,
            config: &plugin.identity.config,
            role: place.role,
            worker: place.worker,
            workers: place.workers,
        };
        let store = &mut instance.store;
        let begun = lifecycle.call_init(&mut *store, context);
        let begun =
            begun.map_err(|error| InstanceError::Init(failed(store, Hook::Init, &error)))?;
        begun
            .and_then(|()| store.data_mut().plans.settle(&plugin.plans, || plugin.plan_names()))
            .map_err(|reason| {
            tally.failed(Hook::Init, Cause::Refused);
            InstanceError::Init(cut(reason))
        })?;
        Ok(instance)
    }

    fn instantiate(
        plugin: &Plugin,
        place: Place,
        shared: Arc<keyvalues::KeyValues>,
        series: Arc<Series>,
        tally: &Arc<Series>,
    ) -> Result<(Self, hooks::lifecycle::Guest), InstanceError> {
        let footprint = &plugin.code.footprint;
        let limit = plugin.identity.limits.memory;
        if footprint.bytes() > limit {
            return Err(InstanceError::Init(format!("{}: {footprint}", over(limit))));
        }
        let log = Sink::new(&plugin.name, &plugin.allowance);
        let granted = Granted {
            policy: &plugin.name,
            allow: &plugin.identity.allow,
            clock: &plugin.clock,
            seed: plugin.seed,
            log: &log,
        };
        let wasi = Wasi::new(&granted, place.role);
        let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
        let state = State {
            exchange: Box::default(),
            tracker: plugin.tracker.clone(),
            memory: Memory::new(size(limit), size(footprint.kept)),
            role: place.role,
            staged: BTreeMap::new(),
            publications: plugin.publications.clone(),
            http: plugin.http.clone(),
            clock: plugin.clock.clone(),
            wasi: wasi.map_err(|error| InstanceError::Init(error.to_string()))?,
            log,
            keys: Keys::default(),
            storage: Storage { store: shared, limit: plugin.identity.limits.storage },
            meter: Meter { series, worker: place.worker },
            plans: Plans::Open(Vec::new()),
            credential: plugin.identity.credential.clone(),
            data: plugin.data.clone(),
            shutdown: plugin.shutdown.clone(),
            tally: tally.clone(),
            call: Call::default(),
        };
        let mut store = Store::new(plugin.code.pre.engine(), state);
        store.limiter(|state| &mut state.memory);
        let memory = store.data().memory.limit;
        store.set_hostcall_fuel(match place.role {
            Role::Control => HOST_CALL.saturating_add(memory),
            Role::Worker | Role::Trial => HOST_CALL,
        });
        store.set_max_component_handles(HANDLES);
        engine::watch(&mut store);
        begin(&mut store, plugin.identity.limits.init);
        let made = plugin.code.pre.instantiate(&mut store).and_then(|instance| {
            let hooks = &plugin.code.hooks;
            let lifecycle = hooks.lifecycle.load(&mut store, &instance)?;
            let announce = hooks.announce.as_ref().map(|h| h.load(&mut store, &instance));
            let scrape = hooks.scrape.as_ref().map(|h| h.load(&mut store, &instance));
            let rank = hooks.rank.as_ref().map(|h| h.load(&mut store, &instance));
            let observe = hooks.observe.as_ref().map(|h| h.load(&mut store, &instance));
            let data = hooks.data.as_ref().map(|h| h.load(&mut store, &instance));
            let tick = hooks.tick.as_ref().map(|h| h.load(&mut store, &instance));
            let on_requests = (announce.transpose()?, scrape.transpose()?, rank.transpose()?);
            let off_requests = (observe.transpose()?, data.transpose()?, tick.transpose()?);
            Ok((lifecycle, on_requests, off_requests))
        });
        let (lifecycle, (announce, scrape, rank), (observe, data, tick)) =
            made.map_err(|error| {
                let reason = failed(&store, Hook::Init, &error);
                InstanceError::Init(match store.data().memory.refused {
                    true => over(limit),
                    false => reason,
                })
            })?;
        let config::PolicyLimits { deadline, control, .. } = plugin.identity.limits;
        let role = place.role;
        let instance = Self {
            store,
            announce,
            scrape,
            rank,
            observe,
            data,
            tick,
            role,
            fed: 0,
            deadline,
            control,
        };
        Ok((instance, lifecycle))
    }

    /// Passes the plugin's raw data to the instance and, unless it is a control instance, what the
    /// plugin has published. A `candidate` (name, number and bytes) replaces the current version of
    /// that name.
    pub fn feed(
        &mut self,
        plugin: &Plugin,
        candidate: Option<(&str, u64, &[u8])>,
    ) -> Result<(), InstanceError> {
        let control = self.role == Role::Control;
        self.fed = if control { plugin.raw_version() } else { plugin.fed_version() };
        for source in plugin.data.iter().filter(|source| source.is_raw()) {
            let name = &source.definition().name;
            let current = source.current();
            let own = candidate.filter(|(of, ..)| *of == &**name);
            let (number, bytes) = match (own, current.as_ref()) {
                (Some((_, number, bytes)), _) => (number, bytes),
                (None, Some(version)) => match &version.content {
                    Content::Raw(bytes) => (version.number, &**bytes),
                    _ => continue,
                },
                (None, None) => continue,
            };
            self.take(plugin, name, number, bytes)?;
        }
        let published = if control { Vec::new() } else { plugin.publications.list() };
        for (name, publication) in published {
            self.take(plugin, &name, publication.number, &publication.bytes)?;
        }
        Ok(())
    }

    /// Calls `data-sink.on-data`.
    pub fn take(
        &mut self,
        plugin: &Plugin,
        name: &Arc<str>,
        number: u64,
        bytes: &[u8],
    ) -> Result<(), InstanceError> {
        let refused = |reason| InstanceError::Data { name: name.clone(), reason };
        let guest = self.data.as_ref().ok_or_else(|| {
            refused("the plugin takes no raw data (it exports no data-sink)".to_owned())
        })?;
        begin(&mut self.store, plugin.identity.limits.data);
        match guest.call_on_data(&mut self.store, name, number, bytes) {
            Ok(taken) => taken.map_err(|reason| {
                self.store.data().tally.refused(Hook::Data);
                refused(cut(reason))
            }),
            Err(error) => Err(refused(failed(&self.store, Hook::Data, &error))),
        }
    }

    /// Returns the version of the raw data and publications that the instance has received.
    pub fn fed(&self) -> u64 {
        self.fed
    }

    /// Calls `announce-filter.on-announce`; `None` if the plugin does not export it.
    pub fn announce(&mut self, exchange: &mut Box<Exchange>) -> Option<Result<Verdict, Failure>> {
        let guest = self.announce.as_ref()?;
        let credential = shows_credential(&self.store, exchange);
        let announce = values::announce(&exchange.request, exchange.answer.num_want, credential);
        Some(call(&mut self.store, self.deadline, exchange, |store| {
            guest.call_on_announce(store, announce)
        }))
    }

    /// Calls `scrape-filter.on-scrape`; `None` if the plugin does not export it.
    pub fn scrape(&mut self, exchange: &mut Box<Exchange>) -> Option<Result<Verdict, Failure>> {
        let guest = self.scrape.as_ref()?;
        let credential = shows_credential(&self.store, exchange);
        let scrape = values::scrape(&exchange.request, credential);
        Some(call(&mut self.store, self.deadline, exchange, |store| {
            guest.call_on_scrape(store, scrape)
        }))
    }

    /// Calls `peer-ranker.rank`; `None` if the plugin does not export it.
    pub fn rank(
        &mut self,
        exchange: &mut Box<Exchange>,
        candidates: &[Candidate],
    ) -> Option<Result<Vec<u32>, Failure>> {
        let guest = self.rank.as_ref()?;
        let credential = shows_credential(&self.store, exchange);
        let announce = values::announce(&exchange.request, exchange.answer.num_want, credential);
        let candidates: Vec<_> = candidates.iter().map(values::candidate).collect();
        let result = call(&mut self.store, self.deadline, exchange, |store| {
            guest.call_rank(store, announce, &candidates)
        });
        // Only the order counts.
        exchange.discard();
        Some(result)
    }

    /// Calls `observer.observe`; `None` if the plugin does not export it.
    pub fn observe(
        &mut self,
        batch: &[(u64, Difference, Box<Outcome>)],
    ) -> Option<Result<Result<(), String>, Failure>> {
        let guest = self.observe.as_ref()?;
        let attributes: Vec<Vec<(&str, &str)>> = batch
            .iter()
            .map(|(_, _, outcome)| {
                let attributes = outcome.attributes.iter();
                attributes.map(|(name, value)| (name.as_str(), value.as_str())).collect()
            })
            .collect();
        let batch: Vec<_> = batch
            .iter()
            .zip(&attributes)
            .map(|((id, difference, outcome), attributes)| {
                outcome::record(*id, *difference, outcome, attributes)
            })
            .collect();
        begin(&mut self.store, self.control);
        let result = guest.call_observe(&mut self.store, &batch);
        Some(said(&self.store, result))
    }

    /// Calls `ticker.tick`; `None` if the plugin does not export it.
    pub fn tick(&mut self, unix_ms: u64) -> Option<Result<Result<(), String>, Failure>> {
        let guest = self.tick.as_ref()?;
        begin(&mut self.store, self.control);
        let result = guest.call_tick(&mut self.store, unix_ms);
        Some(said(&self.store, result))
    }

    /// Takes what calls have published since the last time.
    pub fn take_staged(&mut self) -> BTreeMap<Arc<str>, Arc<[u8]>> {
        std::mem::take(&mut self.store.data_mut().staged)
    }

    /// Returns the scope and the duration for which the last call's verdict may be remembered, and
    /// what else it depends on.
    pub fn remember(&self) -> Option<(Scope, Duration, Asked)> {
        let call = &self.store.data().call;
        call.remember.map(|(scope, time)| (scope, time, call.asked))
    }

    /// Returns the bytes of linear memory, tables, and what the engine keeps besides.
    pub fn memory(&self) -> usize {
        self.store.data().memory.used
    }

    /// Returns the remaining fuel, if the engine counts it.
    pub fn fuel(&self) -> Option<u64> {
        self.store.get_fuel().ok()
    }
}

fn over(limit: u64) -> String {
    format!("needs more than the {limit} bytes that `limits.memory` allows")
}

/// Looks up the credential of a request, because its hook may ask for it.
fn shows_credential(store: &Store<State>, exchange: &mut Exchange) -> bool {
    exchange.look_up(&store.data().credential);
    !exchange.credential.is_empty()
}

/// Opens the account of a call.
fn begin(store: &mut Store<State>, deadline: Duration) {
    let state = store.data_mut();
    let late = state.role == Role::Control && state.shutdown.has_begun();
    state.call = Call { deadline, late, ..Call::default() };
    state.memory.refused = false;
    store.set_epoch_deadline(1);
}

/// Calls a hook on an exchange. The hook's changes stay pending if it returns, and are discarded if
/// it does not.
fn call<R>(
    store: &mut Store<State>,
    deadline: Duration,
    exchange: &mut Box<Exchange>,
    hook: impl FnOnce(&mut Store<State>) -> wasmtime::Result<R>,
) -> Result<R, Failure> {
    begin(store, deadline);
    store.data_mut().call.moment = Some(exchange.now);
    std::mem::swap(&mut store.data_mut().exchange, exchange);
    let result = hook(store);
    std::mem::swap(&mut store.data_mut().exchange, exchange);
    result.map_err(|error| {
        exchange.discard();
        failure(store, &error)
    })
}

/// Returns the result of a control instance's hook.
fn said(
    store: &Store<State>,
    result: wasmtime::Result<Result<(), String>>,
) -> Result<Result<(), String>, Failure> {
    result.map(|said| said.map_err(cut)).map_err(|error| failure(store, &error))
}

/// Counts a failed call outside of requests, and returns the reason.
fn failed(store: &Store<State>, hook: Hook, error: &wasmtime::Error) -> String {
    let failure = failure(store, error);
    store.data().tally.failed(hook, failure.cause);
    failure.to_string()
}

fn failure(store: &Store<State>, error: &wasmtime::Error) -> Failure {
    let state = store.data();
    let cause = match error.downcast_ref::<Trap>() {
        _ if state.call.overdue => Cause::Deadline,
        _ if state.memory.refused => Cause::Memory,
        Some(Trap::StackOverflow) => Cause::Stack,
        Some(_) => Cause::Trap,
        None => Cause::Host,
    };
    let spent = state.call.first_tick.map_or(Duration::ZERO, |clocks| clocks.wall.elapsed());
    // It contains function names, which the plugin chooses.
    Failure { cause, spent, detail: cut(format!("{error:#}")) }
}
