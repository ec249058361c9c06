//! What policies decide by and operators keep elsewhere: lists and documents in files and behind
//! URLs, read and parsed once for all workers, followed while the tracker serves. Knows no
//! WebAssembly.

mod definition;
mod file;
mod format;
mod open;
mod set;
mod source;
mod url;

use std::sync::Arc;

pub use self::definition::{Definition, EVERY, Origin, Remote, TIMEOUT};
pub use self::open::{Fetch, Opening, open};
pub use self::source::{Content, DataSource, Taker};

/// The sources of one policy, in the order of their names.
pub type Sources = Arc<[Arc<DataSource>]>;
