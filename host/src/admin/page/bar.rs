//! The bar: how the tracker is, in a word, and what serves.

use askama::Template;

use super::PANELS;
use super::assets::{ASSETS, Assets};
use super::number;
use super::viewer::Viewer;
use crate::admin::health::{Health, Word};
use crate::admin::reloads::Pinned;
use crate::admin::status::Status;
use crate::admin::trial::OnTrial;
use crate::generations::Action;
use crate::history::Mark;

#[derive(Template)]
#[template(path = "bar.html")]
pub struct Bar {
    assets: &'static Assets,
    health: Health,
    pub host: String,
    version: &'static str,
    generation: u64,
    uptime_seconds: u64,
    path: String,
    file_differs: bool,
    /// What serves in place of the file.
    pinned: Option<Pinned>,
    trial: Option<OnTrial>,
    /// Of the last reload, or why the last trial was taken back.
    refusal: Option<String>,
    is_taken_back: bool,
    /// What changed last.
    last: Option<Mark>,
    now: u64,
    viewer_name: String,
    has_session: bool,
}

impl Bar {
    pub fn of(status: &Status, viewer: &Viewer, last: Option<Mark>, now: u64) -> Self {
        let Status { health, facts } = status;
        let reload = facts.last_reload.as_ref();
        Self {
            assets: &ASSETS,
            health: health.clone(),
            host: facts.host.clone().unwrap_or_default(),
            version: facts.version,
            generation: facts.generation,
            uptime_seconds: facts.uptime_seconds,
            path: facts.configuration.path.clone(),
            file_differs: facts.configuration.changed_on_disk,
            pinned: facts.configuration.pinned.clone(),
            trial: facts.trial.clone(),
            is_taken_back: reload.is_some_and(|last| last.outcome == Action::TakenBack.name()),
            refusal: reload.and_then(|last| last.refusal.as_ref()).map(ToString::to_string),
            last,
            now,
            viewer_name: viewer.name.clone(),
            has_session: viewer.has_session,
        }
    }

    pub fn word(&self) -> &'static str {
        match self.health.word {
            Word::Serving => "serving",
            Word::Look => "look",
            Word::NotReady => "not ready",
        }
    }

    /// Returns a shape, because a colour alone says nothing to some.
    pub fn mark(&self) -> &'static str {
        match self.health.word {
            Word::Serving => "●",
            Word::Look => "▲",
            Word::NotReady => "■",
        }
    }

    fn tone(&self) -> &'static str {
        match self.health.word {
            Word::Serving => "ok",
            Word::Look => "look",
            Word::NotReady => "bad",
        }
    }
}
