//! `karuta:policy/response`: changes to the answer, buffered until the hook returns.

use std::net::SocketAddr;
use std::time::Duration;

use karuta_bittorrent::http::Retry;
use wasmtime::component::HasData;

use crate::exchange::{Answer, Draft, Extras};
use crate::policy::contract::bindings::imports::response::{Host, Place, Scope};
use crate::policy::contract::values::{self, Address};
use crate::policy::shared::tracker::TrackerView;

/// The maximum size of a text for a client, in bytes.
const TEXT: usize = 1024;
/// The most peers that one hook may add, and the most attributes that it may set.
const ITEMS: usize = 256;

/// The answer, with the changes requested so far.
pub struct View<'a> {
    pub answer: &'a Answer,
    /// The changes of the current hook.
    pub draft: &'a mut Draft,
    pub tracker: &'a TrackerView,
    /// The scope and the duration for which the plugin wants its verdict to be remembered.
    pub remember: &'a mut Option<(Scope, Duration)>,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

impl View<'_> {
    fn draft(&mut self) -> &mut Draft {
        self.draft.any = true;
        self.draft
    }

    fn extras(&mut self) -> &mut Extras {
        self.draft().extras.make()
    }
}

impl Host for View<'_> {
    fn fail(&mut self, reason: String) {
        self.extras().failure = Some(cut(reason));
    }

    fn retry_in(&mut self, minutes: Option<u32>) {
        self.extras().retry = Some(minutes.map_or(Retry::Never, Retry::Minutes));
    }

    fn warn(&mut self, message: String) {
        self.extras().warning = Some(cut(message));
    }

    fn interval(&mut self) -> u32 {
        self.answer.interval
    }

    fn min_interval(&mut self) -> u32 {
        self.answer.min_interval
    }

    fn set_interval(&mut self, seconds: u32) {
        let seconds = seconds.clamp(1, self.tracker.max_interval);
        self.draft().interval = Some(seconds);
    }

    fn set_min_interval(&mut self, seconds: u32) {
        let seconds = seconds.clamp(1, self.tracker.max_interval);
        self.draft().min_interval = Some(seconds);
    }

    fn set_num_want(&mut self, count: u32) {
        let count = count.min(self.tracker.max_num_want);
        self.draft().num_want = Some(count);
    }

    fn add_peer(&mut self, address: Address, port: u16, place: Place) {
        let peer = SocketAddr::new(values::ip(address), port);
        let extras = self.extras();
        let list = match place {
            Place::First => &mut extras.first,
            Place::Mixed => &mut extras.mixed,
        };
        if list.len() < ITEMS {
            list.push(peer);
        }
    }

    fn set_attribute(&mut self, name: String, value: String) {
        let attributes = &mut self.extras().attributes;
        if attributes.len() < ITEMS {
            attributes.push((cut(name), cut(value)));
        }
    }

    fn hide(&mut self) {
        self.draft().hidden = true;
    }

    fn remember(&mut self, scope: Scope, seconds: u32) {
        *self.remember = Some((scope, Duration::from_secs(seconds.into())));
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
