//! `/api/reloads`: what was applied or refused since the start, and what serves by now.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use parking_lot::Mutex;
use serde::Serialize;

use super::Admin;
use super::caller::Caller;
use super::reload::{Refusal, Report};
use super::reply::{Reply, json};
use super::request::Request;
use super::trial::OnTrial;
use crate::config::Config;
use crate::generations::{Action, Pin};

/// The reloads since the start, and what serves.
pub struct Reloads {
    serving: Mutex<Serving>,
    /// The newest first.
    attempts: Mutex<VecDeque<Attempt>>,
    /// What serves in place of the configuration file, and why a restart would not serve it.
    pin: Mutex<Option<(Pin, Option<String>)>>,
    trial: Mutex<Option<OnTrial>>,
    /// What went wrong with generations that are kept, in a sentence.
    fault: Mutex<Option<String>>,
}

/// An earlier generation that serves in place of the configuration file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Pinned {
    pub generation: u64,
    /// In seconds since 1970.
    pub since: u64,
    pub by: String,
    /// Of the file that was turned down.
    pub rejected_sha256: String,
    /// Why a restart would not serve it; `None`: it would.
    pub fault: Option<String>,
}

/// The configuration that serves.
struct Serving {
    config: Arc<Config>,
    /// Of its file.
    digest: [u8; 32],
    /// What has changed since the start, and waits for a restart.
    needs_restart: Vec<String>,
}

/// Who asks for a reload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum By {
    /// SIGHUP.
    Signal,
    /// The file of a watched plugin has changed.
    Watch,
    /// The end of a trial.
    Trial,
    Caller(Caller),
}

/// A reload that has ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Attempt {
    /// In seconds since 1970.
    pub time: u64,
    pub by: String,
    /// The generation that has served since.
    pub generation: u64,
    /// `reload`, `try`, `rollback`, `confirm` or `taken back`.
    pub action: &'static str,
    /// `applied`, `unchanged`, `refused`, `confirmed` or `taken back`.
    pub outcome: &'static str,
    /// SHA-256 of the file; `None`: it could not be read.
    pub sha256: Option<String>,
    pub report: Option<Report>,
    #[serde(flatten)]
    pub refusal: Option<Refusal>,
}

/// The action that ends a trial, and keeps its generation.
pub const CONFIRM: &str = "confirm";

/// The most reloads that are kept.
const MOST: usize = 100;

/// Answers with all that are kept, the newest first.
pub fn reloads(admin: &Admin, _: &Request) -> Reply {
    json(StatusCode::OK, &*admin.reloads.attempts.lock())
}

impl Reloads {
    /// The process has started with this configuration.
    pub fn new(config: Arc<Config>) -> Self {
        let digest = config.source.digest();
        let serving = Serving { config, digest, needs_restart: Vec::new() };
        Self {
            serving: Mutex::new(serving),
            attempts: Mutex::default(),
            pin: Mutex::default(),
            trial: Mutex::default(),
            fault: Mutex::default(),
        }
    }

    /// Adds one that has ended: of the configuration that serves now, if it was accepted, or else of
    /// the file with this digest.
    pub fn add(
        &self,
        by: &By,
        action: &'static str,
        generation: u64,
        serving: &Arc<Config>,
        refused: Option<[u8; 32]>,
        result: &Result<Report, Refusal>,
    ) {
        let outcome = match result {
            _ if action == Action::TakenBack.name() => action,
            Ok(_) if action == CONFIRM => "confirmed",
            Ok(report) if report.has_changes() => "applied",
            Ok(_) => "unchanged",
            Err(_) => "refused",
        };
        let digest = match result {
            Err(_) => refused,
            Ok(report) => {
                self.serve(serving, report.needs_restart.clone());
                Some(serving.source.digest())
            }
        };
        let attempt = Attempt {
            time: unix_seconds(SystemTime::now()),
            by: by.to_string(),
            action,
            generation,
            outcome,
            sha256: digest.map(hex::encode),
            report: result.as_ref().ok().cloned(),
            refusal: result.as_ref().err().cloned(),
        };
        let mut attempts = self.attempts.lock();
        attempts.truncate(MOST - 1);
        attempts.push_front(attempt);
    }

