//! Look-ups: edits first, then the newest good version.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::Guard;
use ipnet::IpNet;

use super::source::{Content, DataSource};
use crate::edits::{Base, Overlay};
use crate::entry::{Entry, Key};

impl DataSource {
    /// Returns what edits say, unless there are none.
    pub(super) fn overlay(&self) -> Option<Guard<Arc<Overlay>>> {
        let overlay = self.edits()?.overlay();
        (!overlay.is_empty()).then_some(overlay)
    }

    /// Returns whether an info-hash is listed.
    pub fn has_info_hash(&self, info_hash: &[u8; 20]) -> bool {
        let edited = self.overlay().and_then(|overlay| overlay.info_hash(info_hash));
        edited.unwrap_or_else(|| match self.current().as_deref().map(|current| &current.content) {
            Some(Content::InfoHashes(set)) => set.contains(info_hash),
            _ => false,
        })
    }

    /// Returns whether a text is listed.
    pub fn has_string(&self, text: &str) -> bool {
        let edited = self.overlay().and_then(|overlay| overlay.text(text));
        edited.unwrap_or_else(|| match self.current().as_deref().map(|current| &current.content) {
            Some(Content::Strings(set)) => set.contains(text),
            _ => false,
        })
    }

    /// Returns the narrowest listed range around an address, with its value.
    pub fn find_address(&self, address: IpAddr) -> Option<(IpNet, u64)> {
        let overlay = self.overlay();
        let edited = |range: &IpNet| {
            overlay.as_ref().is_some_and(|overlay| overlay.edit(&Key::Range(*range)).is_some())
        };
        let read = match self.current().as_deref().map(|current| &current.content) {
            Some(Content::Addresses(set)) => set.find(address, edited),
            _ => None,
        };
        let added = overlay.as_ref().and_then(|overlay| overlay.find(address));
        read.into_iter().chain(added).max_by_key(|(range, _)| range.prefix_len())
    }

    /// Returns the entry that lists something: its own, or of an address the narrowest range around
    /// it.
    pub fn find(&self, key: &Key) -> Option<Entry> {
        if let Key::Range(range) = key
            && range.prefix_len() == range.max_prefix_len()
        {
            let (range, value) = self.find_address(range.addr())?;
            return Some(Entry { key: Key::Range(range), value });
        }
        let edited = self.overlay().and_then(|overlay| overlay.edit(key));
        let value = edited.unwrap_or_else(|| self.value(key).flatten())?;
        Some(Entry { key: key.clone(), value })
    }
}

impl Base for DataSource {
    fn value(&self, key: &Key) -> Option<Option<u64>> {
        let current = self.current();
        Some(match (&current.as_ref()?.content, key) {
            (Content::InfoHashes(set), Key::InfoHash(hash)) => set.contains(hash).then_some(0),
            (Content::Strings(set), Key::Text(text)) => set.contains(text).then_some(0),
            (Content::Addresses(set), Key::Range(range)) => set.value(range),
            _ => None,
        })
    }
}
