//! Whether a file is a component for this host; and where it is not, what would make it one.

use std::fmt;
use std::fs;
use std::path::Path;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, InstancePre};

use super::bindings::hooks;
use super::compiler::Uncompiled;
use super::contract::{Contract, VERSION};
use super::engine::Engine;
use super::footprint::{Footprint, Sizes, Unfit};
use super::plugin::Stage;
use super::state::State;
use crate::metrics::Hook;
use crate::text::cut;
use crate::watch::{self, Stamp};

/// Bytes of a component; those of scripting languages bring an interpreter of tens of megabytes.
const MAX_SIZE: u64 = 256 << 20;

/// A component, compiled and linked.
pub struct Code {
    pub pre: InstancePre<State>,
    pub hooks: Hooks,
    pub footprint: Footprint,
}

/// Which hooks a component exports.
pub struct Hooks {
    pub lifecycle: hooks::lifecycle::GuestIndices,
    pub announce: Option<hooks::announce_filter::GuestIndices>,
    pub scrape: Option<hooks::scrape_filter::GuestIndices>,
    pub rank: Option<hooks::peer_ranker::GuestIndices>,
    pub observe: Option<hooks::observer::GuestIndices>,
    pub data: Option<hooks::data_sink::GuestIndices>,
    pub tick: Option<hooks::ticker::GuestIndices>,
}

impl Hooks {
    /// Whether there is such a hook on requests.
    pub fn has(&self, hook: Hook) -> bool {
        match hook {
            Hook::Announce => self.announce.is_some(),
            Hook::Scrape => self.scrape.is_some(),
            Hook::Rank => self.rank.is_some(),
            Hook::Observe | Hook::Data | Hook::Tick | Hook::Init => false,
        }
    }

    /// Whether there is something to call off the request path.
    pub fn has_control(&self) -> bool {
        self.observe.is_some() || self.tick.is_some()
    }
}

/// Why a file is of no use as a plugin, and what would mend it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Begins with a verb, of the component: `imports …`.
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

impl std::error::Error for Refusal {}

fn refuse(what: impl Into<String>, remedy: impl Into<String>) -> Refusal {
    // Names of the component's own are in it.
    Refusal { what: cut(what.into()), remedy: remedy.into() }
}

const BUILD: &str = "build it with `karuta plugin build`, or for wasm32-wasip2";
const AGAIN: &str = "build or copy it again";
const REBUILD: &str = "build it against the contract that `karuta plugin wit` prints";
const SYNC: &str = "build it for a world without async functions, as the contract's are \
                    (componentize-qjs: `--sync`)";

/// Reads a component; the error is in words.
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

/// Compiles and links what may be a component, and whose SHA-256 is `digest`.
///
/// # Errors
///
/// How far it came, and why it is of no use.
pub fn load(engine: &Engine, bytes: &[u8], digest: &[u8; 32]) -> Result<Code, (Stage, Refusal)> {
    let compile = || {
        let sizes = look(bytes)?;
        let component = engine.compile(bytes, digest, &sizes).map_err(|why| uncompiled(&why))?;
        Ok((component, sizes.footprint))
    };
    let (component, footprint) = compile().map_err(|refusal| (Stage::Compile, refusal))?;
    link(engine, &component, footprint).map_err(|refusal| (Stage::Link, refusal))
}

/// Says what a component takes, before anything of it is compiled.
pub fn look(bytes: &[u8]) -> Result<Sizes, Refusal> {
    recognise(bytes)?;
    Sizes::of(bytes).map_err(|unfit| unfit_for(&unfit))
}

