//! A generation that is served in place of the configuration file.

use serde::{Deserialize, Serialize};

use super::served::Content;

/// What a start serves in place of the configuration file, as long as what is on the disk is what was
/// turned down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pin {
    /// Of the file.
    pub format: u32,
    /// The generation that serves again.
    pub generation: u64,
    /// What was turned down.
    pub rejected: Content,
    /// What was on the disk then.
    pub on_disk: Content,
    /// In seconds since 1970.
    pub since: u64,
    pub by: String,
}

impl Pin {
    /// Returns whether it holds for what is on the disk now.
    pub fn holds_for(&self, on_disk: &Content) -> bool {
        on_disk.seems(&self.rejected) || on_disk.seems(&self.on_disk)
    }
}
