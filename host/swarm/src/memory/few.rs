//! Chooses peers by a plan among few.

use rand::Rng;

use super::choice::{Candidates, Own, Wanted};
use super::full::{Full, Place};
use super::labels::Labels;
use super::levels::{self, Levels, SORTED};
use super::list::List;
use super::pick::Pick;
use super::record::Record;
use super::rows::Rows;
use super::sample;
use crate::Locality;
use crate::locality::Reach;
use karuta_bittorrent::{Family, Peers};

/// The peers of both families, of which no wanted one has more than [`SORTED`].
pub struct Few<'a> {
    /// By family: IPv4, IPv6.
    levels: [Levels; 2],
    /// The rows that are given.
    given: [levels::List; 2],
    len: [usize; 2],
    reaches: [Option<&'a [Reach]>; 2],
}

impl<'a> Few<'a> {
    pub const NONE: Self =
        Self { levels: [Levels::EMPTY; 2], given: [[0; _]; 2], len: [0; 2], reaches: [None; 2] };

    /// Returns whether the wanted families have few peers.
    pub fn are_all(full: &Full, wanted: &Wanted) -> bool {
        let len4 = if wanted.only == Some(Family::Ipv6) { 0 } else { full.v4.records().len() };
        let len6 = if wanted.only == Some(Family::Ipv4) { 0 } else { full.v6.records().len() };
        len4.max(len6) <= SORTED
    }

    /// Sorts the peers other than `me`, which has just announced with this locality, into classes.
    pub fn sort(&mut self, full: &'a Full, me: Place, wanted: &Wanted, locality: &Locality) {
        let [levels4, levels6] = &mut self.levels;
        self.reaches = [full.v4.labels(), full.v6.labels()].map(|labels| labels?.reaches());
        if wanted.only != Some(Family::Ipv6) {
            sort(levels4, &full.v4, locality);
        }
        if wanted.only != Some(Family::Ipv4) {
            sort(levels6, &full.v6, locality);
        }
        match me {
            Place::V4(row) if wanted.only != Some(Family::Ipv6) => levels4.leave_out(row),
            Place::V6(row) if wanted.only != Some(Family::Ipv4) => levels6.leave_out(row),
            Place::V4(_) | Place::V6(_) | Place::Hidden(..) => {}
        }
    }

    /// Leaves out what is the announcing peer's own.
    pub fn leave_out(&mut self, full: &Full, own: Option<Own>) {
        let [levels4, levels6] = &mut self.levels;
        if let Some(own) = own {
            let (levels, rows) = match own.family {
                Family::Ipv4 => (levels4, full.v4.records().len()),
                Family::Ipv6 => (levels6, full.v6.records().len()),
            };
            (0..rows).filter(|row| own.has(*row)).for_each(|row| levels.leave_out(row));
        }
    }

    /// Appends the chosen peers.
    pub fn give(&self, full: &Full, peers: &mut Peers) {
        let Peers { ipv4, ipv6, ipv4_ids, ipv6_ids } = peers;
        let [count4, count6] = self.len;
        let [rows4, rows6] = &self.given;
        let rows4 = rows4[..count4].iter().map(|row| usize::from(*row));
        Candidates::of(&full.v4, false).copy(rows4, count4, ipv4, ipv4_ids);
        if count6 > 0 {
            let rows6 = rows6[..count6].iter().map(|row| usize::from(*row));
            Candidates::of(&full.v6, false).copy(rows6, count6, ipv6, ipv6_ids);
        }
    }

    /// Puts one of the rows from `first` that reach `beyond` a level before the others, each of them
    /// equally likely, and moves `first` behind it. Returns whether there is one.
    fn begin(&mut self, first: &mut [usize; 2], beyond: usize, rng: &mut impl Rng) -> bool {
        let (mut seen, mut chosen) = (0, None);
        for (family, reaches) in self.reaches.into_iter().enumerate() {
            for at in first[family]..self.len[family] {
                let row = usize::from(self.given[family][at]);
                if reaches.is_none_or(|reaches| reaches[row].covers(beyond + 1)) {
                    if sample::draw(seen, rng) == 0 {
                        chosen = Some((family, at));
                    }
                    seen += 1;
                }
            }
        }
        let Some((family, at)) = chosen else { return false };
        self.given[family].swap(first[family], at);
        first[family] += 1;
        true
    }