/// Refuses what does not even begin as a component.
pub fn recognise(bytes: &[u8]) -> Result<(), Refusal> {
    match bytes {
        [b'\0', b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(refuse(
            "is a core module, not a component",
            "build it for wasm32-wasip2, or wrap it with `wasm-tools component new` (one for \
             wasip1 with `--adapt`)",
        )),
        [b'\0', b'a', b's', b'm', version, _, 1, 0, ..] if *version < 0x0d => Err(refuse(
            "is a component in a format that is out of use",
            "build it with current tools",
        )),
        [b'\0', b'a', b's', b'm', ..] if bytes.len() < 8 => Err(refuse("is cut off", AGAIN)),
        [b'\0', b'a', b's', b'm', ..] => Err(refuse(
            "is WebAssembly of a version that this host does not know",
            "build it with older tools, or use a newer host",
        )),
        [] => Err(refuse("is not a WebAssembly component: it is empty", AGAIN)),
        [0x7f, b'E', b'L', b'F', ..] | [b'M', b'Z', ..] | [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] => {
            Err(refuse("is not a WebAssembly component but native code", BUILD))
        }
        [b'B', b'C', 0xc0, 0xde, ..] => Err(refuse("is LLVM bitcode, not a component", BUILD)),
        [0x1f, 0x8b, ..] | [b'P', b'K', ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Err(refuse("is not a WebAssembly component: it is packed", "unpack it"))
        }
        _ if is_text(bytes) => Err(refuse("is not a WebAssembly component but a text", BUILD)),
        _ => Err(refuse("is not a WebAssembly component", BUILD)),
    }
}

fn is_text(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(512)];
    let start = match std::str::from_utf8(start) {
        Ok(text) => text,
        // The last character may be cut.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !start.contains(|c: char| c.is_control() && !c.is_whitespace())
}

/// Why a component is not worth compiling.
fn unfit_for(unfit: &Unfit) -> Refusal {
    match unfit {
        Unfit::Unreadable(error) => {
            // Some have a list of bytes in them, a line for each.
            let text = error.to_string();
            let words: Vec<_> = text.split_whitespace().collect();
            invalid(&words.join(" "))
        }
        Unfit::TooMany { what, most } => refuse(
            format!("has too many {what}: more than the {most} that a component may have"),
            "leave out what it does not use, or link it into fewer",
        ),
        Unfit::HandedOver => refuse(
            "instantiates a core module or component that is handed to it",
            "link it in (`wac plug`)",
        ),
    }
}

/// Why a component is not compiled.
fn uncompiled(why: &Uncompiled) -> Refusal {
    match why {
        Uncompiled::Invalid(error) => invalid(error),
        Uncompiled::Time { .. } | Uncompiled::Memory { .. } | Uncompiled::Crash(_) => refuse(
            why.to_string(),
            "make its functions smaller and less nested; what generated them has options for that",
        ),
        Uncompiled::System(_) => refuse(
            why.to_string(),
            "the compiler is a process of this program's own: it needs /proc, and leave to start one",
        ),
    }
}

/// What is not valid about a component, by what wasmtime says.
fn invalid(error: &str) -> Refusal {
    let has = |words: &[&str]| words.iter().any(|word| error.contains(word));
    let error = error.strip_prefix("failed to parse WebAssembly module: ").unwrap_or(error);
    if has(&["unexpected end", "unexpected-eof", "extends past end", "out of bounds of the"]) {
        return refuse(format!("is cut off or damaged: {error}"), AGAIN);
    }
    if has(&["async", "future", "stream", "error-context"]) {
        return refuse(format!("uses async, which this host does without: {error}"), SYNC);
    }
    if has(&["memory64", "64-bit memories"]) {
        return refuse("has a memory of 64 bits", "build it for wasm32");
    }
    if has(&["shared memor", "threads must be enabled", "atomic"]) {
        return refuse("shares memory between threads", "build it without threads");
    }
    if has(&["not enabled", "must be enabled", "requires", "support is"]) {
        return refuse(
            format!("needs a feature of WebAssembly that this host has switched off: {error}"),
            "build it without that feature",
        );
    }
    refuse(format!("is damaged, or not valid: {error}"), AGAIN)
}

/// Links a component with what the host offers, and finds the hooks that it has.
fn link(engine: &Engine, component: &Component, footprint: Footprint) -> Result<Code, Refusal> {
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
        let what = || format!("imports what this host lacks: {error:#}");
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

/// Why a component without `lifecycle` is no policy; `others` is what it exports instead.
fn without_lifecycle(others: &[String], nothing: bool) -> Refusal {
    const WHAT: &str = "exports no karuta:policy/lifecycle";
    const WORLD: &str = "build it for a world of karuta:policy, such as announce-policy";
    let exports = |start: &str| others.iter().find(|name| name.starts_with(start));
    if exports("wasi:cli/run").is_some() {
        return refuse(
            format!("{WHAT}: it is a program with `main`"),
            format!("make it a library (Rust: a cdylib, C: `-mexec-model=reactor`), and {WORLD}"),
        );
    }
    if let Some(handler) = exports("wasi:http/").or_else(|| exports("proxy-wasm")) {
        return refuse(format!("{WHAT} but {handler}: it is a plugin for another host"), WORLD);
    }
    match others.first() {
        Some(other) => {
            refuse(format!("{WHAT} but {other}; is it a plugin for another host?"), WORLD)
        }
        None if nothing => refuse(format!("{WHAT}, nor anything else"), WORLD),
        None => refuse(WHAT, "export it beside the hooks; every world of karuta:policy has it"),
    }
}

/// Refuses an import that cannot be given, as far as its name and kind go.
fn refused_import(import: &str, item: &ComponentItem) -> Result<(), Refusal> {
    if let Some((interface, version)) = ours(import) {
        if !compatible(version) {
            return Err(other_version("imports", interface, version));
        }
        if !Contract::get().offers(interface) {
            return Err(refuse(
                format!("imports karuta:policy/{interface}, which this host lacks"),
                "use a newer host, or do without; `karuta plugin wit` prints what this one offers",
            ));
        }
        return Ok(());
    }
    if import.starts_with("wasi:http/") {
        return Err(refuse(
            format!("imports {import}, which is not offered"),
            "use karuta:policy/http's `fetch`, on the control instance; where the language's \
             runtime imports it unasked, switch that off (componentize-js: \
             `--disable http --disable fetch-event`)",
        ));
    }
    if let Some(rest) = import.strip_prefix("wasi:") {
        return match rest.split_once('@') {
            Some((_, version)) if version.starts_with("0.2.0-") => Err(refuse(
                format!("imports {import}, of a draft of WASI 0.2"),
                "build it with current tools",
            )),
            Some((_, version)) if !version.starts_with("0.2.") => Err(refuse(
                format!("imports {import}; this host offers WASI 0.2"),
                "build it with tools for WASI 0.2 (Rust: the target wasm32-wasip2)",
            )),
            _ => Ok(()),
        };
    }
    let kind = match item {
        ComponentItem::Module(_) => "the core module ",
        ComponentItem::Component(_) => "the component ",
        ComponentItem::ComponentFunc(_) | ComponentItem::CoreFunc(_) => "the function ",
        ComponentItem::Type(_) | ComponentItem::Resource(_) => "the type ",
        ComponentItem::ComponentInstance(_) => "",
    };
    let remedy = match kind {
        "" if import.contains(':') => "do without, or link what it needs into it (`wac plug`)",
        "the core module " => "link the module into the component; the host gives interfaces only",
        _ => "import interfaces of karuta:policy and WASI 0.2 only",
    };
    Err(refuse(format!("imports {kind}{import}, which this host lacks"), remedy))
}

fn other_version(verb: &str, interface: &str, version: &str) -> Refusal {
    refuse(
        format!("{verb} {interface} of karuta:policy {version}; this host offers {VERSION}"),
        format!("use a host that offers {version}, or {REBUILD}"),
    )
}

/// Adds which version something was built against, where it is not this host's.
fn built_for(what: String, version: &str) -> String {
    match version == VERSION {
        true => what,
        false => format!("{what} (it was built against {version}, this host offers {VERSION})"),
    }
}

/// The interface and version of a name such as `karuta:policy/request@0.1.0`.
fn ours(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix("karuta:policy/")?;
    Some(rest.split_once('@').unwrap_or((rest, "without a version")))
}

fn compatible(version: &str) -> bool {
    version.starts_with("0.1.")
}
