//! Named pipes whose lines edit a list.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwap;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{Uid, mkfifo};

use super::lines::Lines;
use super::{Noted, Way};
use crate::data::DataSource;
use crate::edits::{Change, Outcome};
use crate::entry::{Entry, Key};

/// The thread that reads a pipe, until this is dropped.
pub struct Follower {
    path: PathBuf,
    way: Way,
    list: Arc<ArcSwap<DataSource>>,
    /// The thread ends when this is closed.
    alive: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

/// How long nothing comes before it is looked whether the path is still that pipe, in milliseconds.
/// A line that was begun ends then.
const QUIET: u16 = 1000;
/// How many bytes are read at a time, and so how many entries are edited at once.
const PART: usize = 64 * 1024;

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Follower {
    /// Makes the pipe if it is missing, and starts to read it. As long as it cannot be opened, that
    /// is tried again and again.
    ///
    /// # Errors
    ///
    /// There can be no thread.
    pub fn start(
        list: Arc<DataSource>,
        path: PathBuf,
        way: Way,
        noted: Arc<Noted>,
    ) -> io::Result<Self> {
        let list = Arc::new(ArcSwap::new(list));
        let (ended, alive) = io::pipe()?;
        let mut pipe =
            Pipe { path: path.clone(), way, list: list.clone(), noted, file: None, fault: None };
        // Who knows that it has started can write.
        pipe.look();
        let thread = thread::Builder::new().name("fifo".into());
        let thread = thread.spawn(move || pipe.follow(&ended))?;
        Ok(Self { path, way, list, alive: Some(alive), thread: Some(thread) })
    }

    pub fn is_of(&self, path: &Path, way: Way) -> bool {
        (&*self.path, self.way) == (path, way)
    }

    /// Has further lines edit this list.
    pub fn aim(&self, list: Arc<DataSource>) {
        self.list.store(list);
    }
}

/// What the thread has.
struct Pipe {
    path: PathBuf,
    way: Way,
    list: Arc<ArcSwap<DataSource>>,
    noted: Arc<Noted>,
    file: Option<File>,
    /// Why the path cannot be opened.
    fault: Option<String>,
}

/// What the thread has waited for.
enum Ready {
    End,
    Pipe,
    Nothing,
    Interrupted,
}

impl Pipe {
    fn follow(mut self, ended: &PipeReader) {
        let (mut lines, mut bytes) = (Lines::default(), vec![0; PART]);
        loop {
            let ready = self.wait(ended);
            let read = match (ready, &mut self.file) {
                (Ready::End, _) => break,
                (Ready::Interrupted, _) => continue,
                (Ready::Pipe, Some(file)) => file.read(&mut bytes),
                (Ready::Pipe | Ready::Nothing, _) => Ok(0),
            };
            let mut hashes = Vec::new();
            let wrong = match read {
                Ok(0) => {
                    self.look();
                    lines.end(|hash| hashes.push(hash))
                }
                Ok(read) => {
                    let read = bytes.get(..read).unwrap_or_default();
                    lines.take(read, |hash| hashes.push(hash))
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
                {
                    continue;
                }
                Err(error) => {
                    self.file = None;
                    self.fail(&error);
                    0
                }
            };
            let way = self.way.name();
            if wrong > 0 {
                tracing::warn!(lines = wrong, way, "lines without an info-hash change nothing");
            }
            if !hashes.is_empty() {
                edit(&self.list.load_full(), hashes, self.way, &*self.noted);
            }
        }
        self.list.load().set_door_fault(self.way.name(), None);
    }

    /// Waits until there is something to read, or not for a while.
    fn wait(&self, ended: &PipeReader) -> Ready {
        let mut waits = vec![PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        waits.extend(self.file.as_ref().map(|file| PollFd::new(file.as_fd(), PollFlags::POLLIN)));
        if poll(&mut waits, PollTimeout::from(QUIET)).is_err() {
            return Ready::Interrupted;
        }
        let is_ready = |at: usize| waits.get(at).and_then(PollFd::any).unwrap_or_default();
        match (is_ready(0), is_ready(1)) {
            (true, _) => Ready::End,
            (false, true) => Ready::Pipe,
            (false, false) => Ready::Nothing,
        }
    }

    /// Opens what is at the path, unless that is open. What is open stays if nothing can be opened.
    fn look(&mut self) {
        let id = |metadata: Metadata| (metadata.dev(), metadata.ino());
        let found = fs::symlink_metadata(&self.path).ok().map(id);
        let known = self.file.as_ref().and_then(|file| file.metadata().ok()).map(id);
        if found.is_none() || found != known {
            match open(&self.path) {
                Ok(file) => (self.file, self.fault) = (Some(file), None),
                Err(error) => self.fail(&error),
            }
        }
        // It may be another list by now.
        self.list.load().set_door_fault(self.way.name(), self.fault.as_deref());
    }

    fn fail(&mut self, error: &io::Error) {
        let fault = format!("{}: {error}", self.path.display());
        if self.fault.as_ref() != Some(&fault) {
            tracing::error!(%error, path = %self.path.display(), "cannot open fifo; it edits nothing");
            self.fault = Some(fault);
        }
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

/// Edits a list, and returns when that is on the disk: until then, the writers wait.
pub(super) fn edit(list: &DataSource, hashes: Vec<[u8; 20]>, way: Way, noted: &Noted) {
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
    let (policy, data) = (&definition.policy, &definition.name);
    let (done, finished) = channel();
    edits.change(change, Box::new(move |result| drop(done.send(result))));
    let result = match finished.recv() {
        Ok(Ok(Outcome { version, added, removed, .. })) => {
            format!("added {added}, removed {removed}, version {version}")
        }
        refused => {
            tracing::error!(%policy, %data, way = way.name(), ?refused, "lines of a fifo are lost");
            "refused: the lines are lost".to_owned()
        }
    };
    noted(way, &format!("{policy}/{data}"), &result);
}
