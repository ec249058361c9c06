//! The requests of a UDP socket that are under way, each with a transaction id.

use std::time::Instant;

use crate::client::Order;

pub struct Slots {
    /// The low byte of a transaction id is the index here.
    all: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// Distinguishes new transaction ids from earlier ones.
    turn: u32,
}

struct Slot {
    order: Order,
    sent: Instant,
    transaction: u32,
}

impl Slots {
    /// Creates `count` slots, at most 256.
    pub fn new(count: usize) -> Self {
        Self { all: (0..count).map(|_| None).collect(), free: (0..count).collect(), turn: 0 }
    }

    pub fn free(&self) -> usize {
        self.free.len()
    }

    pub fn busy(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// Returns the transaction id for a new request, or `None` if all slots are taken.
    pub fn take(&mut self, order: Order, now: Instant) -> Option<u32> {
        let at = self.free.pop()?;
        self.turn = self.turn.wrapping_add(1);
        let transaction = self.turn << 8 | at as u32;
        self.all[at] = Some(Slot { order, sent: now, transaction });
        Some(transaction)
    }

    /// Returns the request with this transaction id, or `None` if no such request is under way.
    pub fn give_back(&mut self, transaction: u32) -> Option<Order> {
        let at = (transaction & 0xff) as usize;
        let slot = self.all.get_mut(at)?.take_if(|slot| slot.transaction == transaction)?;
        self.free.push(at);
        Some(slot.order)
    }

    /// Gives up requests that were sent before an instant.
    pub fn give_up(&mut self, sent_before: Instant) -> Vec<Order> {
        let mut orders = Vec::new();
        for (at, slot) in self.all.iter_mut().enumerate() {
            if let Some(slot) = slot.take_if(|slot| slot.sent < sent_before) {
                self.free.push(at);
                orders.push(slot.order);
            }
        }
        orders
    }
}
