//! What operators see: `/metrics`, and the dashboard and rules that a real Prometheus evaluates.

mod prometheus;
mod queries;
mod series;
mod tracker;

use std::process::Command;

/// Returns whether a program is installed. If not, the test must be skipped; in CI, it fails.
fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        let why = format!("{program} is missing; `make test` installs it on Debian");
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("skipped: {why}");
    }
    found
}
