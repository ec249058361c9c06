//! The host's state for one instance, and the part of it that each interface can reach.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use wasmtime::component::Linker;
use wasmtime_wasi::{WasiCtxView, WasiView};

use super::call::Call;
use super::http::Carrier;
use super::keyvalue::Storage;
use super::locality::Plans;
use super::log::Sink;
use super::memory::Memory;
use super::metrics::Meter;
use super::signatures::Keys;
use super::wasi::Wasi;
use super::{
    account, http, keyvalue, locality, log, metrics, publisher, request, response, sets,
    signatures, swarm, wasi,
};
use crate::config::CredentialRule;
use crate::data::Sources;
use crate::exchange::Exchange;
use crate::metrics::plugin::Series;
use crate::policy::contract::Role;
use crate::policy::contract::bindings::imports;
use crate::policy::shared::clock::Clock;
use crate::policy::shared::publications::Publications;
use crate::policy::shared::shutdown::Shutdown;
use crate::policy::shared::tracker::TrackerView;

/// The data of an instance's wasmtime store.
pub struct State {
    /// The request that the current hook decides. Outside of such a hook it is the default: zeros,
    /// empty lists, none.
    pub exchange: Box<Exchange>,
    pub tracker: TrackerView,
    pub role: Role,
    pub memory: Memory,
    pub clock: Clock,
    pub wasi: Wasi,
    pub log: Sink,
    pub storage: Storage,
    pub keys: Keys,
    pub meter: Meter,
    pub plans: Plans,
    /// The rules for looking up the credential.
    pub credential: Arc<[CredentialRule]>,
    /// The data sources of `sets`. A handle is a position in this list.
    pub data: Sources,
    /// What calls want to publish.
    pub staged: BTreeMap<Arc<str>, Arc<[u8]>>,
    /// What has been published.
    pub publications: Arc<Publications>,
    pub http: Option<Arc<dyn Carrier>>,
    pub shutdown: Arc<Shutdown>,
    /// Counts failed calls.
    pub tally: Arc<Series>,
    pub call: Call,
}

/// Links every interface that a component may import, each with its view of the state. A call
/// cannot reach anything else.
pub fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    imports::request::add_to_linker::<_, request::View>(linker, |state| request::View {
        exchange: &state.exchange,
    })?;
    imports::response::add_to_linker::<_, response::View>(linker, |state| response::View {
        answer: &state.exchange.answer,
        draft: &mut state.exchange.draft,
        tracker: &state.tracker,
        remember: &mut state.call.remember,
    })?;
    imports::swarm::add_to_linker::<_, swarm::View>(linker, |state| swarm::View {
        swarms: &*state.tracker.swarms,
        info_hash: state.exchange.request.announce.info_hash,
        seen: &mut state.exchange.seen,
    })?;
    imports::account::add_to_linker::<_, account::View>(linker, |state| account::View {
        account: &state.exchange.request.account,
        draft: &mut state.exchange.draft,
        asked: &mut state.call.asked,
    })?;
    imports::locality::add_to_linker::<_, locality::View>(linker, |state| locality::View {
        plans: &mut state.plans,
        draft: &mut state.exchange.draft,
        log: &state.log,
    })?;
    imports::sets::add_to_linker::<_, sets::View>(linker, |state| sets::View {
        sources: &state.data,
        // What was asked in the past needs nothing new.
        fetches: !state.clock.stands(),
    })?;
    imports::signatures::add_to_linker::<_, signatures::View>(linker, |state| signatures::View {
        keys: &mut state.keys,
    })?;
    imports::keyvalue::add_to_linker::<_, keyvalue::View>(linker, |state| keyvalue::View {
        storage: &state.storage,
        now: state.clock.now_in_call(state.call.moment),
    })?;
    imports::log::add_to_linker::<_, log::View>(linker, |state| log::View { log: &state.log })?;
    imports::metrics::add_to_linker::<_, metrics::View>(linker, |state| metrics::View {
        meter: &state.meter,
    })?;
    imports::http::add_to_linker::<_, http::View>(linker, |state| http::View {
        role: state.role,
        carrier: state.http.as_deref(),
        call: &mut state.call,
        shutdown: &state.shutdown,
    })?;
    imports::publisher::add_to_linker::<_, publisher::View>(linker, |state| publisher::View {
        role: state.role,
        sources: &state.data,
        staged: &mut state.staged,
        publications: &state.publications,
    })?;
    wasi::link(
        linker,
        |state| state.wasi.view(&state.clock, &mut state.call, state.role, &state.shutdown),
        |state| state.wasi.files(&mut state.call, state.role, &state.shutdown),
    )
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.context()
    }
}

impl State {
    /// Returns when the end of the process interrupts the current call.
    pub fn interrupt(&self) -> Option<Instant> {
        let is_control = self.role == Role::Control;
        is_control.then(|| self.shutdown.interrupts(self.call.late)).flatten()
    }
}
