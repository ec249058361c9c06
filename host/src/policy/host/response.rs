//! `karuta:policy/response`: changes to the answer, buffered until the hook returns.

use std::net::SocketAddr;
use std::time::Duration;

use karuta_bittorrent::http::Retry;

use crate::policy::bindings::imports::response::{Host, Place, Scope};
use crate::policy::exchange::Changes;
use crate::policy::state::State;
use crate::policy::values::{self, Address};

/// Bytes of a text that a client is shown.
const TEXT: usize = 1024;
/// Peers that one hook may add, and attributes that it may leave.
const ITEMS: usize = 256;

impl State {
    fn changes(&mut self) -> &mut Changes {
        let changes = &mut self.exchange.changes;
        changes.any = true;
        changes
    }
}

impl Host for State {
    fn fail(&mut self, reason: String) {
        self.changes().failure = Some(cut(reason));
    }

    fn retry_in(&mut self, minutes: Option<u32>) {
        self.changes().retry = Some(minutes.map_or(Retry::Never, Retry::Minutes));
    }

    fn warn(&mut self, message: String) {
        self.changes().warning = Some(cut(message));
    }

    fn interval(&mut self) -> u32 {
        self.exchange.answer.interval
    }

    fn min_interval(&mut self) -> u32 {
        self.exchange.answer.min_interval
    }

    fn set_interval(&mut self, seconds: u32) {
        let seconds = seconds.clamp(1, self.scope.max_interval);
        self.changes().interval = Some(seconds);
    }

    fn set_min_interval(&mut self, seconds: u32) {
        let seconds = seconds.clamp(1, self.scope.max_interval);
        self.changes().min_interval = Some(seconds);
    }

    fn set_num_want(&mut self, count: u32) {
        let count = count.min(self.scope.max_num_want);
        self.changes().num_want = Some(count);
    }

    fn add_peer(&mut self, address: Address, port: u16, place: Place) {
        let peer = SocketAddr::new(values::ip(address), port);
        let changes = self.changes();
        let list = match place {
            Place::First => &mut changes.first,
            Place::Mixed => &mut changes.mixed,
        };
        if list.len() < ITEMS {
            list.push(peer);
        }
    }

    fn set_attribute(&mut self, name: String, value: String) {
        let attributes = &mut self.changes().attributes;
        if attributes.len() < ITEMS {
            attributes.push((cut(name), cut(value)));
        }
    }

    fn hide(&mut self) {
        self.changes().hidden = true;
    }

    fn remember(&mut self, scope: Scope, seconds: u32) {
        self.call.remember = Some((scope, Duration::from_secs(seconds.into())));
    }
}

/// Cuts a text after [`TEXT`] bytes, between characters.
fn cut(mut text: String) -> String {
    if text.len() > TEXT {
        text.truncate(text.floor_char_boundary(TEXT));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("short".into()), "short");
        assert_eq!(cut("a".repeat(2000)).len(), TEXT);
        let umlauts = cut(format!("x{}", "ü".repeat(1000)));
        assert_eq!(umlauts.len(), 1023);
        assert!(umlauts.ends_with('ü'));
    }
}
