//! Edits of a list, and journals that are damaged, moved, or of another format.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::TempDir;

use super::plan::Plan;
use super::*;
use crate::entry::Entry;

/// A list of which the test says what it holds; `None`: it has not been read.
#[derive(Default)]
pub struct Given(pub Mutex<Option<BTreeSet<Key>>>);

impl Base for Given {
    fn value(&self, key: &Key) -> Option<Option<u64>> {
        self.0.lock().as_ref().map(|listed| listed.contains(key).then_some(0))
    }
}

/// A state folder with a list of texts.
struct List {
    folder: TempDir,
    given: Arc<Given>,
    edits: Option<Arc<Edits>>,
}

pub fn key(number: u8) -> Key {
    Key::Text(format!("entry-{number}").into())
}

fn entry(number: u8) -> Entry {
    Entry { key: key(number), value: 0 }
}

pub fn change(add: &[u8], remove: &[u8]) -> Change {
    Change {
        add: add.iter().copied().map(entry).collect(),
        remove: remove.iter().copied().map(key).collect(),
        ttl: None,
        if_version: None,
        who: "test".into(),
        note: Some("ticket 41".into()),
    }
}

impl List {
    fn new(listed: &[u8]) -> Self {
        let given = Given(Mutex::new(Some(listed.iter().copied().map(key).collect())));
        let folder = tempfile::tempdir().unwrap();
        let mut list = Self { folder, given: Arc::new(given), edits: None };
        list.restart().unwrap();
        list
    }

    fn restart(&mut self) -> Result<(), String> {
        self.edits = None;
        let state = StateDir::open(Some(self.folder.path())).unwrap();
        // The thread of the last one may still be at its end.
        let journals = Journals::new(&state).unwrap();
        let edits = journals.edits(&"p".into(), &"d".into(), DataFormat::Strings)?;
        let base: Weak<Given> = Arc::downgrade(&self.given);
        edits.add_base(base);
        edits.keep();
        edits.rebase();
        self.edits = Some(edits);
        Ok(())
    }

    fn edits(&self) -> &Edits {
        self.edits.as_ref().unwrap()
    }

    fn ask(&self, change: Change) -> Result<Outcome, Refused> {
        let (done, finished) = channel();
        self.edits().change(change, Box::new(move |result| drop(done.send(result))));
        finished.recv().unwrap()
    }

    fn holds(&self, number: u8) -> bool {
        let edited = self.edits().overlay().edit(&key(number));
        edited.unwrap_or_else(|| self.given.value(&key(number)).flatten()).is_some()
    }

    fn listed(&self) -> Vec<u8> {
        (0..10).filter(|number| self.holds(*number)).collect()
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("lists/p.d.log")
    }

