//! How the top torrents have grown in the last hour.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use karuta_bittorrent::{Counts, InfoHash};
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;

use super::Admin;
use super::ranking::{MOST, Measure, Ranking, rank};

/// How often torrents are ranked for this.
const STEP: Duration = Duration::from_mins(5);
/// What growth is compared over.
const HOUR: Duration = Duration::from_hours(1);

/// The rankings of the last hour and the last one before it: at most 14, of 100 kB each.
#[derive(Default)]
pub struct Hour(Mutex<VecDeque<Ranking>>);

/// The top torrents by a measure, an hour ago.
pub struct Before {
    pub unix_seconds: u64,
    measure: Measure,
    values: HashMap<InfoHash, u32>,
}

impl Hour {
    fn add(&self, ranking: Ranking) {
        let mut rankings = self.0.lock();
        let is_over = |other: &Ranking| ranking.at.saturating_duration_since(other.at) >= HOUR;
        while rankings.get(1).is_some_and(is_over) {
            rankings.pop_front();
        }
        rankings.push_back(ranking);
    }

    /// Returns the newest ranking that is at least an hour old.
    pub fn before(&self, measure: Measure, now: Instant) -> Option<Before> {
        let rankings = self.0.lock();
        let mut newest_first = rankings.iter().rev();
        let found = newest_first.find(|one| now.saturating_duration_since(one.at) >= HOUR)?;
        let list = &found.lists[measure as usize];
        let values = list.iter().map(|(value, info_hash)| (*info_hash, *value)).collect();
        Some(Before { unix_seconds: found.unix_seconds, measure, values })
    }
}

impl Before {
    /// Returns how much more a torrent has now. `None`: it was not among the top ones, and so may have
    /// had any number.
    pub fn growth(&self, info_hash: InfoHash, now: &Counts) -> Option<i64> {
        // A list that is not full has all torrents that had any.
        let none = (self.values.len() < MOST).then_some(0);
        let before = self.values.get(&info_hash).copied().or(none)?;
        Some(i64::from(self.measure.of(now)) - i64::from(before))
    }
}

impl Admin {
    /// Ranks all torrents at intervals, until the task is dropped.
    pub(super) async fn follow_growth(self: Arc<Self>) {
        let mut steps = tokio::time::interval(STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            steps.tick().await;
            let unix_seconds = self.swarms.clock().unix_seconds;
            let ranking = rank(&*self.swarms.store, unix_seconds).await;
            self.swarms.tops.hour.add(ranking);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ranking::Sizes;
    use super::*;

    fn hash(number: u32) -> InfoHash {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        InfoHash(bytes)
    }

    fn ranking(at: Instant, unix_seconds: u64, peers: &[(u32, InfoHash)]) -> Ranking {
        let lists = [peers.to_vec(), Vec::new(), Vec::new(), Vec::new()];
        Ranking { at, unix_seconds, lists, sizes: Sizes::default() }
    }

    fn peers(leechers: u32) -> Counts {
        Counts { leechers, ..Counts::default() }
    }

    #[test]
    fn growth_is_that_of_an_hour_and_unknown_before() {
        let (hour, start) = (Hour::default(), Instant::now());
        let since =
            |minutes| hour.before(Measure::Peers, start + minutes).map(|found| found.unix_seconds);
        let minutes = Duration::from_mins;
        for minute in (0..=180).step_by(5) {
            let value = u32::try_from(minute).unwrap();
            hour.add(ranking(start + minutes(minute), minute, &[(value, hash(1))]));
            assert_eq!(since(minutes(minute)), minute.checked_sub(60), "{minute}");
            let later = since(minutes(minute + 4));
            assert_eq!(later, minute.checked_sub(60), "the next one is not an hour old");
        }
        assert!(hour.0.lock().len() <= 14);
        assert_eq!(since(minutes(186)), Some(125));
        let before = hour.before(Measure::Peers, start + minutes(180)).unwrap();
        assert_eq!(before.growth(hash(1), &peers(100)), Some(-20));
        assert_eq!(before.growth(hash(1), &peers(120)), Some(0));
        assert_eq!(before.growth(hash(2), &peers(7)), Some(7), "it had none");
        let seeders = hour.before(Measure::Seeders, start + minutes(180)).unwrap();
        assert_eq!(seeders.growth(hash(1), &peers(100)), Some(0));
    }

    #[test]
    fn it_is_not_known_what_was_not_among_the_top_torrents() {
        let (hour, start) = (Hour::default(), Instant::now());
        let full: Vec<_> = (0..MOST as u32).map(|number| (50, hash(number))).collect();
        hour.add(ranking(start, 0, &full));
        let before = hour.before(Measure::Peers, start + HOUR).unwrap();
        assert_eq!(before.growth(hash(0), &peers(60)), Some(10));
        assert_eq!(before.growth(hash(MOST as u32), &peers(60)), None);
    }
}
