//! What policies decide by and operators keep elsewhere: lists and documents in files, read and
//! parsed once for all workers, followed while the tracker serves. Knows no WebAssembly.

mod file;
mod format;
mod set;
mod source;

use std::sync::Arc;

pub use self::source::{Content, Definition, Source, Taker};

/// The sources of one policy, in the order of their names.
pub type Sources = Arc<[Arc<Source>]>;

/// Opens sources; those of `earlier` with the same definition go on, with what they have read.
///
/// # Errors
///
/// The name of the first source that cannot be used, and why.
pub fn open(
    definitions: &[Definition],
    earlier: &[Arc<Source>],
) -> Result<Sources, (Arc<str>, String)> {
    let open = |definition: &Definition| {
        let same = earlier.iter().find(|source| source.definition() == definition);
        same.map_or_else(|| Source::open(definition.clone()), |same| Ok(same.clone()))
            .map_err(|reason| (definition.name.clone(), reason))
    };
    definitions.iter().map(open).collect()
}
