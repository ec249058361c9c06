//! `/healthz` and `/readyz`, and whether all is well: whether the tracker runs, decides as configured,
//! and needs somebody to look at it.

use hyper::StatusCode;
use serde::Serialize;

use super::Admin;
use super::facts::{DataStatus, ExportStatus, Facts, PolicyStatus};
use super::reloads::Pinned;
use super::reply::{Reply, line};
use super::request::Request;
use super::share::ShareStatus;
use super::trial::OnTrial;
use crate::generations::Action;
use crate::text::Escaped;

/// How the tracker is, in a word, and why.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Health {
    pub word: Word,
    /// The worst first; none if all is well.
    pub reasons: Vec<Reason>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize)]
pub enum Word {
    #[default]
    #[serde(rename = "serving")]
    Serving,
    /// It serves, and somebody should look at something.
    #[serde(rename = "look")]
    Look,
    /// A policy that is enforced cannot decide.
    #[serde(rename = "not ready")]
    NotReady,
}

/// Why somebody should look.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Reason {
    /// Where to look: `bar`, `policies`, `lists`, `reload`, `listeners` or `machine`.
    pub panel: &'static str,
    /// A plain sentence.
    pub text: String,
    /// What this alone would make of the health.
    #[serde(skip)]
    pub word: Word,
}

/// A certificate that ends this soon was not renewed in time, in seconds.
pub const SOON: u64 = 14 * DAY;
const DAY: u64 = 24 * 3600;
/// A snapshot or an export is old after this many times the time between two.
const LATE: u64 = 3;
/// How long the accounts' database may be away before somebody should look, in seconds.
const PATIENCE: u64 = 30;

/// Answers that the process runs.
pub fn alive(_: &Admin, _: &Request) -> Reply {
    line(StatusCode::OK, "ok")
}

/// Answers whether every enforced policy can decide, and shared swarms are known. Every worker listens
/// before the admin API does, so that needs no check.
pub fn ready(admin: &Admin, _: &Request) -> Reply {
    if let Some(hindrance) = hindrance(admin) {
        return line(StatusCode::SERVICE_UNAVAILABLE, &hindrance);
    }
    match ShareStatus::of(admin).and_then(|share| share.fault()) {
        // Its clients are served as well as they would be elsewhere, or better.
        Some(fault) => line(StatusCode::OK, &format!("degraded: {}", Escaped(fault))),
        None => line(StatusCode::OK, "ok"),
    }
}

/// Returns why an enforced policy cannot decide, or swarms are not known yet.
fn hindrance(admin: &Admin) -> Option<String> {
    if admin.metrics.share().is_some_and(|share| share.is_catching_up()) {
        return Some("the log of shared swarms has not been read yet".to_owned());
    }
    if admin.accounts.as_ref().and_then(|accounts| accounts.site()).is_some_and(|it| !it.is_loaded)
    {
        return Some("members have not been read from the accounts' database yet".to_owned());
    }
    let policies = PolicyStatus::all(admin);
    let mut obeyed = policies.iter().filter(|policy| policy.mode == "enforce");
    obeyed.find_map(|policy| {
        let name = &policy.name;
        if policy.state == "failed" {
            return Some(format!("the policy `{name}` has failed"));
        }
        let missing = policy.data.iter().find(|data| data.is_missing)?;
        Some(format!("the policy `{name}` waits for its data `{}`", missing.name))
    })
}

impl Word {
    /// Returns the name in the status.
    pub fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Look => "look",
            Self::NotReady => "not ready",
        }
    }
}

impl Health {
    /// Judges the facts, at a time in seconds since 1970.
    pub fn of(facts: &Facts, now: u64) -> Self {
        let mut reasons = Vec::new();
        for policy in &facts.policies {
            reasons.extend(of_policy(policy, now));
        }
        reasons.extend(of_reloads(facts));
        reasons.extend(of_listeners(facts, now));
        reasons.extend(of_snapshots(facts));
        let fault = facts.share.as_ref().and_then(ShareStatus::fault);
        reasons.extend(fault.map(|fault| look("machine", fault)));
        reasons.extend(facts.exports.iter().filter_map(of_export));
        reasons.extend(of_accounts(facts));
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.word));
        let word = reasons.first().map_or(Word::Serving, |reason| reason.word);
        Self { word, reasons }
    }
}

fn look(panel: &'static str, text: String) -> Reason {
    Reason { panel, text, word: Word::Look }
}

fn of_policy(policy: &PolicyStatus, now: u64) -> Vec<Reason> {
    let word = if policy.mode == "enforce" { Word::NotReady } else { Word::Look };
    let name = &policy.name;
    let mut reasons = Vec::new();
    if policy.state == "failed" {
        let text = format!("the policy `{name}` has failed");
        reasons.push(Reason { panel: "policies", text, word });
    }
    for DataStatus { name: data, is_missing, changed, error, fifo_errors, .. } in &policy.data {
        for error in fifo_errors {
            let text = format!("a fifo of the data `{data}` of `{name}` cannot be opened: {error}");
            reasons.push(look("lists", text));
        }
        let why = error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        if *is_missing {
            let waits = duration(now.saturating_sub(*changed));
            let text = format!("the policy `{name}` waits for its data `{data}`, {waits}{why}");
            reasons.push(Reason { panel: "lists", text, word });
        } else if error.is_some() {
            let text = format!("the data `{data}` of `{name}` could not be read again{why}");
            reasons.push(look("lists", text));
        }
    }
    reasons
}

