//! What stands behind one instance of a plugin: the data of its wasmtime store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use karuta_bittorrent::{Counts, InfoHash};
use wasmtime::ResourceLimiter;

use super::clock::Clock;
use super::exchange::Exchange;
use super::host::http::Carrier;
use super::host::keyvalue::Storage;
use super::host::locality::Plans;
use super::host::log::Sink;
use super::host::metrics::Meter;
use super::host::signatures::Keys;
use super::instance::Role;
use super::publications::Publications;
use super::shutdown::Shutdown;
use super::wasi::Wasi;
use crate::metrics::plugin::Series;

/// The host functions work on this.
pub struct State {
    /// The request that the hook under way decides on. Outside of such a hook it is the default
    /// one: zeros, empty lists, none.
    pub exchange: Box<Exchange>,
    pub scope: Scope,
    pub role: Role,
    pub memory: Memory,
    pub clock: Clock,
    pub wasi: Wasi,
    pub log: Sink,
    pub storage: Storage,
    pub keys: Keys,
    pub meter: Meter,
    pub plans: Plans,
    /// The value of the policy's `credential` rules is looked up here.
    pub credential: Arc<[crate::config::CredentialRule]>,
    /// What `sets` looks into; a handle is a place in it.
    pub data: crate::data::Sources,
    /// What calls have asked to be published.
    pub staged: BTreeMap<Arc<str>, Arc<[u8]>>,
    /// What has been published.
    pub publications: Arc<Publications>,
    pub http: Option<Arc<dyn Carrier>>,
    pub shutdown: Arc<Shutdown>,
    /// Where calls are counted that did not come off.
    pub tally: Arc<Series>,
    pub call: Call,
}

impl State {
    /// When the end of the process interrupts the call under way.
    pub fn interrupt(&self) -> Option<Instant> {
        let is_control = self.role == Role::Control;
        is_control.then(|| self.shutdown.interrupts(self.call.late)).flatten()
    }
}

impl Call {
    /// How long the call may wait, beside what it has waited already; less where the end of the
    /// process comes first.
    pub fn patience(&self, shutdown: Option<&Shutdown>) -> Duration {
        let left = self.deadline.saturating_sub(self.waited);
        let interrupt = shutdown.and_then(|shutdown| shutdown.interrupts(self.late));
        let interrupt = interrupt.map(|at| at.saturating_duration_since(Instant::now()));
        interrupt.map_or(left, |interrupt| interrupt.min(left))
    }
}

/// What of the tracker a policy may look at, the same for all of them.
#[derive(Clone)]
pub struct Scope {
    /// Seconds.
    pub max_interval: u32,
    pub max_num_want: u32,
    pub peer_lifetime: Duration,
    pub swarms: Arc<dyn Swarms>,
}

/// The swarms as policies see them.
pub trait Swarms: Send + Sync {
    fn counts(&self, info_hash: InfoHash) -> Option<Counts>;
}

impl<S: karuta_swarm::Store> Swarms for S {
    fn counts(&self, info_hash: InfoHash) -> Option<Counts> {
        self.peek(info_hash)
    }
}

/// The account of the call under way.
#[derive(Default)]
pub struct Call {
    pub deadline: Duration,
    /// What the clocks said when the first tick of the engine fell into the call.
    pub account: Option<Account>,
    /// How long it has waited for what is outside of it.
    pub waited: Duration,
    /// It began when the end of the process was announced already.
    pub late: bool,
    /// The call was ended because its time was over.
    pub overdue: bool,
    /// For which requests the plugin wants its verdict to hold, and how long.
    pub remember: Option<(super::bindings::imports::response::Scope, Duration)>,
}

#[derive(Clone, Copy)]
pub struct Account {
    /// Time that this thread had spent on a processor.
    pub processor: Duration,
    pub wall: Instant,
}

/// Counts and bounds what one instance takes: its linear memory and its tables, and what the engine
/// keeps for it beside.
pub struct Memory {
    /// Bytes.
    pub limit: usize,
    /// Bytes in use.
    pub used: usize,
    /// The call under way wanted more than the limit.
    pub refused: bool,
}

/// A table entry is a pointer and a type in the host.
pub const TABLE_ENTRY: usize = 16;

impl Memory {
    /// Begins with the `used` bytes that do not grow.
    pub fn new(limit: usize, used: usize) -> Self {
        Self { limit, used, refused: false }
    }

    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > self.limit {
            self.refused = true;
            return false;
        }
        self.used = used;
        true
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(current.saturating_mul(TABLE_ENTRY), desired.saturating_mul(TABLE_ENTRY)))
    }
}
