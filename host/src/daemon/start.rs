//! What a start serves: the configuration file, or the generation that is pinned in its place.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::candidate::{kept, on_disk};
use super::error::Error;
use super::loaded::Wanted;
use crate::config::{self, Config};
use crate::generations::{Generations, Pin};
use crate::state_dir::StateDir;

/// What a start serves.
pub struct Start {
    /// What cannot be changed later is as this says.
    pub config: Arc<Config>,
    /// What serves in place of the file.
    pub pinned: Option<Pinned>,
}

/// A generation that serves in place of the file.
pub struct Pinned {
    pub pin: Pin,
    /// Or why it cannot serve.
    pub wanted: Result<Wanted, String>,
}

impl Start {
    /// Reads the configuration file, or what is pinned in its place.
    ///
    /// # Errors
    ///
    /// The configuration cannot be used.
    pub fn read(file: &Path) -> Result<Self, Error> {
        // The state folder of `run_as` is another user's, whose pin must not say what root does. It is
        // looked at again once this is that user.
        let pinned = Pinned::find(file);
        let config = match &pinned {
            Some(Pinned { wanted: Ok(wanted), .. }) => wanted.config.clone(),
            _ => config::load(file).map(Arc::new).map_err(Error::Config)?,
        };
        Ok(Self { config, pinned })
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = self.pin.generation;
        write!(f, "this file was turned down: a start serves generation {generation} in its place")
    }
}

impl Pinned {
    /// Returns what serves in place of the file, if the pin holds for what is on the disk.
    pub fn find(file: &Path) -> Option<Self> {
        let config = config::load_without_files(file).ok()?;
        let state = StateDir::existing(config.state_dir.as_deref()).ok()??;
        let generations = Generations::look(&state).ok()??;
        let pin = generations.pin()?;
        if !pin.holds_for(&on_disk(file)) {
            return None;
        }
        let wanted = kept(&generations, pin.generation, file).map(|(_, wanted)| wanted);
        Some(Self { pin, wanted })
    }
}
