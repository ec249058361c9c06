//! Ways to edit lists that other trackers have. All of them are off by default.

mod fifo;
mod lines;
pub mod torrust;

use std::path::PathBuf;
use std::sync::Arc;

use self::fifo::Follower;
use crate::config;
use crate::data::DataSource;

/// The doors that are open.
#[derive(Default)]
pub struct Doors(Vec<Door>);

struct Door {
    list: Arc<DataSource>,
    path: PathBuf,
    way: Way,
    /// Ends when it is dropped; `None`: it could not be opened.
    follower: Option<Follower>,
}

/// What is done with what comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    Add,
    Delete,
}

impl Doors {
    /// Opens the doors of these lists, closes those that are not wanted any more, and keeps the
    /// others. One that cannot be opened is logged, and tried again the next time.
    pub fn adopt<'c>(&mut self, wanted: impl Iterator<Item = (&'c config::Fifo, Arc<DataSource>)>) {
        let mut before = std::mem::take(&mut self.0);
        for (fifo, list) in wanted {
            let ways = [(&fifo.add, Way::Add), (&fifo.delete, Way::Delete)];
            for (path, way) in
                ways.into_iter().filter_map(|(path, way)| Some((path.as_ref()?, way)))
            {
                let is_same = |door: &Door| {
                    door.follower.is_some()
                        && (&door.path, door.way) == (path, way)
                        && Arc::ptr_eq(&door.list, &list)
                };
                let door = match before.iter().position(is_same) {
                    Some(at) => before.swap_remove(at),
                    None => Door::open(list.clone(), path.clone(), way),
                };
                self.0.push(door);
            }
        }
    }
}

impl Door {
    fn open(list: Arc<DataSource>, path: PathBuf, way: Way) -> Self {
        let follower = Follower::start(&list, &path, way);
        let follower = follower.inspect_err(|error| {
            tracing::error!(%error, path = %path.display(), "cannot open fifo; it edits nothing");
        });
        Self { list, path, way, follower: follower.ok() }
    }
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Add => "fifo add",
            Self::Delete => "fifo delete",
        }
    }
}
