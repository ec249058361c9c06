//! `/api/config`: what serves, with defaults filled in and without secrets.

use hyper::StatusCode;
use serde::Serialize;

use super::Admin;
use super::reply::{Reply, json, line};
use super::request::Request;
use crate::config::ShownConfig;

#[derive(Serialize)]
struct Answer {
    path: String,
    /// Of the file.
    sha256: String,
    #[serde(flatten)]
    shown: ShownConfig,
    /// Keys whose values serve only after a restart.
    needs_restart: Vec<String>,
}

/// Answers with the configuration that serves.
pub fn config(admin: &Admin, _: &Request) -> Reply {
    let (config, needs_restart) = admin.reloads.config();
    match ShownConfig::of(&config) {
        Ok(shown) => {
            let answer = Answer {
                path: admin.configuration.path(),
                sha256: hex::encode(config.source.digest()),
                shown,
                needs_restart,
            };
            json(StatusCode::OK, &answer)
        }
        Err(error) => line(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
