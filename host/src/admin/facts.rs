//! What runs, with all that is known about it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use karuta_accounts::{Accounts, SiteFigures};
use nix::unistd::gethostname;
use serde::Serialize;

use super::Admin;
use super::configuration::Configuration;
use super::reloads::{Attempt, unix_seconds};
use super::share::ShareStatus;
use super::trial::OnTrial;
use crate::data;
use crate::metrics::{ExportSeries, RingFigures, ShownCertificate};

/// A listener with the address or the socket file that it is bound to.
#[derive(Clone, Serialize)]
pub struct Listener {
    pub transport: &'static str,
    pub address: String,
    /// Of a UDP listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_buffer: Option<ReceiveBuffer>,
}

/// The kernel's buffer for packets that have not been read yet, in bytes.
#[derive(Clone, Copy, Serialize)]
pub struct ReceiveBuffer {
    pub requested: usize,
    /// At most what net.core.rmem_max allows.
    pub granted: usize,
}

/// A policy's configuration, as the status shows it.
#[derive(Clone)]
pub struct ShownPolicy {
    pub name: String,
    /// SHA-256 of the component, in lower-case hexadecimal digits.
    pub digest: String,
    pub mode: &'static str,
    pub plugin: PathBuf,
    /// When its plugin was loaded.
    pub since: SystemTime,
    pub data: data::Sources,
}

/// What runs. Times are in seconds since 1970.
#[derive(Serialize)]
pub struct Facts {
    pub version: &'static str,
    /// The name of the host, if it has one.
    pub host: Option<String>,
    pub generation: u64,
    pub uptime_seconds: u64,
    pub configuration: Configuration,
    /// `None`: there was none.
    pub last_reload: Option<Attempt>,
    /// `None`: no generation is on trial.
    pub trial: Option<OnTrial>,
    /// What went wrong with the generations that are kept.
    pub history_error: Option<String>,
    pub listeners: Vec<ListenerStatus>,
    pub certificates: Vec<ShownCertificate>,
    /// In the order in which they are called.
    pub policies: Vec<PolicyStatus>,
    /// `None`: there are none.
    pub snapshot: Option<SnapshotStatus>,
    pub exports: Vec<ExportStatus>,
    /// `None`: requests are not recorded.
    pub record: Option<RecordStatus>,
    /// `None`: the swarms are this process's own.
    pub share: Option<ShareStatus>,
    /// `None`: there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accounts: Option<AccountsStatus>,
    /// `on`, `off` or `unavailable`.
    pub landlock: &'static str,
}

#[derive(Serialize)]
pub struct ListenerStatus {
    #[serde(flatten)]
    pub listener: Listener,
    /// Open ones, of an HTTP listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Packets that the kernel has dropped of a UDP listener since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_drops: Option<u64>,
    /// Those of about the last minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recent_kernel_drops: Option<u64>,
}

#[derive(Serialize)]
pub struct SnapshotStatus {
    /// Of the newest one; `None`: there is none yet.
    pub age_seconds: Option<u64>,
    /// The time between two; `None`: there will be no more.
    pub every_seconds: Option<u64>,
    /// Of the last one that this process wrote.
    pub bytes: Option<u64>,
    /// Why the last attempt failed.
    pub error: Option<String>,
    /// At the start; `None`: nothing was restored.
    pub restored_peers: Option<u64>,
}

