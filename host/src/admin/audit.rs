//! `/api/audit`: who changed what, over the admin API and through fifos.

use std::collections::VecDeque;

use hyper::StatusCode;
use parking_lot::Mutex;
use serde::Serialize;

use super::Admin;
use super::caller::Caller;
use super::lists;
use super::reply::{Changed, Reply, json};
use super::request::Request;
use crate::doors::Way;
use crate::time;

/// The last changes that somebody asked for, each also a line of the log.
#[derive(Default)]
pub struct Audit(Mutex<VecDeque<Entry>>);

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Entry {
    /// When it ended, in milliseconds since 1970.
    pub unix_ms: u64,
    #[serde(flatten)]
    pub who: Caller,
    /// The path; of what a fifo changed, that of the list.
    pub what: String,
    pub result: String,
}

/// A request under way. Dropping it notes that the client has not waited for the result.
pub struct UnderWay<'a> {
    audit: &'a Audit,
    request: Option<(Caller, String)>,
}

/// The most entries.
const MOST: usize = 1000;
/// The most characters of a path and of a result.
const WHAT: usize = 200;
const RESULT: usize = 500;

/// Answers with the entries, oldest first.
pub fn audit(admin: &Admin, _: &Request) -> Reply {
    json(StatusCode::OK, &*admin.audit.0.lock())
}

impl Audit {
    /// Begins a request for `what`.
    pub(super) fn begin(&self, who: Caller, what: impl Into<String>) -> UnderWay<'_> {
        UnderWay { audit: self, request: Some((who, what.into())) }
    }

    /// Notes what came through a fifo of a list, and what became of it.
    pub fn fifo(&self, way: Way, list: &str, result: &str) {
        self.add(Caller::Fifo(way), format!("{}{list}", lists::PATH), result);
    }

    /// Returns the last entries, the newest first.
    pub(super) fn newest(&self, most: usize) -> Vec<Entry> {
        self.0.lock().iter().rev().take(most).cloned().collect()
    }

    fn add(&self, who: Caller, what: String, result: &str) {
        let what = cut(&what, WHAT);
        tracing::info!(target: "audit", %who, what, result, "change requested");
        let since = time::since_1970();
        let unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let result = cut(result, RESULT);
        let mut entries = self.0.lock();
        if entries.len() == MOST {
            entries.pop_front();
        }
        entries.push_back(Entry { unix_ms, who, what, result });
    }
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

impl UnderWay<'_> {
    /// Notes the result, and returns the answer.
    pub(super) fn end(mut self, changed: Changed) -> Reply {
        if let Some((who, what)) = self.request.take() {
            self.audit.add(who, what, &changed.result);
        }
        changed.reply
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some((who, what)) = self.request.take() {
            self.audit.add(who, what, "the client left before the end");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::reply::line;
    use super::*;

    #[test]
    fn the_last_entries_are_kept() {
        let audit = Audit::default();
        for number in 0..=MOST {
            let result = format!("{number} {}", "long ".repeat(RESULT));
            let changed = Changed { reply: line(StatusCode::OK, ""), result };
            audit.begin(Caller::Uid(number as u32), "/api/reload").end(changed);
        }
        drop(audit.begin(Caller::Token("deployer".into()), "/api/snapshot"));
        let entries = audit.0.lock();
        assert_eq!(entries.len(), MOST);
        assert_eq!(entries[0].who, Caller::Uid(2));
        assert_eq!(entries[0].result.len(), RESULT);
        let last = serde_json::to_value(entries.back().unwrap()).unwrap();
        assert_eq!(last["token"], "deployer");
        assert_eq!(last["what"], "/api/snapshot");
        assert_eq!(last["result"], "the client left before the end");
    }
}