    /// Keeps as many of the `count` rows from `first`, every choice equally likely.
    fn keep(&mut self, mut first: [usize; 2], count: usize, places: usize, rng: &mut impl Rng) {
        for left in (count - places + 1..=count).rev() {
            let number = sample::draw(left as u32 - 1, rng) as usize;
            let of4 = self.len[0] - first[0];
            let family = usize::from(of4 <= number);
            let at = first[family] + number - of4 * family;
            self.given[family].swap(first[family], at);
            first[family] += 1;
        }
        self.len = first;
    }

    /// Removes as many of the `count` rows from `first`, every choice equally likely.
    fn remove(&mut self, first: [usize; 2], count: usize, gone: usize, rng: &mut impl Rng) {
        for left in (count - gone + 1..=count).rev() {
            let number = sample::draw(left as u32 - 1, rng) as usize;
            let of4 = self.len[0] - first[0];
            let family = usize::from(of4 <= number);
            let at = first[family] + number - of4 * family;
            self.len[family] -= 1;
            self.given[family][at] = self.given[family][self.len[family]];
        }
    }
}

impl Pick for Few<'_> {
    fn available(&mut self, role: usize, level: usize, _: usize) -> usize {
        self.levels.iter().map(|levels| levels.count(role, level)).sum()
    }

    fn usable(&mut self, level: usize) -> usize {
        let families = self.levels.iter().zip(self.reaches);
        families.map(|(levels, reaches)| levels.usable(level, reaches)).sum()
    }

    fn pick(
        &mut self,
        (role, level): (usize, usize),
        places: usize,
        beyond: Option<usize>,
        rng: &mut impl Rng,
    ) -> usize {
        let [levels4, levels6] = &self.levels;
        let [given4, given6] = &mut self.given;
        let [first4, first6] = self.len;
        let end4 = levels4.list(role, level, given4, first4);
        let end6 = levels6.list(role, level, given6, first6);
        self.len = [end4, end6];
        let count = (end4 - first4) + (end6 - first6);
        if count <= places {
            return count;
        }
        let mut first = [first4, first6];
        let begun = beyond.is_some_and(|beyond| self.begin(&mut first, beyond, rng));
        let (count, left) = (count - usize::from(begun), places - usize::from(begun));
        if left < count / 2 {
            self.keep(first, count, left, rng);
        } else {
            self.remove(first, count, count - left, rng);
        }
        places
    }
}

fn sort<R: Record>(levels: &mut Levels, rows: &List<R>, locality: &Locality) {
    let labels = rows.labels();
    let reaches = labels.and_then(Labels::reaches);
    let labels = labels.map(Labels::column);
    levels.set(labels, reaches, rows.records().len(), rows.downloaders(), locality);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::super::label::DOWNLOADERS;
    use super::*;
    use crate::{Order, Plan, PlanId, PlanName};

    #[test]
    fn every_subset_of_a_class_is_equally_likely() {
        let plan = Plan::new(&[], Order::NearFirst, 0).unwrap();
        let locality = Locality { label: 0, plan, id: PlanId::of(PlanName(*b"nearness")) };
        let mut rng = SmallRng::seed_from_u64(7);
        // Of seven, in either family or in both.
        for [rows4, rows6] in [[7, 0], [0, 7], [3, 4]] {
            for (places, subsets) in [(1, 7), (2, 21), (4, 35), (6, 7)] {
                let mut times = HashMap::new();
                for _ in 0..1000 * subsets {
                    let mut few = Few::NONE;
                    few.levels[0].set(None, None, rows4, rows4, &locality);
                    few.levels[1].set(None, None, rows6, rows6, &locality);
                    assert_eq!(few.pick((DOWNLOADERS, 0), places, None, &mut rng), places);
                    let mut given: Vec<_> = few.given[0][..few.len[0]].to_vec();
                    given.extend(few.given[1][..few.len[1]].iter().map(|row| 100 + row));
                    given.sort_unstable();
                    given.dedup();
                    assert_eq!(given.len(), places);
                    *times.entry(given).or_insert(0_u32) += 1;
                }
                assert_eq!(times.len(), subsets);
                let chi_square: f64 =
                    times.values().map(|&n| (f64::from(n) - 1000.0).powi(2) / 1000.0).sum();
                let free = subsets as f64 - 1.0;
                let deviations = (chi_square - free) / (2.0 * free).sqrt();
                assert!(deviations < 4.5, "{rows4}, {rows6}, {places}: {deviations} deviations");
            }
        }
    }
}
