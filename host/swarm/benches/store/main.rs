//! Measures the swarms alone: `cargo bench -p karuta-swarm --bench store`.
//!
//! `announce` compares swarms of different sizes, `memory PEERS TORRENTS` prints the bytes per
//! peer, and `expire PEERS TORRENTS` how long one step of the sweep takes. `save PEERS TORRENTS`
//! writes all swarms to a file in the current folder and restores them, `beside PEERS TORRENTS` shows
//! what writing does to announces. `share TORRENTS` compares a store alone with one whose announces
//! other nodes hear of, and applies what they hear. Times are processor time of the thread, unless said otherwise.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use karuta_bittorrent::{Event, Family, InfoHash, PeerId, Peers};
use karuta_swarm::{Locality, Memory, Options, Order, Plan, PlanId, PlanName, Store, Update};
use nix::time::{ClockId, clock_gettime};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

mod save;
mod share;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let number = |at: usize, default: u32| {
        arguments.get(at).map_or(default, |text| text.parse().expect("a number"))
    };
    let (peers, torrents) = (number(1, 1_000_000), number(2, 100_000));
    match arguments.first().map(String::as_str) {
        None | Some("announce") => announce(),
        Some("memory") => memory(peers, torrents),
        Some("expire") => expire(peers, torrents),
        Some("save") => save::run(peers, torrents),
        Some("beside") => save::beside(peers, torrents),
        Some("share") => share::run(number(1, 10_000)),
        Some(other) => panic!("`{other}` is none of announce, memory, expire, save, beside, share"),
    }
}

/// Makes a store with this many peers, spread over the torrents at random.
fn filled(peers: u32, torrents: u32) -> Memory {
    let store = Memory::new(Options::default());
    let mut rng = SmallRng::seed_from_u64(1);
    let mut given = Peers::default();
    for peer in 0..peers {
        let torrent = rng.random_range(0..torrents);
        let update = Update { want: 0, now: 0, ..update(torrent, peer, None) };
        enter(&store, &update, &mut rng, &mut given);
    }
    store
}

fn update(torrent: u32, peer: u32, locality: Option<Locality>) -> Update {
    let mut info_hash = [7; 20];
    info_hash[..4].copy_from_slice(&torrent.to_be_bytes());
    // Every peer has an address of its own; neighbours in this order are near each other.
    let address = Ipv4Addr::from_bits(0x0b00_0000 + peer);
    Update {
        info_hash: InfoHash(info_hash),
        peer: SocketAddr::from((address, 6881)),
        peer_id: PeerId([1; 20]),
        event: Event::None,
        seeder: peer.is_multiple_of(8),
        want: 50,
        only: Some(Family::Ipv4),
        locality: locality.map(|l| Locality { label: u64::from(address.to_bits()) << 32, ..l }),
        is_hidden: false,
        now: 1,
    }
}

fn enter(store: &Memory, update: &Update, rng: &mut SmallRng, peers: &mut Peers) {
    peers.clear();
    store.announce(update, rng, peers).expect("this store has no limits");
}

/// Measures announces of known peers, 50 wanted, to swarms of these sizes in turn.
fn announce() {
    const SIZES: [u32; 4] = [100, 10_000, 100_000, 1_000_000];
    const ROUNDS: usize = 9;
    const ANNOUNCES: u32 = 20_000;
    let plan = Plan::new(&[26, 22, 16], Order::NearFirst, 10).expect("a plan");
    let plan = Locality { label: 0, plan, id: PlanId::of(PlanName(*b"nearness")) };
    // A /26 has 8 seeders, so two of its 56 leechers are gateways.
    let gateways = Locality { plan: plan.plan.with_gateways(10), ..plan };
    let mut rng = SmallRng::seed_from_u64(2);
    let mut given = Peers::default();
    for (name, locality) in [
        ("any peers", None),
        ("near peers by a plan", Some(plan)),
        ("near peers by a plan with gateways", Some(gateways)),
    ] {
        let store = Memory::new(Options::default());
        for (torrent, size) in (0..).zip(SIZES) {
            for peer in 0..size {
                enter(&store, &update(torrent, peer, locality), &mut rng, &mut given);
            }
        }
        let mut times = vec![Vec::new(); SIZES.len()];
        for _ in 0..ROUNDS {
            for ((torrent, size), times) in (0..).zip(SIZES).zip(&mut times) {
                let start = processor();
                for _ in 0..ANNOUNCES {
                    let update = update(torrent, rng.random_range(0..size), locality);
                    enter(&store, &update, &mut rng, &mut given);
                    black_box(&given);
                }
                times.push((processor() - start) / ANNOUNCES);
            }
        }
        for times in &mut times {
            times.sort_unstable();
        }
        let least = times[0][ROUNDS / 2];
        for (size, times) in SIZES.iter().zip(&times) {
            let time = times[ROUNDS / 2];
            let ratio = time.as_secs_f64() / least.as_secs_f64();
            println!("{name}, of {size}: {} ns an announce, {ratio:.2} ×", time.as_nanos());
        }
    }
}

fn memory(peers: u32, torrents: u32) {
    let before = resident();
    let store = filled(peers, torrents);
    let bytes = resident() - before;
    let each = bytes as f64 / f64::from(peers);
    println!("{peers} peers on {torrents} torrents: {each:.1} resident bytes a peer");
    drop(store);
}

/// Expires all peers. No announce has to wait longer than one step takes.
fn expire(peers: u32, torrents: u32) {
    let store = filled(peers, torrents);
    let mut steps = Vec::new();
    loop {
        let start = processor();
        let finished = store.expire(1_000_000);
        steps.push(processor() - start);
        if finished {
            break;
        }
    }
    steps.sort_unstable();
    let all: Duration = steps.iter().sum();
    println!(
        "{peers} peers on {torrents} torrents: {} steps, {:.0} ns a peer, a step {} µs in the middle, \
         {} µs at most",
        steps.len(),
        all.as_nanos() as f64 / f64::from(peers),
        steps[steps.len() / 2].as_micros(),
        steps[steps.len() - 1].as_micros(),
    );
}

fn processor() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock of the thread").into()
}

/// Returns the resident memory in bytes (proc_pid_statm(5)).
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("the memory of the process");
    let pages: u64 = text.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("pages");
    pages * 4096
}
