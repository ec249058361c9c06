//! The database of a site: members and torrents are read from it, and what members move is played
//! into it, each batch exactly once.
//!
//! The books stay in `accounts.db`, where announces go in any case. Batches wait there while the
//! database is away, and are kept for a while after it has them, in case that a backup of it is put
//! in its place. A thread of its own does all of it: nobody else ever waits for the database.

mod applier;
mod apply;
mod connection;
mod desk;
mod figures;
mod load;
mod recent;
mod schema;
mod select;
mod sql;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use karuta_bittorrent::InfoHash;
use serde::{Deserialize, Serialize};

pub use self::applier::{Applier, Running};
pub use self::connection::Address;
pub use self::desk::{Desk, Undone};
pub use self::figures::{Counters, SiteFigures, Trouble};
pub use self::recent::Recent;
pub use self::schema::Schema;
pub use self::select::{Unlisted, select};

/// A site's database, and how it is used.
#[derive(Clone)]
pub struct Site {
    pub address: Address,
    pub schema: Schema,
    /// Until others are set.
    pub donors: Donors,
    /// The tracker's name there. Its books' epoch is added to it.
    pub node: String,
    /// The time between two times that all members and torrents are read.
    pub load_every: Duration,
    /// The time between two times that changed ones are.
    pub load_changes: Duration,
    /// The time between two batches.
    pub flush_every: Duration,
    /// A batch may come earlier if it has so many announces.
    pub flush_rows: u64,
    pub swarms: Arc<dyn Swarms>,
}

/// What donors get beside what their group gets, where the tables say who is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Donors {
    pub double_upload: bool,
    pub immune: bool,
}

/// The swarms, as far as the site's database has to do with them.
pub trait Swarms: Send + Sync {
    /// Returns the seeders and leechers of a torrent with these info-hashes.
    fn count(&self, info_hashes: &[InfoHash]) -> (u32, u32);

    /// Takes peers out of the swarms of these info-hashes.
    fn leave(&self, peers: &[(Vec<InfoHash>, SocketAddr)]);
}
