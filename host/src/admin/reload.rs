//! `/api/reload`: reads the configuration again, and reports what has changed.

use std::fmt;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::Admin;
use super::caller::Caller;
use super::reply::{Changed, STOPPING};
use super::request::Request;

/// A reload request.
pub struct AskReload {
    pub by: Caller,
    /// The digest that the file must have; `None`: whatever is in it.
    pub expected: Option<[u8; 32]>,
    pub reply: oneshot::Sender<Result<Report, Refusal>>,
}

/// The body of a request, which may be empty.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The SHA-256 of the file that the caller has looked at, in hexadecimal digits.
    expect: Option<String>,
}

/// The maximum size of a body, in bytes.
const BODY: usize = 1024;

/// The changes of a reload. Policies are listed by name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The generation in use now.
    pub generation: u64,
    pub added: Vec<String>,
    /// Created again, because the plugin or its configuration has changed.
    pub replaced: Vec<String>,
    /// Kept, with another `when`, `on_error` or `mode`.
    pub changed: Vec<String>,
    pub removed: Vec<String>,
    /// The same policies are called in another order.
    pub reordered: bool,
    /// Intervals, numbers of peers, rate limits or the log level have changed.
    pub settings: bool,
    /// Tokens of the admin API, or their rights, have changed.
    #[serde(default)]
    pub tokens: bool,
    /// The files of the certificates that are new.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// The exports to files have changed.
    #[serde(default)]
    pub exports: bool,
    /// Changed keys that only take effect at a restart.
    pub needs_restart: Vec<String>,
}

/// Why a reload changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// `None`: the configuration itself is wrong.
    pub policy: Option<String>,
    pub stage: String,
    pub reason: String,
}

/// Answers when every worker has switched, or with the reason why nothing has changed.
pub async fn reload(admin: &Admin, request: Request) -> Changed {
    let by = request.caller.clone();
    match request.json_or_nothing::<Wanted>(BODY).await {
        Ok(Wanted { expect }) => apply(admin, by, expect).await,
        Err(reply) => Changed { reply, result: "wrong request".to_owned() },
    }
}

/// Reloads, if the file has the digest that is expected, in hexadecimal digits; `None`: whatever is in it.
pub async fn apply(admin: &Admin, by: Caller, expect: Option<String>) -> Changed {
    let mut expected = None;
    if let Some(digits) = expect
        && hex::decode_to_slice(&digits, expected.insert([0; 32])).is_err()
    {
        let reason = "`expect` is not a SHA-256, expected 64 hexadecimal digits";
        return Changed::line(StatusCode::BAD_REQUEST, reason);
    }
    let (reply, result) = oneshot::channel();
    // If the receiver is gone, so is the reply.
    let _ = admin.reload.send(AskReload { by, expected, reply }).await;
    match result.await {
        Ok(Ok(report)) => {
            let result = format!("generation {}: {report}", report.generation);
            Changed::json(StatusCode::OK, &report, result)
        }
        Ok(Err(refusal)) => {
            Changed::json(StatusCode::CONFLICT, &refusal, format!("refused: {refusal}"))
        }
        Err(_) => Changed::line(StatusCode::SERVICE_UNAVAILABLE, STOPPING),
    }
}

impl Report {
    /// Returns whether anything has changed, apart from what waits for a restart.
    pub fn has_changes(&self) -> bool {
        self.needs_generation() || self.tokens || self.exports || !self.certificates.is_empty()
    }

    /// Returns whether the workers need new rules.
    pub fn needs_generation(&self) -> bool {
        let lists = [&self.added, &self.replaced, &self.changed, &self.removed];
        lists.iter().any(|list| !list.is_empty()) || self.reordered || self.settings
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.has_changes() {
            return f.write_str("nothing has changed");
        }
        let lists = [
            ("added", &self.added),
            ("replaced", &self.replaced),
            ("changed", &self.changed),
            ("removed", &self.removed),
        ];
        let lists = lists.iter().filter(|(_, names)| !names.is_empty());
        let mut parts: Vec<_> =
            lists.map(|(what, names)| format!("{what} {}", names.join(", "))).collect();
        if self.reordered {
            parts.push("order changed".to_owned());
        }
        if self.settings {
            parts.push("settings changed".to_owned());
        }
        if self.tokens {
            parts.push("tokens changed".to_owned());
        }
        if !self.certificates.is_empty() {
            parts.push(format!("certificates {}", self.certificates.join(", ")));
        }
        if self.exports {
            parts.push("exports changed".to_owned());
        }
        f.write_str(&parts.join("; "))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.policy {
            Some(policy) => write!(f, "policy `{policy}`: {}: {}", self.stage, self.reason),
            None => f.write_str(&self.reason),
        }
    }
}
