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
mod tests {
    use super::super::configuration::Configuration;
    use super::super::facts::{
        AccountsStatus, DatabaseStatus, Listener, ListenerStatus, SnapshotStatus,
    };
    use super::super::reload::{Refusal, Report};
    use super::super::reloads::{By, Reloads};
    use super::super::trial::Guards;
    use super::*;
    use crate::metrics::ShownCertificate;

    const NOW: u64 = 1_000_000_000;

    fn well() -> Facts {
        let digest = "ab".repeat(32);
        Facts {
            version: "1",
            host: None,
            generation: 1,
            uptime_seconds: 100 * DAY,
            configuration: Configuration {
                path: "config.yaml".into(),
                sha256_serving: digest.clone(),
                sha256_on_disk: Some(digest),
                error: None,
                changed_on_disk: false,
                pinned: None,
            },
            last_reload: None,
            trial: None,
            history_error: None,
            listeners: vec![ListenerStatus {
                listener: Listener {
                    transport: "udp",
                    address: "[::]:6969".into(),
                    receive_buffer: None,
                },
                connections: None,
                kernel_drops: Some(1000),
                recent_kernel_drops: Some(0),
            }],
            certificates: vec![ShownCertificate {
                listener: "[::]:443".into(),
                file: "a.pem".into(),
                names: vec![],
                end: NOW + SOON,
                read: NOW,
            }],
            policies: vec![PolicyStatus {
                name: "jwt".into(),
                order: 1,
                plugin: "jwt.wasm".into(),
                digest: String::new(),
                since: NOW,
                mode: "enforce",
                state: "ready",
                instances: 2,
                restarts: 0,
                memory_bytes: 0,
                data: vec![DataStatus {
                    name: "jwks".into(),
                    kind: "url",
                    from: "https://a/".into(),
                    format: "raw",
                    version: 1,
                    entries: 1,
                    edits: None,
                    age_seconds: Some(1),
                    changed: NOW - 200,
                    error: None,
                    fifo_errors: vec![],
                    next_fetch_seconds: Some(1),
                    is_missing: false,
                }],
            }],
            snapshot: Some(SnapshotStatus {
                age_seconds: Some(300),
                every_seconds: Some(300),
                bytes: None,
                error: None,
                restored_peers: None,
            }),
            accounts: None,
            exports: vec![ExportStatus {
                path: "all.txt".into(),
                format: "txt",
                age_seconds: Some(300),
                bytes: Some(1),
                every_seconds: 300,
                waiting_seconds: 300,
                error: None,
            }],
            record: None,
            share: None,
            landlock: "on",
        }
    }

    /// Judges facts that `worsen` has changed.
    fn judged(worsen: impl FnOnce(&mut Facts)) -> (Word, Vec<String>) {
        let mut facts = well();
        worsen(&mut facts);
        let Health { word, reasons } = Health::of(&facts, NOW);
        (word, reasons.iter().map(|one| format!("{}: {}", one.panel, one.text)).collect())
    }

    fn pinned(fault: Option<String>) -> Pinned {
        let rejected_sha256 = "ab".repeat(32);
        Pinned { generation: 6, since: NOW, by: "uid 0".into(), rejected_sha256, fault }
    }

    fn last(result: Result<Report, Refusal>) -> Option<super::super::reloads::Attempt> {
        let config = std::sync::Arc::new(crate::config::Config::default());
        let reloads = Reloads::new(config.clone());
        reloads.add(&By::Signal, "reload", 1, &config, None, &result);
        reloads.last()
    }

    #[test]
    fn nothing_is_said_if_all_is_well() {
        assert_eq!(judged(|_| ()), (Word::Serving, vec![]));
        let young = |facts: &mut Facts| {
            facts.uptime_seconds = 10;
            facts.snapshot.as_mut().unwrap().age_seconds = Some(DAY);
        };
        assert_eq!(judged(young).0, Word::Serving, "the old process wrote it");
    }

