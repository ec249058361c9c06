//! Data that policies need and operators keep elsewhere: lists and documents in files and at URLs,
//! read and parsed once for all workers, and reread while the tracker runs. Independent of
//! WebAssembly.

mod definition;
mod fetcher;
mod file;
mod fold;
mod format;
mod look;
mod open;
mod query;
mod set;
mod source;
mod url;
mod walk;

use std::sync::Arc;

pub use self::definition::{Definition, EVERY, Origin, Pace, Query, Remote, TIMEOUT};
pub use self::fold::Folded;
pub use self::open::{Fetch, Opening, open};
pub use self::source::{Content, DataSource, News, Taker};
pub use self::walk::Walk;

/// The sources of one policy, ordered by name.
pub type Sources = Arc<[Arc<DataSource>]>;
