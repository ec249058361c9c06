//! The calls that a UNIT3D makes of UNIT3D-Announce, and their answers. No I/O: the admin API obeys
//! them.

mod answer;
mod call;
mod route;

pub use self::answer::{Answer, Peer, Peers, Rates, ShownTorrent, ShownUser};
pub use self::call::Call;
pub use self::route::{Route, Target};