    #[test]
    fn every_reason_names_its_panel() {
        let data = |facts: &mut Facts, error: Option<&str>, is_missing| {
            let data = &mut facts.policies[0].data[0];
            (data.error, data.is_missing) = (error.map(str::to_owned), is_missing);
        };
        let refusal = Refusal { policy: None, stage: "configuration".into(), reason: "bad".into() };
        let waiting = Report { needs_restart: vec!["udp".into()], ..Report::default() };
        type Worsen = Box<dyn FnOnce(&mut Facts)>;
        let cases: Vec<(Worsen, Word, &str)> = vec![
            (
                Box::new(|facts| facts.policies[0].state = "failed"),
                Word::NotReady,
                "policies: the policy `jwt` has failed",
            ),
            (
                Box::new(move |facts| data(facts, Some("refused"), true)),
                Word::NotReady,
                "lists: the policy `jwt` waits for its data `jwks`, 3 min: refused",
            ),
            (
                Box::new(move |facts| {
                    facts.policies[0].mode = "shadow";
                    data(facts, None, true);
                }),
                Word::Look,
                "lists: the policy `jwt` waits for its data `jwks`, 3 min",
            ),
            (
                Box::new(move |facts| data(facts, Some("line 2: no hash"), false)),
                Word::Look,
                "lists: the data `jwks` of `jwt` could not be read again: line 2: no hash",
            ),
            (
                Box::new(|facts| {
                    facts.policies[0].data[0].fifo_errors = vec!["add: no such folder".into()];
                }),
                Word::Look,
                "lists: a fifo of the data `jwks` of `jwt` cannot be opened: add: no such folder",
            ),
            (
                Box::new(|facts| facts.certificates[0].end = NOW + 6 * DAY + 5),
                Word::Look,
                "listeners: the certificate of [::]:443 ends in 6 days",
            ),
            (
                Box::new(|facts| facts.certificates[0].end = NOW - 1),
                Word::Look,
                "listeners: the certificate of [::]:443 has ended",
            ),
            (
                Box::new(|facts| facts.listeners[0].recent_kernel_drops = Some(7)),
                Word::Look,
                "listeners: the kernel drops packets at [::]:6969: 7 within the last minute",
            ),
            (
                Box::new(|facts| facts.configuration.changed_on_disk = true),
                Word::Look,
                "reload: config.yaml has changed and is not in use",
            ),
            (
                Box::new(|facts| {
                    facts.configuration.changed_on_disk = true;
                    facts.configuration.pinned = Some(pinned(None));
                }),
                Word::Look,
                "reload: serving generation 6 again; config.yaml (sha256 abababababab…) is not in use",
            ),
            (
                Box::new(|facts| facts.configuration.pinned = Some(pinned(Some("full".into())))),
                Word::Look,
                "reload: serving generation 6 again; config.yaml (sha256 abababababab…) is not in use, \
                 but a restart would serve it: full",
            ),
            (
                Box::new(|facts| {
                    facts.trial = Some(OnTrial {
                        generation: 7,
                        previous: 6,
                        by: "uid 0".into(),
                        began: NOW,
                        until: NOW + 300,
                        guards: Guards::default(),
                    });
                }),
                Word::Look,
                "reload: generation 7 is on trial; unless it is confirmed, 6 comes back",
            ),
            (
                Box::new(|facts| {
                    facts.history_error = Some("generation 7 could not be kept: full".into())
                }),
                Word::Look,
                "reload: generation 7 could not be kept: full",
            ),
            (
                Box::new(|facts| facts.configuration.error = Some("gone".into())),
                Word::Look,
                "reload: the configuration cannot be read: gone",
            ),
            (
                Box::new(|facts| facts.last_reload = last(Err(refusal))),
                Word::Look,
                "reload: the last reload was refused: bad",
            ),
            (
                Box::new(|facts| facts.last_reload = last(Ok(waiting))),
                Word::Look,
                "reload: changes wait for a restart: udp",
            ),
            (
                Box::new(|facts| facts.snapshot.as_mut().unwrap().age_seconds = Some(2400)),
                Word::Look,
                "machine: the snapshot is 40 min old, 5 min are wanted",
            ),
            (
                Box::new(|facts| facts.snapshot.as_mut().unwrap().error = Some("full".into())),
                Word::Look,
                "machine: the last snapshot failed: full",
            ),
            (
                Box::new(|facts| facts.exports[0].error = Some("full".into())),
                Word::Look,
                "machine: the last export to all.txt failed: full",
            ),
            (
                Box::new(|facts| {
                    let export = &mut facts.exports[0];
                    (export.age_seconds, export.waiting_seconds) = (Some(2400), 2400);
                }),
                Word::Look,
                "machine: the export to all.txt is 40 min old, 5 min are wanted",
            ),
            (
                Box::new(|facts| {
                    let export = &mut facts.exports[0];
                    (export.age_seconds, export.waiting_seconds) = (None, 2400);
                }),
                Word::Look,
                "machine: there is no export to all.txt yet",
            ),
        ];
        for (worsen, word, text) in cases {
            assert_eq!(judged(worsen), (word, vec![text.to_owned()]));
        }
    }

    #[test]
    fn the_worst_comes_first() {
        let (word, reasons) = judged(|facts| {
            facts.configuration.changed_on_disk = true;
            facts.policies[0].state = "failed";
        });
        assert_eq!(word, Word::NotReady);
        assert!(reasons[0].starts_with("policies: "), "{reasons:?}");
        assert_eq!(reasons.len(), 2);
    }

    #[test]
    fn a_database_that_is_away_is_told_after_a_while_or_at_once_if_nothing_is_known() {
        let database = |seconds, loaded, stopped| DatabaseStatus {
            up: false,
            failing_seconds: Some(seconds),
            error: Some("refused".into()),
            stopped,
            pending_rows: 1,
            pending_seconds: seconds,
            applied_batches: 0,
            replayed_batches: 0,
            lost_batches: 0,
            rejected_rows: 0,
            unusable_rows: 0,
            loaded,
            loaded_seconds: None,
        };
        let with = |database: DatabaseStatus| {
            judged(|facts| {
                facts.accounts = Some(AccountsStatus {
                    members: 0,
                    torrents: 0,
                    sessions: 0,
                    size_bytes: 0,
                    waiting: 0,
                    dropped: 0,
                    suspect: 0,
                    surplus: 0,
                    failing_seconds: None,
                    error: None,
                    database: Some(database),
                });
            })
        };
        let text = "machine: the accounts' database could not be used for 30 s: refused";
        assert_eq!(with(database(29, true, false)), (Word::Serving, vec![]));
        assert_eq!(with(database(30, true, false)), (Word::Look, vec![text.into()]));
        assert_eq!(with(database(1, true, true)).0, Word::Look);
        assert_eq!(with(database(1, false, false)).0, Word::NotReady);
        let refuses = DatabaseStatus { rejected_rows: 3, error: None, ..database(0, true, false) };
        let text = "machine: 3 rows for the accounts' database are set aside: it refuses them";
        assert_eq!(with(refuses), (Word::Look, vec![text.into()]));
    }
}
