//! The books of a private tracker: opened before the first worker starts, and ended after the last.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use karuta_accounts::{Accounts, Options};

use super::error::{Error, system};
use crate::books::Books;
use crate::config::Config;
use crate::state_dir::StateDir;

/// The file of the books, in the state folder.
const FILE: &str = "accounts.db";
/// How long the last announces may take to be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens the books; `None`: there are none in the configuration.
pub fn open(config: &Config) -> Result<Option<Books>, Error> {
    let Some(accounts) = &config.accounts else { return Ok(None) };
    let folder = StateDir::open(config.state_dir.as_deref());
    let path = folder.map_err(|error| system("accounts", error))?.path().join(FILE);
    let options = Options {
        every: accounts.ledger.every,
        max_size: accounts.ledger.max_size,
        keep: accounts.sessions.keep,
        max_sessions: accounts.sessions.max,
        per_member_and_torrent: accounts.sessions.per_member_and_torrent,
        rate: accounts.guard.rate,
        lifetime: config.tracker.peer_lifetime,
    };
    let books = Accounts::open(&path, options)
        .map_err(|error| system("accounts", io::Error::other(error)))?;
    let (members, torrents) = (books.directory().members(), books.directory().torrents());
    tracing::info!(members, torrents, path = %path.display(), "opened accounts");
    Ok(Some(Books {
        accounts: Arc::new(books),
        credential: accounts.credential.clone().into(),
        interval: Arc::default(),
    }))
}

/// Writes what has come, and closes the books.
pub fn end(books: &Accounts) {
    if !books.end(PATIENCE) {
        tracing::error!(
            "accounts were not written in time; what is left comes with the next announces"
        );
    }
}
