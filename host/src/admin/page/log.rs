//! Log and audit: what changed, who changed what, and the last lines.

use askama::Template;
use tracing::Level;

use super::number;
use crate::admin::Admin;
use crate::admin::audit::Entry;
use crate::history::{Mark, Span};
use crate::log;

#[derive(Template)]
#[template(path = "log.html")]
pub struct Log {
    /// These three: the newest first.
    changes: Vec<Mark>,
    audit: Vec<Entry>,
    lines: Vec<log::LastLine>,
    level: &'static str,
    now: u64,
}

/// How many changes and entries of the audit are shown.
const SOME: usize = 20;
/// How many lines are shown.
const LINES: usize = 100;

/// The levels that one may ask for.
pub const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

impl Log {
    /// Shows lines of a level or a more severe one.
    pub fn of(admin: &Admin, level: &'static str, now: u64) -> Self {
        let marks = admin.history.lock().series(Span::Hours, Some(&[])).marks;
        let lines = log::last(LINES, level.parse().unwrap_or(Level::TRACE));
        Self {
            changes: marks.into_iter().rev().take(SOME).collect(),
            audit: admin.audit.newest(SOME),
            lines: lines.into_iter().rev().collect(),
            level,
            now,
        }
    }

    /// Returns whether lines down to a level are shown.
    fn is_of(&self, level: &str) -> bool {
        self.level == level
    }
}

/// Returns the style of a level.
pub fn level(level: &str) -> &'static str {
    match level {
        "error" => "bad",
        "warn" => "look",
        _ => "soft",
    }
}
