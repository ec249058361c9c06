//! The page of the admin API in a real browser: Chromium.

mod accounts;
mod browser;
mod change;
mod hostile;
mod looks;
mod plain;
mod served;
mod story;
mod tracker;

use std::process::Command;

/// Returns whether a program is installed. If not, the test must be skipped; in CI, it fails.
fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        missing(&format!("{program} is missing; `make test` installs it on Debian"));
    }
    found
}

/// Says why a test is skipped. In CI, it fails.
fn missing(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("skipped: {why}");
}
