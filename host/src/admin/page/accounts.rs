//! Accounts: the books of a private tracker, and the site's database.

use askama::Template;

use super::number;
use crate::admin::facts::{AccountsStatus, Facts};

#[derive(Template)]
#[template(path = "accounts.html")]
pub struct Accounts<'a> {
    books: Option<&'a AccountsStatus>,
}

impl<'a> Accounts<'a> {
    pub fn of(facts: &'a Facts) -> Self {
        Self { books: facts.accounts.as_ref() }
    }
}
