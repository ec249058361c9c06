//! Edit a list: whether it has an entry, and adding and removing one while the tracker serves.

use askama::Template;

use super::number;
use super::viewer::Viewer;
use crate::admin::Admin;
use crate::admin::lists::{Found, editable, look};
use crate::config::Right;

#[derive(Template)]
#[template(path = "edits.html")]
pub struct Edits {
    /// The names of the lists that can be edited.
    lists: Vec<String>,
    asked: Asked,
    /// What the list says about the entry, or what was wrong; `None`: nothing was asked.
    found: Option<Result<Found, String>>,
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

impl Edits {
    /// Looks the entry up, unless there was a `fault` with it before.
    pub fn of(
        admin: &Admin,
        viewer: &Viewer,
        asked: Asked,
        fault: Option<String>,
        now: u64,
    ) -> Self {
        let lacks = viewer.lacks(&Right::Lists);
        let entry = asked.entry.trim();
        let found = match fault {
            Some(fault) => Some(Err(fault)),
            None if entry.is_empty() || lacks.is_some() => None,
            None => Some(look(admin, &asked.list, entry)),
        };
        Self { lists: editable(admin), found, asked, lacks, now }
    }
}

impl Asked {
    /// Returns the body of a request that adds or removes the entry.
    pub fn wish(&self, change: &str) -> Vec<u8> {
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let Self { list: _, entry, note, term } = self;
        let mut wish = serde_json::json!({ "note": some(note), "ttl": some(term) });
        wish[change] = vec![entry.trim()].into();
        wish.to_string().into_bytes()
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
}
