//! Requests a second over the last seconds and hours, from the history.

use super::Admin;
use crate::history::{Series, Span};
use crate::metrics::{Outcome, TRANSPORTS};

/// Requests of some outcomes.
pub struct Rates {
    /// Over the last 1, 10, 60, 900 and 7200 s.
    pub over: [f64; 5],
    /// When there was one, in seconds since 1970.
    pub last: Option<u64>,
}

/// The seconds of which there are rates from values of a second, and from coarser ones.
const FINE: [u64; 3] = [1, 10, 60];
const COARSE: [u64; 2] = [900, 7200];

impl Rates {
    /// Returns those of requests with one of these outcomes.
    pub fn of(admin: &Admin, outcomes: &[Outcome]) -> Self {
        let names: Vec<String> = TRANSPORTS
            .iter()
            .flat_map(|(_, transport)| {
                outcomes.iter().map(move |one| format!("requests.{transport}.{}", one.name()))
            })
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (fine, coarse) = {
            let history = admin.history.lock();
            (history.series(Span::Minutes, Some(&names)), history.series(Span::Hours, Some(&names)))
        };
        Self::from(&fine, &coarse)
    }

    fn from(fine: &Series, coarse: &Series) -> Self {
        let [one, ten, sixty] = FINE.map(|seconds| rate(fine, seconds));
        let [quarter, two] = COARSE.map(|seconds| rate(coarse, seconds));
        Self { over: [one, ten, sixty, quarter, two], last: last(fine).or_else(|| last(coarse)) }
    }
}

/// Returns how many there were a second over the last `seconds`. Before the first value, there was
/// none.
fn rate(series: &Series, seconds: u64) -> f64 {
    let values = (seconds / series.step_seconds.max(1)) as usize;
    let sum: f64 = series
        .series
        .values()
        .flat_map(|one| one.iter().rev().take(values).copied().flatten())
        .sum();
    sum / values.max(1) as f64
}

/// Returns the time of the last value that is not 0.
fn last(series: &Series) -> Option<u64> {
    let is_busy = |at: usize| {
        let mut values = series.series.values();
        values.any(|values| values.get(at).copied().flatten().is_some_and(|value| value > 0.0))
    };
    (0..series.times.len()).rev().find(|at| is_busy(*at)).map(|at| series.times[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(step_seconds: u64, values: &[&[f64]]) -> Series {
        let times = (1..=values[0].len() as u64).map(|at| at * step_seconds).collect();
        let series = values
            .iter()
            .zip("abc".chars())
            .map(|(values, name)| (name.to_string(), values.iter().copied().map(Some).collect()));
        Series { step_seconds, times, series: series.collect(), marks: Vec::new() }
    }

    #[test]
    fn rates_are_of_all_series_together() {
        let fine = series(1, &[&[0.0, 4.0, 2.0, 0.0], &[0.0, 0.0, 8.0, 0.0]]);
        let coarse = series(10, &[&[45.0, 0.0], &[45.0, 0.0]]);
        let rates = Rates::from(&fine, &coarse);
        assert_eq!(rates.over, [0.0, 1.4, 14.0 / 60.0, 1.0, 0.125]);
        assert_eq!(rates.last, Some(3));
    }

    #[test]
    fn what_was_long_ago_is_in_the_coarser_values() {
        let (fine, coarse) = (series(1, &[&[0.0, 0.0]]), series(10, &[&[0.0, 1.0, 0.0]]));
        assert_eq!(Rates::from(&fine, &coarse).last, Some(20));
        let coarse = series(10, &[&[0.0]]);
        assert_eq!(Rates::from(&fine, &coarse).last, None);
    }
}
