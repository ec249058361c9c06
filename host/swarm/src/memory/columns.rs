//! Columns for the optional details of peers.

use super::growth::{give_back, make_room};
use super::label::Label;
use super::labels::Labels;
use crate::locality::Reach;
use karuta_bittorrent::PeerId;

/// What a store may keep of a peer besides its record; each has a column.
#[derive(Clone, Copy)]
pub struct Details {
    pub peer_id: PeerId,
    pub label: Label,
    /// `None`: it is decided after the peer has been entered, and stays as it was until then.
    pub reach: Option<Reach>,
}

/// One value per row in each column that is kept.
#[derive(Debug, Default)]
pub struct Columns {
    pub peer_ids: Option<Vec<PeerId>>,
    /// Kept from the first peer with a label until a sweep finds no more.
    pub labels: Option<Labels>,
}

impl Columns {
    pub fn set(&mut self, at: usize, details: &Details, seed: bool) {
        if let Some(peer_ids) = &mut self.peer_ids {
            peer_ids[at] = details.peer_id;
        }
        if let Some(labels) = &mut self.labels {
            labels.set(at, details.label, details.reach, seed);
        }
    }

    pub fn push(&mut self, details: &Details, downloaders: usize) {
        if let Some(peer_ids) = &mut self.peer_ids {
            make_room(peer_ids);
            peer_ids.push(details.peer_id);
        }
        if let Some(labels) = &mut self.labels {
            labels.push(details.label, details.reach, downloaders);
        }
    }

    pub fn swap(&mut self, rows: [usize; 2], seeds: [bool; 2]) {
        if let Some(peer_ids) = &mut self.peer_ids {
            peer_ids.swap(rows[0], rows[1]);
        }
        if let Some(labels) = &mut self.labels {
            labels.swap(rows, seeds);
        }
    }

    pub fn pop(&mut self, seed: bool) {
        if let Some(peer_ids) = &mut self.peer_ids {
            peer_ids.pop();
            give_back(peer_ids);
        }
        if let Some(labels) = &mut self.labels {
            labels.pop(seed);
        }
    }
}
