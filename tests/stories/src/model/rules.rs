//! Which peers a tracker gives, as simply as it can be said.

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use super::{ORIGIN, Shape};

/// How peers are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// Any.
    Random,
    /// Of the own rack first, and a share of far ones.
    Near {
        /// The share of far peers in each answer.
        far_percent: usize,
    },
    /// As before, but only so many hosts of a rack get far peers, and are given to far ones.
    Gateways {
        /// Of a rack.
        count: usize,
        /// The share of far peers in the answer of a gateway.
        far_percent: usize,
        /// Whether far seeds come before far gateways.
        seeds_first: bool,
    },
}

/// A tracker and one swarm.
pub struct Tracker {
    shape: Shape,
    rule: Rule,
    /// Hosts that have the file.
    pub has_all: Vec<bool>,
    /// Hosts that have left.
    pub is_gone: Vec<bool>,
    /// Hosts that far ones may be given.
    is_open: Vec<bool>,
}

impl Tracker {
    pub fn new(shape: Shape, rule: Rule) -> Self {
        let mut has_all = vec![false; shape.all_hosts()];
        has_all[ORIGIN] = true;
        let is_open = vec![false; shape.all_hosts()];
        Self { shape, rule, has_all, is_gone: vec![false; shape.all_hosts()], is_open }
    }

    /// Enters a host without giving it peers.
    pub fn join(&mut self, host: usize) {
        self.is_open[host] = self.is_gateway(host);
    }

    /// Answers a host that wants this many peers.
    pub fn ask(&mut self, host: usize, want: usize, rng: &mut SmallRng) -> Vec<usize> {
        self.join(host);
        let rack = self.shape.rack(host);
        let mut others: Vec<_> = (0..self.shape.all_hosts())
            .filter(|&other| other != host && !self.is_gone[other])
            .filter(|&other| !(self.has_all[host] && self.has_all[other]))
            .collect();
        others.shuffle(rng);
        let is_near = |other: &usize| self.shape.rack(*other) == rack;
        let (mut near, mut far): (Vec<_>, Vec<_>) = others.iter().copied().partition(is_near);
        near.sort_by_key(|&other| !self.has_all[other]);
        let far_percent = match self.rule {
            Rule::Random => {
                others.truncate(want);
                return others;
            }
            Rule::Near { far_percent } => {
                far.sort_by_key(|&other| !self.has_all[other]);
                far_percent
            }
            Rule::Gateways { far_percent, seeds_first, .. } => {
                far.retain(|&other| self.is_open[host] && self.is_open[other]);
                let brings_in = |other: &usize| self.is_open[*other] || self.has_all[*other];
                if let Some(first) = near.iter().position(brings_in).filter(|_| !self.is_open[host])
                {
                    near.swap(0, first);
                }
                if seeds_first {
                    far.sort_by_key(|&other| !self.has_all[other]);
                }
                far_percent
            }
        };
        let share = (want * far_percent).div_ceil(100).min(far.len());
        near.truncate(want - share);
        far.truncate(want - near.len());
        [near, far].concat()
    }

    /// Returns whether a host may know far ones: it has the file, or too few others of its rack are
    /// known to far ones or have it.
    fn is_gateway(&self, host: usize) -> bool {
        let Rule::Gateways { count, .. } = self.rule else { return true };
        let usable = (0..self.shape.all_hosts()).filter(|&other| {
            let is_near = other != host && self.shape.rack(other) == self.shape.rack(host);
            is_near && !self.is_gone[other] && (self.is_open[other] || self.has_all[other])
        });
        self.has_all[host] || usable.count() < count
    }
}
