//! What may happen to nodes and a log.

use karuta_bittorrent::Event;
use proptest::prelude::*;

use super::{NODES, PEERS, TORRENTS};
use crate::Seconds;

#[derive(Clone, Debug)]
pub enum Step {
    Announce {
        torrent: u8,
        peer: u8,
        node: usize,
        event: Event,
        seeder: bool,
        label: Option<u8>,
        is_hidden: bool,
    },
    /// A node appends its next batch.
    Send {
        node: usize,
        outcome: Outcome,
    },
    /// What a node had given up reaches the log after all.
    Late {
        node: usize,
    },
    /// A node reads at most so many entries.
    Read {
        node: usize,
        entries: usize,
    },
    /// The engine loses what it took in the last seconds, at most so many entries.
    Lose {
        entries: usize,
    },
    /// A connection breaks. The node reads so many entries again.
    Break {
        node: usize,
        entries: u64,
    },
    /// A node ends, and another begins in its place.
    Restart {
        node: usize,
        /// It has told all that it had to tell.
        is_stopped: bool,
        /// The other restores what it knew, and reads so many entries again.
        snapshot: Option<u64>,
    },
    /// It is quiet for a while. Then peers go to other nodes.
    Settle,
    Pass {
        seconds: Seconds,
    },
}

#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    Appended,
    NotAppended,
    /// It is appended, and the answer does not arrive.
    Unknown,
    /// It is not appended yet.
    Late,
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let event = prop_oneof![
        2 => Just(Event::None),
        2 => Just(Event::Started),
        3 => Just(Event::Stopped),
        3 => Just(Event::Completed),
        1 => Just(Event::Paused),
    ];
    let label = prop::option::weighted(0.3, 0..3_u8);
    let bools = (prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    let announce = (0..TORRENTS, 0..PEERS, 0..NODES, event, bools, label);
    let outcome = prop_oneof![
        10 => Just(Outcome::Appended),
        1 => Just(Outcome::NotAppended),
        1 => Just(Outcome::Unknown),
        1 => Just(Outcome::Late),
    ];
    let restart = (0..NODES, prop::bool::weighted(0.7), prop::option::of(0..5_u64));
    let step = prop_oneof![
        12 => announce.prop_map(|(torrent, peer, node, event, (seeder, is_hidden), label)| {
            Step::Announce { torrent, peer, node, event, seeder, label, is_hidden }
        }),
        8 => (0..NODES, outcome).prop_map(|(node, outcome)| Step::Send { node, outcome }),
        8 => (0..NODES, 1..5_usize).prop_map(|(node, entries)| Step::Read { node, entries }),
        2 => (0..NODES).prop_map(|node| Step::Late { node }),
        2 => (1..6_usize).prop_map(|entries| Step::Lose { entries }),
        2 => (0..NODES, 0..5_u64).prop_map(|(node, entries)| Step::Break { node, entries }),
        1 => restart.prop_map(|(node, is_stopped, snapshot)| {
            Step::Restart { node, is_stopped, snapshot }
        }),
        1 => Just(Step::Settle),
        3 => (1..4_u32).prop_map(|seconds| Step::Pass { seconds }),
    ];
    prop::collection::vec(step, 1..120)
}
