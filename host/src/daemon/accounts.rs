//! The books of a private tracker: opened before the first worker starts, and ended after the last.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use karuta_accounts::{Accounts, Donors, Options, Site, Swarms, unix_seconds};
use karuta_bittorrent::InfoHash;
use karuta_swarm::{Shared, Store};

use super::error::{Error, system};
use crate::books::{self, Books};
use crate::config::Config;
use crate::policy::Generation;
use crate::process;
use crate::state_dir::StateDir;

/// The file of the books, in the state folder.
const FILE: &str = "accounts.db";
/// How many peers are taken out before others have a turn.
const AT_ONCE: usize = 64;
/// How long the last announces may take to be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// The swarms, for the site's database.
struct InStore {
    store: Arc<Shared>,
    /// When the store's clock began.
    start: Instant,
}

impl Swarms for InStore {
    /// Peers of a hybrid torrent are often in both of its swarms, so the larger counts are returned.
    fn count(&self, info_hashes: &[InfoHash]) -> (u32, u32) {
        let found = info_hashes.iter().filter_map(|info_hash| self.store.counts(*info_hash));
        found.fold((0, 0), |(seeders, leechers), counts| {
            (seeders.max(counts.seeders), leechers.max(counts.leechers))
        })
    }

    fn leave(&self, peers: &[(Vec<InfoHash>, SocketAddr)]) {
        let now = u32::try_from(self.start.elapsed().as_secs()).unwrap_or(u32::MAX);
        for some in peers.chunks(AT_ONCE) {
            books::leave(&self.store, some, now);
            process::give_way();
        }
    }
}

/// Opens the books; `None`: there are none in the configuration.
pub fn open(config: &Config, store: &Arc<Shared>, start: Instant) -> Result<Option<Books>, Error> {
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
        keep_batches: accounts.ledger.keep,
        spends_tokens: config.admin.gazelle.iter().any(|door| door.callback.is_some()),
    };
    let address =
        accounts.address().map_err(|error| system("accounts", io::Error::other(error)))?;
    let site = address.map(|address| Site {
        address,
        schema: accounts.schema,
        donors: donors(config),
        node: accounts.node.clone(),
        load_every: accounts.load.every,
        load_changes: accounts.load.changes,
        flush_every: accounts.flush.every,
        flush_rows: accounts.flush.rows,
        swarms: Arc::new(InStore { store: store.clone(), start }),
    });
    let books = Accounts::open(&path, options, site)
        .map_err(|error| system("accounts", io::Error::other(error)))?;
    let (members, torrents) = (books.directory().members(), books.directory().torrents());
    tracing::info!(members, torrents, path = %path.display(), "opened accounts");
    Ok(Some(Books {
        accounts: Arc::new(books),
        credential: accounts.credential.clone().into(),
        interval: Arc::default(),
        notes_agents: accounts.database.is_some() && accounts.schema.has_agents(),
    }))
}

/// Has observers go on from what each client last reported, if it may still be in a swarm.
pub fn tell_observers(
    books: &Accounts,
    generation: &Generation,
    lifetime: Duration,
) -> Result<(), Error> {
    if !generation.observes() {
        return Ok(());
    }
    let (now, start) = (unix_seconds(), Instant::now());
    let since = now.saturating_sub(lifetime.as_secs());
    let told = books.last_reports(since, |report| {
        let age = Duration::from_secs(now.saturating_sub(report.seen_at));
        // The clock of the machine may have begun later.
        if let Some(at) = start.checked_sub(age) {
            generation.go_on_from(report, at);
        }
    });
    told.map_err(|error| system("accounts", io::Error::other(error)))
}

/// Returns what donors get.
pub fn donors(config: &Config) -> Donors {
    config.admin.unit3d.as_ref().map(|door| door.donors).unwrap_or_default()
}

/// Writes what has come, and closes the books.
pub fn end(books: &Accounts) {
    if !books.end(PATIENCE) {
        tracing::error!(
            "accounts were not written in time; what is left comes with the next announces"
        );
    }
}
