//! Reload: the file on the disk against what serves, what is on trial, and what was reloaded since the
//! start.

use askama::Template;

use super::number;
use super::viewer::Viewer;
use crate::admin::Admin;
use crate::admin::configuration::Configuration;
use crate::admin::facts::Facts;
use crate::admin::reload::Report;
use crate::admin::reloads::Attempt;
use crate::admin::trial::OnTrial;
use crate::config::Right;

#[derive(Template)]
#[template(path = "reload.html")]
pub struct Reload<'a> {
    file: &'a Configuration,
    /// The newest first.
    attempts: Vec<Attempt>,
    trial: Option<&'a OnTrial>,
    lacks: Option<&'static str>,
    now: u64,
}

impl<'a> Reload<'a> {
    pub fn of(admin: &Admin, facts: &'a Facts, viewer: &Viewer, now: u64) -> Self {
        Self {
            file: &facts.configuration,
            attempts: admin.reloads.all(),
            trial: facts.trial.as_ref(),
            lacks: viewer.lacks(&Right::Reload),
            now,
        }
    }

    /// Returns how many seconds are left.
    fn left(&self, trial: &OnTrial) -> u64 {
        trial.until.saturating_sub(self.now)
    }

    /// Returns what the button says. Plugins may have changed, even if the file has not.
    fn label(&self) -> &'static str {
        if self.file.changed_on_disk { "Reload this file" } else { "Reload" }
    }
}

/// Returns whether a report says more than that nothing has changed.
fn says_more(report: &Report) -> bool {
    report.has_changes() || report.again.is_some() || report.confirmed
}

fn tone(outcome: &str) -> &'static str {
    match outcome {
        "applied" | "confirmed" => "ok",
        "refused" | "taken back" => "bad",
        _ => "",
    }
}
