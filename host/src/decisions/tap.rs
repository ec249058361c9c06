//! Taps: decisions as they are made, for somebody who watches for a while.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arc_swap::ArcSwap;
use bytes::Bytes;
use ipnet::IpNet;
use karuta_bittorrent::InfoHash;
use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

use super::Decisions;
use super::decision::{Entry, Mask};
use super::line;
use crate::exchange::Exchange;
use crate::metrics::Outcome;

/// The most taps at once.
const MOST: usize = 4;
/// The most lines of a tap that wait for its reader.
const WAITING: usize = 1024;

/// The open taps.
#[derive(Default)]
pub struct Taps {
    /// What the workers read.
    filters: ArcSwap<[Option<Filter>; MOST]>,
    open: Mutex<[Option<Open>; MOST]>,
}

/// What a tap shows: what all that is set agrees with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    pub from: Option<IpNet>,
    /// Any of these.
    pub outcomes: Vec<Outcome>,
    pub info_hash: Option<InfoHash>,
    /// A policy that decided, or would have; or a limit that decided.
    pub policy: Option<String>,
}

struct Open {
    lines: Sender<Bytes>,
    /// Lines that found no room since the last that did.
    dropped: u64,
}

/// An open tap. Dropping it closes it.
pub struct Tap {
    pub lines: Receiver<Bytes>,
    place: usize,
    decisions: Arc<Decisions>,
}

impl Filter {
    fn admits(&self, exchange: &Exchange, outcome: Outcome, decided_by: Option<&str>) -> bool {
        let Self { from, outcomes, info_hash, policy } = self;
        let concerns = |policy: &String| {
            let mut shadows = exchange.trace.get().into_iter().flat_map(|trace| trace.shadows());
            decided_by == Some(policy) || shadows.any(|(name, _, _)| name == policy)
        };
        from.is_none_or(|from| from.contains(&exchange.request.client))
            && outcomes.contains(&outcome)
            && info_hash.is_none_or(|hash| hash == exchange.request.announce.info_hash)
            && policy.as_ref().is_none_or(concerns)
    }
}

impl Taps {
    /// Returns a bit for each tap that wants a decision. Called by workers.
    pub(super) fn that_want(
        &self,
        exchange: &Exchange,
        outcome: Outcome,
        decided_by: Option<&str>,
    ) -> u8 {
        let filters = self.filters.load();
        let wanting = filters.iter().enumerate().filter(|(_, filter)| {
            filter.as_ref().is_some_and(|filter| filter.admits(exchange, outcome, decided_by))
        });
        wanting.map(|(place, _)| 1 << place).sum()
    }

    /// Sends a decision to the taps that want it. One whose reader is behind misses it, and is told.
    pub(super) fn send(&self, entry: &Entry) {
        let mut line = None;
        for (place, open) in self.open.lock().iter_mut().enumerate() {
            let Some(open) = open.as_mut().filter(|_| entry.decision.wanted.taps >> place & 1 == 1)
            else {
                continue;
            };
            let line = line.get_or_insert_with(|| {
                let mut bytes = Vec::new();
                line::write(&mut bytes, &entry.shown(Mask::NONE));
                Bytes::from(bytes)
            });
            if open.dropped > 0 {
                let told = Bytes::from(format!("{{\"dropped\":{}}}\n", open.dropped));
                if open.lines.try_send(told).is_ok() {
                    open.dropped = 0;
                }
            }
            if let Err(TrySendError::Full(_)) = open.lines.try_send(line.clone()) {
                open.dropped += 1;
            }
        }
    }
}

impl Decisions {
    /// Opens a tap, unless there are too many. Decisions from now on are shown.
    pub fn tap(self: &Arc<Self>, filter: Filter) -> Option<Tap> {
        let mut open = self.taps.open.lock();
        let place = open.iter().position(Option::is_none)?;
        let (sender, lines) = channel(WAITING);
        open[place] = Some(Open { lines: sender, dropped: 0 });
        self.change_filter(place, Some(filter));
        Some(Tap { lines, place, decisions: self.clone() })
    }

    /// Changes the filter of a tap. The taps are locked.
    fn change_filter(&self, place: usize, filter: Option<Filter>) {
        let mut filters = (**self.taps.filters.load()).clone();
        filters[place] = filter;
        let are_tapped = filters.iter().any(Option::is_some);
        self.taps.filters.store(Arc::new(filters));
        self.watched.store(are_tapped || self.rules.get().is_some(), Relaxed);
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        {
            let _open = self.decisions.taps.open.lock();
            self.decisions.change_filter(self.place, None);
        }
        // What the workers have noted for it must not be shown by the next one at its place.
        self.decisions.read();
        self.decisions.taps.open.lock()[self.place] = None;
    }
}
