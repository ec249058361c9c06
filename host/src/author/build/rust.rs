//! Rust: cargo makes components itself.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::tool::Tool;
use crate::author::Failure;
use crate::author::project::Project;

const TARGET: &str = "wasm32-wasip2";
const CARGO: Tool =
    Tool { name: "cargo", get: "install Rust from https://rustup.rs, or your system's packages" };

pub fn build(project: &Project) -> Result<Vec<u8>, Failure> {
    target_is_there()?;
    let mut cargo = CARGO.command(&project.folder);
    cargo.args(["build", "--release", "--target", TARGET]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    let messages = CARGO.output(&mut cargo)?;
    let built = components(&messages);
    let [file] = &built[..] else {
        let what = if built.is_empty() { "no component" } else { "several components" };
        return Err(Failure::Failed(format!(
            "cargo made {what}: the package needs `[lib] crate-type = [\"cdylib\"]`, and only one"
        )));
    };
    fs::read(file).map_err(|error| Failure::Failed(format!("{}: {error}", file.display())))
}

/// Returns the components that cargo's messages name.
fn components(messages: &[u8]) -> Vec<PathBuf> {
    let lines = messages.split(|byte| *byte == b'\n');
    let messages = lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let mut files = Vec::new();
    for message in messages {
        let is_library = message["target"]["kind"]
            .as_array()
            .is_some_and(|kinds| kinds.contains(&"cdylib".into()));
        if message["reason"] == "compiler-artifact" && is_library {
            let names = message["filenames"].as_array().into_iter().flatten();
            let names = names.filter_map(Value::as_str).filter(|name| name.ends_with(".wasm"));
            files.extend(names.map(PathBuf::from));
        }
    }
    files
}

/// Checks that the compiler of this folder has the target, and says how to get it.
fn target_is_there() -> Result<(), Failure> {
    const RUSTC: Tool = Tool { name: "rustc", get: CARGO.get };
    let mut rustc = RUSTC.command(std::path::Path::new("."));
    let Ok(sysroot) = RUSTC.output(rustc.args(["--print", "sysroot"])) else {
        // Cargo may use another compiler, and reports that itself.
        return Ok(());
    };
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot).trim());
    match sysroot.join("lib/rustlib").join(TARGET).is_dir() {
        true => Ok(()),
        false => Err(Failure::Failed(format!(
            "Rust has no target {TARGET}: run `rustup target add {TARGET}`"
        ))),
    }
}
