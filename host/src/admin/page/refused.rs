//! Refused: the last requests that were refused, by whom and why.

use std::sync::Arc;

use askama::Template;
use url::form_urlencoded;

use super::explain::link;
use super::number;
use super::spark;
use super::viewer::Viewer;
use crate::admin::Admin;
use crate::admin::refused::{Group, Refusals, wanted};
use crate::config::Right;
use crate::decisions::Entry;

#[derive(Template)]
#[template(path = "refused.html")]
pub struct Refused<'a> {
    filter: Filter,
    found: Result<Refusals<'a>, String>,
    lacks_peers: Option<&'static str>,
}

/// What is in the form, as the endpoint reads it.
#[derive(Clone, Default)]
pub struct Filter {
    pub address: String,
    pub info_hash: String,
    pub policy: String,
    pub text: String,
}

impl<'a> Refused<'a> {
    /// Selects from all refusals.
    pub fn of(admin: &Admin, viewer: &Viewer, filter: Filter, entries: &'a [Arc<Entry>]) -> Self {
        let mask = viewer.mask();
        let found = wanted(&filter.query()).and_then(|wanted| {
            wanted.allow(mask)?;
            Ok(Refusals::of(admin, entries, &wanted, mask))
        });
        Self { filter, found, lacks_peers: viewer.lacks(&Right::Peers) }
    }
}

impl Refused<'_> {
    /// Draws how often there was a refusal like these.
    fn trend(group: &Group<'_>) -> String {
        let minutes: Vec<_> = group.minutes.iter().map(|count| Some(f64::from(*count))).collect();
        let span = format!("{} minutes", minutes.len());
        spark::line("refusals a minute", &span, "count", &minutes)
    }

    fn is_filtered(&self) -> bool {
        !self.filter.query().is_empty()
    }
}

impl Filter {
    fn query(&self) -> String {
        let Self { address, info_hash, policy, text } = self;
        let fields =
            [("address", address), ("info_hash", info_hash), ("policy", policy), ("text", text)];
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in fields.iter().filter(|(_, value)| !value.trim().is_empty()) {
            query.append_pair(name, value.trim());
        }
        query.finish()
    }

    /// Returns where all refusals like these are.
    fn like(policy: &str, text: &str) -> String {
        let filter = Self { policy: policy.to_owned(), text: text.to_owned(), ..Self::default() };
        format!("/?{}#refused", filter.query())
    }
}
