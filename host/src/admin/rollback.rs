//! `/api/rollback`: serves an earlier generation again.

use serde::{Deserialize, Serialize};

use super::Admin;
use super::reload::{Wish, change};
use super::reply::Changed;
use super::request::Request;

/// The body of a request, which may be empty.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WantedRollback {
    /// The generation; `None`: the one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// Whether the text of its configuration is told.
    pub text: bool,
}

/// The maximum size of a body, in bytes.
const BODY: usize = 1024;

/// Answers when the earlier generation serves.
pub async fn rollback(admin: &Admin, request: Request) -> Changed {
    let by = request.caller.clone();
    match request.json_or_nothing::<WantedRollback>(BODY).await {
        Ok(WantedRollback { to, text }) => change(admin, by, Wish::Rollback { to, text }).await,
        Err(reply) => Changed { reply, result: "wrong request".to_owned() },
    }
}
