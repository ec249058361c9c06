//! Edits of lists while they are in use: entries that are added to a list or removed from it, without
//! changing its file. They are in a journal before anyone obeys them.

mod book;
mod journal;
mod keeper;
#[cfg(test)]
mod model;
mod overlay;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, Guard};
use parking_lot::{Mutex, RwLock};

use self::book::Book;
use self::journal::{Found, Journal};
use self::keeper::{Keeper, Order};
use crate::config::DataFormat;
use crate::entry::Key;
use crate::state_dir::StateDir;
use crate::time;

pub use self::book::Edit;
pub use self::overlay::Overlay;
pub use self::plan::{Base, Change, Outcome, Refused};

/// The journals of a state folder, each with the edits of one list.
pub struct Journals {
    folder: Arc<StateDir>,
    open: Mutex<Open>,
}

/// The names of a policy, and of a list of it.
type Name = (Arc<str>, Arc<str>);

/// What is in use of a folder.
#[derive(Default)]
struct Open {
    /// Keeps other trackers out, from the first list on.
    lock: Option<File>,
    /// By policy and name, as long as a list has them. While a reload changes the format, there are
    /// two.
    lists: HashMap<Name, Vec<Weak<Edits>>>,
}

/// The edits of one list.
pub struct Edits {
    format: DataFormat,
    policy: Arc<str>,
    data: Arc<str>,
    overlay: ArcSwap<Overlay>,
    version: AtomicU64,
    book: RwLock<Book>,
    /// Whether the list is in use: before, nothing is written.
    kept: AtomicBool,
    /// Those in another format, whose place these take when they are kept.
    before: Weak<Edits>,
    heir: Mutex<Heir>,
    /// The lists that are edited: one, or during a reload two.
    bases: Mutex<Vec<Weak<dyn Base>>>,
    orders: Sender<Order>,
    errors: AtomicU64,
    error: Mutex<Option<String>>,
}

/// What takes the place of edits, in another format. As long as there is something, nothing is
/// changed or written.
#[derive(Default)]
enum Heir {
    #[default]
    None,
    /// If these are kept. They may be dropped instead.
    Prepared(Weak<Edits>),
    /// For good.
    Kept,
}

/// Takes what has become of a change.
pub type Done = Box<dyn FnOnce(Result<Outcome, Refused>) + Send>;

impl Journals {
    /// Opens the folder of the journals.
    ///
    /// # Errors
    ///
    /// It cannot be used.
    pub fn new(state: &StateDir) -> io::Result<Self> {
        Ok(Self { folder: Arc::new(state.folder("lists")?), open: Mutex::default() })
    }

    /// Returns the edits of a list. New ones are not written and cannot be changed before they are
    /// [kept](Edits::keep): a reload may still be refused.
    ///
    /// # Errors
    ///
    /// There are edits of a list of that name in another format, its journal cannot be read, or
    /// another tracker uses the folder.
    pub fn edits(
        &self,
        policy: &Arc<str>,
        data: &Arc<str>,
        format: DataFormat,
    ) -> Result<Arc<Edits>, String> {
        let Open { lock, lists } = &mut *self.open.lock();
        if lock.is_none() {
            let path = self.folder.path();
            let new = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
            if new.try_lock().is_err() {
                return Err(format!("{}: another tracker uses the folder", path.display()));
            }
            *lock = Some(new);
        }
        let all = lists.entry((policy.clone(), data.clone())).or_default();
        all.retain(|edits| edits.strong_count() > 0);
        let live: Vec<Arc<Edits>> = all.iter().filter_map(Weak::upgrade).collect();
        let is_kept = |edits: &&Arc<Edits>| {
            edits.kept.load(Ordering::Acquire) && !matches!(*edits.heir.lock(), Heir::Kept)
        };
        let mut journal = Journal::new(self.folder.clone(), format!("{policy}.{data}.log"), format);
        let edits = match live.iter().find(is_kept) {
            Some(known) if known.format == format => {
                // What has been prepared in another format will not be used.
                *known.heir.lock() = Heir::None;
                return Ok(known.clone());
            }
            Some(known) => {
                // Nothing is changed meanwhile.
                let mut heir = known.heir.lock();
                if !known.overlay().is_empty() {
                    let known = known.format.name();
                    return Err(format!(
                        "it has edits in the format `{known}`; withdraw them first"
                    ));
                }
                let found = Found::none(known.version());
                let edits = Edits::new(policy, data, journal, found, Arc::downgrade(known))?;
                *heir = Heir::Prepared(Arc::downgrade(&edits));
                edits
            }
            None => {
                let is_same = |edits: &&Arc<Edits>| {
                    edits.format == format && !edits.kept.load(Ordering::Acquire)
                };
                if let Some(known) = live.iter().find(is_same) {
                    return Ok(known.clone());
                }
                let found = journal.open(unix_ms())?;
                Edits::new(policy, data, journal, found, Weak::new())?
            }
        };
        all.push(Arc::downgrade(&edits));
        Ok(edits)
    }
}

