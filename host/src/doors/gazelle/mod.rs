//! The calls that a Gazelle makes of Ocelot, and their answers. No I/O: the admin API obeys them.

mod answer;
mod callback;
mod query;
mod target;
mod update;

pub use self::answer::{Answer, Reported};
pub use self::callback::Callback;
pub use self::target::{Report, Target, Word};
pub use self::update::{Price, Update};
