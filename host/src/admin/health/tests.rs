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