fn of_reloads(facts: &Facts) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let configuration = &facts.configuration;
    if let Some(error) = &configuration.error {
        reasons.push(look("reload", format!("the configuration cannot be read: {error}")));
    }
    if let Some(pinned) = &configuration.pinned {
        reasons.push(of_pin(pinned, &configuration.path));
    } else if configuration.changed_on_disk {
        reasons
            .push(look("reload", format!("{} has changed and is not in use", configuration.path)));
    }
    if let Some(OnTrial { generation, previous, .. }) = &facts.trial {
        let text = format!(
            "generation {generation} is on trial; unless it is confirmed, {previous} comes back"
        );
        reasons.push(look("reload", text));
    }
    reasons.extend(facts.history_error.iter().map(|error| look("reload", error.clone())));
    let Some(last) = &facts.last_reload else { return reasons };
    if let Some(refusal) = &last.refusal {
        let what = match last.outcome == Action::TakenBack.name() {
            true => "the last trial was taken back",
            false => "the last reload was refused",
        };
        reasons.push(look("reload", format!("{what}: {refusal}")));
    }
    let waiting = last.report.as_ref().map(|report| report.needs_restart.join(", "));
    if let Some(waiting) = waiting.filter(|waiting| !waiting.is_empty()) {
        reasons.push(look("reload", format!("changes wait for a restart: {waiting}")));
    }
    reasons
}

fn of_pin(pinned: &Pinned, path: &str) -> Reason {
    let Pinned { generation, rejected_sha256, fault, .. } = pinned;
    let digest: String = rejected_sha256.chars().take(12).collect();
    let text =
        format!("serving generation {generation} again; {path} (sha256 {digest}…) is not in use");
    match fault {
        None => look("reload", text),
        Some(fault) => look("reload", format!("{text}, but a restart would serve it: {fault}")),
    }
}

fn of_listeners(facts: &Facts, now: u64) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for certificate in &facts.certificates {
        let listener = &certificate.listener;
        let text = match certificate.end.checked_sub(now) {
            None => format!("the certificate of {listener} has ended"),
            Some(left) if left < SOON => {
                format!("the certificate of {listener} ends in {}", duration(left))
            }
            Some(_) => continue,
        };
        reasons.push(look("listeners", text));
    }
    for listener in &facts.listeners {
        if let Some(drops @ 1..) = listener.recent_kernel_drops {
            let address = &listener.listener.address;
            let text =
                format!("the kernel drops packets at {address}: {drops} within the last minute");
            reasons.push(look("listeners", text));
        }
    }
    reasons
}

fn of_snapshots(facts: &Facts) -> Vec<Reason> {
    let Some(snapshot) = &facts.snapshot else { return Vec::new() };
    if let Some(error) = &snapshot.error {
        return vec![look("machine", format!("the last snapshot failed: {error}"))];
    }
    // The first one comes some time after the start.
    let age =
        snapshot.age_seconds.map_or(facts.uptime_seconds, |age| age.min(facts.uptime_seconds));
    let Some(every) = snapshot.every_seconds.filter(|every| age > LATE * every) else {
        return Vec::new();
    };
    let wanted = duration(every);
    let text = match snapshot.age_seconds {
        Some(age) => format!("the snapshot is {} old, {wanted} are wanted", duration(age)),
        None => format!("there is no snapshot yet, one every {wanted} is wanted"),
    };
    vec![look("machine", text)]
}

fn of_export(export: &ExportStatus) -> Option<Reason> {
    let ExportStatus { path, age_seconds, every_seconds, waiting_seconds, error, .. } = export;
    let text = match (error, age_seconds) {
        (Some(error), _) => format!("the last export to {path} failed: {error}"),
        _ if *waiting_seconds <= LATE * every_seconds => return None,
        (None, Some(age)) => {
            let (age, wanted) = (duration(*age), duration(*every_seconds));
            format!("the export to {path} is {age} old, {wanted} are wanted")
        }
        (None, None) => format!("there is no export to {path} yet"),
    };
    Some(look("machine", text))
}

fn of_accounts(facts: &Facts) -> Vec<Reason> {
    let Some(accounts) = &facts.accounts else { return Vec::new() };
    let mut reasons = Vec::new();
    if let (Some(seconds), Some(error)) = (accounts.failing_seconds, &accounts.error) {
        let text = format!("accounts could not be written for {}: {error}", duration(seconds));
        reasons.push(look("machine", text));
    }
    let Some(database) = &accounts.database else { return reasons };
    if let (Some(seconds), Some(error)) = (database.failing_seconds, &database.error) {
        let since = duration(seconds);
        let text = format!("the accounts' database could not be used for {since}: {error}");
        let word = if database.loaded { Word::Look } else { Word::NotReady };
        // At the start, it has not been tried yet.
        if database.stopped || !database.loaded || seconds >= PATIENCE {
            reasons.push(Reason { panel: "machine", text, word });
        }
    }
    let counts = [
        (database.rejected_rows, "rows for the accounts' database are set aside: it refuses them"),
        (
            database.unusable_rows,
            "members, torrents or tokens of the accounts' database make no sense",
        ),
        (
            database.lost_batches,
            "batches for the accounts' database are lost: it is a backup that is too old",
        ),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    reasons.extend(counts.map(|(count, what)| look("machine", format!("{count} {what}"))));
    reasons
}

/// Writes a number of seconds in the largest unit that it has two of.
fn duration(seconds: u64) -> String {
    let units = [(DAY, "days"), (3600, "h"), (60, "min")];
    let unit = units.iter().find(|(size, _)| seconds >= 2 * size);
    unit.map_or_else(|| format!("{seconds} s"), |(size, name)| format!("{} {name}", seconds / size))
}

#[cfg(test)]
mod tests;
