//! `/api/snapshot`: writes a snapshot now.

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::Admin;
use super::reply::{Changed, STOPPING};

/// A request for a snapshot, with a channel for the result. The error says why there is none.
pub type AskSnapshot = oneshot::Sender<Result<SnapshotReport, String>>;

/// A snapshot that was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SnapshotReport {
    pub swarms: u64,
    pub peers: u64,
    pub bytes: u64,
    pub milliseconds: u64,
}

/// Answers when the snapshot is on the disk.
pub async fn save(admin: &Admin) -> Changed {
    let Some(ask) = &admin.snapshot else {
        return Changed::line(StatusCode::CONFLICT, "there are no snapshots: `swarms.snapshot`");
    };
    let (reply, result) = oneshot::channel();
    ask(reply);
    match result.await {
        Ok(Ok(report)) => {
            let result = format!("{} peers in {} bytes", report.peers, report.bytes);
            Changed::json(StatusCode::OK, &report, result)
        }
        Ok(Err(reason)) => Changed::line(StatusCode::INTERNAL_SERVER_ERROR, &reason),
        Err(_) => Changed::line(StatusCode::SERVICE_UNAVAILABLE, STOPPING),
    }
}
