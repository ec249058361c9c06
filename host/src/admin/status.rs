//! `/api/status` and `/metrics`: what runs, how it is, and its counters.

use std::time::SystemTime;

use hyper::StatusCode;
use hyper::header::HeaderValue;
use serde::Serialize;

use super::Admin;
use super::facts::Facts;
use super::health::Health;
use super::reloads::unix_seconds;
use super::reply::{Reply, json, reply};
use super::request::Request;

/// What runs, and how it is.
#[derive(Serialize)]
pub struct Status {
    pub health: Health,
    #[serde(flatten)]
    pub facts: Facts,
}

const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4");

/// Answers with all counters.
pub fn metrics(admin: &Admin, _: &Request) -> Reply {
    reply(StatusCode::OK, PROMETHEUS, admin.metrics.render())
}

/// Answers with what runs.
pub fn status(admin: &Admin, _: &Request) -> Reply {
    json(StatusCode::OK, &Status::of(admin))
}

impl Status {
    /// Looks at everything. Reads the configuration file, at most once a second.
    pub fn of(admin: &Admin) -> Self {
        let facts = Facts::of(admin);
        let health = Health::of(&facts, unix_seconds(SystemTime::now()));
        Self { health, facts }
    }
}
