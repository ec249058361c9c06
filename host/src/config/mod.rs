//! The configuration: one YAML file, read strictly, with the position in every error.
//!
//! A text is checked in three stages, and the first error is shown: its form (`tree`), the keys and
//! their types (`schema`, `values`), and how values relate to each other and the system (`check`).

mod accounts;
mod admin;
mod check;
mod data;
mod decision_log;
mod doors;
mod export;
mod gazelle;
mod hint;
mod log;
mod position;
mod problem;
mod record;
mod run_as;
mod schema;
mod secret;
mod share;
mod shown;
mod site_door;
mod source;
#[cfg(test)]
mod tests;
mod tls;
mod torrust;
mod tree;
mod unit3d;
mod values;
mod warnings;
mod written;

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use serde_yaml::Value;

pub use self::check::MAX_WORKERS;
pub use self::{
    accounts::Accounts,
    admin::{Admin, OWNER, Right, TORRUST},
    decision_log::{
        DecisionKind, DecisionLog, DecisionMask, DecisionsTo, MaskClient, MaskCredential, Rotate,
        Sample,
    },
    export::{Export, FullScrape},
    gazelle::{GAZELLE, Gazelle, ReportForm},
    log::{Log, LogFile, LogFormat, LogLevel},
    record::Record,
    run_as::RunAs,
    schema::{
        Allow, Config, DataFormat, DataSource, ErrorBudget, Event, Fifo, Folder, Http, Mode,
        NumWant, OnError, Policy, PolicyLimits, RateLimits, RealIp, Snapshot, Stats, SwarmLimits,
        Swarms, Tracker, Transport, Udp, When,
    },
    secret::Secret,
    share::{Server, Share, ShareTls, Topology},
    shown::{Origin, ShownConfig},
    site_door::SiteDoor,
    source::{Error, Source},
    tls::{CertificateFiles, Tls, TlsVersion},
    torrust::{ListName, Torrust},
    unit3d::{UNIT3D, Unit3d},
    values::{CredentialRule, EditMode, canonical_url, duration, parse_duration},
};
use crate::file::{self, Unread};
use crate::text;

/// The maximum size of a configuration in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// Reads and checks the configuration in the file `path`.
///
/// # Errors
///
/// If the file cannot be read, or its text is invalid.
pub fn load(path: &Path) -> Result<Config, Error> {
    parse(&read_text(path)?, path)
}

/// Like [`load`], but reads no secrets, which only the service may have. They are empty.
///
/// # Errors
///
/// As for [`load`].
pub fn load_without_secrets(path: &Path) -> Result<Config, Error> {
    parse_without_secrets(&read_text(path)?, path)
}

/// Like [`load_without_secrets`], and the files of the plugins need not exist.
///
/// # Errors
///
/// As for [`load`].
pub fn load_without_files(path: &Path) -> Result<Config, Error> {
    parse_without_files(&read_text(path)?, path)
}

/// Returns the digest of the file `path`, as [`Source::digest`] does, whatever is in it.
///
/// # Errors
///
/// If the file cannot be read.
pub fn digest(path: &Path) -> Result<[u8; 32], Error> {
    Ok(Source::new(path, &read_text(path)?).digest())
}

/// Reads the text of a YAML file.
fn read_text(path: &Path) -> Result<String, Error> {
    let bytes = file::read(path, MAX_BYTES).map_err(|unread| {
        let message = match unread {
            Unread::TooLong(_) => "too long, expected at most 4MiB".to_owned(),
            other => other.to_string(),
        };
        Source::file_error(path, message)
    })?;
    let text = text::decode(&bytes);
    text.map(str::to_owned).map_err(|error| Source::file_error(path, error.to_string()))
}

/// Reads a YAML file other than the configuration, equally strictly.
///
/// # Errors
///
/// If the file cannot be read, or the first problem with its position.
pub fn load_as<T: DeserializeOwned>(path: &Path) -> Result<(T, Source), Error> {
    let text = read_text(path)?;
    let source = Source::new(path, &text);
    let value = value(&source, &text)?;
    let read = serde_path_to_error::deserialize(value).map_err(|error| explain(&error, &source))?;
    Ok((read, source))
}

/// Parses a text and checks its form.
fn value(source: &Source, text: &str) -> Result<Value, Error> {
    tree::Tree::read(text).map_err(|problem| source.error_in(problem))?;
    let value: Value = serde_yaml::from_str(text).map_err(|error| source.syntax_error(&error))?;
    check_json(&value, "", source)?;
    Ok(value)
}

/// Parses and checks the configuration `text` of the file `path`; relative paths are relative to
/// that file's folder. Reads the secrets, and checks that the plugins' files exist.
///
/// # Errors
///
/// The first problem, with its position.
pub fn parse(text: &str, path: &Path) -> Result<Config, Error> {
    let mut config = parse_without_secrets(text, path)?;
    check::fetch_secrets(&mut config, folder_of(path))
        .map_err(|problem| problem.at(&config.source))?;
    Ok(config)
}

