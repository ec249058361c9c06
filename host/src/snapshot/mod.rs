//! Snapshots: what the process knows, in a file that the next process begins with.
//!
//! A file is one of `karuta-blocks`, format 1, magic `KARUTASW`. Its flag 1 says that peer ids are
//! kept; its parameter is `tracker.peer_lifetime` in seconds, which sets the unit of ages.
//!
//! | kind of block | payload |
//! |---|---|
//! | 1 | pieces of swarms with peers ([`karuta_swarm::Codec`]); essential |
//! | 2 | torrents that have downloads, but no peers |
//! | 3 | the length of a policy's name (1 byte), the name, key-values of the policy |
//! | 5 | the same with rows of its ledger |
//! | end | numbers of blocks (4 bytes), swarms, IPv4 peers and IPv6 peers (8 bytes each) |

mod folder;
mod read;
mod restore;
mod write;

use crate::time;

pub use self::folder::{Folder, Unavailable};
pub use self::read::{Contents, look};
pub use self::restore::Restorer;
pub use self::write::{Saved, write};

const MAGIC: [u8; 8] = *b"KARUTASW";
const FORMAT: u16 = 1;
/// The flag of a file with peer ids.
const PEER_IDS: u32 = 1;

const SWARMS: (u16, bool) = (1, true);
const DESERTED: (u16, bool) = (2, false);
const KEY_VALUES: (u16, bool) = (3, false);
/// Those of 4 had addresses.
const LEDGER: (u16, bool) = (5, false);

/// Returns the time of day in milliseconds since 1970; 0 if the clock is before that.
pub fn unix_ms() -> u64 {
    let since_1970 = time::since_1970();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
