//! Edits against a model, and journals of any bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use parking_lot::Mutex;
use proptest::collection::vec;
use proptest::prelude::*;

use super::journal::Record;
use super::plan::Plan;
use super::tests::{Given, change, key};
use super::*;

/// What may happen to a list.
#[derive(Clone, Debug)]
enum Event {
    Change { add: Vec<u8>, remove: Vec<u8>, ttl: Option<u64> },
    Withdraw,
    Replace(BTreeSet<u8>),
    Pass(u64),
    Compact,
}

fn event() -> impl Strategy<Value = Event> {
    let some = || vec(0..8_u8, 0..4);
    prop_oneof![
        4 => (some(), some(), prop::option::of(1..50_u64)).prop_map(|(add, remove, ttl)| {
            let remove = remove.into_iter().filter(|number| !add.contains(number)).collect();
            Event::Change { add, remove, ttl }
        }),
        1 => Just(Event::Withdraw),
        2 => prop::collection::btree_set(0..8_u8, 0..8).prop_map(Event::Replace),
        2 => (1..60_u64).prop_map(Event::Pass),
        1 => Just(Event::Compact),
    ]
}

/// The same by the rules alone: what the list says, and what edits say, until when.
#[derive(Default)]
struct Model {
    base: BTreeSet<u8>,
    edits: BTreeMap<u8, (bool, Option<u64>)>,
}

impl Model {
    fn holds(&self, number: u8) -> bool {
        let edit = self.edits.get(&number).map(|(is_listed, _)| *is_listed);
        edit.unwrap_or_else(|| self.base.contains(&number))
    }

    fn say(&mut self, number: u8, is_listed: bool, until: Option<u64>) {
        if self.base.contains(&number) == is_listed {
            self.edits.remove(&number);
        } else {
            self.edits.insert(number, (is_listed, until));
        }
    }
}

proptest! {
    #[test]
    fn edits_are_those_of_the_model(events in vec(event(), 1..30)) {
        let given = Arc::new(Given(Mutex::new(Some(BTreeSet::new()))));
        let bases: [Arc<dyn Base>; 1] = [given.clone()];
        let folder = tempfile::tempdir().unwrap();
        let folder = Arc::new(StateDir::open(Some(folder.path())).unwrap());
        let open = |now| {
            let mut journal = Journal::new(folder.clone(), "j".into(), DataFormat::Strings);
            let found = journal.open(now).unwrap();
            (journal, found)
        };
        let mut now = 1000;
        let (mut journal, found) = open(now);
        let (mut book, mut version) = (found.book, found.version);
        let mut model = Model::default();
        for event in events {
            let mut plan = Plan::new(&book, &bases, version, now);
            model.edits.retain(|_, (_, until)| until.is_none_or(|until| until > now));
            match &event {
                Event::Change { add, remove, ttl } => {
                    let ttl = ttl.map(Duration::from_millis);
                    plan.change(Change { ttl, ..change(add, remove) }).unwrap();
                    let until = ttl.map(|ttl| now + ttl.as_millis() as u64);
                    add.iter().for_each(|number| model.say(*number, true, until));
                    remove.iter().for_each(|number| model.say(*number, false, until));
                }
                Event::Withdraw => {
                    plan.withdraw("test".into());
                    model.edits.clear();
                }
                Event::Replace(listed) => {
                    *given.0.lock() = Some(listed.iter().copied().map(key).collect());
                    plan.rebase();
                    model.base.clone_from(listed);
                    model.edits.retain(|number, (is_listed, _)| listed.contains(number) != *is_listed);
                }
                Event::Pass(milliseconds) => now += milliseconds,
                Event::Compact => {}
            }
            let Plan { staged, records, version: next, .. } = plan;
            prop_assert!(records.is_empty() == (next == version));
            if !records.is_empty() {
                journal.append(&records, &book, version).unwrap();
            }
            version = next;
            for (key, edit) in staged {
                book.set(&key, edit, now);
            }
            if matches!(event, Event::Compact) {
                // A restart.
                let found;
                (journal, found) = open(now);
                prop_assert_eq!(found.version, version);
                book = found.book;
                model.edits.retain(|_, (_, until)| until.is_none_or(|until| until > now));
            }
            for number in 0..8 {
                let edit = book.get(&key(number)).map(|edit| edit.says.is_some());
                let base = given.value(&key(number)).flatten().is_some();
                prop_assert_eq!(edit.unwrap_or(base), model.holds(number));
            }
            prop_assert_eq!(book.len(), model.edits.len());
        }
    }

    #[test]
    fn no_journal_panics(bytes: Vec<u8>, whole: bool) {
        let folder = tempfile::tempdir().unwrap();
        let folder = Arc::new(StateDir::open(Some(folder.path())).unwrap());
        let open = || Journal::new(folder.clone(), "j".into(), DataFormat::Strings);
        let mut text = Vec::new();
        if whole {
            // Behind a good beginning.
            let mut journal = open();
            let found = journal.open(1).unwrap();
            let record = Record { add: vec!["a".into()], ..Record::default() };
            journal.append(&[record], &found.book, 0).unwrap();
            text = fs::read(folder.path().join("j")).unwrap();
        }
        text.extend(bytes);
        let path = folder.path().join("j");
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        let found = open().open(1).unwrap();
        prop_assert_eq!(found.book.len(), usize::from(whole));
    }
}
