//! How far the peers of one family reach: a column beside their labels, kept while a plan has
//! gateways.

use super::growth::{give_back, make_room};
use super::label::DOWNLOADERS;
use super::ranks::{Key, Ranks};
use crate::locality::Reach;

/// One reach per row. If the rows are many, also the downloaders that reach a level, in label order.
#[derive(Debug)]
pub struct Reaches {
    column: Vec<Reach>,
    /// How many rows do not reach everybody.
    kept: usize,
    /// The downloaders that reach level 1, level 2 and so on, up to the level that one of them does
    /// not. Empty if the rows are few.
    open: Vec<Ranks>,
}

impl Reaches {
    /// Makes a column of rows that reach everybody.
    pub fn all(rows: usize) -> Self {
        Self { column: vec![Reach::ALL; rows], kept: 0, open: Vec::new() }
    }

    pub fn column(&self) -> &[Reach] {
        &self.column
    }

    pub fn are_all(&self) -> bool {
        self.kept == 0
    }

    /// Returns the downloaders that reach a level from 1 on, if it makes a difference and the rows
    /// are many.
    pub fn open(&self, level: usize) -> Option<&Ranks> {
        // Who reaches the last level reaches everybody.
        self.open.get(level.min(self.open.len()).checked_sub(1)?)
    }

    /// Makes room for a row that reaches no further than `reach`, if the rows are many.
    pub fn widen(&mut self, ranks: Option<&[Ranks; 2]>, reach: Reach) {
        let Some(ranks) = ranks.filter(|_| reach != Reach::ALL) else { return };
        while self.open.len() <= reach.level() {
            let last = self.open.last().unwrap_or(&ranks[DOWNLOADERS]).clone();
            self.open.push(last);
        }
    }

    /// Sorts the downloaders, because the rows are many now.
    pub fn rank(&mut self, downloaders: usize, key: impl Fn(usize) -> Key) {
        let kept = self.column.iter().filter(|reach| **reach != Reach::ALL);
        let levels = kept.max().map_or(0, |reach| reach.level() + 1);
        let open = |level| {
            let rows = (0..downloaders).filter(|at| self.column[*at].covers(level));
            Ranks::of(rows.map(&key).collect())
        };
        self.open = (1..=levels).map(open).collect();
    }

    pub fn forget_ranks(&mut self) {
        self.open = Vec::new();
    }

    pub fn set(&mut self, at: usize, reach: Reach) {
        let old = std::mem::replace(&mut self.column[at], reach);
        self.kept += usize::from(reach != Reach::ALL);
        self.kept -= usize::from(old != Reach::ALL);
    }

    pub fn push(&mut self, reach: Reach) {
        make_room(&mut self.column);
        self.column.push(reach);
        self.kept += usize::from(reach != Reach::ALL);
    }

    pub fn swap(&mut self, a: usize, b: usize) {
        self.column.swap(a, b);
    }

    pub fn pop(&mut self) {
        self.kept -= usize::from(self.column.pop().is_some_and(|reach| reach != Reach::ALL));
        give_back(&mut self.column);
    }

    /// Adds a row to the sorted downloaders.
    pub fn insert(&mut self, key: Key, reach: Reach) {
        (1..).zip(&mut self.open).filter(|(level, _)| reach.covers(*level)).for_each(
            |(_, open)| {
                open.insert(key);
            },
        );
    }

    /// Removes a row from the sorted downloaders.
    pub fn remove(&mut self, key: Key, reach: Reach) {
        (1..).zip(&mut self.open).filter(|(level, _)| reach.covers(*level)).for_each(
            |(_, open)| {
                open.remove(key);
            },
        );
    }
}
