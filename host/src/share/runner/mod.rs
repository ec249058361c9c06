//! One part while it is shared: a sender and a reader, with at most one request each under way.

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use karuta_swarm::{Arrival, Part, Seconds, Shared};
use tokio::time::sleep;

use super::connection::SILENCE;
use super::engine::{End, Entry, EntryId, Failure, Log};
use super::progress::Gate;
use crate::metrics::{Direction, PartSeries, Share, ShareError};

/// What all parts have in common.
pub struct Common<E> {
    pub engine: E,
    pub store: Arc<Shared>,
    pub share: Arc<Share>,
    pub gate: Gate,
    pub every: Duration,
    pub lifetime: Duration,
    /// When the clock of the store began.
    pub start: Instant,
    /// Until when the store has everything, if it has restored a snapshot.
    pub restored: Option<Instant>,
}

/// A part that is sent and read.
pub struct Runner<E> {
    common: Rc<Common<E>>,
    number: usize,
    part: RefCell<Part>,
    /// The engine's clock, once it is known.
    clock: Cell<Option<Clock>>,
    /// Something has failed: the log may end before what was read.
    is_in_doubt: Cell<bool>,
    succeeded: Cell<Instant>,
    sizes: Cell<Sizes>,
    /// How many entries are read at once.
    most: Cell<usize>,
    is_ending: Cell<bool>,
}

/// The engine's clock, in milliseconds since 1970, as it was at a time.
#[derive(Clone, Copy)]
struct Clock {
    milliseconds: u64,
    at: Instant,
}

/// The sizes of entries that were read since it was last looked where the log ends.
#[derive(Clone, Copy, Default)]
struct Sizes {
    entries: u64,
    bytes: u64,
    /// The mean, before that.
    mean: f64,
}

/// How far a log has been read.
struct Position {
    /// The id after which it goes on.
    after: EntryId,
    /// The newest entry that was read.
    newest: Option<EntryId>,
    /// The newest entry that was ever read.
    newest_ever: Option<EntryId>,
    /// When the log was last known to have all that was read.
    looked: Instant,
    /// How far it had been read at times a second apart, from before the last [`BACK`] on.
    trail: VecDeque<(Instant, EntryId)>,
}

/// What was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sent {
    /// There is nothing to send.
    Nothing,
    /// A batch that is small and new.
    Little,
    /// A large batch, or one that was sent before: more may have waited for long.
    Much,
}

/// How often is looked where the log ends, and what the engine's clock shows.
const LOOK: Duration = Duration::from_secs(5);
/// The most entries that are read at once.
const MOST: usize = 64;
/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(100);
/// A batch of so many bytes may be followed by another at once.
const LARGE: usize = 32 << 10;
/// How much of a log is read again, at least, where it may have changed.
const MARGIN: Duration = Duration::from_secs(1);
/// How much of what was read may be read again after a failure.
const BACK: Duration = Duration::from_secs(Part::BACK as u64);
/// The least time between two steps of a trail.
const STEP: Duration = Duration::from_secs(1);
/// How much of a log is read that a snapshot should contain: it was announced, and not sent yet.
const BEFORE_SNAPSHOT: Duration = Duration::from_secs(60);

impl<E: Log> Runner<E> {
    pub fn new(common: Rc<Common<E>>, mut part: Part) -> Self {
        // Nothing is sent before the log has been read.
        part.failed(&common.store);
        Self {
            common,
            number: part.number(),
            part: RefCell::new(part),
            clock: Cell::default(),
            is_in_doubt: Cell::new(false),
            succeeded: Cell::new(Instant::now()),
            sizes: Cell::default(),
            most: Cell::new(MOST),
            is_ending: Cell::default(),
        }
    }

    /// Sends what waits, until nothing waits after [`end`](Self::end).
    pub async fn send(&self) {
        loop {
            let sent = self.send_next().await;
            let is_all = sent == Ok(Sent::Nothing) && self.part.borrow().waiting().records == 0;
            if self.is_ending.get() && (is_all || !self.common.gate.is_open()) {
                return;
            }
            let pause = match sent {
                Ok(Sent::Much) => Duration::ZERO,
                Ok(_) => self.common.every,
                Err(_) => self.common.every.max(PAUSE),
            };
            sleep(pause).await;
        }
    }

    /// Lets the sender end when all has come back. Nobody announces any more.
    pub fn end(&self) {
        self.is_ending.set(true);
    }

    /// Reads the log and applies it, until it is dropped.
    pub async fn read(&self) {
        let mut position = None;
        loop {
            let pause = match self.read_next(&mut position).await {
                Ok(true) => self.common.every,
                Ok(false) => Duration::ZERO,
                Err(_) => self.common.every.max(PAUSE),
            };
            sleep(pause).await;
        }
    }

