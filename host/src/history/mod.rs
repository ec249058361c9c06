//! The last minutes and hours in numbers: series of values, second by second for a while and then
//! coarser, and marks of what changed.

mod packed;
mod ring;

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use self::ring::Ring;

/// All series, and the marks.
pub struct History {
    fine: Ring,
    coarse: Ring,
    marks: VecDeque<Mark>,
}

/// The value of a series at one time.
#[derive(Clone, PartialEq, Debug)]
pub struct Point {
    pub name: String,
    /// NaN: there is none.
    pub value: f64,
    pub fold: Fold,
}

/// What several values become in the coarser ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fold {
    Mean,
    Max,
}

/// Something that changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Mark {
    /// In seconds since 1970: that of the sample in which it was seen.
    pub time: u64,
    /// `reload`, `policy`, `list`, `certificate`, `snapshot` or `health`.
    pub kind: &'static str,
    pub text: String,
}

/// A length of time for which there are values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Span {
    /// Every second for 10 minutes.
    Minutes,
    /// Every 10 seconds for 6 hours.
    Hours,
}

/// Series in columns.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Series {
    pub step_seconds: u64,
    /// In seconds since 1970, strictly growing.
    pub times: Vec<u64>,
    /// By name, a value for each time. `None`: there was none.
    pub series: BTreeMap<String, Vec<Option<f64>>>,
    pub marks: Vec<Mark>,
}

/// All values of one time.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Sample {
    pub time: u64,
    pub values: BTreeMap<String, Option<f64>>,
}

/// How many seconds a value of the coarser ring is of.
const COARSE: u64 = 10;
/// The most marks.
const MARKS: usize = 200;

impl Span {
    /// Reads the name of a span: `10m` or `6h`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "10m" => Some(Self::Minutes),
            "6h" => Some(Self::Hours),
            _ => None,
        }
    }
}

impl Default for History {
    fn default() -> Self {
        let (fine, coarse) = (Ring::new(600), Ring::new(6 * 3600 / COARSE as usize));
        Self { fine, coarse, marks: VecDeque::new() }
    }
}

impl History {
    /// Adds the values of a second, and what changed in it. Returns the time under which they are
    /// kept, which is later than all before, even if the clock was set back.
    pub fn add(&mut self, now: u64, points: &[Point], changes: Vec<(&'static str, String)>) -> u64 {
        let time = self.fine.last().map_or(now, |last| now.max(last + 1));
        self.fine.push(time, points.iter().map(|point| (&*point.name, point.value)));
        let before = self.coarse.last().unwrap_or(0);
        if time >= before + COARSE {
            let folded = points.iter().map(|point| {
                (&*point.name, self.fine.fold(&point.name, point.fold, COARSE as usize))
            });
            self.coarse.push(time, folded);
        }
        for (kind, text) in changes {
            if self.marks.len() == MARKS {
                self.marks.pop_front();
            }
            self.marks.push_back(Mark { time, kind, text });
        }
        time
    }

    /// Returns the series of a span: those of these names that there are, or all.
    pub fn series(&self, span: Span, names: Option<&[&str]>) -> Series {
        let (ring, step_seconds) = match span {
            Span::Minutes => (&self.fine, 1),
            Span::Hours => (&self.coarse, COARSE),
        };
        let times = ring.times();
        let first = times.first().copied().unwrap_or_default();
        let marks = self.marks.iter().filter(|mark| mark.time >= first).cloned().collect();
        Series { step_seconds, times, series: ring.columns(names), marks }
    }

    /// Returns the time of the newest sample.
    pub fn newest(&self) -> Option<u64> {
        self.fine.last()
    }

    /// Returns the first sample after a time, with the changes that came with it.
    pub fn after(&self, time: u64) -> Option<(Sample, Vec<Mark>)> {
        let (time, values) = self.fine.after(time)?;
        let marks = self.marks.iter().filter(|mark| mark.time == time).cloned().collect();
        Some((Sample { time, values }, marks))
    }

    /// Returns about how many bytes the values take.
    #[cfg(test)]
    fn size(&self) -> usize {
        self.fine.size() + self.coarse.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(name: &str, value: f64, fold: Fold) -> Point {
        Point { name: name.into(), value, fold }
    }

    #[test]
    fn seconds_become_tens_of_seconds() {
        let mut history = History::default();
        for second in 0..20_u32 {
            let value = f64::from(second);
            let points = [point("rate", value, Fold::Mean), point("p99", value, Fold::Max)];
            assert_eq!(
                history.add(1000 + u64::from(second), &points, vec![]),
                1000 + u64::from(second)
            );
        }
        let fine = history.series(Span::Minutes, Some(&["rate", "no such series"]));
        assert_eq!(fine.times, (1000..1020).collect::<Vec<_>>());
        assert_eq!(fine.series.len(), 1);
        assert_eq!(fine.series["rate"][19], Some(19.0));
        let coarse = history.series(Span::Hours, None);
        assert_eq!((coarse.step_seconds, coarse.times), (10, vec![1000, 1010]));
        assert_eq!(coarse.series["rate"], [Some(0.0), Some(5.5)]);
        assert_eq!(coarse.series["p99"], [Some(0.0), Some(10.0)]);
    }

    #[test]
    fn times_grow_even_if_the_clock_is_set_back() {
        let mut history = History::default();
        let times = [1000, 1000, 500, 2000].map(|now| history.add(now, &[], vec![]));
        assert_eq!(times, [1000, 1001, 1002, 2000]);
    }

    #[test]
    fn what_was_missed_can_be_told_again() {
        let mut history = History::default();
        for second in 0..1000_u32 {
            let changes = if second == 998 { vec![("reload", "again".into())] } else { vec![] };
            history.add(second.into(), &[point("a", second.into(), Fold::Mean)], changes);
        }
        assert_eq!(history.newest(), Some(999));
        assert_eq!(history.after(0).unwrap().0.time, 400, "600 are kept");
        let (sample, marks) = history.after(997).unwrap();
        assert_eq!(sample.values["a"], Some(998.0));
        assert_eq!(marks, [Mark { time: 998, kind: "reload", text: "again".into() }]);
        assert_eq!(history.after(999), None);
        assert_eq!(history.series(Span::Minutes, None).marks.len(), 1);
    }

    #[test]
    fn six_hours_with_ten_policies_and_four_workers_take_less_than_a_mebibyte() {
        let mut history = History::default();
        let names = (0..24 + 10 * 9 + 4).map(|number| format!("policies.name-{number}.remembered"));
        let points: Vec<_> = names.map(|name| point(&name, 12_345.678, Fold::Mean)).collect();
        for second in 0..6 * 3600 + 100 {
            history.add(second, &points, vec![]);
        }
        let size = history.size();
        assert!(size < 1 << 20, "{size}");
        assert_eq!(history.series(Span::Hours, None).times.len(), 2160);
    }
}