/// Like [`parse`], for a text that `path` had once: the files of the plugins need not exist any more.
///
/// # Errors
///
/// The first problem, with its position in the text.
pub fn parse_kept(text: &str, path: &Path) -> Result<Config, Error> {
    let mut config = parse_without_files(text, path)?;
    check::fetch_secrets(&mut config, folder_of(path))
        .map_err(|problem| problem.at(&config.source))?;
    Ok(config)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn parse_without_secrets(text: &str, path: &Path) -> Result<Config, Error> {
    let config = parse_without_files(text, path)?;
    check::plugins(&config).map_err(|problem| problem.at(&config.source))?;
    Ok(config)
}

/// Like [`parse`], but reads no secrets, and the files of the plugins need not exist.
///
/// # Errors
///
/// The first problem, with its position.
pub fn parse_without_files(text: &str, path: &Path) -> Result<Config, Error> {
    let source = Source::new(path, text);
    let value = value(&source, text)?;
    let mut config: Config =
        serde_path_to_error::deserialize(value).map_err(|error| explain(&error, &source))?;
    check::check(&config)
        .and_then(|()| check::resolve(&mut config, folder_of(path)))
        .map_err(|problem| problem.at(&source))?;
    config.source = source;
    Ok(config)
}

/// Refuses values that JSON cannot express, because the `config` of a policy becomes JSON.
fn check_json(value: &Value, path: &str, source: &Source) -> Result<(), Error> {
    match value {
        Value::Mapping(entries) => entries.iter().try_for_each(|(key, value)| {
            let Some(key) = key.as_str() else {
                let key = match key {
                    Value::Bool(key) => key.to_string(),
                    Value::Number(key) => key.to_string(),
                    _ => "null".into(),
                };
                let error = source.key_error(
                    &join(path, &key),
                    format!("the key `{key}` is not a text, expected quotes around it"),
                );
                return Err(Source::under(error, path));
            };
            check_json(value, &join(path, key), source)
        }),
        Value::Sequence(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(at, item)| check_json(item, &format!("{path}[{at}]"), source)),
        Value::Number(number) if number.as_f64().is_some_and(|number| !number.is_finite()) => {
            Err(source.error(path, format!("the number `{number}`, expected a finite one")))
        }
        _ => Ok(()),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Explains an error of serde in terms of YAML.
fn explain(error: &serde_path_to_error::Error<serde_yaml::Error>, source: &Source) -> Error {
    let mut path = String::new();
    let mut parent = String::new();
    let mut last = "";
    for segment in error.path() {
        match segment {
            Segment::Seq { index } => path = format!("{path}[{index}]"),
            Segment::Map { key } => {
                parent.clone_from(&path);
                last = key;
                path = join(&path, key);
            }
            // the variant of an enumeration is the value itself
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    let message = error.inner().to_string();
    if message.starts_with("unknown field ") {
        let keys = alternatives(&message);
        let hint = match keys.iter().find(|key| is_close(last, key)) {
            Some(key) => format!("did you mean `{key}`?"),
            None => one_of(&keys),
        };
        let error = source.key_error(&path, format!("unknown key `{last}`, {hint}"));
        return Source::under(error, &parent);
    }
    let message = if let Some(rest) = message.strip_prefix("missing field `") {
        format!("missing key `{}`", rest.trim_end_matches('`'))
    } else if let Some(rest) = message.strip_prefix("unknown variant `") {
        let value = rest.rsplit_once("`, expected ").map_or(rest, |(value, _)| value);
        format!("unknown value `{value}`, {}", one_of(&alternatives(&message)))
    } else if let Some((_, expected)) = message
        .strip_prefix("invalid ")
        .filter(|rest| rest.starts_with("type: ") || rest.starts_with("value: "))
        .and_then(|rest| rest.rsplit_once(", expected "))
    {
        let found = source.describe(&path, expected == secret::SECRET);
        format!("found {found}, expected {}", in_words(expected))
    } else {
        message
    };
    source.error(&path, message)
}

fn one_of(names: &[&str]) -> String {
    match names {
        [name] => format!("expected {name}"),
        _ => format!("expected one of {}", names.join(", ")),
    }
}

/// Returns the names in the second half of "unknown field `a`, expected one of `b`, `c`".
fn alternatives(message: &str) -> Vec<&str> {
    let (_, names) = message.rsplit_once(", expected ").unwrap_or_default();
    names.split('`').skip(1).step_by(2).collect()
}

/// Translates what serde expected into terms of YAML.
fn in_words(expected: &str) -> String {
    match expected {
        "a boolean" => "true or false".into(),
        "a string" | "a Value::Tag enum" | "a Value::Tagged enum" => "a text".into(),
        "path string" => "a path".into(),
        "a sequence" => "a list".into(),
        "a map" => "a mapping".into(),
        "u8" => format!("a whole number from 0 to {}", u8::MAX),
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "usize" => "a whole number, 0 or more".into(),
        _ if expected.starts_with("struct ") => "a mapping".into(),
        _ => expected.into(),
    }
}

/// Returns whether one may be a misspelling of the other: one or two letters wrong, missing or
/// added.
fn is_close(one: &str, other: &str) -> bool {
    let one: Vec<char> = one.chars().take(40).collect();
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (to, candidate) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != candidate);
            diagonal = row[to + 1];
            row[to + 1] = replaced.min(diagonal + 1).min(row[to] + 1);
        }
    }
    row[other.len()] <= 2.min(other.len() / 3)
}
