//! The rings of all workers, and what served when they were written.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::record::Record;
use super::ring::{Cursor, Ring, Writer};
use super::tape::Tape;
use crate::metrics::RingFigures;
use crate::time;

/// The rings of all workers.
pub struct Rings {
    /// The size of each in bytes.
    size: usize,
    /// How long a recording may be kept.
    pub(super) retain: Duration,
    /// The most bytes of a recording.
    pub(super) max_size: u64,
    rings: Mutex<Vec<Arc<Ring>>>,
    scenes: Mutex<BTreeMap<u64, SceneSource>>,
    /// Whether a recording is being made.
    pub(super) is_busy: AtomicBool,
    /// What recordings are without.
    pub(super) missing: AtomicU64,
    /// The transport and the address of each listener.
    listeners: OnceLock<Vec<(String, String)>>,
    /// The seconds between two announces that the site asks for, if there are accounts.
    interval: OnceLock<Arc<AtomicU32>>,
}

/// What serves, and decides. Fields are only ever added.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Scene {
    pub generation: u64,
    /// SHA-256 of the configuration, in hexadecimal digits.
    pub config: String,
    pub workers: usize,
    /// The transport and the address of each.
    pub listeners: Vec<(String, String)>,
    /// The seconds between two announces that the site asks for; 0: it asks for none.
    pub interval: u32,
    /// Those of all listeners.
    pub routes: Vec<String>,
    /// In the order of the calls.
    pub policies: Vec<ScenePolicy>,
}

/// A policy that decides.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ScenePolicy {
    pub name: String,
    /// SHA-256 of the component, in hexadecimal digits.
    pub digest: String,
    pub mode: String,
    /// The version and the number of entries of each of its data sources, by name.
    pub data: BTreeMap<String, (u64, usize)>,
}

/// Says what serves; its data changes meanwhile.
pub type SceneSource = Arc<dyn Fn() -> Scene + Send + Sync>;

/// How many generations are known.
const GENERATIONS: usize = 8;

impl Rings {
    /// Makes rings of `size` bytes in all for so many workers.
    pub fn new(size: usize, workers: usize, retain: Duration, max_size: u64) -> Self {
        Self {
            size: size / workers.max(1),
            retain,
            max_size,
            rings: Mutex::default(),
            scenes: Mutex::default(),
            is_busy: AtomicBool::new(false),
            missing: AtomicU64::new(0),
            listeners: OnceLock::new(),
            interval: OnceLock::new(),
        }
    }

    /// Adds a worker.
    pub fn tape(&self) -> Tape {
        let ring = Arc::new(Ring::new(self.size));
        let mut rings = self.rings.lock();
        rings.push(ring.clone());
        Tape::new(Writer::new(ring), (rings.len() - 1) as u16)
    }

    /// Sets the transports and addresses of the listeners. Call it once.
    pub fn set_listeners(&self, listeners: Vec<(String, String)>) {
        let _ = self.listeners.set(listeners);
    }

    /// Sets where the interval is that a site asks for. Call it once.
    pub fn set_interval(&self, interval: Arc<AtomicU32>) {
        let _ = self.interval.set(interval);
    }

    /// Returns the interval that a site asks for, in seconds; 0: none.
    pub fn interval(&self) -> u32 {
        self.interval.get().map_or(0, |interval| interval.load(Relaxed))
    }

    /// Says what serves from a generation on.
    pub fn enter(&self, generation: u64, scene: SceneSource) {
        let mut scenes = self.scenes.lock();
        if let Some((_, last)) = scenes.iter_mut().next_back() {
            // It must not keep alive what serves no more.
            let ended = last();
            *last = Arc::new(move || ended.clone());
        }
        scenes.insert(generation, scene);
        while scenes.len() > GENERATIONS {
            scenes.pop_first();
        }
    }

    /// Returns what served in a generation, modulo 2³², if it is still known.
    pub fn scene(&self, generation: u32) -> Option<Scene> {
        let scenes = self.scenes.lock();
        let mut newest_first = scenes.iter().rev();
        let found = newest_first.find(|(known, _)| **known as u32 == generation);
        found.map(|(_, scene)| self.complete(scene()))
    }

    /// Returns what serves now.
    pub(super) fn newest_scene(&self) -> Option<Scene> {
        self.scenes.lock().iter().next_back().map(|(_, scene)| self.complete(scene()))
    }

    /// Adds what is not of the configuration, or stays while the daemon runs.
    fn complete(&self, scene: Scene) -> Scene {
        let listeners = self.listeners.get().cloned().unwrap_or_default();
        let (workers, interval) = (self.rings.lock().len(), self.interval());
        Scene { workers, listeners, interval, ..scene }
    }

    /// Returns a reader of each ring that begins with the next record.
    pub(super) fn followers(&self) -> Vec<Cursor> {
        self.rings.lock().iter().map(Cursor::at_end).collect()
    }

    /// Passes all records that the rings hold to `take`, worker by worker.
    pub fn read(&self, mut take: impl FnMut(&[u8])) {
        let mut cursors: Vec<_> = self.rings.lock().iter().map(Cursor::at_oldest).collect();
        for cursor in &mut cursors {
            // A worker that writes faster than this reads would keep it here for ever.
            for _ in 0..=READS {
                if !cursor.read(&mut take).1 {
                    break;
                }
            }
        }
    }

    /// Returns what operators are shown of the rings.
    pub fn figures(&self) -> RingFigures {
        let rings = self.rings.lock().clone();
        let mut oldest = None;
        for ring in rings.iter().filter(|ring| ring.has_wrapped()) {
            let mut first = None;
            Cursor::at_oldest(ring).read(|record| {
                first = first.or(Record::read(record).map(|record| record.time));
            });
            oldest = oldest.max(first);
        }
        let now = time::since_1970();
        RingFigures {
            bytes: rings.iter().map(|ring| ring.len()).sum(),
            span: oldest.map(|time| now.saturating_sub(Duration::from_micros(time))),
            too_long: rings.iter().map(|ring| ring.too_long()).sum(),
            missing: self.missing.load(Relaxed),
            is_busy: self.is_busy.load(Relaxed),
        }
    }
}

/// The most reads of a ring, each of some of it.
const READS: usize = 16 * 1024;
