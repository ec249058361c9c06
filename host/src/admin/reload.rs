//! `/api/reload`: reads the configuration again, and reports what has changed, or what would change.

use std::time::Duration;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::Admin;
use super::caller::Caller;
use super::preview::Preview;
use super::reply::{Changed, STOPPING};
use super::request::Request;
use crate::config::parse_duration;
use crate::decisions::Mask;

pub use super::report::{Refusal, Report};

/// A request that concerns what serves.
pub enum AskReload {
    Change {
        by: Caller,
        wish: Wish,
        reply: Replies<Report>,
    },
    /// Tell what a reload would change.
    Preview {
        expected: Expected,
        reply: Replies<Preview>,
    },
}

/// Where the result is told.
pub type Replies<T> = oneshot::Sender<Result<T, Refusal>>;

/// What is to serve.
#[derive(Clone, PartialEq, Debug)]
pub enum Wish {
    Reload(Terms),
    /// Keep the generation that is on trial.
    Confirm,
    Rollback {
        /// `None`: the one before what serves, or before what is on trial.
        to: Option<u64>,
        /// Whether the text of its configuration is told.
        text: bool,
    },
}

/// How a file is to be reloaded.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Terms {
    pub expected: Expected,
    /// Even if what is on the disk was rolled back from.
    pub anyway: bool,
    /// `None`: it serves until something else is asked for.
    pub trial: Option<Trial>,
}

/// What the caller has looked at. `None`: whatever is there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expected {
    /// The digest of the file.
    pub file: Option<[u8; 32]>,
    /// The digest of the file and its plugins, in lower-case hexadecimal digits.
    pub previewed: Option<String>,
}

/// How long a generation serves unless it is confirmed, and what ends that at once.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Trial {
    pub time: Duration,
    /// How far the share of refused requests may move, 0 to 1.
    pub max_change: f64,
}

/// The body of a request, which may be empty.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WantedReload {
    /// Change nothing, and tell what would change.
    pub dry_run: bool,
    /// The SHA-256 of the file that the caller has looked at, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    /// The `content` of the preview that the caller has looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previewed: Option<String>,
    pub anyway: bool,
    /// For how long to try it, such as `5m`.
    #[serde(rename = "try", skip_serializing_if = "Option::is_none")]
    pub try_for: Option<String>,
    /// How far the share of refused requests may move meanwhile, in percentage points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_change: Option<f64>,
}

/// The shortest and the longest trial.
const TRIALS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(24);
/// How far the share of refused requests may move, in percentage points, if nothing is said.
const MAX_CHANGE: f64 = 5.0;

/// The maximum size of a body, in bytes.
const BODY: usize = 1024;

/// Answers when every worker has switched, or with the reason why nothing has changed.
pub async fn reload(admin: &Admin, request: Request) -> Changed {
    let (by, mask) = (request.caller.clone(), admin.mask(&request));
    match request.json_or_nothing::<WantedReload>(BODY).await {
        Ok(wanted) => apply(admin, by, mask, &wanted).await,
        Err(reply) => Changed { reply, result: "wrong request".to_owned() },
    }
}

/// Reloads, or tells what that would change, as far as a caller may see it.
pub async fn apply(admin: &Admin, by: Caller, mask: Mask, wanted: &WantedReload) -> Changed {
    let terms = match Terms::of(wanted) {
        Ok(terms) => terms,
        Err(reason) => return Changed::line(StatusCode::BAD_REQUEST, &reason),
    };
    if !wanted.dry_run {
        return change(admin, by, Wish::Reload(terms)).await;
    }
    match preview(admin, terms.expected, mask).await {
        Some(Ok(preview)) => {
            let result = format!("only looked: {}", preview.report);
            Changed::json(StatusCode::OK, &preview, result)
        }
        Some(Err(refusal)) => {
            Changed::json(StatusCode::CONFLICT, &refusal, format!("would be refused: {refusal}"))
        }
        None => Changed::line(StatusCode::SERVICE_UNAVAILABLE, STOPPING),
    }
}

/// Returns what a reload would change; `None`: the tracker stops.
pub async fn preview(
    admin: &Admin,
    expected: Expected,
    mask: Mask,
) -> Option<Result<Preview, Refusal>> {
    let (reply, result) = oneshot::channel();
    // If the receiver is gone, so is the reply.
    let _ = admin.reload.send(AskReload::Preview { expected, reply }).await;
    let mut result = result.await.ok()?;
    if let Ok(preview) = &mut result
        && mask != Mask::NONE
    {
        preview.verdicts.mask();
    }
    Some(result)
}

/// Changes what serves.
pub async fn change(admin: &Admin, by: Caller, wish: Wish) -> Changed {
    let (reply, result) = oneshot::channel();
    let _ = admin.reload.send(AskReload::Change { by, wish, reply }).await;
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

impl Terms {
    /// # Errors
    ///
    /// What is wrong with what is wanted.
    pub fn of(wanted: &WantedReload) -> Result<Self, String> {
        let mut file = None;
        if let Some(digits) = &wanted.expect
            && hex::decode_to_slice(digits, file.insert([0; 32])).is_err()
        {
            return Err("`expect` is not a SHA-256, expected 64 hexadecimal digits".to_owned());
        }
        let expected = Expected { file, previewed: wanted.previewed.clone() };
        let max_change = wanted.max_change.unwrap_or(MAX_CHANGE);
        if !(0.0..=100.0).contains(&max_change) {
            return Err(format!(
                "`max_change` is {max_change}, expected 0 to 100 percentage points"
            ));
        }
        let trial = match &wanted.try_for {
            None if wanted.max_change.is_some() => {
                return Err("`max_change` without `try`".to_owned());
            }
            None => None,
            Some(_) if wanted.dry_run => return Err("`try` with `dry_run`".to_owned()),
            Some(text) => {
                let time = parse_duration(text).filter(|time| TRIALS.contains(time));
                let time = time.ok_or_else(|| {
                    format!("`try` is `{text}`, expected a duration of 1s to 24h, such as 5m")
                })?;
                Some(Trial { time, max_change: max_change / 100.0 })
            }
        };
        Ok(Self { expected, anyway: wanted.anyway, trial })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_checked() {
        let wanted = |json: &str| Terms::of(&serde_json::from_str(json).unwrap());
        assert_eq!(wanted("{}"), Ok(Terms::default()));
        let terms = wanted(r#"{"try": "5m", "anyway": true}"#).unwrap();
        assert!(terms.anyway);
        assert_eq!(terms.trial, Some(Trial { time: Duration::from_mins(5), max_change: 0.05 }));
        for (json, said) in [
            (r#"{"expect": "ab"}"#, "`expect` is not a SHA-256, expected 64 hexadecimal digits"),
            (r#"{"try": "5"}"#, "`try` is `5`, expected a duration of 1s to 24h, such as 5m"),
            (r#"{"try": "2d"}"#, "`try` is `2d`, expected a duration of 1s to 24h, such as 5m"),
            (
                r#"{"try": "500ms"}"#,
                "`try` is `500ms`, expected a duration of 1s to 24h, such as 5m",
            ),
            (r#"{"try": "5m", "dry_run": true}"#, "`try` with `dry_run`"),
            (r#"{"max_change": 1}"#, "`max_change` without `try`"),
            (
                r#"{"try": "5m", "max_change": -1}"#,
                "`max_change` is -1, expected 0 to 100 percentage points",
            ),
        ] {
            assert_eq!(wanted(json), Err(said.to_owned()), "{json}");
        }
        assert!(serde_json::from_str::<WantedReload>(r#"{"dryrun": true}"#).is_err());
    }
}
