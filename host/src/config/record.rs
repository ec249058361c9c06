//! The flight recorder: how much of the last requests is kept in memory, and of recordings.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    problem::{Problem, problem},
    values::{self, show_duration},
};

/// The flight recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Record {
    /// The size of the rings of all workers in bytes, 1 MiB to 4 GiB.
    #[serde(deserialize_with = "values::size_in_memory")]
    pub ring: usize,
    /// How long a recording may be kept; 1 hour to 10 years.
    #[serde(deserialize_with = "values::duration", serialize_with = "values::write_duration")]
    pub retain: Duration,
    /// The most bytes of a recording, at least 1 MiB.
    #[serde(deserialize_with = "values::size")]
    pub max_size: u64,
}

impl Default for Record {
    fn default() -> Self {
        Self { ring: 16 << 20, retain: Duration::from_hours(7 * 24), max_size: 1 << 30 }
    }
}

const RING: std::ops::RangeInclusive<usize> = 1 << 20..=4 << 30;
const RETAIN: [Duration; 2] = [Duration::from_hours(1), Duration::from_hours(10 * 365 * 24)];

impl Record {
    /// Checks it by itself.
    pub(super) fn check(&self) -> Result<(), Problem> {
        let Self { ring, retain, max_size } = self;
        if !RING.contains(ring) {
            return problem("record.ring", "out of range, expected 1MiB to 4GiB");
        }
        if !(RETAIN[0]..=RETAIN[1]).contains(retain) {
            let retain = show_duration(*retain);
            let message = format!("{retain} is out of range, expected 1h to 3650d");
            return problem("record.retain", message);
        }
        match *max_size < 1 << 20 {
            true => problem("record.max_size", "too small, expected at least 1MiB"),
            false => Ok(()),
        }
    }
}
