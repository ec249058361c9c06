//! Types for the values of a policy's `config`. Errors read like the host's own: `PATH: what was
//! found, what was expected`.

use std::{fmt::Write as _, ops::Deref};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use serde_path_to_error::Segment;

use crate::Error;

/// A duration, written as numbers with units, the largest first: `30s`, `1h30m`. At most ten years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Duration(pub std::time::Duration);

impl Deref for Duration {
    type Target = std::time::Duration;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl TryFrom<String> for Duration {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        parse_duration(&text).map(Self).ok_or_else(|| {
            Error::new(format_args!(
                "invalid duration `{text}`, expected a number with a unit such as 30s, 5m, 1h"
            ))
        })
    }
}

fn parse_duration(text: &str) -> Option<std::time::Duration> {
    const UNITS: [(&str, u64); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    const MAX: u64 = 3650 * 86_400_000;
    let mut rest = text;
    let mut total: u64 = 0;
    let mut units = UNITS.iter();
    loop {
        let (number, behind) = split_digits(rest);
        let digit = behind.find(|c: char| c.is_ascii_digit());
        let (unit, behind) = behind.split_at(digit.unwrap_or(behind.len()));
        let (_, milliseconds) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*milliseconds)?)?;
        rest = behind;
        if rest.is_empty() {
            return (total <= MAX).then(|| std::time::Duration::from_millis(total));
        }
    }
}

/// A number of bytes, written with a unit: `512B`, `64KiB`, `16MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

