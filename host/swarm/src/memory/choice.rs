//! What an announce asks for, and which peers it may be given.

use super::record::Record;
use super::rows::Rows;
use crate::Locality;
use karuta_bittorrent::{Family, PeerId};

/// What a peer asks of an answer.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The peer is a seed, partial or not, so other seeds are useless to it.
    pub gives: bool,
    pub want: usize,
    pub only: Option<Family>,
    pub locality: Option<&'a Locality>,
}

/// The rows of the announcing client in the family that it is not announcing in now.
pub struct Own<'a> {
    pub family: Family,
    /// How many of them may be given, up to [`Own::MOST`].
    pub count: usize,
    peer_id: PeerId,
    peer_ids: &'a [PeerId],
}

impl<'a> Own<'a> {
    /// How many more peers than wanted are drawn at most. A client that fills a swarm with peers of
    /// its own id gets shorter answers, but cannot make an announce slow.
    pub const MOST: u32 = 64;

    pub fn new(family: Family, peer_id: PeerId, peer_ids: &'a [PeerId], count: u32) -> Self {
        Self { family, count: count.min(Self::MOST) as usize, peer_id, peer_ids }
    }

    /// Returns whether a row of that family is one of them.
    pub fn has(&self, at: usize) -> bool {
        self.peer_ids[at] == self.peer_id
    }
}

/// The peers of one family that may be given.
pub struct Candidates<'a, R> {
    records: &'a [R],
    peer_ids: Option<&'a [PeerId]>,
}

impl<'a, R: Record> Candidates<'a, R> {
    pub fn none() -> Self {
        Self { records: &[], peer_ids: None }
    }

    pub fn of(rows: &'a impl Rows<Record = R>, downloaders_only: bool) -> Self {
        let records = rows.records();
        let records = if downloaders_only { &records[..rows.downloaders()] } else { records };
        Self { records, peer_ids: rows.peer_ids() }
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Appends the peers at `count` places.
    pub fn copy(
        &self,
        places: impl IntoIterator<Item = usize> + Clone,
        count: usize,
        wire: &mut Vec<u8>,
        peer_ids: &mut Vec<PeerId>,
    ) {
        // Copies a whole record in one store. The next record overwrites the bytes past the wire
        // format.
        let (start, width) = (wire.len(), size_of::<R::Bytes>());
        let end = start + count * R::WIRE;
        wire.resize(end + width - R::WIRE, 0);
        let mut rest = &mut wire[start..];
        for at in places.clone() {
            rest[..width].copy_from_slice(self.records[at].bytes().as_ref());
            rest = &mut rest[R::WIRE..];
        }
        wire.truncate(end);
        if let Some(ids) = self.peer_ids {
            peer_ids.extend(places.into_iter().map(|at| ids[at]));
        }
    }
}
