//! What the process gives up once it listens: its user's rights, and writing where it need not.
//!
//! All of it holds for the calling thread and for those that it starts, so it is done while there is
//! only one.

mod user;
mod wall;

pub use self::user::{become_user, is_root, make_folder};
pub use self::wall::{WRITABLE, Wall};
