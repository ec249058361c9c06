//! Machine and snapshot: what the process takes, and what a restart would keep.

use std::fs;
use std::sync::Arc;

use askama::Template;
use nix::sys::resource::{Resource, getrlimit};

use super::live::{Columns, Figure};
use super::number;
use super::viewer::Viewer;
use crate::admin::Admin;
use crate::admin::doctor::Examined;
use crate::admin::facts::{Facts, SnapshotStatus};
use crate::admin::share::ShareStatus;
use crate::admin::stats;
use crate::config::Right;
use crate::finding::Level;

#[derive(Template)]
#[template(path = "machine.html")]
pub struct Machine<'a> {
    memory: Option<u64>,
    of_policies: u64,
    /// Open ones, and how many there may be.
    files: Option<(u64, u64)>,
    landlock: &'static str,
    /// The share of its time that each worker did not wait, in the last second.
    busy: Vec<(String, Option<f64>)>,
    snapshot: Option<&'a SnapshotStatus>,
    share: Option<&'a ShareStatus>,
    lacks: Option<&'static str>,
    /// What was wrong around the tracker when somebody last asked.
    examined: Option<Arc<Examined>>,
    now: u64,
}

impl<'a> Machine<'a> {
    pub fn of(
        admin: &Admin,
        facts: &'a Facts,
        viewer: &Viewer,
        recent: &Columns,
        now: u64,
    ) -> Self {
        let workers = (0..).map(|worker| format!("workers.{worker}.busy"));
        let busy = workers.take_while(|of| recent.has(of)).map(|of| {
            let now = recent.now(Figure { of: &of, per: "" });
            (of, now)
        });
        Self {
            memory: stats::resident(),
            of_policies: facts.policies.iter().map(|policy| policy.memory_bytes).sum(),
            files: files(),
            landlock: facts.landlock,
            busy: busy.collect(),
            snapshot: facts.snapshot.as_ref(),
            share: facts.share.as_ref(),
            lacks: viewer.lacks(&Right::Reload),
            examined: admin.doctor.last(),
            now,
        }
    }
}

impl Machine<'_> {
    /// Returns the memory that policies do not take.
    fn rest(&self) -> Option<u64> {
        self.memory.map(|all| all.saturating_sub(self.of_policies))
    }
}

/// Returns the style of a level.
fn tone(level: &Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Look => "look",
        Level::Wrong => "bad",
    }
}

fn files() -> Option<(u64, u64)> {
    let open = fs::read_dir("/proc/self/fd").ok()?.count();
    let (most, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    Some((u64::try_from(open).ok()?, most))
}
