//! What sharing costs: the worker that takes an announce, and the thread that applies the log.

use std::hint::black_box;
use std::time::Duration;

use karuta_bittorrent::Peers;
use karuta_swarm::{Arrival, Memory, Options, Part, Shared, Sharing, Store};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{processor, update};

/// Swarms of 64, as in the measurements of other stores.
const PEERS: u32 = 64;
const ROUNDS: usize = 15;
const ANNOUNCES: u32 = 100_000;
const PARTS: usize = 4;
const ARRIVAL: Arrival = Arrival { age: 0, now: 1, is_first: true };

/// Compares announces of known peers, 50 wanted, and applies what was told of them.
pub fn run(torrents: u32) {
    let memory = Memory::new(Options::default());
    let alone = Shared::alone(Options::default());
    let (sharing, mut parts) = node(1);
    let (other, mut readers) = node(2);
    let mut log = Vec::new();
    for store in [&sharing, &alone] {
        fill(store, torrents);
    }
    fill(&memory, torrents);
    collect(&sharing, &mut parts, &mut log);
    // A node that starts.
    let (records, time) = apply(&other, &mut readers, &mut log);
    print("applied by a node that starts", records, time);
    let mut times: [Vec<Duration>; 4] = Default::default();
    for round in 0..ROUNDS as u64 {
        let mut rng = SmallRng::seed_from_u64(round);
        // Each goes first in turn.
        for at in 0..3 {
            let rng = &mut rng;
            match (at + round) % 3 {
                0 => times[0].push(announces(&memory, torrents, rng)),
                1 => times[1].push(announces(&alone, torrents, rng)),
                _ => times[2].push(announces(&sharing, torrents, rng)),
            }
        }
        collect(&sharing, &mut parts, &mut log);
        let (records, time) = apply(&other, &mut readers, &mut log);
        times[3].push(time / records);
    }
    let names =
        ["announces to a memory", "to a store alone", "to a store that shares", "applied later"];
    for (name, times) in names.iter().zip(&mut times) {
        times.sort_unstable();
        print(name, 1, times[ROUNDS / 2]);
    }
}

fn print(name: &str, of: u32, time: Duration) {
    println!("{name}: {:.1} ns each", time.as_secs_f64() * 1e9 / f64::from(of));
}

fn node(node: u64) -> (Shared, Vec<Part>) {
    Shared::sharing(Options::default(), Sharing { node, parts: PARTS, queue: 1 << 30 })
}

fn fill(store: &impl Store, torrents: u32) {
    let (mut rng, mut given) = (SmallRng::seed_from_u64(1), Peers::default());
    for number in 0..torrents * PEERS {
        let update = update(spread(number / PEERS), number, None);
        let update = karuta_swarm::Update { want: 0, ..update };
        store.announce(&update, &mut rng, &mut given).expect("this store has no limits");
    }
}

/// Returns the number of a torrent whose info-hash belongs to any part.
fn spread(torrent: u32) -> u32 {
    torrent.wrapping_mul(0x9e37_79b1)
}

/// Returns the processor time of an announce.
fn announces(store: &impl Store, torrents: u32, rng: &mut SmallRng) -> Duration {
    let mut given = Peers::default();
    let start = processor();
    for _ in 0..ANNOUNCES {
        let number = rng.random_range(0..torrents * PEERS);
        given.clear();
        let update = update(spread(number / PEERS), number, None);
        store.announce(&update, rng, &mut given).expect("this store has no limits");
        black_box(&given);
    }
    (processor() - start) / ANNOUNCES
}

/// Moves what waits to the log.
fn collect(store: &Shared, parts: &mut [Part], log: &mut Vec<(usize, Vec<u8>)>) {
    for (at, part) in parts.iter_mut().enumerate() {
        while let Some(batch) = part.next(store, 1) {
            part.appended(1);
            part.apply(store, &batch, ARRIVAL).expect("its own batch");
            log.push((at, batch));
        }
    }
}

/// Applies a log; returns the number of records, and the processor time of all.
fn apply(store: &Shared, parts: &mut [Part], log: &mut Vec<(usize, Vec<u8>)>) -> (u32, Duration) {
    let start = processor();
    let mut records = 0;
    for (part, batch) in log.drain(..) {
        records += parts[part].apply(store, &batch, ARRIVAL).expect("a batch").records as u32;
    }
    (records, processor() - start)
}
