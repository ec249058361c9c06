//! What the books are told.

use std::net::SocketAddr;

use karuta_bittorrent::{Event, PeerId};

use crate::rules::{Bytes, Terms};

/// A session: the member, the torrent, the peer id. It is the key of a row of a batch, too.
/// The default one is before all of them: ids are 1 or more.
pub type Key = (i64, i64, [u8; 20]);

/// An announce of a member, as the books need it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub member: u64,
    pub torrent: u64,
    pub peer_id: PeerId,
    pub event: Event,
    /// `None`: the client does not say, so nothing changes.
    pub said: Option<Bytes>,
    /// Downloaded bytes that failed the client's hash check.
    pub corrupt: u64,
    /// `None`: the client does not say.
    pub left: Option<u64>,
    pub terms: Terms,
    /// Whether the download is one with a token.
    pub has_token: bool,
    pub peer: Standing,
    /// `None`: it must not be written down.
    pub address: Option<SocketAddr>,
    /// The client's user agent, if the site's database has it: only of announces with an event, since
    /// others must not allocate. In printable ASCII.
    pub agent: Option<Box<str>>,
    /// Seconds since 1970.
    pub at: u64,
}

/// What has become of the peer of an announce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is in the swarm.
    Here,
    /// It has left, or was refused and is not there.
    Gone,
    /// It was refused, and is still there if it was before.
    AsBefore,
}
