//! `/api/explain`: what the policies would do with a request.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use hyper::StatusCode;
use karuta_swarm::{Standing, Usage};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;

use super::Admin;
use super::reply::{Reply, STOPPING, json, line};
use super::request::Request;
use crate::policy::Explanation;

/// An explain request, with a channel for the answer. The error says what is wrong with the
/// question.
pub type AskExplain = (Question, oneshot::Sender<Result<Answers, String>>);

/// A client's request to explain.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The URL of an announce or scrape. For UDP, it is written as if the request came over HTTP.
    pub url: String,
    /// The client's address; `None`: this machine.
    pub from: Option<IpAddr>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
}

/// What the policies would do.
#[derive(Serialize)]
pub struct Answers {
    pub transport: String,
    pub action: &'static str,
    pub client: String,
    /// What `tracker.limits` says of the client; `None`: there is no such limit.
    pub tracker_limits: Option<TrackerLimits>,
    /// One answer; for a scrape, one for each info-hash.
    pub answers: Vec<Answer>,
}

/// What would become of a request for one info-hash.
#[derive(Serialize)]
pub struct Answer {
    #[serde(flatten)]
    pub by_policies: Explanation,
    /// What `swarms.limits` says; `None`: there are no such limits, or the request enters no peer.
    pub swarms_limits: Option<SwarmsLimits>,
}

/// What the native limit says of a client, before any policy.
#[derive(Serialize, Deserialize)]
pub struct TrackerLimits {
    /// What the client would be told; `None`: it may ask.
    pub refusal: Option<String>,
    /// The network that has one limit.
    pub prefix: String,
    pub per_second: u32,
    /// How many requests it may make at once.
    pub burst: u32,
}

/// What the limits of the store say of an announce, after the policies.
#[derive(Serialize, Deserialize)]
pub struct SwarmsLimits {
    /// What the client would be told; `None`: its peer may enter.
    pub refusal: Option<String>,
    /// Each is `None` if it is not limited.
    pub torrents: Option<Used>,
    /// Of this torrent.
    pub peers_per_torrent: Option<Used>,
    /// Of this client.
    pub peers_per_address: Option<Used>,
}

/// How far a limit is used up.
#[derive(Serialize, Deserialize)]
pub struct Used {
    pub count: u64,
    pub limit: u64,
}

impl SwarmsLimits {
    /// Returns `None` if nothing is limited.
    pub fn of(standing: &Standing) -> Option<Self> {
        let used = |usage: Option<Usage>| usage.map(|Usage { count, limit }| Used { count, limit });
        let limits = Self {
            refusal: standing.refusal.map(|refusal| refusal.to_string()),
            torrents: used(standing.torrents),
            peers_per_torrent: used(standing.peers_of_torrent),
            peers_per_address: used(standing.peers_of_address),
        };
        let is_limited = limits.used().next().is_some();
        is_limited.then_some(limits)
    }

    fn used(&self) -> impl Iterator<Item = (&Used, &'static str)> {
        let all = [
            (&self.torrents, "torrents"),
            (&self.peers_per_torrent, "peers of this torrent"),
            (&self.peers_per_address, "peers of this address"),
        ];
        all.into_iter().filter_map(|(used, what)| Some((used.as_ref()?, what)))
    }
}

impl fmt::Display for TrackerLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix, per_second, burst, .. } = self;
        write!(f, "{per_second} a second and {burst} at once for {prefix}")
    }
}

impl fmt::Display for SwarmsLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (Used { count, limit }, what)) in self.used().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{count} of {limit} {what}")?;
        }
        Ok(())
    }
}

/// The maximum size of a question, in bytes.
const QUESTION: usize = 64 * 1024;

/// Answers a question with the policies in use.
pub async fn explain(admin: &Admin, request: Request) -> Reply {
    let question = match request.json(QUESTION).await {
        Ok(question) => question,
        Err(refusal) => return refusal,
    };
    match ask(admin, question).await {
        Ok(answers) => json(StatusCode::OK, &answers),
        Err((status, reason)) => line(status, &reason),
    }
}

/// Asks the policies in use.
///
/// # Errors
///
/// What is wrong, in a line.
pub async fn ask(admin: &Admin, question: Question) -> Result<Answers, (StatusCode, String)> {
    let unavailable = |reason: &str| (StatusCode::SERVICE_UNAVAILABLE, reason.to_owned());
    let (reply, answer) = oneshot::channel();
    if let Err(TrySendError::Full(_)) = admin.explain.try_send((question, reply)) {
        return Err(unavailable("too many questions are waiting"));
    }
    let answer = answer.await.map_err(|_| unavailable(STOPPING))?;
    answer.map_err(|reason| (StatusCode::BAD_REQUEST, reason))
}
