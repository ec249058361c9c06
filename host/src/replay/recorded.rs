//! The requests of a recording, in the order in which they came.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use super::Lane;
use crate::config::MAX_WORKERS;
use crate::recording::{self, Contents, Record, Rings, Unreadable};

/// Requests in memory. Those of a worker are in its order, the workers' in that of time.
#[derive(Default)]
pub struct Recorded {
    bytes: Vec<u8>,
    places: Vec<Place>,
    /// The workers that have recorded something, with the latest time of each.
    workers: BTreeMap<u16, u64>,
    interval: u32,
}

/// Where a record is.
#[derive(Clone, Copy)]
struct Place {
    /// Microseconds since 1970; later than those before it of the same worker, if the clock was set back.
    time: u64,
    start: usize,
    len: u32,
    /// Its number as recorded; once they are sorted, its place among the workers.
    worker: u16,
}

/// How much earlier than the one before it a request may have come, in microseconds. If it is more, the clock
/// was set back.
const LATE: u64 = 10_000_000;

impl Recorded {
    /// Reads a recording.
    ///
    /// # Errors
    ///
    /// It cannot be used.
    pub fn read(file: impl Read) -> Result<(Self, Contents), Unreadable> {
        let mut recorded = Self::default();
        let contents = recording::read(file, |record, bytes| recorded.push(record, bytes))?;
        recorded.sort();
        recorded.interval = contents.scenes.first().map_or(0, |scene| scene.interval);
        Ok((recorded, contents))
    }

    /// Copies the last requests that are in the rings, at most so many. Calls `pause` between two of them.
    pub fn of_rings(rings: &Rings, most: usize, mut pause: impl FnMut()) -> Self {
        let (mut recorded, mut worker) = (Self::default(), None);
        recorded.interval = rings.interval();
        // Where the records of the worker begin.
        let mut begin = (0, 0);
        rings.read(|bytes| {
            if let Some(record) = Record::read(bytes) {
                if worker.replace(record.worker) != Some(record.worker) {
                    begin = (recorded.places.len(), recorded.bytes.len());
                }
                recorded.push(&record, bytes);
                // Rings may be large.
                if recorded.places.len() - begin.0 > most.saturating_mul(2) {
                    recorded.forget(begin, most);
                }
            }
            pause();
        });
        recorded.sort();
        let surplus = recorded.places.len().saturating_sub(most);
        recorded.places.drain(..surplus);
        recorded
    }

    /// Forgets all but the last `most` records after a place and its byte.
    fn forget(&mut self, (place, byte): (usize, usize), most: usize) {
        let keep = self.places.len().saturating_sub(most);
        let gap = self.places.get(keep).map_or(self.bytes.len(), |first| first.start) - byte;
        self.bytes.drain(byte..byte + gap);
        self.places.drain(place..keep);
        self.places[place..].iter_mut().for_each(|place| place.start -= gap);
    }

    fn push(&mut self, record: &Record, bytes: &[u8]) {
        let Self { bytes: all, places, workers, interval: _ } = self;
        let (start, worker) = (all.len(), record.worker);
        let last = workers.entry(worker).or_default();
        let is_set_back = record.time.saturating_add(LATE) < *last;
        let time = if is_set_back { *last } else { record.time };
        *last = time.max(*last);
        all.extend_from_slice(bytes);
        places.push(Place { time, start, len: bytes.len() as u32, worker });
    }

    /// Puts the requests of all workers in the order in which they came.
    fn sort(&mut self) {
        let workers: Vec<u16> = self.workers.keys().copied().collect();
        for place in &mut self.places {
            place.worker = workers.partition_point(|worker| *worker < place.worker) as u16;
        }
        self.places.sort_by_key(|place| (place.time, place.worker));
    }

    /// Returns how many requests there are.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// Returns how many workers have recorded something, and no more than a tracker can have.
    pub fn workers(&self) -> usize {
        self.workers.len().min(MAX_WORKERS)
    }

