//! The log of the daemon: levels, line formats and the thread that writes.

mod fields;
mod file;
mod last;
mod levels;
mod lines;
mod queue;
mod stderr;

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use self::fields::Fields;
pub use self::file::LogFile;
pub use self::file::create_for;
use self::last::{Keep, Last};
pub use self::last::{LastLine, MOST as MOST_LAST};
use self::levels::Policies;
use self::lines::Lines;
pub use self::queue::{Output, Queue, Stream, count};
pub use self::stderr::{Reader, open as stderr};
use crate::config::{Log, LogFormat};

/// The lines that wait to be written.
static QUEUE: Queue = Queue::new("log");

/// Lines of other kinds, each with a thread that writes them.
static OTHERS: Mutex<Vec<&'static Queue>> = Mutex::new(Vec::new());

/// The last lines.
static LAST: Last = Last::new();

/// Changes the levels while the daemon runs.
static TARGETS: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();
static POLICIES: ArcSwapOption<Policies> = ArcSwapOption::const_empty();

/// Whether a thread writes.
static IS_WRITTEN: AtomicBool = AtomicBool::new(false);

/// Starts logging. Lines wait until [`write`] is called. Call it only once.
pub fn start(log: &Log) {
    let reader = if log.file.is_some() { Reader::Other } else { Reader::find() };
    let (targets, handle) = reload::Layer::new(levels::targets(log));
    let lines = Lines { queue: &QUEUE, priorities: reader == Reader::Journal };
    let lines =
        tracing_subscriber::fmt::layer().with_writer(lines).with_ansi(reader == Reader::Terminal);
    let lines = match log.format {
        LogFormat::Text if reader == Reader::Journal => {
            lines.without_time().fmt_fields(Fields).boxed()
        }
        LogFormat::Text => lines.fmt_fields(Fields).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry().with(targets).with(lines).with(Keep(&LAST)).init();
    POLICIES.store(Some(Policies::of(log).into()));
    let _ = TARGETS.set(handle);
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        tracing::error!(thread = thread.name(), "{panic}");
    }));
}

/// Starts the thread that writes lines to the log file, or else to standard error.
///
/// # Errors
///
/// The file cannot be opened, or there can be no thread.
pub fn write(log: &Log) -> io::Result<()> {
    match &log.file {
        Some(file) => write_to(LogFile::open(file, Reader::find()).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", file.path.display()))
        })?),
        None => write_to(Stream(stderr()?)),
    }
}

/// Starts a thread that writes lines of another kind, and returns the queue before it.
///
/// # Errors
///
/// There can be no thread.
pub fn write_beside(
    name: &'static str,
    output: impl Output + Send + 'static,
) -> io::Result<&'static Queue> {
    // It lasts as long as the process.
    let queue: &'static Queue = Box::leak(Box::new(Queue::new(name)));
    std::thread::Builder::new().name(name.into()).spawn(move || queue.work(output))?;
    OTHERS.lock().push(queue);
    Ok(queue)
}

/// Returns the queue of the log itself, for lines that are to stand between its own.
pub fn own_queue() -> &'static Queue {
    &QUEUE
}

fn write_to(output: impl Output + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name("log".into()).spawn(move || QUEUE.work(output))?;
    IS_WRITTEN.store(true, Relaxed);
    Ok(())
}

/// Changes the levels.
pub fn set_levels(log: &Log) {
    POLICIES.store(Some(Policies::of(log).into()));
    if let Some(Err(error)) = TARGETS.get().map(|handle| handle.reload(levels::targets(log))) {
        tracing::error!(%error, "cannot change log levels");
    }
}

/// Returns whether the levels of policies let a line of one pass. They do not if the target's level
/// does not.
pub fn allows(policy: &str, level: tracing::Level) -> bool {
    POLICIES.load().as_ref().is_none_or(|policies| policies.allow(policy, level))
}

/// Opens log files anew, if they have been renamed or removed.
pub fn reopen() {
    QUEUE.reopen();
    OTHERS.lock().iter().for_each(|queue| queue.reopen());
}

/// Waits until everything logged so far is written, but at most for `patience`.
pub fn flush(patience: Duration) {
    // The daemon may have failed before there was a log file.
    let is_written =
        IS_WRITTEN.load(Relaxed) || stderr().and_then(|stderr| write_to(Stream(stderr))).is_ok();
    let others = OTHERS.lock().clone();
    // What they have to say about it comes before the last lines of the log.
    let queues = others.into_iter().chain(is_written.then_some(&QUEUE));
    for queue in queues {
        // A batch may be kept back.
        queue.reopen();
        queue.flush(patience);
    }
}

/// Returns the last lines of a level or a more severe one, oldest first: at most [`MOST_LAST`]. If a
/// target is given, only lines of it and of the parts below it.
pub fn last(count: usize, level: tracing::Level, target: Option<&str>) -> Vec<LastLine> {
    LAST.lines(count, level, target)
}

/// Returns the number of lines lost so far: they came faster than they were read, or could not be
/// written.
pub fn dropped() -> u64 {
    QUEUE.dropped() + QUEUE.unwritten()
}
