//! `/api/status` and `/metrics`: what runs, and its counters.

use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde::Serialize;

use super::Admin;
use super::reply::{Reply, json, reply};
use super::request::Request;
use crate::data;

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
    pub data: data::Sources,
}

#[derive(Serialize)]
struct Status<'a> {
    generation: u64,
    uptime_seconds: u64,
    listeners: &'a [Listener],
    policies: Vec<PolicyStatus<'a>>,
    /// `None`: there are none.
    snapshot: Option<SnapshotStatus>,
    /// `on`, `off` or `unavailable`.
    landlock: &'static str,
}

#[derive(Serialize)]
struct SnapshotStatus {
    /// Of the newest one; `None`: there is none yet.
    age_seconds: Option<u64>,
    /// Of the last one that this process wrote.
    bytes: Option<u64>,
    /// Why the last attempt failed.
    error: Option<String>,
}

#[derive(Serialize)]
struct PolicyStatus<'a> {
    name: &'a str,
    digest: &'a str,
    mode: &'a str,
    state: &'a str,
    instances: usize,
    restarts: u64,
    memory_bytes: u64,
    data: Vec<DataStatus<'a>>,
}

#[derive(Serialize)]
struct DataStatus<'a> {
    name: &'a str,
    /// 0: there is no data yet.
    version: u64,
    entries: usize,
    age_seconds: Option<u64>,
    /// Edits that the file or the URL does not say; `None`: it cannot be edited.
    #[serde(skip_serializing_if = "Option::is_none")]
    edits: Option<usize>,
}

const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

/// Answers with all counters.
pub fn metrics(admin: &Admin, _: &Request) -> Reply {
    reply(StatusCode::OK, PROMETHEUS, admin.metrics.render())
}

/// Answers with what runs.
pub fn status(admin: &Admin, _: &Request) -> Reply {
    let policies = admin.policies.lock();
    let policies = policies.iter().map(|policy| {
        let summary = admin.metrics.summary(&policy.name);
        PolicyStatus {
            name: &policy.name,
            digest: &policy.digest,
            mode: policy.mode,
            state: if summary.failed { "failed" } else { "ready" },
            instances: summary.instances,
            restarts: summary.restarts,
            memory_bytes: summary.memory,
            data: policy.data.iter().map(|source| DataStatus::of(source)).collect(),
        }
    });
    let status = Status {
        generation: admin.metrics.generation(),
        uptime_seconds: admin.start.elapsed().as_secs(),
        listeners: &admin.listeners,
        policies: policies.collect(),
        snapshot: SnapshotStatus::of(admin),
        landlock: admin.landlock,
    };
    json(StatusCode::OK, &status)
}

impl SnapshotStatus {
    /// Returns `None` if snapshots are switched off.
    fn of(admin: &Admin) -> Option<Self> {
        let snapshots = admin.metrics.snapshots();
        let error = snapshots.error();
        (admin.snapshot.is_some() || error.is_some()).then(|| Self {
            age_seconds: snapshots.age().map(|age| age.as_secs()),
            bytes: Some(snapshots.bytes()).filter(|bytes| *bytes > 0),
            error,
        })
    }
}

impl<'a> DataStatus<'a> {
    fn of(source: &'a data::DataSource) -> Self {
        Self {
            name: &source.definition().name,
            version: source.number(),
            entries: source.entries(),
            edits: source.edit_count(),
            age_seconds: source.age().map(|age| age.as_secs()),
        }
    }
}
