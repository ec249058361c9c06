//! A generation on trial, as it is shown; `/api/confirm` keeps it.

use serde::Serialize;

use super::Admin;
use super::reload::{Wish, change};
use super::reply::Changed;
use super::request::Request;

/// A generation that takes itself back unless it is confirmed.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct OnTrial {
    pub generation: u64,
    /// The one that comes back.
    pub previous: u64,
    pub by: String,
    /// In seconds since 1970.
    pub began: u64,
    pub until: u64,
    pub guards: Guards,
}

/// What the guards of a trial see.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Guards {
    /// Since the trial began.
    pub requests: u64,
    /// The share of requests that are rejected or dropped; `None`: there were too few to say.
    pub refused: Option<f64>,
    /// The same in the 5 minutes before; `None`: there were too few.
    pub refused_before: Option<f64>,
    /// How far the share may move.
    pub max_change: f64,
    /// Whether `/readyz` says so.
    pub is_ready: bool,
    pub policies: Vec<GuardedPolicy>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct GuardedPolicy {
    pub name: String,
    /// Since the trial began, those with errors included.
    pub calls: u64,
    pub errors: u64,
    pub has_failed: bool,
}

impl Guards {
    /// Returns how far the share of refused requests has moved.
    pub fn moved(&self) -> Option<f64> {
        Some(self.refused? - self.refused_before?)
    }
}

/// Answers when the trial is over, and its generation stays.
pub async fn confirm(admin: &Admin, request: Request) -> Changed {
    change(admin, request.caller, Wish::Confirm).await
}
