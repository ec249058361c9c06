//! `karuta plugin wit`: the contract out of the program, so that it fits the host.

use std::fs;
use std::path::Path;

use super::Failure;
use crate::policy;

/// What the contract's file is called.
pub const FILE: &str = "policy.wit";

pub fn wit(output: Option<&Path>) -> Result<(), Failure> {
    let Some(folder) = output else {
        print!("{}", policy::WIT);
        return Ok(());
    };
    write(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    println!("{}: karuta:policy {}", folder.join(FILE).display(), policy::VERSION);
    Ok(())
}

/// Writes the contract into a folder, which is made where it is missing.
pub fn write(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(FILE), policy::WIT)
}
