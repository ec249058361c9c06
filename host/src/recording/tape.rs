//! A worker's end of its ring.

use std::time::{Duration, Instant};

use karuta_bittorrent::Counts;

use super::record::Record;
use super::ring::Writer;
use crate::exchange::{Exchange, Ruling, Target};
use crate::metrics::Outcome;
use crate::time;

/// Writes records of one worker's requests, without ever waiting.
pub struct Tape {
    ring: Writer,
    worker: u16,
    generation: u32,
    /// The time of the last request, which those that came with it have, too: on both clocks.
    now: Option<(Instant, u64)>,
}

/// A request as it came.
#[derive(Clone, Copy)]
pub enum Came<'a> {
    Udp(&'a [u8]),
    /// Target and headers are in the exchange.
    Http,
}

impl Tape {
    pub(super) fn new(ring: Writer, worker: u16) -> Self {
        Self { ring, worker, generation: 0, now: None }
    }

    /// Sets the generation of later records.
    pub fn adopt(&mut self, generation: u64) {
        self.generation = generation as u32;
    }

    /// Records a request that was decided after `took`. Others see it when it is published. `counts` are
    /// those of the swarm after an announce; `limit` is what has refused a request that no policy has.
    pub fn write(
        &mut self,
        exchange: &Exchange,
        came: Came,
        is_scrape: bool,
        counts: Option<Counts>,
        limit: &'static str,
        took: Duration,
    ) {
        let Exchange { request, answer, now, .. } = exchange;
        let time = match self.now {
            Some((moment, time)) if moment == *now => time,
            _ => u64::try_from(time::at(*now).as_micros()).unwrap_or(u64::MAX),
        };
        self.now = Some((*now, time));
        let outcome = match answer.ruling {
            Ruling::Open | Ruling::Accepted => Outcome::Ok,
            Ruling::Rejected => Outcome::Rejected,
            Ruling::Dropped => Outcome::Dropped,
        };
        let is_refused = outcome != Outcome::Ok;
        let decided_by = answer.decided_by.as_deref().or(is_refused.then_some(limit));
        let reason = answer.extras.read().failure.as_deref().filter(|_| is_refused);
        let record = Record {
            time,
            took: u32::try_from(took.as_micros()).unwrap_or(u32::MAX),
            worker: self.worker,
            listener: request.listener,
            generation: self.generation,
            transport: request.transport,
            is_scrape,
            outcome,
            proxied: request.proxied,
            overridden: request.overridden,
            client: request.client,
            interval: if is_scrape { 0 } else { answer.interval },
            min_interval: if is_scrape { 0 } else { answer.min_interval },
            counts,
            seen: exchange.seen,
            account: request.account,
            decided_by: decided_by.unwrap_or_default(),
            reason: reason.unwrap_or_default(),
            request: &[],
        };
        self.ring.push(|out| {
            record.write_head(out);
            match (came, request.target.get()) {
                (Came::Udp(packet), _) => out.put(packet),
                (Came::Http, Some(target)) => target.write(|bytes| out.put(bytes)),
                (Came::Http, None) => {}
            }
        });
    }

    /// Fetches the bytes of a request whose record is written soon.
    pub fn fetch(exchange: &Exchange, came: Came) {
        let target = exchange.request.target.get();
        karuta_fetch::slice(match came {
            Came::Udp(packet) => packet,
            Came::Http => target.map_or(b"", Target::path_and_query),
        });
    }

    /// Lets others see what was written.
    pub fn publish(&mut self) {
        self.ring.publish();
    }
}
