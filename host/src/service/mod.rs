//! The service manager: the sockets that it keeps for this process, and what it is told.

mod inherited;
mod notify;
mod watchdog;

use std::path::Path;

pub use self::inherited::{Inheritance, Inherited};
pub use self::notify::Notifier;
pub use self::watchdog::{Pulse, Watchdog};

/// Folders that `ProtectHome=` hides from a service.
const HIDDEN: [&str; 3] = ["/home", "/root", "/run/user"];

/// Returns a reason why this process cannot see a file, if it is a service and the file would be in
/// a home folder.
pub fn hint(file: &Path) -> Option<&'static str> {
    let path = std::path::absolute(file).ok()?;
    let is_service = std::env::var_os("INVOCATION_ID").is_some();
    let is_hidden =
        HIDDEN.iter().any(|folder| path.starts_with(folder)) && path.metadata().is_err();
    (is_service && is_hidden).then_some(
        "if the service has `ProtectHome=`, as `karuta.service` does, it sees no home folders",
    )
}

/// Returns how many sockets the service manager keeps, if it says so: systemd does since version 254.
pub fn store_size() -> Option<usize> {
    std::env::var("FDSTORE").ok()?.parse().ok()
}
