//! One family's peers of one swarm: rows in a dense array, downloaders before partial seeds before
//! seeders. So no row stores its role, and "all downloaders" and "all peers" are both ranges.

use std::net::IpAddr;
use std::ops::Range;

use super::clients::Identity;
use super::columns::{Columns, Details};
use super::record::{Record, Stamp};
use crate::{Population, Role};
use karuta_bittorrent::PeerId;

/// Up to this many peers, a scan is faster than an index.
pub const SCANNED: usize = 64;

/// The rows of one family. Implementations store them differently, and keep them in the same order.
pub trait Rows {
    type Record: Record;

    fn records(&self) -> &[Self::Record];
    /// How many of the first records are downloaders.
    fn downloaders(&self) -> usize;
    fn set_downloaders(&mut self, downloaders: usize);
    /// How many of the first records are leechers: downloaders and partial seeds.
    fn leechers(&self) -> usize;
    fn set_leechers(&mut self, leechers: usize);
    fn find(&self, wanted: Self::Record) -> Option<usize>;
    /// Overwrites a row with one of the same address and port.
    fn set(&mut self, at: usize, record: Self::Record, details: &Details);
    fn push(&mut self, record: Self::Record, details: &Details);
    fn swap(&mut self, a: usize, b: usize);
    /// Removes the last row.
    fn pop(&mut self);

    fn role(&self, at: usize) -> Role {
        if at < self.downloaders() {
            Role::Downloader
        } else if at < self.leechers() {
            Role::PartialSeed
        } else {
            Role::Seeder
        }
    }

    fn columns(&self) -> Option<&Columns> {
        None
    }

    /// The peer ids, if they are kept.
    fn peer_ids(&self) -> Option<&[PeerId]> {
        self.columns()?.peer_ids.as_deref()
    }

    fn identity(&self, at: usize) -> Identity {
        let peer_id = self.peer_ids().map_or(PeerId::UNKNOWN, |ids| ids[at]);
        Identity { peer_id, role: self.role(at) }
    }

    fn identities(&self) -> impl Iterator<Item = Identity> {
        (0..self.records().len()).map(|at| self.identity(at))
    }

    fn partial_seeds(&self) -> usize {
        self.leechers() - self.downloaders()
    }

    fn population(&self) -> Population {
        let leechers = self.leechers() as u64;
        Population { seeders: self.records().len() as u64 - leechers, leechers }
    }

    /// Overwrites the row with the same address and port. Returns its new place, and whether that
    /// was a download: it `completes` for the first time, and was not a seeder before. Returns
    /// `None` if there is no such row.
    fn update(
        &mut self,
        record: Self::Record,
        details: &Details,
        role: Role,
        completes: bool,
    ) -> Option<(usize, bool)> {
        let at = self.find(record)?;
        let before = self.records()[at];
        let downloaded = completes && !before.is_marked() && at < self.leechers();
        self.set(at, record.marked(before, downloaded), details);
        Some((self.set_role(at, role), downloaded))
    }

    /// Adds a new row, and returns its place.
    fn insert(&mut self, record: Self::Record, details: &Details, role: Role) -> usize {
        let last = self.records().len();
        self.push(record, details);
        self.set_role(last, role)
    }

    /// Removes the row with the same address and port; returns whether there was one.
    fn remove(&mut self, wanted: Self::Record) -> bool {
        let found = self.find(wanted);
        if let Some(at) = found {
            self.remove_at(at);
        }
        found.is_some()
    }

    fn remove_at(&mut self, at: usize) {
        let at = self.set_role(at, Role::Seeder);
        self.swap(at, self.records().len() - 1);
        self.pop();
    }

    /// Moves a row to the range of its role, across one boundary at a time, and returns its new
    /// place.
    fn set_role(&mut self, mut at: usize, role: Role) -> usize {
        let before = self.role(at);
        if before < role {
            if before == Role::Downloader {
                let last = self.downloaders() - 1;
                self.swap(at, last);
                self.set_downloaders(last);
                at = last;
            }
            if role == Role::Seeder {
                let last = self.leechers() - 1;
                self.swap(at, last);
                self.set_leechers(last);
                at = last;
            }
        } else if role < before {
            if before == Role::Seeder {
                let first = self.leechers();
                self.swap(at, first);
                self.set_leechers(first + 1);
                at = first;
            }
            if role == Role::Downloader {
                let first = self.downloaders();
                self.swap(at, first);
                self.set_downloaders(first + 1);
                at = first;
            }
        }
        at
    }

    /// Removes the expired rows of `range`, and calls `gone` for each.
    ///
    /// Goes from last to first, so that rows that fill a gap have already been checked.
    fn expire(
        &mut self,
        range: Range<usize>,
        is_over: impl Fn(Stamp) -> bool,
        mut gone: impl FnMut(IpAddr, Identity),
    ) {
        for at in range.rev() {
            let record = self.records()[at];
            if is_over(record.stamp()) {
                let identity = self.identity(at);
                self.remove_at(at);
                gone(record.ip(), identity);
            }
        }
    }
}

/// Compares eight records at a time, which needs fewer branches.
pub fn scan<R: Record>(records: &[R], wanted: R) -> Option<usize> {
    let is_wanted = |record: &R| record.is(wanted);
    let (eights, rest) = records.as_chunks::<8>();
    for (at, eight) in eights.iter().enumerate() {
        if eight.iter().fold(false, |found, record| found | is_wanted(record)) {
            return Some(8 * at + eight.iter().position(is_wanted)?);
        }
    }
    Some(8 * eights.len() + rest.iter().position(is_wanted)?)
}
