//! Reads, compiles and links components.

use std::fs;
use std::path::Path;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre};

use super::compiler::Compiler;
use super::engine::Engine;
use super::footprint::{Footprint, Sizes};
use super::refusal::{
    REBUILD, Refusal, built_for, compatible, other_version, ours, recognise, refuse,
    refused_import, uncompiled, unfit_for, without_lifecycle,
};
use crate::metrics::Hook;
use crate::policy::contract::Contract;
use crate::policy::contract::bindings::hooks;
use crate::policy::imports::state::State;
use crate::watch::{self, Stamp};

/// The maximum size of a component, in bytes. Components of scripting languages contain an
/// interpreter of tens of megabytes.
const MAX_SIZE: u64 = 256 << 20;

/// A compiled and linked component.
pub struct Code {
    pub pre: InstancePre<State>,
    pub hooks: Hooks,
    pub footprint: Footprint,
}

/// The hooks that a component exports.
pub struct Hooks {
    pub lifecycle: hooks::lifecycle::GuestIndices,
    pub announce: Option<hooks::announce_filter::GuestIndices>,
    pub scrape: Option<hooks::scrape_filter::GuestIndices>,
    pub rank: Option<hooks::peer_ranker::GuestIndices>,
    pub observe: Option<hooks::observer::GuestIndices>,
    pub data: Option<hooks::data_sink::GuestIndices>,
    pub tick: Option<hooks::ticker::GuestIndices>,
}

impl Code {
    /// Returns whether the component imports an interface of the contract.
    pub fn imports(&self, interface: &str) -> bool {
        let component = self.pre.component();
        let kind = component.component_type();
        let mut names = kind.imports(self.pre.engine()).map(|(name, _)| name);
        names.any(|name| {
            let own = name.strip_prefix("karuta:policy/");
            own.and_then(|own| own.split('@').next()) == Some(interface)
        })
    }
}

impl Hooks {
    /// Returns whether the component exports this hook.
    pub fn has(&self, hook: Hook) -> bool {
        match hook {
            Hook::Announce => self.announce.is_some(),
            Hook::Scrape => self.scrape.is_some(),
            Hook::Rank => self.rank.is_some(),
            Hook::Observe | Hook::Data | Hook::Tick | Hook::Init => false,
        }
    }

    /// Returns whether anything is called off the request path.
    pub fn has_control(&self) -> bool {
        self.observe.is_some() || self.tick.is_some()
    }
}

/// Reads a component. The error is in words.
pub fn read(path: &Path) -> Result<(Stamp, Vec<u8>), String> {
    if fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > MAX_SIZE) {
        let most = MAX_SIZE >> 20;
        return Err(format!(
            "is too big: more than {most} MiB; leave out its debug information (`wasm-tools strip \
             --all`)"
        ));
    }
    watch::read(path, MAX_SIZE).map_err(|unread| unread.reason(path))
}

/// Compiles a file's bytes, whose SHA-256 is `digest`.
pub fn compile(
    engine: &Engine,
    bytes: &[u8],
    digest: &[u8; 32],
) -> Result<(Component, Footprint), Refusal> {
    let sizes = look(bytes)?;
    let component = engine.compile(bytes, digest, &sizes).map_err(|why| uncompiled(&why))?;
    Ok((component, sizes.footprint))
}

/// Compiles a file's bytes, whose SHA-256 is `digest`, into the engine's artifacts. Returns `false` if
/// it is there already.
pub fn warm(engine: &Engine, bytes: &[u8], digest: &[u8; 32]) -> Result<bool, Refusal> {
    let sizes = look(bytes)?;
    engine.warm(bytes, digest, &sizes).map_err(|why| uncompiled(&why))
}

/// Compiles the smallest component, to see whether that is possible.
///
/// # Errors
///
/// It is not.
pub fn try_out(compiler: &Compiler) -> Result<(), Refusal> {
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";
    let compiled = compiler.compile(EMPTY, &look(EMPTY)?, false);
    compiled.map(drop).map_err(|why| uncompiled(&why))
}

