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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::sync::mpsc::channel;
    use std::sync::{Arc, Weak};

    use proptest::collection::{btree_map, btree_set};
    use proptest::prelude::*;

    use super::*;
    use crate::config::{DataFormat, EditMode};
    use crate::data::{Definition, Origin};
    use crate::edits::{Change, Edits, Journals};
    use crate::state_dir::StateDir;

    /// A list with edits, whose folder is removed at the end.
    struct Edited {
        _folder: tempfile::TempDir,
        source: Arc<DataSource>,
        edits: Arc<Edits>,
    }

    impl Edited {
        fn new(format: DataFormat, text: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let state = StateDir::open(Some(folder.path())).unwrap();
            let definition = Definition {
                policy: "p".into(),
                name: "d".into(),
                origin: Origin::File(PathBuf::new()),
                format,
                max_size: 1 << 20,
                required: false,
                edits: EditMode::On,
            };
            let journals = Journals::new(&state).unwrap();
            let edits = journals.edits(&definition.policy, &definition.name, format).unwrap();
            let source = Arc::new(DataSource::new(definition, Some(edits.clone())));
            let base: Weak<DataSource> = Arc::downgrade(&source);
            edits.add_base(base);
            edits.keep();
            source.take(text.as_bytes()).unwrap();
            Self { _folder: folder, source, edits }
        }

        fn change(&self, add: Vec<Entry>, remove: Vec<Key>) {
            let (done, finished) = channel();
            let (ttl, if_version, note) = (None, None, None);
            let change = Change { add, remove, ttl, if_version, who: "test".into(), note };
            self.edits.change(change, Box::new(move |result| drop(done.send(result))));
            finished.recv().unwrap().unwrap();
        }

        fn all(&self) -> Vec<String> {
            let (mut walk, mut text) = (self.source.walk(), Vec::new());
            while walk.next(&mut text) {}
            let mut lines: Vec<_> =
                String::from_utf8(text).unwrap().lines().map(str::to_owned).collect();
            lines.sort();
            lines
        }
    }

    fn range() -> impl Strategy<Value = IpNet> {
        let ipv4 = (0..4_u8, prop_oneof![Just(0_u8), 6..=8_u8, Just(32)])
            .prop_map(|(bits, prefix)| IpNet::new([bits, 0, 0, 1].into(), prefix));
        let ipv6 = (0..4_u16, prop_oneof![Just(0_u8), 14..=16_u8, Just(128)])
            .prop_map(|(bits, prefix)| IpNet::new([bits, 0, 0, 0, 0, 0, 0, 1].into(), prefix));
        prop_oneof![3 => ipv4, 1 => ipv6].prop_map(|range| range.unwrap().trunc())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn edited_ranges_are_found_like_those_of_a_file(
            read in btree_map(range(), 0..3_u64, 0..12),
            added in btree_map(range(), 0..3_u64, 0..6),
            removed in btree_set(range(), 0..6),
        ) {
            let entry = |(range, value): (&IpNet, &u64)| {
                Entry { key: Key::Range(*range), value: *value }
            };
            let text: String = read.iter().map(|read| format!("{}\n", entry(read))).collect();
            let list = Edited::new(DataFormat::Addresses, &text);
            let mut model: BTreeMap<IpNet, u64> = read.clone();
            let removed: Vec<IpNet> =
                removed.into_iter().filter(|range| !added.contains_key(range)).collect();
            model.extend(&added);
            model.retain(|range, _| !removed.contains(range));
            let keys = removed.iter().map(|range| Key::Range(*range)).collect();
            list.change(added.iter().map(entry).collect(), keys);
            let asked = read.keys().chain(added.keys()).chain(&removed);
            for address in asked.flat_map(|range| [range.network(), range.broadcast()]) {
                let around = model.iter().filter(|(range, _)| range.contains(&address));
                let narrowest = around.max_by_key(|(range, _)| range.prefix_len());
                let expected = narrowest.map(|(range, value)| (*range, *value));
                prop_assert_eq!(list.source.find_address(address), expected, "{}", address);
            }
            let mut all: Vec<_> = model.iter().map(|one| entry(one).to_string()).collect();
            all.sort();
            prop_assert_eq!(list.source.entries(), all.len());
            prop_assert_eq!(list.all(), all);
        }
    }

    #[test]
    fn texts_and_info_hashes_are_edited_alike() {
        let hash = |byte: u8| hex::encode([byte; 20]);
        let texts = ["-XL", "-SD", "-UT"].map(str::to_owned);
        for (format, [kept, gone, new]) in
            [(DataFormat::Strings, texts), (DataFormat::InfoHashes, [1, 2, 3].map(hash))]
        {
            let read = |text: &str| Entry::read(format, text).unwrap();
            let list = Edited::new(format, &format!("{kept}\n{gone}\n"));
            list.change(vec![read(&new)], vec![read(&gone).key]);
            let mut expected = [kept, new.clone()];
            expected.sort();
            assert_eq!(list.all(), expected);
            let (sum, count) = list.source.walk().digest();
            let other = Edited::new(format, &expected.join("\n"));
            assert_eq!((other.source.walk().digest(), count), ((sum, 2), 2));
            assert_eq!(list.source.find(&read(&new).key), Some(read(&new)));
            assert_eq!(list.source.find(&read(&gone).key), None);
            let is_listed = |key: &Key| match key {
                Key::Text(text) => list.source.has_string(text),
                Key::InfoHash(hash) => list.source.has_info_hash(hash),
                Key::Range(_) => false,
            };
            assert!(is_listed(&read(&new).key) && !is_listed(&read(&gone).key));
        }
    }
}
