//! Series of one resolution, in columns.

use std::collections::{BTreeMap, VecDeque};

use super::Fold;
use super::packed::Packed;

/// The values of the last times.
pub struct Ring {
    most: usize,
    times: VecDeque<u64>,
    /// By name; each as long as the times.
    columns: BTreeMap<String, VecDeque<Packed>>,
}

/// The most series, so that policies which come and go do not fill the memory.
const MOST_SERIES: usize = 1000;

impl Ring {
    /// Keeps the last `most` times.
    pub fn new(most: usize) -> Self {
        Self { most, times: VecDeque::with_capacity(most), columns: BTreeMap::new() }
    }

    /// Adds the values of a time. Series that have none any more are forgotten with their last value.
    pub fn push<'a>(&mut self, time: u64, values: impl Iterator<Item = (&'a str, f64)>) {
        if self.times.len() == self.most {
            self.times.pop_front();
            for column in self.columns.values_mut() {
                column.pop_front();
            }
        }
        for (name, value) in values {
            if !self.columns.contains_key(name) {
                if self.columns.len() == MOST_SERIES {
                    continue;
                }
                let mut column = VecDeque::with_capacity(self.most);
                column.resize(self.times.len(), Packed::NONE);
                self.columns.insert(name.to_owned(), column);
            }
            if let Some(column) = self.columns.get_mut(name)
                && column.len() == self.times.len()
            {
                column.push_back(Packed::of(value));
            }
        }
        self.times.push_back(time);
        let length = self.times.len();
        self.columns.retain(|_, column| {
            let has_value = column.len() == length;
            if !has_value {
                column.push_back(Packed::NONE);
            }
            has_value || column.iter().any(|value| *value != Packed::NONE)
        });
    }

    /// Returns the last time.
    pub fn last(&self) -> Option<u64> {
        self.times.back().copied()
    }

    pub fn times(&self) -> Vec<u64> {
        self.times.iter().copied().collect()
    }

    /// Returns the series of these names, or all.
    pub fn columns(&self, names: Option<&[&str]>) -> BTreeMap<String, Vec<Option<f64>>> {
        let wanted = self.columns.iter().filter(|(name, _)| {
            let name: &str = name;
            names.is_none_or(|names| names.contains(&name))
        });
        let values = |column: &VecDeque<Packed>| column.iter().map(|value| value.get()).collect();
        wanted.map(|(name, column)| (name.clone(), values(column))).collect()
    }

    /// Returns the first time after `time`, and its values.
    pub fn after(&self, time: u64) -> Option<(u64, BTreeMap<String, Option<f64>>)> {
        let at = self.times.partition_point(|known| *known <= time);
        let time = *self.times.get(at)?;
        let value = |column: &VecDeque<Packed>| column.get(at).and_then(|value| value.get());
        Some((time, self.columns.iter().map(|(name, all)| (name.clone(), value(all))).collect()))
    }

    /// Folds the last values of a series; NaN if there are none.
    pub fn fold(&self, name: &str, fold: Fold, count: usize) -> f64 {
        let Some(column) = self.columns.get(name) else { return f64::NAN };
        let values: Vec<_> = column.iter().rev().take(count).filter_map(|one| one.get()).collect();
        match fold {
            Fold::Mean => values.iter().sum::<f64>() / values.len() as f64,
            Fold::Max => values.iter().copied().fold(f64::NAN, f64::max),
        }
    }

    #[cfg(test)]
    pub fn size(&self) -> usize {
        let columns = self
            .columns
            .iter()
            .map(|(name, column)| 2 * name.len() + column.capacity() * size_of::<Packed>() + 100);
        columns.sum::<usize>() + self.times.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_come_and_go() {
        let mut ring = Ring::new(3);
        let [a, b] = ["a".to_owned(), "b".to_owned()];
        ring.push(1, [(&*a, 1.0)].into_iter());
        ring.push(2, [(&*a, 2.0), (&*b, 20.0)].into_iter());
        ring.push(3, [(&*b, 30.0)].into_iter());
        let all = ring.columns(None);
        assert_eq!(all["a"], [Some(1.0), Some(2.0), None]);
        assert_eq!(all["b"], [None, Some(20.0), Some(30.0)]);
        ring.push(4, [(&*b, 40.0), (&*b, 50.0)].into_iter());
        assert_eq!(ring.columns(Some(&["b"]))["b"], [Some(20.0), Some(30.0), Some(40.0)]);
        ring.push(5, [(&*b, 50.0)].into_iter());
        assert_eq!(ring.times(), [3, 4, 5]);
        assert!(!ring.columns(None).contains_key(&a), "its last value is gone");
        assert_eq!(ring.fold(&b, Fold::Mean, 2), 45.0);
        assert!(ring.fold(&a, Fold::Max, 2).is_nan());
    }
}
