//! The unit of systemd, if systemd runs this machine.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use crate::finding::Finding;

const SUBJECT: &str = "systemd";
const UNIT: &str = "karuta.service";
/// It is there if systemd is process 1.
const BOOTED: &str = "/run/systemd/system";
/// What is asked of the unit.
const PROPERTIES: [&str; 8] = [
    "LoadState",
    "Type",
    "MemoryDenyWriteExecute",
    "FileDescriptorStoreMax",
    "LimitNOFILE",
    "StateDirectory",
    "WatchdogUSec",
    "NeedDaemonReload",
];
/// The oldest version that was tried.
const OLDEST: u32 = 252;

pub fn examine() -> Vec<Finding> {
    if !Path::new(BOOTED).exists() {
        return vec![Finding::ok(SUBJECT, "does not run this machine")];
    }
    let asked = systemctl(&["--version"]).and_then(|said| {
        let shown = systemctl(&["show", UNIT, "--property", &PROPERTIES.join(",")])?;
        Ok((said, shown))
    });
    match asked {
        Ok((said, shown)) => [vec![version(&said)], options(&shown)].concat(),
        Err(reason) => {
            let found = format!("cannot be asked about {UNIT}: {reason}");
            vec![Finding::look(
                SUBJECT,
                found,
                "run this as root too; without D-Bus, only root may ask",
            )]
        }
    }
}

/// Returns what a command prints. The error is the first line of what it complains about.
fn systemctl(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("systemctl").args(arguments).output();
    let output = output.map_err(|error| format!("systemctl: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(said.lines().next().unwrap_or("systemctl failed").to_owned())
        }
    }
}

/// Judges the first line, `systemd 252 (252.39-1~deb12u1)`.
fn version(said: &str) -> Finding {
    let version = said.split_ascii_whitespace().nth(1).and_then(|version| version.parse().ok());
    match version {
        Some(version @ OLDEST..) => Finding::ok(SUBJECT, format!("version {version}")),
        Some(version) => Finding::look(
            SUBJECT,
            format!("version {version}, and the units were tried with {OLDEST} and newer"),
            "`systemd-analyze verify karuta.service` says which options it does not know",
        ),
        None => Finding::look(SUBJECT, "does not say its version", "look at `systemctl --version`"),
    }
}

/// Judges lines of `NAME=VALUE`.
fn options(shown: &str) -> Vec<Finding> {
    let options: HashMap<_, _> = shown.lines().filter_map(|line| line.split_once('=')).collect();
    let is = |name: &str, value: &str| options.get(name) == Some(&value);
    if !is("LoadState", "loaded") {
        return vec![Finding::ok(SUBJECT, format!("there is no {UNIT}"))];
    }
    let edit = "`systemctl edit karuta`, then `systemctl restart karuta`";
    let mut findings = Vec::new();
    if is("MemoryDenyWriteExecute", "yes") {
        let found = "MemoryDenyWriteExecute=yes, with which no policy can run";
        findings.push(Finding::wrong(SUBJECT, found, format!("remove it: {edit}")));
    }
    if is("NeedDaemonReload", "yes") {
        let found = format!("{UNIT} has changed on the disk");
        findings.push(Finding::look(SUBJECT, found, "`systemctl daemon-reload`"));
    }
    if !is("Type", "notify") && !is("Type", "notify-reload") {
        let found = "Type= is not notify, so a start does not wait until the tracker listens";
        findings.push(Finding::look(SUBJECT, found, format!("set it: {edit}")));
    }
    if is("FileDescriptorStoreMax", "0") {
        let found = "FileDescriptorStoreMax=0, so a restart loses packets";
        findings.push(Finding::look(SUBJECT, found, format!("set it to 512: {edit}")));
    }
    let files = options.get("LimitNOFILE").and_then(|limit| limit.parse::<u64>().ok());
    if let Some(files) = files.filter(|files| *files < 65_536) {
        let found = format!("LimitNOFILE={files} bounds the connections");
        findings.push(Finding::look(SUBJECT, found, format!("set it to 1048576: {edit}")));
    }
    if is("StateDirectory", "") {
        let found =
            "no StateDirectory=, so that the service may have no folder that it can write to";
        findings.push(Finding::look(SUBJECT, found, format!("set it to karuta: {edit}")));
    }
    if is("WatchdogUSec", "0") || is("WatchdogUSec", "infinity") {
        let found = "no WatchdogSec=, so a tracker that hangs is not restarted";
        findings.push(Finding::look(SUBJECT, found, format!("set it to 30s: {edit}")));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(SUBJECT, format!("{UNIT} has the options that matter")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Level;

    const SHIPPED: &str = "Type=notify\nLoadState=loaded\nMemoryDenyWriteExecute=no\n\
        FileDescriptorStoreMax=512\nLimitNOFILE=1048576\nStateDirectory=karuta\n\
        WatchdogUSec=30s\nNeedDaemonReload=no\n";

    #[test]
    fn options_are_judged_one_by_one() {
        let levels = |shown: &str| Vec::from_iter(options(shown).iter().map(|found| found.level));
        assert_eq!(levels(SHIPPED), [Level::Ok]);
        assert_eq!(levels("LoadState=not-found\n"), [Level::Ok]);
        assert_eq!(levels(""), [Level::Ok]);
        for (good, bad, level) in [
            ("Type=notify", "Type=simple", Level::Look),
            ("MemoryDenyWriteExecute=no", "MemoryDenyWriteExecute=yes", Level::Wrong),
            ("FileDescriptorStoreMax=512", "FileDescriptorStoreMax=0", Level::Look),
            ("LimitNOFILE=1048576", "LimitNOFILE=1024", Level::Look),
            ("StateDirectory=karuta", "StateDirectory=", Level::Look),
            ("WatchdogUSec=30s", "WatchdogUSec=infinity", Level::Look),
            ("NeedDaemonReload=no", "NeedDaemonReload=yes", Level::Look),
        ] {
            assert_eq!(levels(&SHIPPED.replace(good, bad)), [level], "{bad}");
        }
        assert_eq!(
            levels(&SHIPPED.replace("LimitNOFILE=1048576", "LimitNOFILE=infinity")),
            [Level::Ok]
        );
    }

    #[test]
    fn versions_are_judged() {
        for (said, level) in [
            ("systemd 252 (252.39-1~deb12u1)\n+PAM +AUDIT\n", Level::Ok),
            ("systemd 257.9 (257.9-1)", Level::Look),
            ("systemd 257 (257.9-1)", Level::Ok),
            ("systemd 241 (241)", Level::Look),
            ("", Level::Look),
        ] {
            assert_eq!(version(said).level, level, "{said}");
        }
    }
}