    /// Sends the next batch, if there is one.
    async fn send_next(&self) -> Result<Sent, Failure> {
        let (batch, is_again) = {
            let mut part = self.part.borrow_mut();
            if !self.common.gate.is_open() {
                part.failed(&self.common.store);
            }
            let again = part.sent().again;
            let batch = part.next(&self.common.store, self.now());
            (batch, part.sent().again > again)
        };
        self.show();
        let (Some(batch), Some(clock)) = (batch, self.clock.get()) else {
            if self.part.borrow().waiting().records == 0 {
                self.series().sent(Instant::now());
            }
            return Ok(Sent::Nothing);
        };
        let oldest = clock.now().saturating_sub(milliseconds(self.common.lifetime));
        match self.common.engine.append(self.number, &batch, oldest).await {
            Ok(()) => {
                self.part.borrow_mut().appended(self.now());
                self.series().sent(Instant::now());
                self.succeed(Direction::Append);
                let is_much = is_again || batch.len() >= LARGE;
                Ok(if is_much { Sent::Much } else { Sent::Little })
            }
            Err(failure) => self.fail(Direction::Append, failure),
        }
    }

    /// Reads the next entries. Returns whether the log ends with them.
    async fn read_next(&self, position: &mut Option<Position>) -> Result<bool, Failure> {
        if !self.common.gate.is_open() {
            return Ok(true);
        }
        let is_due = position.as_ref().is_none_or(|at| at.looked.elapsed() >= LOOK);
        if is_due || self.is_in_doubt.get() {
            let begin = Instant::now();
            match self.common.engine.end(self.number).await {
                Ok(end) => self.look(position, end, begin),
                Err(failure) => return self.fail(Direction::Read, failure),
            }
        }
        let Some(position) = position else { return Ok(true) };
        if self.part.borrow_mut().goes_back() {
            position.go_back();
        }
        let begin = Instant::now();
        let most = self.most.get();
        let entries = match self.common.engine.read(self.number, position.after, most).await {
            Ok(entries) => entries,
            Err(failure) => {
                // An answer may be too long for the time that it has.
                self.most.set((most / 2).max(1));
                return self.fail(Direction::Read, failure);
            }
        };
        self.succeed(Direction::Read);
        self.most.set((most * 2).min(MOST));
        let is_end = entries.len() < most;
        let mut sizes = self.sizes.get();
        for Entry { id, batch } in entries {
            // What is read again has been counted.
            let is_first = position.newest_ever.is_none_or(|newest| id > newest);
            self.apply(id, &batch, is_first);
            sizes.entries += 1;
            sizes.bytes += batch.len() as u64;
            position.after = id;
            position.newest = position.newest.max(Some(id));
            position.newest_ever = position.newest_ever.max(Some(id));
        }
        self.sizes.set(sizes);
        position.note(Instant::now());
        if is_end {
            self.part.borrow_mut().at_end(&self.common.store, self.now());
            if self.part.borrow().waiting().records == 0 {
                // All that was sent has come back, whatever the answers were.
                self.succeed(Direction::Append);
            }
            self.series().read(begin);
            self.common.gate.caught_up(self.number);
        }
        self.show();
        Ok(is_end)
    }

    /// Sets the clock, and goes back if the log ends before what was read.
    fn look(&self, position: &mut Option<Position>, end: End, begin: Instant) {
        let clock = Clock { milliseconds: end.now, at: begin };
        self.clock.set(Some(clock));
        self.is_in_doubt.set(false);
        let Sizes { entries, bytes, mean } = self.sizes.get();
        let mean = if entries > 0 { bytes as f64 / entries as f64 } else { mean };
        self.sizes.set(Sizes { mean, ..Sizes::default() });
        self.series().log.store((end.entries as f64 * mean).round() as u64, Relaxed);
        let back = |by: Duration| end.now.saturating_sub(milliseconds(by));
        match position {
            None => {
                let whole = self.common.lifetime;
                let missing = self.common.restored.map(|until| until.elapsed() + BEFORE_SNAPSHOT);
                let after = EntryId::at(back(missing.map_or(whole, |missing| missing.min(whole))));
                let trail = VecDeque::from([(begin, after)]);
                *position =
                    Some(Position { after, newest: None, newest_ever: None, looked: begin, trail });
            }
            Some(position) if position.newest.is_some_and(|newest| end.last < newest) => {
                // Others may have added to what is left of it since.
                let since = back(position.looked.elapsed() + MARGIN).min(end.last.milliseconds);
                tracing::warn!(
                    part = self.number,
                    read = %position.newest.unwrap_or_default(),
                    end = %end.last,
                    "log of shared swarms ends before what was read; reading it again from there"
                );
                self.part.borrow_mut().failed(&self.common.store);
                position.go_to(position.after.min(EntryId::at(since)));
                (position.newest, position.looked) = (None, begin);
            }
            Some(position) => position.looked = begin,
        }
    }

