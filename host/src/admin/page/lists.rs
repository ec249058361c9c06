//! Lists and data: what policies look things up in.

use askama::Template;

use super::number;
use crate::admin::facts::{DataStatus, Facts};

#[derive(Template)]
#[template(path = "lists.html")]
pub struct Lists<'a> {
    /// Each with the name of its policy.
    rows: Vec<(&'a str, &'a DataStatus)>,
    now: u64,
}

impl<'a> Lists<'a> {
    pub fn of(facts: &'a Facts, now: u64) -> Self {
        let of_policy = facts
            .policies
            .iter()
            .flat_map(|policy| policy.data.iter().map(move |data| (policy.name.as_str(), data)));
        Self { rows: of_policy.collect(), now }
    }
}