#[derive(Serialize)]
pub struct ExportStatus {
    pub path: String,
    pub format: &'static str,
    /// Of the file that this process wrote last; `None`: it has written none.
    pub age_seconds: Option<u64>,
    pub bytes: Option<u64>,
    /// The time between two.
    pub every_seconds: u64,
    /// For how long there should have been a new one.
    #[serde(skip)]
    pub waiting_seconds: u64,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

/// The flight recorder.
#[derive(Serialize)]
pub struct RecordStatus {
    pub ring_bytes: usize,
    /// How far back it reaches; `None`: to the start.
    pub span_seconds: Option<f64>,
    /// Whether a recording is being made.
    pub recording: bool,
    /// Requests since the start that were too long, or of which recordings are without.
    pub dropped: u64,
}

/// The books of a private tracker.
#[derive(Serialize)]
pub struct AccountsStatus {
    pub members: usize,
    pub torrents: usize,
    /// Clients of members whose last report is remembered.
    pub sessions: u64,
    pub size_bytes: u64,
    /// Announces that wait to be written.
    pub waiting: u64,
    /// Announces since the start that came faster than they were written.
    pub dropped: u64,
    /// Announces since the start that exceeded the guard's rate.
    pub suspect: u64,
    /// Announces since the start of more peers than a member may have at a torrent.
    pub surplus: u64,
    /// For how long they cannot be written; `None`: they can.
    pub failing_seconds: Option<u64>,
    /// Why they cannot be written.
    pub error: Option<String>,
    /// The site's database; `None`: there is none.
    pub database: Option<DatabaseStatus>,
}

/// The database of a site.
#[derive(Serialize)]
pub struct DatabaseStatus {
    /// Whether it answers.
    pub up: bool,
    /// For how long it has not been used, and why.
    pub failing_seconds: Option<u64>,
    pub error: Option<String>,
    /// Whether somebody has to do something before it can be used.
    pub stopped: bool,
    /// Rows that wait to be written into it, and for how long.
    pub pending_rows: u64,
    pub pending_seconds: u64,
    /// Batches since the start that it has; those of them that were played again into a backup; and
    /// those that a backup lacks for good.
    pub applied_batches: u64,
    pub replayed_batches: u64,
    pub lost_batches: u64,
    /// Rows that it has refused, and that are kept.
    pub rejected_rows: u64,
    /// Its members, torrents and tokens that make no sense.
    pub unusable_rows: u64,
    /// Whether members and torrents are known from it, from before the start or not.
    pub loaded: bool,
    /// Since they were read the last time; `None`: not since the start.
    pub loaded_seconds: Option<u64>,
}

#[derive(Serialize)]
pub struct PolicyStatus {
    pub name: String,
    /// Counted from 1.
    pub order: usize,
    pub plugin: String,
    pub digest: String,
    /// When its plugin was loaded.
    pub since: u64,
    /// `enforce` or `shadow`.
    pub mode: &'static str,
    /// `ready` or `failed`.
    pub state: &'static str,
    pub instances: usize,
    pub restarts: u64,
    pub memory_bytes: u64,
    pub data: Vec<DataStatus>,
}

#[derive(Serialize)]
pub struct DataStatus {
    pub name: String,
    /// `file` or `url`.
    pub kind: &'static str,
    /// The path; or the URL without its query.
    pub from: String,
    pub format: &'static str,
    /// 0: there is no data yet.
    pub version: u64,
    pub entries: usize,
    /// Edits that the file or the URL does not say; `None`: it cannot be edited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edits: Option<usize>,
    pub age_seconds: Option<u64>,
    /// When the version came or expired; before the first one, when the source was opened.
    pub changed: u64,
    /// Why the last attempt to read a version failed, if it did.
    pub error: Option<String>,
    /// Why fifos that should edit it cannot be opened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fifo_errors: Vec<String>,
    /// Until the URL is fetched again.
    pub next_fetch_seconds: Option<u64>,
    /// The policy needs it, and there is none.
    pub is_missing: bool,
}

impl Facts {
    /// Looks at everything. Reads the configuration file, at most once a second.
    pub fn of(admin: &Admin) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            host: host_name(),
            generation: admin.metrics.generation(),
            uptime_seconds: admin.start.elapsed().as_secs(),
            configuration: Configuration::of(admin),
            last_reload: admin.reloads.last(),
            trial: admin.reloads.trial(),
            history_error: admin.reloads.fault(),
            listeners: ListenerStatus::all(admin),
            certificates: admin.metrics.certificates(),
            policies: PolicyStatus::all(admin),
            snapshot: SnapshotStatus::of(admin),
            exports: admin
                .metrics
                .exports()
                .iter()
                .map(|export| ExportStatus::of(export))
                .collect(),
            record: admin.metrics.rings().map(RecordStatus::of),
            share: ShareStatus::of(admin),
            accounts: admin.accounts.as_deref().map(AccountsStatus::of),
            landlock: admin.landlock,
        }
    }
}

/// Asks the kernel, for /proc/sys is hidden from a hardened service.
fn host_name() -> Option<String> {
    let name = gethostname().ok()?.to_string_lossy().into_owned();
    Some(name).filter(|name| !name.is_empty())
}

impl ListenerStatus {
    fn all(admin: &Admin) -> Vec<Self> {
        let by_address = |counts: Vec<(SocketAddr, u64)>| -> BTreeMap<String, u64> {
            counts.into_iter().map(|(listener, count)| (listener.to_string(), count)).collect()
        };
        let connections = by_address(admin.metrics.open_connections());
        let drops = by_address(admin.metrics.kernel_drops());
        let before: BTreeMap<_, _> = admin.recent.drops_before().into_iter().collect();
        let status = |listener: &Listener| {
            let of = |counts: &BTreeMap<String, u64>, is_one: bool| {
                counts.get(&listener.address).copied().filter(|_| is_one)
            };
            let is_udp = listener.transport == "udp";
            let kernel_drops = of(&drops, is_udp);
            let before = of(&before, is_udp).unwrap_or(0);
            Self {
                connections: of(&connections, listener.transport.starts_with("http")),
                kernel_drops,
                recent_kernel_drops: kernel_drops.map(|drops| drops.saturating_sub(before)),
                listener: listener.clone(),
            }
        };
        admin.listeners.iter().map(status).collect()
    }
}