    fn apply(&self, id: EntryId, batch: &[u8], is_first: bool) {
        let now = self.clock.get().map_or(id.milliseconds, Clock::now);
        let age = now.saturating_sub(id.milliseconds);
        let arrival = Arrival {
            age: Seconds::try_from(age / 1000).unwrap_or(Seconds::MAX),
            now: self.now(),
            is_first,
        };
        let applied = self.part.borrow_mut().apply(&self.common.store, batch, arrival);
        match applied {
            Ok(applied) if !applied.is_own && is_first => {
                self.series().applied.fetch_add(applied.records, Relaxed);
                if !self.common.share.is_catching_up() {
                    self.common.share.lag(age);
                }
            }
            Err(refused) if is_first && self.common.share.refusal(refused) => {
                let part = self.number;
                tracing::warn!(part, %id, "cannot apply entry of shared swarms: {refused}");
            }
            _ => {}
        }
    }

    fn succeed(&self, direction: Direction) {
        self.succeeded.set(Instant::now());
        if let Some(lasted) = self.series().succeeded(direction) {
            let (part, milliseconds) = (self.number, milliseconds(lasted));
            tracing::info!(part, milliseconds, "in step with the log of shared swarms again");
        }
    }

    /// Records a failure, after which nobody knows what is in the log.
    fn fail<T>(&self, direction: Direction, failure: Failure) -> Result<T, Failure> {
        self.common.share.error(match direction {
            _ if failure.is_unconnected => ShareError::Connect,
            Direction::Append => ShareError::Append,
            Direction::Read => ShareError::Read,
        });
        if self.series().failed(direction, &failure.text) {
            let (part, reason) = (self.number, &failure.text);
            tracing::warn!(
                part,
                reason,
                "cut off from the log of shared swarms; serving what is known here"
            );
        }
        self.part.borrow_mut().failed(&self.common.store);
        self.is_in_doubt.set(true);
        self.common.gate.cut_off();
        if self.succeeded.get().elapsed() >= SILENCE {
            self.common.engine.renew();
        }
        Err(failure)
    }

    /// Shows the numbers of the part.
    fn show(&self) {
        let part = self.part.borrow();
        let (series, sent, waiting) = (self.series(), part.sent(), part.waiting());
        if sent.dropped > 0 && series.dropped.load(Relaxed) == 0 {
            let (part, records) = (self.number, sent.dropped);
            tracing::warn!(
                part,
                records,
                "dropped announces that others have not heard of, for the first time since the start: \
                 more waited than swarms.share.queue allows"
            );
        }
        series.sent.store(sent.first, Relaxed);
        series.again.store(sent.again, Relaxed);
        series.dropped.store(sent.dropped, Relaxed);
        series.waiting.store(waiting.bytes as u64, Relaxed);
    }

    fn series(&self) -> &PartSeries {
        &self.common.share.parts[self.number]
    }

    /// Returns the time of the store.
    fn now(&self) -> Seconds {
        Seconds::try_from(self.common.start.elapsed().as_secs()).unwrap_or(Seconds::MAX)
    }
}

impl Position {
    fn note(&mut self, now: Instant) {
        let is_old = |(at, _): &(Instant, EntryId)| now.duration_since(*at) >= BACK;
        if self.trail.back().is_none_or(|(at, _)| now.duration_since(*at) >= STEP) {
            self.trail.push_back((now, self.after));
        }
        while self.trail.get(1).is_some_and(is_old) {
            self.trail.pop_front();
        }
    }

    /// Goes back to where it was before the last [`BACK`].
    fn go_back(&mut self) {
        let now = Instant::now();
        let is_old = |(at, _): &(Instant, EntryId)| now.duration_since(*at) >= BACK;
        let olds = self.trail.iter().take_while(|step| is_old(step)).count();
        self.trail.truncate(olds.max(1));
        let before = self.trail.back().map_or(self.after, |(_, before)| *before);
        self.after = self.after.min(before);
    }

    /// Goes to an id before those that were read.
    fn go_to(&mut self, after: EntryId) {
        self.after = after;
        self.trail.iter_mut().for_each(|(_, before)| *before = after.min(*before));
    }
}

impl Clock {
    fn now(self) -> u64 {
        self.milliseconds.saturating_add(milliseconds(self.at.elapsed()))
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
