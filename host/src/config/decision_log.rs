//! The log of decisions: which of them, what of them, and where to.

use std::{collections::BTreeMap, num::NonZeroU32, path::Path, path::PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    log::{self, LogFile},
    problem::{Problem, problem},
    secret::Secret,
    values::{self, is_header_name},
};
use crate::fetch::is_protected;

/// The log of decisions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DecisionLog {
    pub to: DecisionsTo,
    /// For `to: file`. Its folder existed when the configuration was read.
    pub path: Option<PathBuf>,
    #[serde(default)]
    pub rotate: Rotate,
    /// For `to: url`: with `https`, or with `http` to this machine or if `insecure`.
    #[serde(default, deserialize_with = "values::url", serialize_with = "values::write_url")]
    pub url: Option<Url>,
    /// Headers of its requests, by lower-case name.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Whether `url` may be without TLS to another machine.
    #[serde(default)]
    pub insecure: bool,
    /// Which decisions are logged, beside those of `sample`.
    #[serde(default = "only")]
    pub only: Vec<DecisionKind>,
    #[serde(default)]
    pub sample: Sample,
    #[serde(default)]
    pub mask: DecisionMask,
    /// The most lines a second; 1 to 1 000 000.
    #[serde(default = "limit", deserialize_with = "values::rate")]
    pub limit: NonZeroU32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecisionsTo {
    Stderr,
    File,
    Url,
}

/// When the file is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rotate {
    /// The size in bytes at which it is rotated; 0 for never.
    #[serde(deserialize_with = "values::size")]
    pub max_size: u64,
    /// How many older files are kept, 1 to 1000.
    pub keep: u32,
}

impl Default for Rotate {
    fn default() -> Self {
        Self { max_size: log::max_size(), keep: log::keep() }
    }
}

/// A kind of decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecisionKind {
    /// The client got a failure.
    Rejected,
    /// The client got no answer.
    Dropped,
    /// A policy failed whose word counts.
    Error,
    /// A policy in shadow mode would have answered otherwise.
    Shadow,
}

/// How many of the other decisions are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sample {
    /// One in so many of those that nobody refuses; `None`: none of them.
    #[serde(deserialize_with = "values::share", serialize_with = "values::write_share")]
    pub ok: Option<NonZeroU32>,
}

/// What is not shown of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecisionMask {
    pub client: MaskClient,
    pub credential: MaskCredential,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum MaskClient {
    /// Its network: 24 bits of an IPv4 address, 48 of an IPv6 address.
    #[default]
    #[serde(rename = "24/48")]
    Prefix,
    #[serde(rename = "whole")]
    Whole,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskCredential {
    /// A keyed hash.
    #[default]
    Hash,
    Omit,
    Whole,
}

fn only() -> Vec<DecisionKind> {
    vec![DecisionKind::Rejected, DecisionKind::Dropped, DecisionKind::Error, DecisionKind::Shadow]
}

fn limit() -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(999)
}

impl DecisionLog {
    /// Returns the file that it is written to.
    #[must_use]
    pub fn file(&self) -> Option<LogFile> {
        let path = self.path.clone().filter(|_| self.to == DecisionsTo::File)?;
        Some(LogFile { path, max_size: self.rotate.max_size, keep: self.rotate.keep })
    }

    /// Checks it by itself.
    pub(super) fn check(&self) -> Result<(), Problem> {
        match self.to {
            DecisionsTo::File if self.path.is_none() => {
                return problem("decision_log", "missing key `path`, for `to: file`");
            }
            DecisionsTo::Url if self.url.is_none() => {
                return problem("decision_log", "missing key `url`, for `to: url`");
            }
            _ => {}
        }
        if self.only.is_empty() && self.sample.ok.is_none() {
            let message = "empty, expected at least one of rejected, dropped, error, shadow, or a \
                           `sample`";
            return problem("decision_log.only", message);
        }
        let Rotate { max_size, keep } = self.rotate;
        log::check_rotation("decision_log.rotate", max_size, keep)?;
        if let Some(url) = &self.url {
            if !is_protected(url) && !self.insecure {
                let message =
                    "not protected by TLS, expected https, a loopback address, or `insecure: true`";
                return problem("decision_log.url", message);
            }
            if !url.username().is_empty() || url.password().is_some() {
                let message = "contains a user name or a password, expected them in `headers`";
                return problem("decision_log.url", message);
            }
        }
        match self.headers.keys().find(|name| !is_header_name(name)) {
            Some(name) => {
                let message =
                    format!("invalid header name `{name}`, expected one such as authorization");
                problem(format!("decision_log.headers.{name}"), message)
            }
            None => Ok(()),
        }
    }

    /// Makes the path relative to `folder`, and checks that the file can be there.
    pub(super) fn resolve(&mut self, folder: &Path) -> Result<(), Problem> {
        match &mut self.path {
            Some(path) if self.to == DecisionsTo::File => {
                log::resolve_file("decision_log.path", path, folder)
            }
            _ => Ok(()),
        }
    }

    /// Reads the secrets; relative files are relative to `folder`.
    pub(super) fn fetch_secrets(&mut self, folder: &Path) -> Result<(), Problem> {
        for (header, value) in &mut self.headers {
            let path = format!("decision_log.headers.{header}");
            value.fetch_for_header(folder).or_else(|message| problem(path, message))?;
        }
        Ok(())
    }
}
