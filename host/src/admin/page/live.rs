//! Numbers of the history: as they are now, and as they were. The script of the page computes the same
//! from each sample, by the same patterns.

use crate::history::{Mark, Series, Span};

use super::super::Admin;

/// Names of series, where `*` stands for any part between two dots. Several are divided by blanks.
pub type Pattern = str;

/// How a number is made of series, and how it is written.
#[derive(Clone, Copy)]
pub struct Figure<'a> {
    /// The series whose sum it is.
    pub of: &'a Pattern,
    /// The series of whose sum it is a share; empty: none.
    pub per: &'a Pattern,
}

/// The last minutes or hours.
pub struct Columns(Series);

/// How many seconds of the last minutes become one point of a line.
const STEP: usize = 5;

impl Columns {
    pub fn of(admin: &Admin, span: Span) -> Self {
        Self(admin.history.lock().series(span, None))
    }

    /// Returns the times, in seconds since 1970.
    pub fn times(&self) -> &[u64] {
        &self.0.times
    }

    /// Returns whether there is a series of this name.
    pub fn has(&self, name: &str) -> bool {
        self.0.series.contains_key(name)
    }

    /// Returns what changed last.
    pub fn last_mark(&self) -> Option<Mark> {
        self.0.marks.last().cloned()
    }

    /// Returns the newest value; `None`: there is none, such as a latency without requests.
    pub fn now(&self, figure: Figure<'_>) -> Option<f64> {
        self.values(figure).pop().flatten()
    }

    /// Returns about 120 values, the oldest first. There may be none: a share of nothing is not 0.
    pub fn line(&self, figure: Figure<'_>) -> Vec<Option<f64>> {
        self.values(figure).rchunks(STEP).rev().map(mean).collect()
    }

    /// Returns the sum over all times.
    pub fn sum(&self, of: &Pattern) -> f64 {
        self.values(Figure { of, per: "" }).into_iter().flatten().sum()
    }

    /// Returns the value at each time.
    pub fn values(&self, figure: Figure<'_>) -> Vec<Option<f64>> {
        let of = self.added(figure.of);
        if figure.per.is_empty() {
            return of;
        }
        let shares = of.into_iter().zip(self.added(figure.per));
        shares.map(|(of, per)| Some(of? / per.filter(|whole| *whole > 0.0)?)).collect()
    }

    /// Adds up the series that match a pattern.
    fn added(&self, pattern: &Pattern) -> Vec<Option<f64>> {
        let mut sums = vec![None; self.0.times.len()];
        for (_, column) in self.0.series.iter().filter(|(name, _)| matches(pattern, name)) {
            for (sum, value) in sums.iter_mut().zip(column) {
                if let Some(value) = value {
                    *sum = Some(sum.unwrap_or(0.0) + value);
                }
            }
        }
        sums
    }
}

fn mean(values: &[Option<f64>]) -> Option<f64> {
    let known = values.iter().flatten();
    let count = known.clone().count();
    (count > 0).then(|| known.sum::<f64>() / count as f64)
}

fn matches(pattern: &Pattern, name: &str) -> bool {
    pattern.split(' ').any(|pattern| {
        let (mut wanted, mut found) = (pattern.split('.'), name.split('.'));
        loop {
            match (wanted.next(), found.next()) {
                (None, None) => return true,
                (Some("*"), Some(_)) => {}
                (Some(wanted), Some(found)) if wanted == found => {}
                _ => return false,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn recent(columns: &[(&str, &[Option<f64>])]) -> Columns {
        let times = (0..columns[0].1.len() as u64).collect();
        let series: BTreeMap<_, _> =
            columns.iter().map(|(name, values)| ((*name).to_owned(), values.to_vec())).collect();
        Columns(Series { step_seconds: 1, times, series, marks: Vec::new() })
    }

    #[test]
    fn a_figure_is_a_sum_or_a_share() {
        let recent = recent(&[
            ("requests.udp.ok", &[Some(1.0), Some(6.0)]),
            ("requests.http.rejected", &[Some(3.0), Some(2.0)]),
            ("latency.p99", &[Some(0.1), None]),
        ]);
        let now = |of, per| recent.now(Figure { of, per });
        assert_eq!(now("requests.*.*", ""), Some(8.0));
        assert_eq!(now("requests.*.ok", "requests.*.*"), Some(0.75));
        assert_eq!(now("requests.udp.ok requests.http.rejected", ""), Some(8.0));
        assert_eq!((now("latency.p99", ""), now("nothing", "")), (None, None));
        assert_eq!(recent.sum("requests.*.*"), 12.0);
        assert_eq!(recent.line(Figure { of: "requests.*.*", per: "" }), [Some(6.0)]);
    }

    #[test]
    fn the_newest_point_is_of_whole_steps() {
        let values: Vec<_> = (0..7).map(|value| Some(f64::from(value))).collect();
        let recent = recent(&[("a", &values)]);
        assert_eq!(recent.line(Figure { of: "a", per: "" }), [Some(0.5), Some(4.0)]);
        let late = self::recent(&[("a", &[None, None, None, None, None, Some(7.0)])]);
        assert_eq!(late.line(Figure { of: "a", per: "" }), [None, Some(7.0)]);
    }
}
