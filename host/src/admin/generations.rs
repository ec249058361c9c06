//! `/api/history` and `/api/diff`: the generations that have served, and how two of them differ.

use std::path::Path;
use std::sync::Arc;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::Admin;
use super::preview::difference;
use super::reply::{Reply, json, line};
use super::request::Request;
use crate::config;
use crate::generations::{Content, Generations, Served};

/// The generations that have served, or why they are not kept.
pub type Archive = Result<Arc<Generations>, String>;

/// What is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShownHistory {
    /// What serves.
    pub serving: u64,
    /// The newest first.
    pub generations: Vec<ShownGeneration>,
    /// Why the last one, or all, could not be kept.
    pub fault: Option<String>,
}

/// A generation in the state folder.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShownGeneration {
    pub generation: u64,
    pub served: Option<Served>,
    /// When another one began to serve, in seconds since 1970; `None`: it serves, or that is not known.
    pub until: Option<u64>,
    /// Why it cannot be used.
    pub error: Option<String>,
}

/// How two generations differ.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShownDifference {
    pub from: u64,
    pub to: u64,
    /// Of the configurations with their defaults, without secrets; empty if they are the same.
    pub diff: String,
    pub plugins: Vec<OtherPlugin>,
}

/// A plugin that is another one: its SHA-256, in lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OtherPlugin {
    pub policy: String,
    /// `None`: the policy is new.
    pub before: Option<String>,
    /// `None`: the policy is gone.
    pub after: Option<String>,
}

/// Answers with all that are kept.
pub fn history(admin: &Admin, _: &Request) -> Reply {
    json(StatusCode::OK, &ShownHistory::of(admin))
}

/// Answers with what is different from one to another, or to what serves.
pub fn diff(admin: &Admin, request: &Request) -> Reply {
    let mut numbers = [None; 2];
    for (name, value) in
        form_urlencoded::parse(request.head.uri.query().unwrap_or_default().as_bytes())
    {
        let place = match &*name {
            "from" => &mut numbers[0],
            "to" => &mut numbers[1],
            _ => continue,
        };
        match value.parse::<u64>() {
            Ok(number) => *place = Some(number),
            Err(_) => {
                let reason = format!("`{name}` is not the number of a generation");
                return line(StatusCode::BAD_REQUEST, &reason);
            }
        }
    }
    let Some(from) = numbers[0] else {
        return line(
            StatusCode::BAD_REQUEST,
            "`from` is missing, expected the number of a generation",
        );
    };
    match ShownDifference::of(admin, from, numbers[1]) {
        Ok(difference) => json(StatusCode::OK, &difference),
        Err(reason) => line(StatusCode::NOT_FOUND, &reason),
    }
}

impl ShownHistory {
    pub fn of(admin: &Admin) -> Self {
        let serving = admin.metrics.generation();
        let (kept, fault) = match &admin.archive {
            Ok(generations) => (generations.all(), admin.reloads.fault()),
            Err(reason) => (Vec::new(), Some(reason.clone())),
        };
        let begins = kept.iter().map(|kept| Some(kept.served.as_ref().ok()?.time));
        let ends = begins.skip(1).chain([None]);
        let shown = kept.iter().zip(ends).map(|(kept, until)| ShownGeneration {
            generation: kept.generation,
            served: kept.served.clone().ok(),
            until,
            error: kept.served.clone().err(),
        });
        let mut generations: Vec<_> = shown.collect();
        generations.reverse();
        Self { serving, generations, fault }
    }
}

impl ShownDifference {
    /// Compares two generations; `None`: what serves.
    ///
    /// # Errors
    ///
    /// One of them is not kept, or cannot be read.
    pub fn of(admin: &Admin, from: u64, to: Option<u64>) -> Result<Self, String> {
        let generations = admin.archive.as_ref().map_err(String::clone)?;
        let path = admin.configuration.path();
        let read = |number: u64| {
            let (served, text) = generations.find(number)?;
            let config = config::parse_without_files(&text, Path::new(&path));
            let config = config.map_err(|error| format!("generation {number}: {error}"))?;
            Ok::<_, String>((served.content, config))
        };
        let to = to.unwrap_or_else(|| admin.metrics.generation());
        let (before, after) = (read(from)?, read(to)?);
        let names = [from, to].map(|number| format!("generation {number}"));
        let diff = difference((&names[0], &before.1), (&names[1], &after.1));
        let diff = diff.map_err(|error| error.to_string())?;
        Ok(Self { from, to, diff, plugins: others(&before.0, &after.0) })
    }
}

/// Lists the plugins that are different.
pub fn others(before: &Content, after: &Content) -> Vec<OtherPlugin> {
    let mut names: Vec<_> = before.plugins.keys().chain(after.plugins.keys()).collect();
    names.sort();
    names.dedup();
    let others = names.into_iter().map(|policy| OtherPlugin {
        policy: policy.clone(),
        before: before.plugins.get(policy).cloned(),
        after: after.plugins.get(policy).cloned(),
    });
    others.filter(|plugin| plugin.before != plugin.after).collect()
}
