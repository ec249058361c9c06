//! The wasmtime engine that all policies share, and its clock.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use parking_lot::Mutex;
use wasmtime::component::{Component, Linker};
use wasmtime::{Store, UpdateDeadline};

use super::artifact::Artifacts;
use super::compiler::{Compiler, Uncompiled};
use super::footprint::Sizes;
use super::settings::settings;
use crate::policy::imports::call::Clocks;
use crate::policy::imports::state::{self, State};

/// How often a running call checks the clock.
const TICK: Duration = Duration::from_millis(2);
/// The stack size of threads that call policies, in bytes.
pub const THREAD_STACK: usize = 4 * 1024 * 1024;
/// A call ends after this many times its deadline on the wall clock, but not before `PATIENCE`.
const WALL_FACTOR: u32 = 10;
const PATIENCE: Duration = Duration::from_millis(250);

/// Compiles, links and times components.
pub struct Engine {
    engine: wasmtime::Engine,
    linker: Linker<State>,
    compiler: Compiler,
    /// Whether the code counts the fuel that it uses.
    fuel: bool,
    artifacts: Option<Artifacts>,
    /// Whether the clock runs. It starts with the first component.
    clock: Mutex<bool>,
}

/// The engine does not work on this machine.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EngineError(String);

impl From<wasmtime::Error> for EngineError {
    fn from(error: wasmtime::Error) -> Self {
        Self(format!("{error:#}"))
    }
}

impl Engine {
    /// Creates the engine. Compiled components are kept in `artifacts`.
    pub fn new(compiler: Compiler, artifacts: Option<Artifacts>) -> Result<Self, EngineError> {
        Ok(Self::build(compiler, false, artifacts)?)
    }

    /// Creates an engine whose code counts its fuel, which makes it slower: for measuring, not for
    /// serving.
    pub fn counting_fuel(
        compiler: Compiler,
        artifacts: Option<Artifacts>,
    ) -> Result<Self, EngineError> {
        Ok(Self::build(compiler, true, artifacts)?)
    }

    fn build(
        compiler: Compiler,
        fuel: bool,
        artifacts: Option<Artifacts>,
    ) -> wasmtime::Result<Self> {
        let engine = wasmtime::Engine::new(&settings(fuel))?;
        let mut linker = Linker::new(&engine);
        state::link(&mut linker)?;
        Ok(Self { engine, linker, compiler, fuel, artifacts, clock: Mutex::default() })
    }

    /// Compiles a component whose SHA-256 is `digest`, or loads it from the artifacts.
    pub fn compile(
        &self,
        wasm: &[u8],
        digest: &[u8; 32],
        sizes: &Sizes,
    ) -> Result<Component, Uncompiled> {
        self.start_clock()?;
        let artifacts = self.artifacts.as_ref();
        if let Some(kept) = artifacts.and_then(|artifacts| artifacts.kept(&self.engine, digest)) {
            return Ok(kept);
        }
        let artifact = self.compiler.compile(wasm, sizes, self.fuel)?;
        let component = artifact.load(&self.engine);
        let component = component.map_err(|error| Uncompiled::Crash(format!("{error:#}")))?;
        let kept = artifacts.map(|artifacts| artifacts.keep(&self.engine, digest, &artifact));
        if let Some(Err(error)) = kept {
            let digest = hex::encode(digest);
            tracing::warn!(digest, %error, "cannot keep compiled component");
        }
        Ok(component)
    }

    /// Compiles a component into the artifacts. Returns `false` if it is there already.
    pub fn warm(&self, wasm: &[u8], digest: &[u8; 32], sizes: &Sizes) -> Result<bool, Uncompiled> {
        let Some(artifacts) = &self.artifacts else { return Ok(false) };
        if artifacts.kept(&self.engine, digest).is_some() {
            return Ok(false);
        }
        let artifact = self.compiler.compile(wasm, sizes, self.fuel)?;
        artifacts.keep(&self.engine, digest, &artifact)?;
        Ok(true)
    }

    /// Starts the clock's thread, which ends with the engine.
    fn start_clock(&self) -> std::io::Result<()> {
        let mut started = self.clock.lock();
        if !std::mem::replace(&mut *started, true) {
            let weak = self.engine.weak();
            std::thread::Builder::new().name("policy-clock".into()).spawn(move || {
                while let Some(engine) = weak.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    std::thread::sleep(TICK);
                }
            })?;
        }
        Ok(())
    }

    pub fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }

    pub fn linker(&self) -> &Linker<State> {
        &self.linker
    }
}

impl Clocks {
    fn now() -> Self {
        let processor =
            clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from);
        Self { processor, wall: Instant::now() }
    }
}

/// Ends calls of the store that exceed their deadline.
///
/// A deadline is processor time, so that no call fails because the machine is busy. The first tick
/// during a call opens its account; a call without a tick never reads the clock.
pub fn watch(store: &mut Store<State>) {
    // No call runs out of this fuel. An engine that does not count fuel rejects it.
    let _ = store.set_fuel(u64::MAX);
    store.epoch_deadline_callback(|mut context| {
        let state = context.data_mut();
        let interrupt = state.interrupt();
        let call = &mut state.call;
        let now = Clocks::now();
        let start = *call.first_tick.get_or_insert(now);
        let on_processor = now.processor.saturating_sub(start.processor);
        let on_wall = now.wall.duration_since(start.wall);
        call.overdue = on_processor >= call.deadline
            || on_wall >= (call.deadline * WALL_FACTOR).max(PATIENCE)
            || interrupt.is_some_and(|at| now.wall >= at);
        Ok(if call.overdue { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(1) })
    });
}
