//! Ways to edit lists and accounts that other trackers have. All of them are off by default.

mod fifo;
pub mod gazelle;
mod lines;
pub mod torrust;
pub mod unit3d;

use std::sync::Arc;

use serde::Serialize;

use self::fifo::Follower;
use crate::config::{self, DataFormat};
use crate::data::DataSource;
use crate::entry::{Entry, Key};

/// The doors that are open.
pub struct Doors {
    followers: Vec<Follower>,
    noted: Arc<Noted>,
}

/// Told what came through a fifo of a list (`POLICY/DATA`), and what became of it.
pub type Noted = dyn Fn(Way, &str, &str) + Send + Sync;

/// What is done with what comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    Add,
    Delete,
}

impl Doors {
    /// Opens none yet.
    pub fn new(noted: impl Fn(Way, &str, &str) + Send + Sync + 'static) -> Self {
        Self { followers: Vec::new(), noted: Arc::new(noted) }
    }

    /// Opens the doors of these lists, closes those that are not wanted any more, and keeps the
    /// others, even if they lead to another list now.
    pub fn adopt<'c>(&mut self, wanted: impl Iterator<Item = (&'c config::Fifo, Arc<DataSource>)>) {
        let ways = |(fifo, list): (&'c config::Fifo, Arc<DataSource>)| {
            let ways = [(fifo.add.as_ref(), Way::Add), (fifo.delete.as_ref(), Way::Delete)];
            ways.into_iter().filter_map(move |(path, way)| Some((path?, way, list.clone())))
        };
        let wanted: Vec<_> = wanted.flat_map(ways).collect();
        // One pipe is never read by two.
        self.followers.retain(|door| wanted.iter().any(|(path, way, _)| door.is_of(path, *way)));
        for (path, way, list) in wanted {
            if let Some(door) = self.followers.iter().find(|door| door.is_of(path, way)) {
                door.aim(list);
                continue;
            }
            match Follower::start(list, path.clone(), way, self.noted.clone()) {
                Ok(door) => self.followers.push(door),
                Err(error) => {
                    tracing::error!(%error, path = %path.display(), "cannot follow fifo; it edits nothing");
                }
            }
        }
    }
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "fifo add",
            Self::Delete => "fifo delete",
        }
    }
}

/// The most bytes of the beginning of a peer id.
const PREFIX: usize = 20;

/// Reads the beginning of a peer id that is to be listed; `None`: no peer id can begin with it.
fn prefix(text: &str) -> Option<Entry> {
    let entry = Entry::read(DataFormat::Strings, text).ok();
    // What a list would read otherwise is nothing that it can have.
    let entry = entry.filter(|entry| entry.key == Key::Text(text.into()));
    entry.filter(|_| (1..=PREFIX).contains(&text.len()))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;
    use std::path::Path;
    use std::thread::yield_now;

    use super::*;
    use crate::config::EditMode;
    use crate::data::{Definition, Opening, Origin, open};
    use crate::edits::Journals;
    use crate::state_dir::StateDir;

    /// A folder with lists and a pipe.
    struct Place {
        folder: tempfile::TempDir,
        opening: Opening,
        fifo: config::Fifo,
        doors: Doors,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let state = StateDir::open(Some(&folder.path().join("state"))).unwrap();
            let journals = Some(Arc::new(Journals::new(&state).unwrap()));
            let fifo = config::Fifo { add: Some(folder.path().join("fifo")), delete: None };
            let opening = Opening { journals, ..Opening::default() };
            Self { folder, opening, fifo, doors: Doors::new(|_, _, _| {}) }
        }

        fn pipe(&self) -> &Path {
            self.fifo.add.as_deref().unwrap()
        }

        /// Leads the pipe to another list of the same name.
        fn lead(&mut self, max_size: u64) -> Arc<DataSource> {
            let definition = Definition {
                policy: "p".into(),
                name: "d".into(),
                origin: Origin::File(self.folder.path().join("list")),
                format: DataFormat::InfoHashes,
                max_size,
                required: false,
                edits: EditMode::On,
            };
            let list = open(&[definition], &self.opening, &[]).unwrap()[0].clone();
            list.keep_edits();
            self.doors.adopt([(&self.fifo, list.clone())].into_iter());
            list
        }

        fn write(&self, byte: u8) {
            let mut pipe = OpenOptions::new().write(true).open(self.pipe()).unwrap();
            writeln!(pipe, "{}", hex::encode([byte; 20])).unwrap();
        }
    }

    fn wait(mut holds: impl FnMut() -> bool) {
        while !holds() {
            yield_now();
        }
    }

    #[test]
    fn lines_are_kept_when_the_list_becomes_another() {
        let mut place = Place::new();
        let mut list = place.lead(1);
        for byte in 0..50 {
            place.write(byte);
            list = place.lead(u64::from(byte) + 2);
        }
        wait(|| (0..50).all(|byte| list.has_info_hash(&[byte; 20])));
    }

    #[test]
    fn nothing_more_is_read_before_a_change_is_made() {
        let mut place = Place::new();
        let list = place.lead(1);
        for byte in 0..50 {
            fifo::edit(&list, vec![[byte; 20]], Way::Add, &|way, list, result| {
                assert_eq!((way, list), (Way::Add, "p/d"));
                assert!(result.starts_with("added 1, removed 0, version "), "{result}");
            });
            assert!(list.has_info_hash(&[byte; 20]));
        }
    }

    #[test]
    fn a_pipe_that_is_removed_is_made_anew() {
        let mut place = Place::new();
        let list = place.lead(1);
        place.write(1);
        wait(|| list.has_info_hash(&[1; 20]));
        fs::remove_file(place.pipe()).unwrap();
        wait(|| place.pipe().exists());
        place.write(2);
        wait(|| list.has_info_hash(&[2; 20]));
    }

    #[test]
    fn a_pipe_that_cannot_be_opened_is_tried_again() {
        let mut place = Place::new();
        fs::write(place.pipe(), "").unwrap();
        let list = place.lead(1);
        assert!(list.door_faults()[0].ends_with("it is not a fifo"), "{:?}", list.door_faults());
        fs::remove_file(place.pipe()).unwrap();
        wait(|| list.door_faults().is_empty());
        place.write(1);
        wait(|| list.has_info_hash(&[1; 20]));
    }

    #[test]
    fn a_last_line_without_a_break_counts() {
        let mut place = Place::new();
        let list = place.lead(1);
        let mut pipe = OpenOptions::new().write(true).open(place.pipe()).unwrap();
        pipe.write_all(hex::encode([1; 20]).as_bytes()).unwrap();
        wait(|| list.has_info_hash(&[1; 20]));
    }
}