impl Edits {
    fn new(
        policy: &Arc<str>,
        data: &Arc<str>,
        journal: Journal,
        found: Found,
        before: Weak<Self>,
    ) -> Result<Arc<Self>, String> {
        let mut overlay = Overlay::default();
        found.book.iter().for_each(|(key, edit)| overlay.set(key, edit.says));
        let (orders, waiting) = channel();
        let edits = Arc::new(Self {
            format: journal.format(),
            policy: policy.clone(),
            data: data.clone(),
            overlay: ArcSwap::from_pointee(overlay),
            version: AtomicU64::new(found.version),
            book: RwLock::new(found.book),
            kept: AtomicBool::new(false),
            before,
            heir: Mutex::default(),
            bases: Mutex::default(),
            orders,
            errors: AtomicU64::new(0),
            error: Mutex::default(),
        });
        let keeper = Keeper::new(Arc::downgrade(&edits), journal);
        let thread = std::thread::Builder::new().name(format!("edits-{data}"));
        thread.spawn(move || keeper.work(&waiting)).map_err(|error| error.to_string())?;
        Ok(edits)
    }

    /// Has a list be edited by these, as long as it is in use.
    pub fn add_base(&self, base: Weak<dyn Base>) {
        let mut bases = self.bases.lock();
        bases.retain(|known| known.strong_count() > 0);
        bases.push(base);
    }

    /// Returns what look-ups ask. Drop the guard soon.
    pub fn overlay(&self) -> Guard<Arc<Overlay>> {
        self.overlay.load()
    }

    /// Returns the version of the list, which grows with each change of it or of its edits, also
    /// from one process to the next.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Returns the edit of an entry, if there is one.
    pub fn edit(&self, key: &Key) -> Option<Edit> {
        self.book.read().get(key).cloned()
    }

    /// Returns the last edit of an entry that has ended by itself, as far as that is remembered.
    pub fn ended(&self, key: &Key) -> Option<Edit> {
        self.book.read().ended(key).cloned()
    }

    /// Returns all edits, in no order.
    pub fn all(&self) -> Vec<(Key, Edit)> {
        let book = self.book.read();
        book.iter().map(|(key, edit)| (key.clone(), edit.clone())).collect()
    }

    /// Makes a change, and says what has become of it when it is on the disk.
    pub fn change(&self, change: Change, done: Done) {
        // The thread lives as long as this.
        let _ = self.orders.send(Order::Change(change, done));
    }

    /// Says that the list is in use: from now on, changes are made and written.
    pub fn keep(&self) {
        if !self.kept.load(Ordering::Acquire) {
            let _ = self.orders.send(Order::Keep);
        }
    }

    /// Ends all edits, likewise.
    pub fn withdraw(&self, who: Arc<str>, done: Done) {
        let _ = self.orders.send(Order::Withdraw(who, done));
    }

    /// Ends all edits as soon as that can be written.
    pub fn end(&self) {
        let _ = self.orders.send(Order::End);
    }

    /// Says that a list has been read anew. Returns when its version has grown, and edits that it
    /// says too have ended.
    pub fn rebase(&self) {
        let (done, finished) = channel();
        let _ = self.orders.send(Order::Rebase(done));
        let _ = finished.recv();
    }

    /// Returns how often the journal could not be written.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Returns why the journal could not be written last time, until it can be.
    pub fn error(&self) -> Option<String> {
        self.error.lock().clone()
    }
}

fn unix_ms() -> u64 {
    let since_1970 = time::since_1970();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
