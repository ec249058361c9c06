//! What policies decide by and operators keep elsewhere: lists and documents in files and behind
//! URLs, read and parsed once for all workers, followed while the tracker serves. Knows no
//! WebAssembly.

mod file;
mod format;
mod set;
mod source;
mod url;

use std::io;
use std::sync::Arc;

pub use self::source::{Content, Definition, Origin, Source, Taker};
pub use self::url::{EVERY, Remote, TIMEOUT};
use crate::state_dir::StateDir;

/// The sources of one policy, in the order of their names.
pub type Sources = Arc<[Arc<Source>]>;

/// How sources are opened.
#[derive(Clone, Default)]
pub struct Opening {
    /// Where what was fetched is kept.
    pub kept: Option<Arc<StateDir>>,
    pub fetch: Fetch,
}

/// When URLs are first fetched.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum Fetch {
    #[default]
    Never,
    /// By a thread of their own, while others go on.
    Soon,
    /// Before anybody goes on; nothing that is required may be missing then.
    Now,
}

impl Opening {
    /// What was fetched is kept within the state folder.
    pub fn new(state: Option<&StateDir>, fetch: Fetch) -> io::Result<Self> {
        let kept = state.map(|state| state.folder("data").map(Arc::new)).transpose()?;
        Ok(Self { kept, fetch })
    }
}

/// Opens sources; those of `earlier` with the same definition go on, with what they have read.
///
/// # Errors
///
/// The name of the first source that cannot be used, and why.
pub fn open(
    definitions: &[Definition],
    opening: &Opening,
    earlier: &[Arc<Source>],
) -> Result<Sources, (Arc<str>, String)> {
    let open = |definition: &Definition| {
        let same = earlier.iter().find(|source| source.definition() == definition);
        same.map_or_else(|| Source::open(definition.clone(), opening), |same| Ok(same.clone()))
            .map_err(|reason| (definition.name.clone(), reason))
    };
    definitions.iter().map(open).collect()
}
