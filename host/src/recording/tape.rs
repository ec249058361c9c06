//! A worker's end of its ring.

use std::time::{Duration, Instant};

use karuta_bittorrent::Counts;

use super::record::{LONGEST_HEAD, Record};
use super::ring::Writer;
use crate::exchange::{Exchange, Ruling};
use crate::metrics::Outcome;
use crate::time;

/// Writes records of one worker's requests, without ever waiting.
pub struct Tape {
    ring: Writer,
    worker: u16,
    generation: u32,
    /// The time of the last request, which those that came with it have, too: on both clocks.
    now: Option<(Instant, u64)>,
    /// The size of the last record in bytes.
    last: usize,
    /// Buffers.
    head: Box<[u8; LONGEST_HEAD]>,
    target: Vec<u8>,
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
        let head = Box::new([0; LONGEST_HEAD]);
        Self { ring, worker, generation: 0, now: None, last: 0, head, target: Vec::new() }
    }

    /// Sets the generation of later records.
    pub fn adopt(&mut self, generation: u64) {
        self.generation = generation as u32;
    }

    /// Fetches the memory of a record that will be written soon, after so many others.
    pub fn expect(&self, others: usize) {
        self.ring.expect(others * self.last, self.last);
    }

    /// Records a request that has been answered after `took`. `counts` are those of the swarm after an
    /// announce; `limit` is what has refused a request that no policy has.
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
        let head = record.write_head(&mut self.head);
        let request = match came {
            Came::Udp(packet) => packet,
            Came::Http => {
                self.target.clear();
                if let Some(target) = request.target.get() {
                    target.write(&mut self.target);
                }
                &self.target
            }
        };
        self.ring.push(&self.head[..head], request);
        self.last = head + request.len();
    }
}