    /// Returns the seconds between two announces that the site asked for; 0: it asked for none.
    pub fn interval(&self) -> u32 {
        self.interval
    }

    /// Returns when the first request came, since 1970.
    pub fn start(&self) -> Duration {
        Duration::from_micros(self.places.first().map_or(0, |place| place.time))
    }

    /// Returns a record by its place in the order. Its worker is a place among those that have recorded
    /// something.
    pub(super) fn get(&self, at: usize) -> Option<Record<'_>> {
        let Place { time, start, len, worker } = *self.places.get(at)?;
        let record = Record::read(self.bytes.get(start..start + len as usize)?)?;
        Some(Record { time, worker, ..record })
    }

    /// Returns the places of the records of a lane.
    pub(super) fn of_lane(&self, lane: Lane) -> impl Iterator<Item = usize> {
        let places = self.places.iter().enumerate();
        let own =
            places.filter(move |(_, place)| usize::from(place.worker) % lane.of == lane.number);
        own.map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::exchange::Exchange;
    use crate::recording::Came;

    #[test]
    fn the_rings_of_all_workers_are_one_order() {
        let rings = Rings::new(1 << 20, 2, Duration::from_secs(3600), 1 << 20);
        let mut tapes = [rings.tape(), rings.tape()];
        let start = Instant::now();
        // "c" was recorded late. Before the last one, the clock was set back.
        for (worker, after, name) in
            [(0, 101, "a"), (1, 102, "b"), (1, 104, "d"), (0, 105, "e"), (0, 103, "c"), (0, 0, "f")]
        {
            let mut exchange = Exchange::default();
            exchange.now = start + Duration::from_secs(after);
            let came = Came::Udp(name.as_bytes());
            tapes[worker].write(&exchange, came, false, None, "", Duration::ZERO);
            tapes[worker].publish();
        }
        let recorded = Recorded::of_rings(&rings, usize::MAX, || {});
        let name =
            |at: usize| String::from_utf8_lossy(recorded.get(at).unwrap().request).into_owned();
        let all: String = (0..recorded.count()).map(name).collect();
        assert_eq!(all, "abcdef");
        assert_eq!((recorded.workers(), recorded.count()), (2, 6));
        let lane = |number| recorded.of_lane(Lane { number, of: 2 }).map(name).collect::<String>();
        assert_eq!([lane(0), lane(1)], ["acef", "bd"]);
        let time = |at| recorded.get(at).map(|record| record.time);
        assert_eq!(time(5), time(4));
        for (most, newest) in [(2, "ef"), (1, "f"), (4, "cdef"), (0, "")] {
            let last = Recorded::of_rings(&rings, most, || {});
            let requests = (0..last.count()).map(|at| last.get(at).unwrap().request);
            assert_eq!(requests.collect::<Vec<_>>().concat(), newest.as_bytes(), "{most}");
        }
    }

    #[test]
    fn only_workers_that_occur_are_counted() {
        let bytes_of = |worker: u16| {
            let mut bytes = [0; 36];
            bytes[12..14].copy_from_slice(&worker.to_le_bytes());
            bytes
        };
        let of = |workers: &[u16]| {
            let mut recorded = Recorded::default();
            for worker in workers {
                let bytes = bytes_of(*worker);
                recorded.push(&Record::read(&bytes).unwrap(), &bytes);
            }
            recorded.sort();
            let all = (0..recorded.count()).map(|at| recorded.get(at).unwrap().worker);
            (recorded.workers(), all.collect::<Vec<_>>())
        };
        assert_eq!(of(&[u16::MAX, 7, u16::MAX]), (2, vec![0, 1, 1]));
        assert_eq!(of(&[]), (0, vec![]));
        let every: Vec<u16> = (0..=u16::MAX).collect();
        assert_eq!(of(&every), (MAX_WORKERS, every));
    }
}