impl PolicyStatus {
    /// Returns the status of every policy, in the order in which they are called.
    pub fn all(admin: &Admin) -> Vec<Self> {
        let policies = admin.policies.lock();
        let policies = policies.iter().zip(1..).map(|(policy, order)| {
            let summary = admin.metrics.summary(&policy.name);
            Self {
                name: policy.name.clone(),
                order,
                plugin: policy.plugin.display().to_string(),
                digest: policy.digest.clone(),
                since: unix_seconds(policy.since),
                mode: policy.mode,
                state: if summary.failed { "failed" } else { "ready" },
                instances: summary.instances,
                restarts: summary.restarts,
                memory_bytes: summary.memory,
                data: policy.data.iter().map(|source| DataStatus::of(source)).collect(),
            }
        });
        policies.collect()
    }
}

impl RecordStatus {
    fn of(rings: RingFigures) -> Self {
        let RingFigures { bytes, span, too_long, missing, is_busy } = rings;
        Self {
            ring_bytes: bytes,
            span_seconds: span.map(|span| span.as_secs_f64()),
            recording: is_busy,
            dropped: too_long + missing,
        }
    }
}

impl SnapshotStatus {
    /// Returns `None` if snapshots are switched off.
    fn of(admin: &Admin) -> Option<Self> {
        let snapshots = admin.metrics.snapshots();
        let error = snapshots.error();
        (admin.snapshot.is_some() || error.is_some()).then(|| Self {
            age_seconds: snapshots.age().map(|age| age.as_secs()),
            every_seconds: admin.snapshot_every.map(|every| every.as_secs()),
            bytes: Some(snapshots.bytes()).filter(|bytes| *bytes > 0),
            error,
            restored_peers: snapshots.restored_peers(),
        })
    }
}

impl AccountsStatus {
    pub fn of(accounts: &Accounts) -> Self {
        let figures = accounts.figures();
        Self {
            members: accounts.directory().members(),
            torrents: accounts.directory().torrents(),
            sessions: figures.sessions,
            size_bytes: figures.bytes,
            waiting: figures.waiting,
            dropped: figures.dropped,
            suspect: figures.suspect,
            surplus: figures.surplus,
            failing_seconds: figures
                .failing
                .as_ref()
                .map(|failing| failing.since.elapsed().as_secs()),
            error: figures.failing.map(|failing| failing.reason),
            database: accounts.site().map(DatabaseStatus::of),
        }
    }
}

impl DatabaseStatus {
    fn of(figures: SiteFigures) -> Self {
        let trouble = figures.trouble;
        Self {
            up: trouble.is_none(),
            failing_seconds: trouble.as_ref().map(|trouble| trouble.since.elapsed().as_secs()),
            stopped: trouble.as_ref().is_some_and(|trouble| trouble.is_stopped),
            error: trouble.map(|trouble| trouble.reason),
            pending_rows: figures.pending,
            pending_seconds: figures.pending_for.as_secs(),
            applied_batches: figures.applied,
            replayed_batches: figures.replayed,
            lost_batches: figures.lost,
            rejected_rows: figures.rejected,
            unusable_rows: figures.unusable,
            loaded: figures.is_loaded,
            loaded_seconds: figures.loaded.map(|loaded| loaded.as_secs()),
        }
    }
}

impl ExportStatus {
    fn of(export: &ExportSeries) -> Self {
        Self {
            path: export.path.clone(),
            format: export.format,
            age_seconds: export.age().map(|age| age.as_secs()),
            bytes: export.bytes(),
            every_seconds: export.every.as_secs(),
            waiting_seconds: export.waiting().as_secs(),
            error: export.error(),
        }
    }
}

impl DataStatus {
    fn of(source: &data::DataSource) -> Self {
        let definition = source.definition();
        let data::News { changed, error, next } = source.news();
        let next = next.map(|next| next.saturating_duration_since(Instant::now()));
        Self {
            name: definition.name.to_string(),
            kind: definition.origin.kind(),
            from: definition.origin.to_string(),
            format: definition.format.name(),
            version: source.number(),
            entries: source.entries(),
            edits: source.edit_count(),
            age_seconds: source.age().map(|age| age.as_secs()),
            changed: unix_seconds(changed),
            error,
            fifo_errors: source.door_faults(),
            next_fetch_seconds: next.map(|next| next.as_secs()),
            is_missing: source.is_missing(),
        }
    }
}
