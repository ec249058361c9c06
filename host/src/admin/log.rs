//! `/api/log`: the last lines of the log.

use hyper::StatusCode;
use tracing::Level;
use url::form_urlencoded;

use super::Admin;
use super::reply::{Reply, json, line};
use super::request::Request;
use crate::log::{self, MOST_LAST};

/// How many lines there are unless the query says so.
const SOME: usize = 100;

/// What a query asks for.
#[derive(PartialEq, Eq, Debug)]
struct Wanted {
    lines: usize,
    /// The least severe one.
    level: Level,
    target: Option<String>,
}

/// Answers with the last lines, oldest first.
pub fn log(_: &Admin, request: &Request) -> Reply {
    match wanted(request.head.uri.query().unwrap_or_default()) {
        Ok(Wanted { lines, level, target }) => {
            json(StatusCode::OK, &log::last(lines, level, target.as_deref()))
        }
        Err(reason) => line(StatusCode::BAD_REQUEST, &reason),
    }
}

/// Reads a query.
///
/// # Errors
///
/// What is wrong with it.
fn wanted(query: &str) -> Result<Wanted, String> {
    let mut wanted = Wanted { lines: SOME, level: Level::TRACE, target: None };
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "lines" => {
                let number = value.parse().ok().filter(|number| (1..=MOST_LAST).contains(number));
                wanted.lines = number.ok_or_else(|| format!("lines: expected 1 to {MOST_LAST}"))?;
            }
            "level" | "target" if value.is_empty() => {}
            "target" => wanted.target = Some(value.into_owned()),
            "level" => {
                let known = value.parse().ok().filter(|_| !value.starts_with(char::is_numeric));
                wanted.level = known.ok_or("level: expected error, warn, info, debug or trace")?;
            }
            _ => return Err(format!("unknown parameter `{key}`, expected lines, level or target")),
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_asks_for_lines_of_a_level() {
        let read = |query| {
            let Wanted { lines, level, target } = wanted(query).unwrap();
            (lines, level, target)
        };
        assert_eq!(read(""), (SOME, Level::TRACE, None));
        assert_eq!(read("level=&lines=1&target="), (1, Level::TRACE, None));
        let all = read("lines=1000&level=warn&target=karuta::policy");
        assert_eq!(all, (1000, Level::WARN, Some("karuta::policy".to_owned())));
        for wrong in ["lines=0", "lines=1001", "lines=", "level=loud", "level=1", "line=1"] {
            assert!(wanted(wrong).is_err(), "{wrong}");
        }
    }
}
