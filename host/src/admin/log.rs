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

/// Answers with the last lines, oldest first.
pub fn log(_: &Admin, request: &Request) -> Reply {
    match wanted(request.head.uri.query().unwrap_or_default()) {
        Ok((lines, level)) => json(StatusCode::OK, &log::last(lines, level)),
        Err(reason) => line(StatusCode::BAD_REQUEST, &reason),
    }
}

/// Returns how many lines a query asks for, and their least level.
fn wanted(query: &str) -> Result<(usize, Level), String> {
    let (mut lines, mut level) = (SOME, Level::TRACE);
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*key {
            "lines" => {
                let number = value.parse().ok().filter(|number| (1..=MOST_LAST).contains(number));
                lines = number.ok_or_else(|| format!("lines: expected 1 to {MOST_LAST}"))?;
            }
            "level" if value.is_empty() => {}
            "level" => {
                let known = value.parse().ok().filter(|_| !value.starts_with(char::is_numeric));
                level = known.ok_or("level: expected error, warn, info, debug or trace")?;
            }
            _ => return Err(format!("unknown parameter `{key}`, expected lines or level")),
        }
    }
    Ok((lines, level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_asks_for_lines_of_a_level() {
        assert_eq!(wanted(""), Ok((SOME, Level::TRACE)));
        assert_eq!(wanted("level=&lines=1"), Ok((1, Level::TRACE)));
        assert_eq!(wanted("lines=1000&level=warn"), Ok((1000, Level::WARN)));
        for wrong in ["lines=0", "lines=1001", "lines=", "level=loud", "level=1", "line=1"] {
            assert!(wanted(wrong).is_err(), "{wrong}");
        }
    }
}
