//! Keys that are wished for.

use std::time::Duration;

use hyper::StatusCode;
use rand::distr::{Alphanumeric, SampleString};
use serde::Deserialize;

use super::Answer;
use crate::config::DataFormat;
use crate::entry::Entry;
use crate::text::Escaped;
use crate::time;

/// A key that is to be added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    pub key: Entry,
    /// How long it is valid; `None`: until it is deleted.
    pub ttl: Option<Duration>,
    /// Whether it was made here.
    pub is_new: bool,
}

/// The body of a call.
#[derive(Deserialize)]
struct Form {
    key: Option<String>,
    seconds_valid: Option<u64>,
}

/// The length of new keys.
const LENGTH: usize = 32;
/// The longest key that policies take, in bytes.
const LONGEST: usize = 255;
/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;

impl Wish {
    /// Wishes for a new key, for so many seconds.
    ///
    /// # Errors
    ///
    /// What is answered if it cannot be valid for so long.
    pub fn new(seconds: Option<u64>) -> Result<Self, Answer> {
        Self::of(None, seconds)
    }

    /// Reads the body of a call.
    ///
    /// # Errors
    ///
    /// What is answered to one that is not understood.
    pub fn read(body: &[u8]) -> Result<Self, Answer> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let form: Result<Form, _> = serde_path_to_error::deserialize(&mut json);
        let form = form.map_err(|error| match error.inner().is_data() {
            true => Answer::text(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!("Failed to deserialize the JSON body into the target type: {error}"),
            ),
            false => Answer::wrong(format!("Failed to parse the request body as JSON: {error}")),
        });
        let Form { key, seconds_valid } = form?;
        json.end().map_err(|error| {
            Answer::wrong(format!("Failed to parse the request body as JSON: {error}"))
        })?;
        Self::of(key, seconds_valid)
    }

    fn of(key: Option<String>, seconds: Option<u64>) -> Result<Self, Answer> {
        let ttl = seconds.map(ttl).transpose()?;
        let is_new = key.is_none();
        let key = key.unwrap_or_else(|| Alphanumeric.sample_string(&mut rand::rng(), LENGTH));
        let key = read_key(&key).map_err(|reason| {
            let shown = Escaped(&*key);
            Answer::wrong(format!("Invalid URL: invalid auth key: string \"{shown}\", {reason}"))
        })?;
        Ok(Self { key, ttl, is_new })
    }
}

/// Reads a key, which may be one of another tracker.
///
/// # Errors
///
/// What is wrong with it.
pub fn read_key(text: &str) -> Result<Entry, String> {
    match text.len() {
        1..=LONGEST => Entry::read(DataFormat::Strings, text),
        _ => Err(format!("expected 1 to {LONGEST} bytes")),
    }
}

/// Checks how long a key is to be valid: until a time that has a date.
fn ttl(seconds: u64) -> Result<Duration, Answer> {
    let since_1970 = time::since_1970().as_secs();
    match since_1970.checked_add(seconds) {
        Some(end) if seconds > 0 && end < LAST => Ok(Duration::from_secs(seconds)),
        _ => {
            let reason = format!("Invalid URL: invalid auth key duration: \"{seconds}\"");
            Err(Answer::wrong(reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_or_made() {
        let wish = Wish::read(br#"{"key": "a-b_c", "seconds_valid": 7}"#).unwrap();
        assert_eq!((wish.key.to_string(), wish.is_new), ("a-b_c".to_owned(), false));
        assert_eq!(wish.ttl, Some(Duration::from_secs(7)));
        let made = || Wish::read(br#"{"key": null, "seconds_valid": null}"#).unwrap();
        let (one, other) = (made(), made());
        assert_ne!(one, other);
        assert_eq!((one.ttl, one.is_new), (None, true));
        let key = one.key.to_string();
        assert_eq!(key.len(), 32);
        assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{key}");
    }

    #[test]
    fn what_is_no_wish_is_refused_as_by_torrust_tracker() {
        let long = format!(r#"{{"key": "{}"}}"#, "x".repeat(256));
        for (body, status, reason) in [
            (
                r#"{"key": ""}"#,
                400,
                "Invalid URL: invalid auth key: string \"\", expected 1 to 255",
            ),
            (&long, 400, "expected 1 to 255 bytes"),
            (r#"{"key": "a\nb"}"#, 400, "string \"a\\nb\", `a\\nb`, expected visible characters"),
            (r#"{"seconds_valid": 0}"#, 400, "Invalid URL: invalid auth key duration: \"0\""),
            (
                r#"{"seconds_valid": 18446744073709551615}"#,
                400,
                "duration: \"18446744073709551615\"",
            ),
            (r#"{"seconds_valid": 253402300799}"#, 400, "duration: \"253402300799\""),
            (
                r#"{"seconds_valid": "7"}"#,
                422,
                "Failed to deserialize the JSON body into the target type: seconds_valid: invalid type",
            ),
            ("{", 400, "Failed to parse the request body as JSON: "),
            ("{} x", 400, "Failed to parse the request body as JSON: "),
            ("", 400, "Failed to parse the request body as JSON: "),
        ] {
            let answer = Wish::read(body.as_bytes()).unwrap_err();
            assert_eq!(answer.status.as_u16(), status, "{body}");
            assert!(answer.body.contains(reason), "{body}: {}", answer.body);
        }
    }
}
