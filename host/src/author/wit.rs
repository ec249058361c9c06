//! `karuta plugin wit`: prints the contract from the program, so that it matches the host.

use std::fs;
use std::path::Path;

use super::Failure;
use crate::policy;

/// The name of the contract's file.
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

/// Writes the contract into a folder, and creates the folder if necessary.
pub fn write(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(FILE), policy::WIT)
}
