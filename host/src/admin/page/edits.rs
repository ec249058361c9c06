//! Edit a list: whether it has an entry, adding and removing one while the tracker serves, taking that
//! back, and writing edits into the file.

use askama::Template;
use hyper::StatusCode;
use karuta_swarm::Store;
use url::form_urlencoded;

use super::number::{self, Moment};
use super::viewer::Viewer;
use crate::admin::Admin;
use crate::admin::caller::Caller;
use crate::admin::lists::{
    self, Editable, Found, change_by_name, editable, fold_by_name, info_hash, look,
};
use crate::config::Right;

#[derive(Template)]
#[template(path = "edits.html")]
pub struct Edits {
    lists: Vec<Editable>,
    asked: Asked,
    /// What the list says about the entry, or what was wrong; `None`: nothing was asked.
    found: Option<Result<Found, String>>,
    /// The peers in the swarm of the entry; 0: there is none. `None`: the entry is no torrent.
    peers: Option<u64>,
    done: Done,
    lacks: Option<&'static str>,
    now: u64,
}

/// What is in the form.
#[derive(Clone, Default)]
pub struct Asked {
    /// `POLICY/DATA`.
    pub list: String,
    pub entry: String,
    pub note: String,
    /// How long the edit holds, such as `30d`; empty: for ever.
    pub term: String,
}

/// What a form has changed.
#[derive(Default)]
pub struct Done {
    /// Why nothing was changed.
    pub fault: Option<String>,
    /// What was written into a file.
    folded: Option<String>,
    undo: Option<Undo>,
}

/// The opposite of an edit.
struct Undo {
    /// `add` or `remove`.
    change: &'static str,
    /// With the number that the list gave it.
    entry: String,
    until: Moment,
}

/// What a form asks for beside the entry.
#[derive(Default)]
struct Order {
    /// `add`, `remove` or `fold`.
    change: String,
    /// Until when it may be done, in seconds since 1970; `None`: at any time.
    until: Option<u64>,
}

/// How long an edit can be undone, in seconds.
const UNDO: u64 = 600;

impl Edits {
    /// Looks the entry up, unless there was a fault with it before.
    pub fn of(admin: &Admin, viewer: &Viewer, asked: Asked, done: Done, now: u64) -> Self {
        let lacks = viewer.lacks(&Right::Lists);
        let entry = asked.entry.trim();
        let found = match &done.fault {
            Some(fault) => Some(Err(fault.clone())),
            None if entry.is_empty() || lacks.is_some() => None,
            None => Some(look(admin, &asked.list, entry)),
        };
        let torrent = info_hash(admin, &asked.list, entry);
        let peers = torrent.map(|torrent| {
            let counts = admin.swarms.store.counts(torrent);
            counts.map_or(0, |counts| u64::from(counts.seeders) + u64::from(counts.leechers))
        });
        Self { lists: editable(admin), found, peers, asked, done, lacks, now }
    }
}

impl Asked {
    /// Does what a form with this list and entry asks for.
    pub async fn change(&self, admin: &Admin, form: &str, by: Caller, now: u64) -> Done {
        let order = Order::of(form);
        if order.until.is_some_and(|until| until < now) {
            let fault = "An edit can be undone for 10 minutes. Add or remove the entry instead.";
            return Done { fault: Some(fault.to_owned()), ..Done::default() };
        }
        let entry = self.entry.trim();
        let before = look(admin, &self.list, entry).ok();
        let under_way = admin.audit.begin(by.clone(), format!("{}{}", lists::PATH, self.list));
        let changed = if order.change == "fold" {
            fold_by_name(admin, &self.list).await
        } else {
            let body = self.wish(&order.change).into();
            change_by_name(admin, &self.list, body, by.to_string().into()).await
        };
        let result = changed.result.clone();
        if under_way.end(changed).status() != StatusCode::OK {
            return Done { fault: Some(result), ..Done::default() };
        }
        if order.change == "fold" {
            return Done { folded: Some(result), ..Done::default() };
        }
        let after = look(admin, &self.list, entry).ok();
        let undo =
            before.zip(after).and_then(|(before, after)| Undo::of(entry, before, after, now));
        Done { undo, ..Done::default() }
    }

    /// Returns the body of a request that adds or removes the entry.
    fn wish(&self, change: &str) -> Vec<u8> {
        let change = if change == "remove" { "remove" } else { "add" };
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let Self { list: _, entry, note, term } = self;
        let mut wish = serde_json::json!({ "note": some(note), "ttl": some(term) });
        wish[change] = vec![entry.trim()].into();
        wish.to_string().into_bytes()
    }
}

impl Order {
    fn of(form: &str) -> Self {
        let mut order = Self::default();
        for (name, value) in form_urlencoded::parse(form.as_bytes()) {
            match &*name {
                "change" => order.change = value.into_owned(),
                "until" => order.until = value.parse().ok(),
                _ => {}
            }
        }
        order
    }
}

impl Undo {
    /// Returns what takes an edit back; `None`: it has changed nothing.
    fn of(entry: &str, before: Found, after: Found, now: u64) -> Option<Self> {
        let change = match (before.listed, after.listed) {
            (false, true) => "remove",
            (true, false) => "add",
            _ => return None,
        };
        let entry = before.entry.unwrap_or_else(|| entry.to_owned());
        Some(Self { change, entry, until: Moment(now + UNDO) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_a_wish() {
        let asked = Asked {
            list: "torrents/denied".into(),
            entry: " \"a\" ".into(),
            note: "ticket 41".into(),
            term: String::new(),
        };
        let wish: serde_json::Value = serde_json::from_slice(&asked.wish("add")).unwrap();
        let expected = serde_json::json!({ "add": ["\"a\""], "note": "ticket 41", "ttl": null });
        assert_eq!(wish, expected);
    }

    #[test]
    fn an_undo_is_the_opposite_of_what_was_changed() {
        let found = |listed, entry: Option<&str>| Found {
            listed,
            entry: entry.map(str::to_owned),
            by: None,
            edit: None,
        };
        let undo = |before, after| {
            let undo = Undo::of("10.0.0.0/8", before, after, 1000)?;
            Some((undo.change, undo.entry, undo.until.0))
        };
        let undone = |change, entry: &str| Some((change, entry.to_owned(), 1600));
        assert_eq!(undo(found(false, None), found(true, None)), undone("remove", "10.0.0.0/8"));
        // The number that the list gave the range comes back with it.
        let with_number = || found(true, Some("10.0.0.0/8 7"));
        assert_eq!(undo(with_number(), found(false, None)), undone("add", "10.0.0.0/8 7"));
        assert_eq!(undo(found(true, None), with_number()), None);
    }
}
