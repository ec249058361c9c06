//! `/api/explain`: what the policies would do with a request.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hyper::StatusCode;
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
    /// One answer; for a scrape, one for each info-hash.
    pub answers: Vec<Explanation>,
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
