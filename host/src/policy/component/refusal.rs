//! Explains why a file is not a component for this host, and how to fix it.

use std::fmt;

use wasmtime::component::types::ComponentItem;

use super::compiler::Uncompiled;
use super::footprint::Unfit;
use crate::policy::contract::{Contract, VERSION};
use crate::text::cut;

/// Why a file cannot be used as a plugin, and how to fix it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Begins with a verb whose subject is the component: `imports …`.
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

impl std::error::Error for Refusal {}

pub fn refuse(what: impl Into<String>, remedy: impl Into<String>) -> Refusal {
    // It contains names that the component chose.
    Refusal { what: cut(what.into()), remedy: remedy.into() }
}

const BUILD: &str = "build it with `karuta plugin build`, or for wasm32-wasip2";
const AGAIN: &str = "build or copy it again";
pub const REBUILD: &str = "build it against the contract that `karuta plugin wit` prints";
const SYNC: &str = "build it for a world without async functions, like those of the contract \
                    (componentize-qjs: `--sync`)";

/// Rejects a file that does not begin like a component.
pub fn recognise(bytes: &[u8]) -> Result<(), Refusal> {
    match bytes {
        [b'\0', b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(refuse(
            "is a core module, not a component",
            "build it for wasm32-wasip2, or wrap it with `wasm-tools component new` (one for \
             wasip1 with `--adapt`)",
        )),
        [b'\0', b'a', b's', b'm', version, _, 1, 0, ..] if *version < 0x0d => {
            Err(refuse("is a component in an outdated format", "build it with current tools"))
        }
        [b'\0', b'a', b's', b'm', ..] if bytes.len() < 8 => Err(refuse("is cut off", AGAIN)),
        [b'\0', b'a', b's', b'm', ..] => Err(refuse(
            "is WebAssembly of a version that this host does not support",
            "build it with older tools, or use a newer host",
        )),
        [] => Err(refuse("is not a WebAssembly component: it is empty", AGAIN)),
        [0x7f, b'E', b'L', b'F', ..] | [b'M', b'Z', ..] | [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] => {
            Err(refuse("is native code, not a WebAssembly component", BUILD))
        }
        [b'B', b'C', 0xc0, 0xde, ..] => Err(refuse("is LLVM bitcode, not a component", BUILD)),
        [0x1f, 0x8b, ..] | [b'P', b'K', ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Err(refuse("is compressed, not a WebAssembly component", "decompress it"))
        }
        _ if is_text(bytes) => Err(refuse("is text, not a WebAssembly component", BUILD)),
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

/// Explains why a component is not worth compiling.
pub fn unfit_for(unfit: &Unfit) -> Refusal {
    match unfit {
        Unfit::Unreadable(error) => {
            // Some messages contain a list of bytes, one per line.
            let text = error.to_string();
            let words: Vec<_> = text.split_whitespace().collect();
            invalid(&words.join(" "))
        }
        Unfit::TooMany { what, most } => refuse(
            format!("has too many {what}: more than {most}"),
            "remove what it does not use, or link it into fewer",
        ),
        Unfit::HandedOver => refuse(
            "instantiates a core module or component that it does not contain",
            "link it in (`wac plug`)",
        ),
    }
}

/// Explains why a component was not compiled.
pub fn uncompiled(why: &Uncompiled) -> Refusal {
    match why {
        Uncompiled::Invalid(error) => invalid(error),
        Uncompiled::Time { .. } | Uncompiled::Memory { .. } | Uncompiled::Crash(_) => refuse(
            why.to_string(),
            "make its functions smaller and less nested; code generators have options for that",
        ),
        Uncompiled::System(_) => refuse(
            why.to_string(),
            "the compiler is a child process: it needs /proc, and permission to start a process",
        ),
    }
}

/// Explains why a component is invalid, based on wasmtime's message.
fn invalid(error: &str) -> Refusal {
    let has = |words: &[&str]| words.iter().any(|word| error.contains(word));
    let error = error.strip_prefix("failed to parse WebAssembly module: ").unwrap_or(error);
    if has(&["unexpected end", "unexpected-eof", "extends past end", "out of bounds of the"]) {
        return refuse(format!("is cut off or damaged: {error}"), AGAIN);
    }
    if has(&["async", "future", "stream", "error-context"]) {
        return refuse(format!("uses async, which this host does not support: {error}"), SYNC);
    }
    if has(&["memory64", "64-bit memories"]) {
        return refuse("has a 64-bit memory", "build it for wasm32");
    }
    if has(&["shared memor", "threads must be enabled", "atomic"]) {
        return refuse("shares memory between threads", "build it without threads");
    }
    if has(&["not enabled", "must be enabled", "requires", "support is"]) {
        return refuse(
            format!("needs a WebAssembly feature that this host disables: {error}"),
            "build it without that feature",
        );
    }
    refuse(format!("is damaged or invalid: {error}"), AGAIN)
}

/// Explains why a component without `lifecycle` is not a policy. `others` are its other exports.
pub fn without_lifecycle(others: &[String], nothing: bool) -> Refusal {
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
        None => refuse(WHAT, "export it with the hooks; every world of karuta:policy has it"),
    }
}

/// Rejects an import that the host does not offer, as far as its name and kind tell.
pub fn refused_import(import: &str, item: &ComponentItem) -> Result<(), Refusal> {
    if let Some((interface, version)) = ours(import) {
        if !compatible(version) {
            return Err(other_version("imports", interface, version));
        }
        if !Contract::get().offers(interface) {
            return Err(refuse(
                format!("imports karuta:policy/{interface}, which this host does not offer"),
                "use a newer host, or remove the import; `karuta plugin wit` prints what this one \
                 offers",
            ));
        }
        return Ok(());
    }
    if import.starts_with("wasi:http/") {
        return Err(refuse(
            format!("imports {import}, which is not offered"),
            "use karuta:policy/http's `fetch`, on the control instance; if the language's runtime \
             imports it by itself, disable that (componentize-js: \
             `--disable http --disable fetch-event`)",
        ));
    }
    if let Some(rest) = import.strip_prefix("wasi:") {
        return match rest.split_once('@') {
            Some((_, version)) if version.starts_with("0.2.0-") => Err(refuse(
                format!("imports {import}, from a draft of WASI 0.2"),
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
        "" if import.contains(':') => {
            "remove the import, or link its implementation into the component (`wac plug`)"
        }
        "the core module " => "link the module into the component; the host only offers interfaces",
        _ => "import interfaces of karuta:policy and WASI 0.2 only",
    };
    Err(refuse(format!("imports {kind}{import}, which this host does not offer"), remedy))
}

pub fn other_version(verb: &str, interface: &str, version: &str) -> Refusal {
    refuse(
        format!("{verb} {interface} of karuta:policy {version}; this host offers {VERSION}"),
        format!("use a host that offers {version}, or {REBUILD}"),
    )
}

/// Adds the version that something was built against, unless it is this host's.
pub fn built_for(what: String, version: &str) -> String {
    match version == VERSION {
        true => what,
        false => format!("{what} (it was built against {version}, this host offers {VERSION})"),
    }
}

/// Returns the interface and version of a name such as `karuta:policy/request@0.1.0`.
pub fn ours(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix("karuta:policy/")?;
    Some(rest.split_once('@').unwrap_or((rest, "without a version")))
}

pub fn compatible(version: &str) -> bool {
    version.starts_with("0.1.")
}