    /// Another configuration serves, of which some keys serve only after a restart.
    pub fn serve(&self, config: &Arc<Config>, needs_restart: Vec<String>) {
        let digest = config.source.digest();
        *self.serving.lock() = Serving { config: config.clone(), digest, needs_restart };
    }

    /// Returns what serves in place of the configuration file.
    pub fn pinned(&self) -> Option<Pinned> {
        let pin = self.pin.lock();
        let (Pin { generation, rejected, since, by, .. }, fault) = pin.clone()?;
        Some(Pinned { generation, since, by, rejected_sha256: rejected.sha256, fault })
    }

    pub fn pin(&self) -> Option<Pin> {
        self.pin.lock().as_ref().map(|(pin, _)| pin.clone())
    }

    /// Sets what serves in place of the configuration file, and why a restart would not serve it.
    pub fn set_pin(&self, pin: Option<(Pin, Option<String>)>) {
        *self.pin.lock() = pin;
    }

    /// Returns the generation on trial.
    pub fn trial(&self) -> Option<OnTrial> {
        self.trial.lock().clone()
    }

    pub fn set_trial(&self, trial: Option<OnTrial>) {
        *self.trial.lock() = trial;
    }

    /// Returns what went wrong with generations that are kept, in a sentence.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().clone()
    }

    pub fn set_fault(&self, fault: Option<String>) {
        *self.fault.lock() = fault;
    }

    /// Returns the digest of the file that serves.
    pub fn serving(&self) -> [u8; 32] {
        self.serving.lock().digest
    }

    /// Returns the configuration that serves, with keys whose values serve only after a restart.
    pub fn config(&self) -> (Arc<Config>, Vec<String>) {
        let serving = self.serving.lock();
        (serving.config.clone(), serving.needs_restart.clone())
    }

    /// Returns all that are kept, the newest first.
    pub fn all(&self) -> Vec<Attempt> {
        self.attempts.lock().iter().cloned().collect()
    }

    pub fn last(&self) -> Option<Attempt> {
        self.attempts.lock().front().cloned()
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal => f.write_str("SIGHUP"),
            Self::Watch => f.write_str("a watched plugin"),
            Self::Trial => f.write_str("the trial"),
            Self::Caller(caller) => caller.fmt(f),
        }
    }
}

/// Returns a time in seconds since 1970.
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reloads_are_kept_and_the_file_that_serves_is_known() {
        let [first, second] = [1, 2].map(|port| {
            let text = format!("udp: [{{ listen: '127.0.0.1:{port}' }}]");
            Arc::new(crate::config::parse(&text, "config.yaml".as_ref()).unwrap())
        });
        let reloads = Reloads::new(first.clone());
        assert_eq!((reloads.serving(), reloads.last()), (first.source.digest(), None));
        let waiting = Report { needs_restart: vec!["landlock".into()], ..Report::default() };
        for generation in 0..=MOST as u64 {
            reloads.add(&By::Signal, "reload", generation, &second, None, &Ok(waiting.clone()));
        }
        assert_eq!(reloads.attempts.lock().len(), MOST);
        assert_eq!(reloads.last().unwrap().generation, MOST as u64);
        assert_eq!(reloads.last().unwrap().outcome, "unchanged");
        let refusal =
            Refusal { policy: Some("jwt".into()), stage: "init".into(), reason: "no key".into() };
        let by = By::Caller(Caller::Token("deployer".into()));
        reloads.add(&by, "reload", 7, &second, Some([3; 32]), &Err(refusal));
        assert_eq!(reloads.serving(), second.source.digest(), "what was refused does not serve");
        assert_eq!(reloads.config(), (second, vec!["landlock".to_owned()]));
        let last = serde_json::to_value(reloads.last()).unwrap();
        for (key, value) in [
            ("by", "token deployer"),
            ("outcome", "refused"),
            ("policy", "jwt"),
            ("reason", "no key"),
        ] {
            assert_eq!(last[key], value);
        }
    }
}
