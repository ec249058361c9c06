//! The last lines of the log, for operators who cannot read it where it goes.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde::Serialize;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::FormatFields as _;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::layer::Context;

use super::fields::Fields;
use crate::time;

/// The last lines.
pub struct Last(Mutex<VecDeque<LastLine>>);

/// A line of the log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LastLine {
    /// In milliseconds since 1970.
    pub unix_ms: u64,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: &'static str,
    pub target: &'static str,
    /// The message and the fields, escaped and cut.
    pub text: String,
}

/// Keeps the lines that pass the levels.
pub struct Keep(pub &'static Last);

/// The most lines.
pub const MOST: usize = 1000;
/// The most characters of a line.
const TEXT: usize = 1000;

impl Last {
    pub const fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    fn add(&self, line: LastLine) {
        let mut lines = self.0.lock();
        if lines.len() == MOST {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// Returns the last lines of a level or a more severe one, oldest first; if a target is given, only
    /// lines of it and of the parts below it.
    pub fn lines(&self, count: usize, level: Level, target: Option<&str>) -> Vec<LastLine> {
        let is_wanted = |line: &&LastLine| {
            line.level.parse().is_ok_and(|known: Level| known <= level)
                && target.is_none_or(|target| is_of(line.target, target))
        };
        let lines = self.0.lock();
        let mut wanted: Vec<_> =
            lines.iter().rev().filter(is_wanted).take(count).cloned().collect();
        wanted.reverse();
        wanted
    }
}

/// Returns whether a target is another one or a part of it.
fn is_of(target: &str, whole: &str) -> bool {
    target.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = String::new();
        // Writing into memory does not fail.
        let _ = Fields.format_fields(Writer::new(&mut text), event);
        if let Some((end, _)) = text.char_indices().nth(TEXT) {
            text.truncate(end);
        }
        let since = time::since_1970();
        let unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let metadata = event.metadata();
        let level = match *metadata.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        self.0.add(LastLine { unix_ms, level, target: metadata.target(), text });
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn the_last_lines_are_kept_escaped_and_cut() {
        let last: &'static Last = Box::leak(Box::new(Last::new()));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Keep(last)), || {
            for number in 0..MOST {
                tracing::debug!(number, "counted");
            }
            tracing::error!(target: "plugin", reason = "two\nlines", "cannot count");
            tracing::warn!("{}", "long".repeat(TEXT));
        });
        assert_eq!(last.lines(2 * MOST, Level::TRACE, None).len(), MOST);
        let lines = last.lines(10, Level::INFO, None);
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].level, lines[0].target), ("error", "plugin"));
        assert!(!lines[0].text.contains('\n'), "{}", lines[0].text);
        assert!(lines[0].text.starts_with("cannot count reason="), "{}", lines[0].text);
        assert_eq!(lines[1].text.len(), TEXT);
        assert_eq!(last.lines(1, Level::TRACE, None)[0].level, "warn");
        let of = |target| last.lines(10, Level::INFO, Some(target)).len();
        let own = module_path!();
        assert_eq!([of("plugin"), of("plug"), of(own)], [1, 0, 1]);
        let (whole, _) = own.split_once("::").unwrap();
        assert_eq!(of(whole), 1);
    }
}
