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
    asked: Asked,
    now: u64,
}

/// Which lines of the log are shown.
pub struct Asked {
    /// The least severe level.
    pub level: &'static str,
    /// Only lines of this target; empty: all.
    pub target: String,
}

/// How many changes and entries of the audit are shown.
const SOME: usize = 20;
/// How many lines are shown.
const LINES: usize = 100;

/// The levels that one may ask for.
const LEVELS: [&str; 4] = ["error", "warn", "info", "debug"];

/// The level that is shown unless another one is asked for.
const LEVEL: &str = "info";

impl Default for Asked {
    fn default() -> Self {
        Self { level: LEVEL, target: String::new() }
    }
}

impl Asked {
    /// Returns a level by its name, and the usual one if there is none.
    pub fn level_of(name: &str) -> &'static str {
        LEVELS.into_iter().find(|level| *level == name).unwrap_or(LEVEL)
    }
}

impl Log {
    pub fn of(admin: &Admin, asked: Asked, now: u64) -> Self {
        let marks = admin.history.lock().series(Span::Hours, Some(&[])).marks;
        let target = Some(asked.target.trim()).filter(|target| !target.is_empty());
        let lines = log::last(LINES, asked.level.parse().unwrap_or(Level::TRACE), target);
        Self {
            changes: marks.into_iter().rev().take(SOME).collect(),
            audit: admin.audit.newest(SOME),
            lines: lines.into_iter().rev().collect(),
            asked,
            now,
        }
    }

    /// Returns whether lines down to a level are shown.
    fn is_of(&self, level: &str) -> bool {
        self.asked.level == level
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
