//! What there is of a file.

use std::fmt;

/// What there is of the blocks of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Whole ones, without the end block.
    pub blocks: u32,
    /// Blocks that are missing or damaged.
    pub lost: u32,
    /// Whole blocks whose end the caller could not read.
    pub malformed: u32,
    /// Blocks of kinds that the caller does not know.
    pub unknown: u32,
    /// Nothing is cut off.
    pub ended: bool,
}

impl Found {
    /// Returns whether all that was written is there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.ended && self.lost == 0 && self.malformed == 0
    }
}

/// Says what is wrong with a file that is not whole.
impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { blocks, lost, malformed, ended, .. } = self;
        let end = if *ended { "" } else { ", and the end is cut off" };
        write!(f, "{blocks} blocks are whole, {lost} are lost, {malformed} are malformed{end}")
    }
}
