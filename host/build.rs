//! Tells the program what it is built with. Also, `author::sdk` embeds a folder whose files are known
//! only once they are looked for.

use std::fs;
use std::process::Command;

const LOCK: &str = "../Cargo.lock";

fn main() {
    println!("cargo::rerun-if-changed=../plugin-sdk");
    println!("cargo::rerun-if-changed={LOCK}");
    println!("cargo::rerun-if-env-changed=RUSTC");
    println!("cargo::rustc-env=KARUTA_RUSTC={}", rustc().as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=KARUTA_WASMTIME={}", wasmtime().as_deref().unwrap_or("unknown"));
}

/// Returns the version of the compiler, which says `rustc 1.95.0 (…)`.
fn rustc() -> Option<String> {
    let said = Command::new(std::env::var_os("RUSTC")?).arg("--version").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    said.split(' ').nth(1).map(str::to_owned)
}

fn wasmtime() -> Option<String> {
    let lock = fs::read_to_string(LOCK).ok()?;
    let mut lines = lock.lines().skip_while(|line| *line != "name = \"wasmtime\"");
    let version = lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')?;
    Some(version.to_owned())
}
