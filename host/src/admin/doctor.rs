//! `/api/doctor`: what is wrong around the running tracker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::task::spawn_blocking;

use super::Admin;
use super::reply::{Reply, STOPPING, json, line};
use super::request::Request;
use crate::finding::{Finding, Level};

/// How long an examination is shown again before there is another: it reads files.
const FRESH: Duration = Duration::from_secs(10);

/// The checks of `karuta doctor` that make sense beside a running tracker, and their last findings.
pub struct Doctor {
    checks: Arc<dyn Fn() -> Vec<Finding> + Send + Sync>,
    /// One examination at a time.
    turn: tokio::sync::Mutex<()>,
    last: Mutex<Option<Arc<Examined>>>,
}

/// What was found, and when.
#[derive(Serialize)]
pub struct Examined {
    #[serde(skip)]
    at: Instant,
    /// In seconds since 1970.
    pub as_of: u64,
    /// Whether nothing is wrong.
    pub ok: bool,
    pub findings: Vec<Finding>,
}

impl Doctor {
    pub fn new(checks: impl Fn() -> Vec<Finding> + Send + Sync + 'static) -> Self {
        Self {
            checks: Arc::new(checks),
            turn: tokio::sync::Mutex::default(),
            last: Mutex::default(),
        }
    }

    /// Returns what was found last; `None`: nobody has asked yet.
    pub fn last(&self) -> Option<Arc<Examined>> {
        self.last.lock().clone()
    }

    /// Examines, unless that was done just now. Returns `None` if the tracker stops.
    async fn examine(&self, unix_seconds: u64) -> Option<Arc<Examined>> {
        let _turn = self.turn.lock().await;
        if let Some(last) = self.last().filter(|last| last.at.elapsed() < FRESH) {
            return Some(last);
        }
        let checks = self.checks.clone();
        let findings = spawn_blocking(move || checks()).await.ok()?;
        let ok = findings.iter().all(|finding| finding.level != Level::Wrong);
        let examined = Arc::new(Examined { at: Instant::now(), as_of: unix_seconds, ok, findings });
        *self.last.lock() = Some(examined.clone());
        Some(examined)
    }
}

/// Answers with what is found now.
pub async fn doctor(admin: &Admin, _: Request) -> Reply {
    examine(admin).await.map_or_else(
        || line(StatusCode::SERVICE_UNAVAILABLE, STOPPING),
        |examined| json(StatusCode::OK, &*examined),
    )
}

/// Examines now. Returns `None` if the tracker stops.
pub async fn examine(admin: &Admin) -> Option<Arc<Examined>> {
    admin.doctor.examine(admin.swarms.clock().unix_seconds).await
}