    fn files(&self) -> Vec<String> {
        let files = fs::read_dir(self.folder.path().join("lists")).unwrap();
        let mut names: Vec<_> =
            files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn an_edit_beats_the_list_until_it_says_the_same() {
    let list = List::new(&[1, 2]);
    let version = list.edits().version();
    let did = list.ask(change(&[1, 3], &[2, 4])).unwrap();
    assert_eq!(did, Outcome { version: version + 1, added: 1, removed: 1, unchanged: 2 });
    assert_eq!(list.listed(), [1, 3]);
    let again = list.ask(change(&[1, 3], &[2, 4])).unwrap();
    assert_eq!(again, Outcome { added: 0, removed: 0, unchanged: 4, ..did });
    // Back to what the list says.
    assert_eq!(list.ask(change(&[2], &[])).unwrap().added, 1);
    assert_eq!(list.edits().all().len(), 1);
    *list.given.0.lock() = Some([3, 5].map(key).into());
    list.edits().rebase();
    assert!(list.edits().overlay().is_empty(), "absorbed");
    assert_eq!(list.edits().version(), version + 3);
    *list.given.0.lock() = Some([5].map(key).into());
    list.edits().rebase();
    assert_eq!(list.listed(), [5], "the list has the last word by now");
}

#[test]
fn another_version_is_refused() {
    let list = List::new(&[]);
    let at = |if_version| Change { if_version: Some(if_version), ..change(&[1], &[]) };
    let version = list.edits().version();
    assert_eq!(list.ask(at(version - 1)), Err(Refused::Version(version)));
    assert_eq!(list.ask(at(version)).unwrap().version, version + 1);
    assert_eq!(list.ask(at(version)), Err(Refused::Version(version + 1)));
}

#[test]
fn while_the_list_has_not_been_read_everything_is_an_edit() {
    let list = List::new(&[]);
    *list.given.0.lock() = None;
    assert_eq!(list.ask(change(&[], &[1])).unwrap().removed, 1);
    *list.given.0.lock() = Some([1, 2].map(key).into());
    list.edits().rebase();
    assert_eq!(list.listed(), [2]);
}

#[test]
fn an_edit_with_a_term_ends_by_itself() {
    let mut list = List::new(&[1]);
    let ttl = Some(Duration::from_millis(1));
    let version = list.ask(Change { ttl, ..change(&[2], &[1]) }).unwrap().version;
    while !list.edits().overlay().is_empty() || list.edits().version() == version {
        std::thread::yield_now();
    }
    assert_eq!(list.listed(), [1]);
    assert_eq!(list.edits().ended(&key(2)).unwrap().says, Some(0));
    assert_eq!(list.edits().version(), version + 1);
    let hour = Some(Duration::from_hours(1));
    list.ask(Change { ttl: hour, ..change(&[2], &[]) }).unwrap();
    let until = list.edits().edit(&key(2)).unwrap().until;
    list.restart().unwrap();
    assert_eq!(list.edits().edit(&key(2)).unwrap().until, until);
    // Without a term, it is another edit.
    assert_eq!(list.ask(change(&[2], &[])).unwrap().added, 1);
    assert_eq!(list.edits().edit(&key(2)).unwrap().until, None);
}

#[test]
fn edits_are_kept_with_what_is_known_of_them() {
    let mut list = List::new(&[1]);
    list.ask(change(&[2], &[1])).unwrap();
    let before: BTreeMap<_, _> =
        list.edits().all().into_iter().map(|(key, edit)| (key, edit.since)).collect();
    let version = list.edits().version();
    for _ in 0..3 {
        list.restart().unwrap();
        let all = list.edits().all();
        assert!(all.iter().all(|(_, edit)| &*edit.who == "test"));
        assert!(all.iter().all(|(_, edit)| edit.note.as_deref() == Some("ticket 41")));
        let since = all.into_iter().map(|(key, edit)| (key, edit.since)).collect();
        assert_eq!(before, since);
    }
    assert_eq!(list.edits().version(), version + 3, "it never falls");
    let mode = fs::metadata(list.journal()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_to_string(list.journal()).unwrap().lines().count(), 3, "compacted");
}

#[test]
fn a_torn_last_line_is_dropped() {
    let mut list = List::new(&[]);
    list.ask(change(&[1], &[])).unwrap();
    list.ask(change(&[2], &[])).unwrap();
    let whole = fs::read(list.journal()).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for length in last..whole.len() {
        fs::write(list.journal(), &whole[..length]).unwrap();
        list.restart().unwrap();
        assert_eq!(list.listed(), [1], "{length}");
        assert_eq!(list.files(), ["p.d.log"]);
    }
}

#[test]
fn damage_in_the_middle_costs_what_is_after_it_and_keeps_the_file() {
    for at in [0, 20, 100, 200] {
        let mut list = List::new(&[]);
        for number in 1..6 {
            list.ask(change(&[number], &[])).unwrap();
        }
        let version = list.edits().version();
        let mut bytes = fs::read(list.journal()).unwrap();
        bytes[at] ^= 0x11;
        fs::write(list.journal(), &bytes).unwrap();
        list.restart().unwrap();
        let kept = list.listed();
        assert!(kept.len() < 5 && kept.iter().copied().eq(1..=kept.len() as u8), "{at}: {kept:?}");
        assert!(list.edits().version() > version, "no version comes twice");
        let files = list.files();
        assert!(files[1].starts_with("p.d.log.damaged-"), "{files:?}");
        assert_eq!(fs::read(list.folder.path().join("lists").join(&files[1])).unwrap(), bytes);
        list.ask(change(&[9], &[])).unwrap();
        list.restart().unwrap();
        assert_eq!(list.listed().last(), Some(&9));
    }
}

#[test]
fn a_damaged_journal_stays_until_a_new_one_can_be_written() {
    let mut list = List::new(&[]);
    for number in 1..4 {
        list.ask(change(&[number], &[])).unwrap();
    }
    let mut bytes = fs::read(list.journal()).unwrap();
    let last = bytes.len() - 9;
    bytes[last] ^= 0x11;
    fs::write(list.journal(), &bytes).unwrap();
    // Nothing can be written.
    let hindrance = list.folder.path().join("lists/p.d.log.new");
    fs::create_dir(&hindrance).unwrap();
    for _ in 0..2 {
        list.restart().unwrap();
        assert_eq!(list.listed(), [1, 2]);
        assert!(matches!(list.ask(change(&[9], &[])), Err(Refused::Unwritten(_))));
        assert_eq!(fs::read(list.journal()).unwrap(), bytes);
    }
    fs::remove_dir(&hindrance).unwrap();
    list.restart().unwrap();
    list.ask(change(&[9], &[])).unwrap();
    let files = list.files();
    assert_eq!(fs::read(list.folder.path().join("lists").join(&files[1])).unwrap(), bytes);
    list.restart().unwrap();
    assert_eq!(list.listed(), [1, 2, 9]);
}

#[test]
fn a_journal_that_is_moved_or_replaced_is_written_anew() {
    let mut list = List::new(&[]);
    let away = list.folder.path().join("away");
    let replace: [&dyn Fn(PathBuf); 3] = [
        &|path| fs::remove_file(path).unwrap(),
        &|path| fs::rename(path, &away).unwrap(),
        &|path| {
            fs::copy(&path, &away).unwrap();
            fs::rename(&away, path).unwrap();
        },
    ];
    for (number, replace) in (1..).zip(replace) {
        replace(list.journal());
        list.ask(change(&[number], &[])).unwrap();
    }
    list.restart().unwrap();
    assert_eq!(list.listed(), [1, 2, 3]);
}

/// Lets the journal be written, or not.
fn hinder(list: &List, hinders: bool) {
    let path = list.folder.path().join("lists/p.d.log.new");
    if hinders {
        fs::create_dir(path).unwrap();
        fs::remove_file(list.journal()).unwrap();
    } else {
        fs::remove_dir(path).unwrap();
    }
}

#[test]
fn edits_that_a_list_says_too_end_when_that_can_be_written() {
    let list = List::new(&[]);
    list.ask(change(&[1, 2], &[])).unwrap();
    hinder(&list, true);
    *list.given.0.lock() = Some([1].map(key).into());
    list.edits().rebase();
    assert_eq!(list.edits().all().len(), 2);
    hinder(&list, false);
    list.ask(change(&[3], &[])).unwrap();
    assert_eq!(list.edits().edit(&key(1)), None);
    assert_eq!(list.listed(), [1, 2, 3]);
}

#[test]
fn edits_until_a_reload_end_when_that_can_be_written() {
    let mut list = List::new(&[]);
    list.ask(change(&[1], &[])).unwrap();
    hinder(&list, true);
    list.edits().end();
    assert!(matches!(list.ask(change(&[2], &[])), Err(Refused::Unwritten(_))));
    assert_eq!(list.listed(), [1]);
    hinder(&list, false);
    list.ask(change(&[3], &[])).unwrap();
    assert_eq!(list.listed(), [3]);
    list.restart().unwrap();
    assert_eq!(list.listed(), [3]);
}

#[test]
fn an_edit_whose_term_is_over_does_not_come_back_with_an_earlier_clock() {
    let folder = tempfile::tempdir().unwrap();
    let folder = Arc::new(StateDir::open(Some(folder.path())).unwrap());
    let open = || Journal::new(folder.clone(), "j".into(), DataFormat::Strings);
    let (mut journal, mut book) = (open(), Book::default());
    let bases: [Arc<dyn Base>; 0] = [];
    for (now, add) in [(1000, &[1][..]), (3000, &[])] {
        let mut plan = Plan::new(&book, &bases, 0, now);
        let ttl = Some(Duration::from_secs(1));
        plan.change(Change { ttl, ..change(add, &[]) }).unwrap();
        let Plan { staged, records, version, .. } = plan;
        journal.append(&records, &book, version).unwrap();
        for (key, edit) in staged {
            book.set(&key, edit, now);
        }
    }
    assert_eq!(open().open(1500).unwrap().book.len(), 0);
}

#[test]
fn edits_end_with_the_last_list_that_uses_them() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::open(Some(folder.path())).unwrap();
    let journals = Journals::new(&state).unwrap();
    let edits = in_format(&journals, DataFormat::Strings).unwrap();
    edits.keep();
    edits.rebase();
    let version = edits.version();
    let weak = Arc::downgrade(&edits);
    drop(edits);
    gone(&weak);
    assert_eq!(in_format(&journals, DataFormat::Strings).unwrap().version(), version);
}

#[test]
fn a_journal_of_another_list_is_refused() {
    let mut list = List::new(&[]);
    list.ask(change(&[1], &[])).unwrap();
    list.edits = None;
    let state = StateDir::open(Some(list.folder.path())).unwrap();
    let open = |format| {
        let journals = Journals::new(&state).unwrap();
        journals.edits(&"p".into(), &"d".into(), format).map(|_| ())
    };
    let reason = open(DataFormat::InfoHashes).unwrap_err();
    assert!(reason.contains("edits of a list in the format `strings`; remove it"), "{reason}");
    fs::set_permissions(list.journal(), Permissions::from_mode(0o666)).unwrap();
    let reason = open(DataFormat::Strings).unwrap_err();
    assert!(reason.ends_with("the file is writable by other users"), "{reason}");
}

/// Waits for the thread, which may still be at the end of its work.
fn gone(edits: &Weak<Edits>) {
    while edits.strong_count() > 0 {
        std::thread::yield_now();
    }
}

/// Prepares the list in another format, or uses it.
fn in_format(journals: &Journals, format: DataFormat) -> Result<Arc<Edits>, String> {
    journals.edits(&"p".into(), &"d".into(), format)
}

#[test]
fn another_format_that_is_not_used_after_all_changes_nothing() {
    let mut list = List::new(&[]);
    let state = StateDir::open(Some(list.folder.path())).unwrap();
    let journals = Journals::new(&state).unwrap();
    let edits = in_format(&journals, DataFormat::Strings).unwrap();
    edits.keep();
    edits.rebase();
    list.edits = Some(edits);
    let before = fs::read(list.journal()).unwrap();
    let prepared = in_format(&journals, DataFormat::InfoHashes).unwrap();
    prepared.rebase();
    assert_eq!(fs::read(list.journal()).unwrap(), before);
    let refused = list.ask(change(&[1], &[])).unwrap_err();
    assert_eq!(refused, Refused::Unwritten("the list is getting another format".into()));
    let weak = Arc::downgrade(&prepared);
    drop(prepared);
    gone(&weak);
    list.ask(change(&[1], &[])).unwrap();
    let again = in_format(&journals, DataFormat::Strings).unwrap();
    assert!(Arc::ptr_eq(&again, list.edits.as_ref().unwrap()));
    let reason = in_format(&journals, DataFormat::InfoHashes).err().unwrap();
    assert_eq!(reason, "it has edits in the format `strings`; withdraw them first");
    drop((again, journals));
    list.restart().unwrap();
    assert_eq!(list.listed(), [1]);
}

#[test]
fn a_list_without_edits_gets_another_format_and_its_version_does_not_fall() {
    let mut list = List::new(&[]);
    list.ask(change(&[1], &[])).unwrap();
    list.ask(change(&[], &[1])).unwrap();
    let version = list.edits().version();
    list.edits = None;
    let state = StateDir::open(Some(list.folder.path())).unwrap();
    let journals = Journals::new(&state).unwrap();
    // At a start, and at a reload.
    let [hashes, texts] = [DataFormat::InfoHashes, DataFormat::Strings].map(|format| {
        let edits = in_format(&journals, format).unwrap();
        edits.keep();
        edits.rebase();
        edits
    });
    assert!(texts.version() > hashes.version() && hashes.version() > version);
    hashes.rebase();
    drop(hashes);
    list.edits = Some(texts);
    list.ask(change(&[2], &[])).unwrap();
    drop(journals);
    list.restart().unwrap();
    assert_eq!(list.listed(), [2]);
}

#[test]
fn one_tracker_uses_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::open(Some(folder.path())).unwrap();
    let [first, second] = [(); 2].map(|()| Journals::new(&state).unwrap());
    let open = |journals: &Journals| {
        journals.edits(&"p".into(), &"d".into(), DataFormat::Strings).map(|_| ())
    };
    open(&first).unwrap();
    let reason = open(&second).unwrap_err();
    assert!(reason.ends_with("another tracker uses the folder"), "{reason}");
    drop(first);
    open(&second).unwrap();
}
