//! Reload: the file on the disk against what serves, and what was reloaded since the start.

use askama::Template;

use super::number;
use super::viewer::Viewer;
use crate::admin::Admin;
use crate::admin::configuration::Configuration;
use crate::admin::facts::Facts;
use crate::admin::reloads::Attempt;
use crate::config::Right;

#[derive(Template)]
#[template(path = "reload.html")]
pub struct Reload<'a> {
    file: &'a Configuration,
    /// The newest first.
    attempts: Vec<Attempt>,
    lacks: Option<&'static str>,
    now: u64,
}

impl<'a> Reload<'a> {
    pub fn of(admin: &Admin, facts: &'a Facts, viewer: &Viewer, now: u64) -> Self {
        let file = &facts.configuration;
        Self { file, attempts: admin.reloads.all(), lacks: viewer.lacks(&Right::Reload), now }
    }

    /// Returns what the button says. Plugins may have changed, even if the file has not.
    fn label(&self) -> &'static str {
        if self.file.changed_on_disk { "Reload this file" } else { "Reload" }
    }
}

fn tone(outcome: &str) -> &'static str {
    match outcome {
        "applied" => "ok",
        "refused" => "bad",
        _ => "",
    }
}