/// Computes the sizes of a component before any of it is compiled.
pub fn look(bytes: &[u8]) -> Result<Sizes, Refusal> {
    recognise(bytes)?;
    Sizes::of(bytes).map_err(|unfit| unfit_for(&unfit))
}

/// Links a component with the host's interfaces, and finds its hooks.
pub fn link(engine: &Engine, component: &Component, footprint: Footprint) -> Result<Code, Refusal> {
    let shape = component.component_type();
    for (name, item) in shape.imports(engine.wasmtime()) {
        refused_import(name, &item.ty)?;
    }
    let pre = engine.linker().instantiate_pre(component).map_err(|error| {
        let strange = shape.imports(engine.wasmtime()).find_map(|(name, item)| {
            let (interface, version) = ours(name)?;
            let ComponentItem::ComponentInstance(instance) = &item.ty else { return None };
            let what = Contract::get().strange_import(engine.wasmtime(), interface, instance)?;
            Some(refuse(built_for(what, version), REBUILD))
        });
        let what = || format!("imports something that this host does not offer: {error:#}");
        strange.unwrap_or_else(|| refuse(what(), "build it with tools for WASI 0.2"))
    })?;
    let mut exports = Vec::new();
    let mut others = Vec::new();
    for (name, item) in shape.exports(engine.wasmtime()) {
        match (ours(name), item.ty) {
            (Some((interface, version)), ComponentItem::ComponentInstance(instance)) => {
                if !compatible(version) {
                    return Err(other_version("exports", interface, version));
                }
                if !Contract::get().calls(interface) {
                    return Err(refuse(
                        format!("exports karuta:policy/{interface}, which this host does not call"),
                        "export only hooks of this host's contract (`karuta plugin wit`), or use a \
                         newer host",
                    ));
                }
                exports.push((interface.to_owned(), version.to_owned(), instance));
            }
            (_, ComponentItem::ComponentInstance(_) | ComponentItem::ComponentFunc(_)) => {
                others.push(name.to_owned());
            }
            _ => {}
        }
    }
    let export = |wanted: &str| exports.iter().find(|(interface, ..)| interface == wanted);
    if export("lifecycle").is_none() {
        return Err(without_lifecycle(&others, exports.is_empty()));
    }
    for (interface, version, instance) in &exports {
        if let Some(what) = Contract::get().strange_export(engine.wasmtime(), interface, instance) {
            return Err(refuse(built_for(what, version), REBUILD));
        }
    }
    let has = |wanted: &str| export(wanted).is_some();
    let text = |error: wasmtime::Error| refuse(format!("{error:#}"), REBUILD);
    let hooks = Hooks {
        lifecycle: hooks::lifecycle::GuestIndices::new(&pre).map_err(text)?,
        announce: has("announce-filter")
            .then(|| hooks::announce_filter::GuestIndices::new(&pre))
            .transpose()
            .map_err(text)?,
        scrape: has("scrape-filter")
            .then(|| hooks::scrape_filter::GuestIndices::new(&pre))
            .transpose()
            .map_err(text)?,
        rank: has("peer-ranker")
            .then(|| hooks::peer_ranker::GuestIndices::new(&pre))
            .transpose()
            .map_err(text)?,
        observe: has("observer")
            .then(|| hooks::observer::GuestIndices::new(&pre))
            .transpose()
            .map_err(text)?,
        data: has("data-sink")
            .then(|| hooks::data_sink::GuestIndices::new(&pre))
            .transpose()
            .map_err(text)?,
        tick: has("ticker")
            .then(|| hooks::ticker::GuestIndices::new(&pre))
            .transpose()
            .map_err(text)?,
    };
    Ok(Code { pre, hooks, footprint })
}