impl TryFrom<String> for Size {
    type Error = Error;
    fn try_from(text: String) -> Result<Self, Error> {
        parse_size(&text).map(Self).ok_or_else(|| {
            Error::new(format_args!(
                "invalid size `{text}`, expected a number with a unit such as 512B, 64KiB, 16MiB, \
                 1GiB"
            ))
        })
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_digits(text);
    let shift = ["B", "KiB", "MiB", "GiB"].iter().position(|name| *name == unit)? * 10;
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// A probability: above 0 and at most 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "f32")]
pub struct Probability(f32);

impl Probability {
    /// Returns the number.
    #[must_use]
    pub fn get(self) -> f32 {
        self.0
    }
}

impl TryFrom<f32> for Probability {
    type Error = Error;
    fn try_from(number: f32) -> Result<Self, Error> {
        if number > 0.0 && number <= 1.0 {
            Ok(Self(number))
        } else {
            Err(Error::new(format_args!("must be above 0 and at most 1, is {number}")))
        }
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Parses a policy's `config`, which the host passes as JSON.
pub(crate) fn parse<C: DeserializeOwned>(json: &str) -> Result<C, Error> {
    let value = match serde_json::from_str(json) {
        Ok(Value::Null) => Value::Object(serde_json::Map::new()),
        Ok(value) => value,
        Err(error) => {
            return Err(Error::new(format_args!("the configuration is not JSON: {error}")));
        }
    };
    if !value.is_object() {
        // serde would read a list as a structure's fields
        return Err(Error::new("the configuration is not a mapping"));
    }
    serde_path_to_error::deserialize(value).map_err(|error| explain(&error))
}

/// Parses one JSON mapping of a policy's data, with errors like those of `config`. They show none of
/// the data's texts, which may be secret.
///
/// ```
/// #[derive(serde::Deserialize)]
/// struct Member {
///     id: u64,
/// }
///
/// let member: Member = karuta_plugin::config::from_json(br#"{"id": 7}"#)?;
/// assert_eq!(member.id, 7);
/// let error = karuta_plugin::config::from_json::<Member>(br#"{"id": "seven"}"#).err().unwrap();
/// assert_eq!(error.to_string(), "id: found a text, expected a whole number, 0 or more");
/// # Ok::<(), karuta_plugin::Error>(())
/// ```
///
/// # Errors
///
/// Fails if the data is not such a mapping. The error names the path of the wrong key.
pub fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    if json.trim_ascii_start().first() != Some(&b'{') {
        // serde would read a list as a structure's fields
        return Err(Error::new("expected a JSON mapping"));
    }
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| explain(&error))?;
    reader.end().map_err(|error| Error::new(without_position(&error)))?;
    Ok(value)
}

fn explain(error: &serde_path_to_error::Error<serde_json::Error>) -> Error {
    let mut path = String::new();
    for segment in error.path() {
        match segment {
            Segment::Seq { index } => {
                let _ = write!(path, "[{index}]");
            }
            Segment::Map { key } => {
                let dot = if path.is_empty() { "" } else { "." };
                let _ = write!(path, "{dot}{key}");
            }
            // the variant of an enumeration is the value itself
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    let message = in_words(&without_position(error.inner()));
    if path.is_empty() { Error::new(message) } else { Error::at(path, message) }
}

/// Returns serde's message. The path says where a value is wrong, a column where the syntax is.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let (line, column) = (error.line(), error.column());
    match text.strip_suffix(&format!(" at line {line} column {column}")) {
        None => text,
        Some(message) if error.is_data() => message.into(),
        Some(message) if line == 1 => format!("{message} at column {column}"),
        Some(_) => text,
    }
}

/// Translates serde's message for people who write YAML.
fn in_words(message: &str) -> String {
    let (problem, expected) = message.rsplit_once(", expected ").unwrap_or((message, ""));
    if message.starts_with("unknown field ") {
        match names(expected) {
            names if names.is_empty() => "unknown key, expected none".into(),
            names => format!("unknown key, expected {names}"),
        }
    } else if let Some(value) = problem.strip_prefix("unknown variant ") {
        format!("unknown value {value}, expected {}", names(expected))
    } else if let Some(key) = message.strip_prefix("missing field ") {
        format!("missing key {key}")
    } else if let Some(found) =
        problem.strip_prefix("invalid type: ").or_else(|| problem.strip_prefix("invalid value: "))
    {
        format!("found {}, expected {}", found_in_words(found), expected_in_words(expected))
    } else {
        message.into()
    }
}

/// Strips the quotes from "one of `a`, `b`".
fn names(expected: &str) -> String {
    let names: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let one_of = if names.len() > 1 { "one of " } else { "" };
    format!("{one_of}{}", names.join(", "))
}

/// Translates what serde found. A text is not shown, as it may be a secret.
fn found_in_words(found: &str) -> String {
    match found.split_once(' ').map_or((found, ""), |(kind, rest)| (kind, rest)) {
        ("null", _) => "nothing".into(),
        ("sequence", _) => "a list".into(),
        ("map", _) => "a mapping".into(),
        ("string", _) => "a text".into(),
        ("boolean", value) => value.into(),
        ("integer", value) => format!("the number {value}"),
        ("floating", rest) => format!("the number {}", rest.trim_start_matches("point ")),
        _ => found.into(),
    }
}

fn expected_in_words(expected: &str) -> &str {
    match expected {
        "a boolean" => "true or false",
        "a string" | "string or map" => "a text",
        "a sequence" => "a list",
        "a map" => "a mapping",
        "f32" | "f64" => "a number",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        _ if expected.starts_with("struct ") => "a mapping",
        _ => expected,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only reading is tested")]
    struct Config {
        names: Vec<String>,
        #[serde(default)]
        share: f32,
        #[serde(default)]
        port: u16,
        #[serde(default)]
        on: bool,
        order: Option<Order>,
        every: Option<Duration>,
        size: Option<Size>,
        from: Option<crate::sets::InfoHashes>,
        #[serde(default)]
        sites: Vec<Site>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Order {
        NearFirst,
        RoleFirst,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only reading is tested")]
    struct Site {
        name: String,
    }

    #[test]
    fn errors_name_the_path_and_what_was_expected() {
        let keys = "names, share, port, on, order, every, size, from, sites";
        let cases = [
            ("{}", "missing key `names`"),
            ("null", "missing key `names`"),
            (r#"[["a"]]"#, "the configuration is not a mapping"),
            (r#""a""#, "the configuration is not a mapping"),
            ("{", "the configuration is not JSON: EOF while parsing an object at line 1 column 1"),
            (r#"{"names": {}}"#, "names: found a mapping, expected a list"),
            (r#"{"names": null}"#, "names: found nothing, expected a list"),
            (r#"{"names": ["a", 5]}"#, "names[1]: found the number `5`, expected a text"),
            (r#"{"names": [], "share": []}"#, "share: found a list, expected a number"),
            (r#"{"names": [], "share": "1"}"#, "share: found a text, expected a number"),
            (
                r#"{"names": [], "port": 70000}"#,
                "port: found the number `70000`, expected a whole number from 0 to 65535",
            ),
            (
                r#"{"names": [], "port": 1.5}"#,
                "port: found the number `1.5`, expected a whole number from 0 to 65535",
            ),
            (r#"{"names": [], "on": "yes"}"#, "on: found a text, expected true or false"),
            (r#"{"names": true}"#, "names: found `true`, expected a list"),
            (
                r#"{"names": [], "order": "far"}"#,
                "order: unknown value `far`, expected one of near-first, role-first",
            ),
            (r#"{"names": [], "order": 1}"#, "order: found the number `1`, expected a text"),
            (
                r#"{"names": [], "every": "5x"}"#,
                "every: invalid duration `5x`, expected a number with a unit such as 30s, 5m, 1h",
            ),
            (r#"{"names": [], "every": 5}"#, "every: found the number `5`, expected a text"),
            (
                r#"{"names": [], "size": "5MB"}"#,
                "size: invalid size `5MB`, expected a number with a unit such as 512B, 64KiB, \
                 16MiB, 1GiB",
            ),
            (
                r#"{"names": [], "from": "list"}"#,
                "from: there is no data source `list`, expected one that `data` declares",
            ),
            (r#"{"names": [], "sites": [{}]}"#, "sites[0]: missing key `name`"),
            (
                r#"{"names": [], "sites": [{"name": "a"}, {"id": 1}]}"#,
                "sites[1].id: unknown key, expected name",
            ),
        ];
        for (json, message) in cases {
            assert_eq!(parse::<Config>(json).unwrap_err().to_string(), message, "{json}");
        }
        assert_eq!(
            parse::<Config>(r#"{"namse": []}"#).unwrap_err().to_string(),
            format!("namse: unknown key, expected one of {keys}")
        );
    }

    #[test]
    fn what_is_optional_may_be_nothing() {
        let config: Config =
            parse(r#"{"names": [], "order": null, "every": null, "from": null}"#).unwrap();
        assert!(config.order.is_none() && config.every.is_none() && config.from.is_none());
    }

    #[test]
    fn durations_are_numbers_with_units() {
        let good = [
            ("0s", 0),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1d1ms", 86_400_001),
            ("1500ms", 1_500),
            ("3650d", 315_360_000_000),
        ];
        for (text, milliseconds) in good {
            let duration = std::time::Duration::from_millis(milliseconds);
            assert_eq!(parse_duration(text), Some(duration), "{text}");
        }
        for text in [
            "",
            "s",
            "5",
            "5 s",
            "-5s",
            "1.5s",
            "5S",
            "30m1h",
            "1m1m",
            "3651d",
            "5sé",
            "é",
            "18446744073709551616ms",
            "18446744073709551615d",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn errors_of_data_show_none_of_it() {
        let cases = [
            (r#"["secret"]"#, "expected a JSON mapping"),
            (r#""secret""#, "expected a JSON mapping"),
            ("", "expected a JSON mapping"),
            (r#"{"name": "secret""#, "EOF while parsing an object at column 17"),
            (r#"{"name": "secret"} x"#, "trailing characters at column 20"),
            (r#"{"name": "secret", "name": "a"}"#, "duplicate field `name`"),
            (r#"{"name": "secret", "id": 7}"#, "id: unknown key, expected name"),
            (r#"{"name": ["secret"]}"#, "name: found a list, expected a text"),
            ("{}", "missing key `name`"),
            ("{\"name\":\n x}", "name: expected value at line 2 column 2"),
        ];
        for (json, message) in cases {
            let error = from_json::<Site>(json.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), message, "{json}");
        }
        assert!(from_json::<Site>(b" {\"name\": \"secret\"}\r").is_ok());
    }

    #[test]
    fn a_probability_is_above_zero_and_at_most_one() {
        for number in [f32::MIN_POSITIVE, 0.5, 1.0] {
            assert_eq!(Probability::try_from(number).unwrap().get(), number);
        }
        for number in [0.0, -0.5, 1.001, f32::NAN, f32::INFINITY] {
            assert!(Probability::try_from(number).is_err(), "{number}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = (parse_duration(&text), parse_size(&text), in_words(&text));
            let _ = from_json::<Site>(text.as_bytes());
        }
    }

    #[test]
    fn sizes_are_numbers_with_units() {
        let good = [("0B", 0), ("512B", 512), ("64KiB", 65_536), ("16MiB", 1 << 24)];
        for (text, bytes) in good {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "B", "16", "16MB", "16 MiB", "-1B", "1.5KiB", "18014398509481984GiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
