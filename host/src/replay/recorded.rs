//! The requests of a recording, in the order in which they came.

use std::io::Read;
use std::time::Duration;

use super::Lane;
use crate::recording::{self, Contents, Record, Rings, Unreadable};

/// Requests in memory. Those of a worker are in its order, the workers' in that of time.
#[derive(Default)]
pub struct Recorded {
    bytes: Vec<u8>,
    places: Vec<Place>,
    workers: usize,
}

/// Where a record is.
#[derive(Clone, Copy)]
struct Place {
    /// Never less than that of the record before of the same worker.
    time: u64,
    start: usize,
    len: u32,
    worker: u16,
}

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
        Ok((recorded, contents))
    }

    /// Copies what is in the rings.
    pub fn of_rings(rings: &Rings) -> Self {
        let mut recorded = Self::default();
        rings.read(|bytes| {
            if let Some(record) = Record::read(bytes) {
                recorded.push(&record, bytes);
            }
        });
        recorded.sort();
        recorded
    }

    fn push(&mut self, record: &Record, bytes: &[u8]) {
        let Self { bytes: all, places, workers } = self;
        let (start, worker) = (all.len(), record.worker);
        *workers = (*workers).max(usize::from(worker) + 1);
        all.extend_from_slice(bytes);
        places.push(Place { time: record.time, start, len: bytes.len() as u32, worker });
    }

    fn sort(&mut self) {
        // A clock may have been set back.
        let mut last = vec![0; self.workers];
        for place in &mut self.places {
            let last = &mut last[usize::from(place.worker)];
            place.time = place.time.max(*last);
            *last = place.time;
        }
        self.places.sort_by_key(|place| (place.time, place.worker));
    }

    /// Returns how many requests there are.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// Returns how many workers have recorded something, or might have.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Returns when the first request came, since 1970.
    pub fn start(&self) -> Duration {
        Duration::from_micros(self.places.first().map_or(0, |place| place.time))
    }

    /// Returns a record by its place in the order.
    pub(super) fn get(&self, at: usize) -> Option<Record<'_>> {
        let Place { time, start, len, .. } = *self.places.get(at)?;
        let record = Record::read(self.bytes.get(start..start + len as usize)?)?;
        Some(Record { time, ..record })
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
        // The last one came before the one before it: the clock was set back.
        for (worker, after, name) in
            [(0, 1, "a"), (1, 2, "b"), (1, 4, "d"), (0, 3, "c"), (0, 5, "e"), (0, 0, "f")]
        {
            let mut exchange = Exchange::default();
            exchange.now = start + Duration::from_secs(after);
            let came = Came::Udp(name.as_bytes());
            tapes[worker].write(&exchange, came, false, None, "", Duration::ZERO);
        }
        let recorded = Recorded::of_rings(&rings);
        let name =
            |at: usize| String::from_utf8_lossy(recorded.get(at).unwrap().request).into_owned();
        let all: String = (0..recorded.count()).map(name).collect();
        assert_eq!(all, "abcdef");
        assert_eq!((recorded.workers(), recorded.count()), (2, 6));
        let lane = |number| recorded.of_lane(Lane { number, of: 2 }).map(name).collect::<String>();
        assert_eq!([lane(0), lane(1)], ["acef", "bd"]);
        assert_eq!(
            recorded.get(5).map(|record| record.time),
            recorded.get(4).map(|record| record.time)
        );
    }
}
