//! Named pipes whose lines edit a list.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{Uid, mkfifo};

use super::Way;
use super::lines::Lines;
use crate::data::DataSource;
use crate::edits::{Change, Refused};
use crate::entry::{Entry, Key};

/// The thread that reads a pipe, until this is dropped.
pub struct Follower(Arc<AtomicBool>);

/// How often it is looked whether the thread is still wanted, in milliseconds.
const LOOK: u16 = 250;
/// How many bytes are read at a time, and so how many entries are edited at once.
const PART: usize = 64 * 1024;

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Follower {
    /// Makes the pipe if it is missing, and starts to read it.
    pub fn start(list: &Arc<DataSource>, path: &Path, way: Way) -> io::Result<Self> {
        let pipe = open(path)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (list, stopped) = (Arc::downgrade(list), stop.clone());
        let thread = thread::Builder::new().name("fifo".into());
        thread.spawn(move || follow(pipe, &list, way, &stopped))?;
        Ok(Self(stop))
    }
}

/// Opens a pipe that only this user can write to. It is open for writing, too, so that it does not
/// end with its last writer.
fn open(path: &Path) -> io::Result<File> {
    match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let pipe = OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(path)?;
    let found = pipe.metadata()?;
    if !found.file_type().is_fifo() {
        return Err(io::Error::other("it is not a fifo"));
    }
    if found.uid() != Uid::effective().as_raw() || found.mode() & 0o022 != 0 {
        return Err(io::Error::other("other users can write to it, expected mode 0600"));
    }
    Ok(pipe)
}

fn follow(mut pipe: File, list: &Weak<DataSource>, way: Way, stopped: &AtomicBool) {
    let (mut lines, mut bytes) = (Lines::default(), vec![0; PART]);
    while !stopped.load(Ordering::Relaxed) {
        let mut wait = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut wait, PollTimeout::from(LOOK)), Ok(1..)) {
            continue;
        }
        let read = match pipe.read(&mut bytes) {
            Ok(read) => read,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                continue;
            }
            Err(error) => return tracing::error!(%error, "cannot read fifo; it edits nothing"),
        };
        let mut hashes = Vec::new();
        let wrong = lines.take(bytes.get(..read).unwrap_or_default(), |hash| hashes.push(hash));
        if wrong > 0 {
            tracing::warn!(
                lines = wrong,
                way = way.name(),
                "lines without an info-hash change nothing"
            );
        }
        let Some(list) = list.upgrade() else { return };
        if !hashes.is_empty() {
            edit(&list, hashes, way);
        }
    }
}

fn edit(list: &DataSource, hashes: Vec<[u8; 20]>, way: Way) {
    let Some(edits) = list.edits() else { return };
    let keys = hashes.into_iter().map(Key::InfoHash);
    let (add, remove) = match way {
        Way::Add => (keys.map(|key| Entry { key, value: 0 }).collect(), Vec::new()),
        Way::Delete => (Vec::new(), keys.collect()),
    };
    let (ttl, if_version, note) = (None, None, None);
    let who = Arc::from(way.name());
    let change = Change { add, remove, ttl, if_version, who, note };
    let definition = list.definition();
    let (policy, data) = (definition.policy.clone(), definition.name.clone());
    let way = way.name();
    let done = move |done: Result<_, Refused>| match done {
        Ok(done) => tracing::info!(target: "audit", %policy, %data, way, ?done, "list edited"),
        Err(refused) => {
            tracing::error!(%policy, %data, way, ?refused, "lines of a fifo are lost");
        }
    };
    edits.change(change, Box::new(done));
}
