//! The flight recorder: the last requests of every worker as they came, with what became of them, and
//! files of them.
//!
//! Each worker has a ring of bytes, which it overwrites in turn. It writes the records of requests that were
//! decided together before they are answered, without a lock and without memory of their own. Others read the
//! rings: for a recording, which is a file, and to ask another configuration about the last requests.
//!
//! A recording is a file of `karuta-blocks`, format 1, magic `KARUTARC`. Its parameter is how long it
//! may be kept after it was created, in seconds; its flags say what was hidden of it.
//!
//! | kind of block | payload |
//! |---|---|
//! | 1 | JSON: what serves from here on ([`Scene`]); essential |
//! | 2 | records, the length of each (4 bytes) before it ([`Record`]); essential |
//! | 3 | how many more records are missing here, possibly none (8 bytes) |
//! | end | numbers of blocks (4 bytes), of records, and of those that are missing (8 bytes each) |

mod account;
mod bytes;
mod file;
mod filter;
mod hidden;
mod record;
mod redact;
mod ring;
mod rings;
mod running;
mod stream;
mod tape;
#[cfg(test)]
mod tests;

pub use self::file::{Contents, Unreadable, look, read, rewrite};
pub use self::filter::Filter;
pub use self::hidden::Hidden;
pub use self::record::Record;
pub use self::rings::{Rings, Scene, ScenePolicy, SceneSource};
pub use self::running::{Running, Wanted};
pub use self::tape::{Came, Tape};
