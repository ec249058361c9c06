//! A configuration that is asked about requests, on a clock of its own.

use std::sync::Arc;
use std::time::Duration;

use karuta_bittorrent::http::Retry;

use super::judged::{self, Judged};
use super::recalled::Recalled;
use super::request::{self, Buffers, Site};
use crate::config::RateLimits;
use crate::decisions::{SWARM_LIMITS, TRACKER_LIMITS};
use crate::exchange::{Exchange, Ruling};
use crate::limits::Limiter;
use crate::metrics::{Metrics, Outcome};
use crate::policy::{Chain, Clock, Generation, LoadError};
use crate::recording::Record;
use crate::tracker::{Settings, TOO_MANY};

/// What a stage is made of. The policies have been loaded with this clock and these swarms, and share
/// nothing with others that serve.
pub struct Parts {
    pub generation: Generation,
    pub clock: Clock,
    pub swarms: Arc<Recalled>,
    pub settings: Settings,
    pub limits: RateLimits,
    pub max_scrape: usize,
    /// In the order of the daemon's listeners.
    pub sites: Vec<Site>,
}

/// A configuration, asked about requests in their order.
pub struct Stage {
    parts: Parts,
    /// As of a tracker's workers.
    chains: Vec<Chain>,
    limits: Option<Limiter>,
    exchange: Box<Exchange>,
    buffers: Buffers,
    /// Why the last request could not be read.
    unread: String,
}

/// What a stage says about a request.
pub struct After<'a> {
    pub judged: Judged<'a>,
    /// With what each policy said.
    pub exchange: &'a Exchange,
}

impl Stage {
    /// Makes the instances of so many workers.
    ///
    /// # Errors
    ///
    /// The first policy whose instance cannot be created, and why.
    pub fn new(parts: Parts, workers: usize) -> Result<Self, LoadError> {
        let metrics = Metrics::new(Default::default);
        let chain = |worker| {
            let mut chain = Chain::default();
            let nothing = Generation::default();
            let links =
                parts.generation.prepare(&nothing, worker as u32, workers as u32, &metrics)?;
            chain.adopt(links, false);
            Ok(chain)
        };
        let chains = (0..workers.max(1)).map(chain).collect::<Result<_, LoadError>>()?;
        let limits = Limiter::starting_at(&parts.limits, parts.clock.now());
        let (exchange, buffers) = Default::default();
        Ok(Self { parts, chains, limits, exchange, buffers, unread: String::new() })
    }

    /// Says what becomes of a request. Requests are asked about in their order.
    pub(super) fn ask<'a>(&'a mut self, record: &Record<'a>) -> After<'a> {
        let Self { parts, exchange, buffers, .. } = self;
        parts.clock.stand_at(Duration::from_micros(record.time));
        match request::read(record, &parts.sites, parts.max_scrape, exchange, buffers) {
            Ok(carries) => {
                self.decide(record, carries);
                self.settle(record)
            }
            Err(error) => {
                self.unread = error.to_string();
                exchange.trace.clear();
                let judged = Judged {
                    outcome: Outcome::Invalid,
                    decided_by: "",
                    reason: judged::cut(&self.unread),
                    intervals: [0; 2],
                };
                After { judged, exchange: &self.exchange }
            }
        }
    }

    fn decide(&mut self, record: &Record, carries: u32) {
        let Self { parts, chains, limits, exchange, buffers, .. } = self;
        let now = parts.clock.now();
        exchange.begin(now, true);
        exchange.trace.clear();
        reset(exchange, parts.settings, carries);
        let client = exchange.request.client;
        if limits.as_ref().is_some_and(|limits| !limits.admit(client, now)) {
            exchange.answer.fail(TOO_MANY, Retry::Minutes(1));
            exchange.answer.ruling = Ruling::Rejected;
            return;
        }
        // A recording of more workers than a tracker has is no recording of ours.
        let worker = usize::from(record.worker) % chains.len();
        let chain = &mut chains[worker];
        if !record.is_scrape {
            let info_hash = exchange.request.announce.info_hash;
            parts.swarms.begin(info_hash, record.seen);
            chain.announce(std::slice::from_mut(exchange));
            if let Some(counts) = record.counts {
                parts.swarms.end(info_hash, counts);
            }
            return;
        }
        for info_hash in &buffers.info_hashes {
            exchange.request.announce.info_hash = *info_hash;
            reset(exchange, parts.settings, 0);
            exchange.trace.clear();
            parts.swarms.begin(*info_hash, None);
            chain.scrape(exchange);
            if !matches!(exchange.answer.ruling, Ruling::Open | Ruling::Accepted) {
                return;
            }
        }
    }

    /// Returns what was decided.
    fn settle<'a>(&'a self, record: &Record<'a>) -> After<'a> {
        let answer = &self.exchange.answer;
        let outcome = match answer.ruling {
            Ruling::Open | Ruling::Accepted => Outcome::Ok,
            Ruling::Rejected => Outcome::Rejected,
            Ruling::Dropped => Outcome::Dropped,
        };
        let is_ok = outcome == Outcome::Ok;
        let limit = if is_ok { "" } else { TRACKER_LIMITS };
        let reason = answer.extras.read().failure.as_deref().filter(|_| !is_ok);
        let has_intervals = is_ok && !record.is_scrape;
        let mut judged = Judged {
            outcome,
            decided_by: answer.decided_by.as_deref().unwrap_or(limit),
            reason: judged::cut(reason.unwrap_or_default()),
            intervals: if has_intervals { [answer.interval, answer.min_interval] } else { [0; 2] },
        };
        if is_ok && record.decided_by == SWARM_LIMITS {
            // How full the swarms were is not recorded: what they refused, they refuse.
            judged = judged::of_record(record);
        }
        After { judged, exchange: &self.exchange }
    }
}

fn reset(exchange: &mut Exchange, settings: Settings, carries: u32) {
    let Settings { interval, min_interval, default_num_want, max_num_want } = settings;
    let wanted = exchange.request.announce.num_want.unwrap_or(default_num_want);
    exchange.answer.reset(interval, min_interval, wanted.min(max_num_want).min(carries));
}
