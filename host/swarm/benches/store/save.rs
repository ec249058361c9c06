//! Writing and restoring all swarms.

use std::fs::{self, File};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use karuta_blocks::{END, Header, Reader, Writer};
use karuta_swarm::{Codec, Memory, Options, Piece, Restored, Store, Walk};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{Peers, enter, filled, processor, resident, update};
use rand::Rng;

const MAGIC: [u8; 8] = *b"KARUTATS";
const KIND: (u16, bool) = (1, true);
const FILE: &str = "swarms.bench";

pub fn run(peers: u32, torrents: u32) {
    let store = filled(peers, torrents);
    let codec = Codec::new(Options::default().lifetime, false);
    // Touched before the memory is measured.
    let mut steps = vec![Duration::ZERO; 2 * torrents as usize];
    for run in 1..=3 {
        let memory = resident();
        let (start, on_processor) = (Instant::now(), processor());
        let size = write(&store, codec, &mut steps);
        let (took, on_processor) = (start.elapsed(), processor() - on_processor);
        steps.sort_unstable();
        println!(
            "write {run}: {} MB in {} ms, {} ms of processor; {} KiB more memory; \
             a step takes {:.1} µs at most, {:.1} µs in 99.9 %",
            size / 1_000_000,
            took.as_millis(),
            on_processor.as_millis(),
            resident().saturating_sub(memory) / 1024,
            steps[steps.len() - 1].as_secs_f64() * 1e6,
            steps[steps.len() - 1 - steps.len() / 1000].as_secs_f64() * 1e6,
        );
    }
    let totals = store.totals();
    drop(store);
    for run in 1..=3 {
        let (start, on_processor) = (Instant::now(), processor());
        let store = Memory::new(Options::default());
        let restored = read(&store, codec);
        println!(
            "restore {run}: {} peers in {} ms, {} ms of processor",
            restored.entered,
            start.elapsed().as_millis(),
            (processor() - on_processor).as_millis(),
        );
        assert_eq!(store.totals(), totals);
    }
    fs::remove_file(FILE).expect("the file is there");
}

/// Returns the size in bytes. `steps` is how long each step took; only within one is a lock held.
fn write(store: &Memory, codec: Codec, steps: &mut Vec<Duration>) -> u64 {
    let header = Header {
        magic: MAGIC,
        format: 1,
        flags: 0,
        created: 0,
        parameter: 0,
        file_id: [7; 16],
        writer: [0; 16],
    };
    let mut writer = Writer::create(File::create(FILE).expect("a file"), &header).expect("space");
    let (mut walk, mut piece) = (Walk::default(), Piece::default());
    steps.clear();
    loop {
        let start = Instant::now();
        let more = store.next_piece(&mut walk, 2, &mut piece);
        steps.push(start.elapsed());
        if !more {
            break;
        }
        let write = |_, block: &mut Vec<u8>| codec.write(&mut piece, block);
        writer.append(KIND, Codec::ROOM, write).expect("space");
    }
    let (file, size) = writer.end(&[]).expect("space");
    file.sync_all().expect("a disk");
    size
}

fn read(store: &Memory, codec: Codec) -> Restored {
    let file = File::open(FILE).expect("the file is there");
    let mut reader = Reader::open(file, MAGIC, 1).expect("it was just written");
    let (mut piece, mut restored) = (Piece::default(), Restored::default());
    while let Some(block) = reader.next_block().expect("it can be read") {
        let mut rest = block.payload;
        while block.kind != END && !rest.is_empty() {
            codec.read(&mut rest, &mut piece).expect("it was just written");
            restored += store.restore(&piece, 0);
        }
    }
    restored
}

/// Announces from one thread, by turns with and without another that writes.
pub fn beside(peers: u32, torrents: u32) {
    let store = &filled(peers, torrents);
    let codec = Codec::new(Options::default().lifetime, false);
    for _ in 0..3 {
        for writes in [false, true] {
            let done = AtomicBool::new(false);
            let mut times = thread::scope(|scope| {
                let announces = scope.spawn(|| announces(store, &done, torrents, peers));
                if writes {
                    write(store, codec, &mut Vec::new());
                } else {
                    thread::sleep(Duration::from_secs(1));
                }
                done.store(true, Ordering::Relaxed);
                announces.join().expect("announces")
            });
            times.sort_unstable();
            let at = |share: f64| times[(times.len() as f64 * share) as usize].as_secs_f64() * 1e6;
            println!(
                "announces {}: {:.2} µs in the middle, 99 % within {:.2} µs, 99.9 % within {:.2} µs, \
                 elapsed time, of {}",
                if writes { "while writing" } else { "alone" },
                at(0.5),
                at(0.99),
                at(0.999),
                times.len(),
            );
        }
    }
    fs::remove_file(FILE).expect("the file is there");
}

fn announces(store: &Memory, done: &AtomicBool, torrents: u32, peers: u32) -> Vec<Duration> {
    let mut rng = SmallRng::seed_from_u64(3);
    let mut given = Peers::default();
    let mut times = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let update = update(rng.random_range(0..torrents), rng.random_range(0..peers), None);
        let start = Instant::now();
        enter(store, &update, &mut rng, &mut given);
        times.push(start.elapsed());
    }
    times
}
