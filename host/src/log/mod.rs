//! The log of the daemon: levels, line formats and the thread that writes.

mod fields;
mod queue;

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use self::fields::Fields;
use self::queue::{Lines, Queue};
use crate::config::{Log, LogFormat, LogLevel};

/// The lines that wait to be written to standard error.
static QUEUE: Queue = Queue::new();

/// Changes the log level while the daemon runs.
static LEVEL: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Starts logging to standard error. Call it only once.
pub fn start(log: &Log) -> io::Result<()> {
    // Uses a separate descriptor, so that no thread waits for the standard library's lock.
    let stderr = std::fs::File::from(io::stderr().as_fd().try_clone_to_owned()?);
    std::thread::Builder::new().name("log".into()).spawn(move || QUEUE.work(stderr))?;
    let (level, handle) = reload::Layer::new(filter(log.level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| Lines(&QUEUE))
        .with_ansi(io::stderr().is_terminal());
    let lines = match log.format {
        LogFormat::Text => lines.fmt_fields(Fields).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry().with(level).with(lines).init();
    let _ = LEVEL.set(handle);
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        tracing::error!(thread = thread.name(), "{panic}");
    }));
    Ok(())
}

/// Changes the log level.
pub fn set_level(level: LogLevel) {
    if let Some(Err(error)) = LEVEL.get().map(|handle| handle.reload(filter(level))) {
        tracing::error!(%error, "cannot change log level");
    }
}

/// Waits until everything logged so far is written, but at most for `patience`.
pub fn flush(patience: Duration) {
    if LEVEL.get().is_some() {
        QUEUE.flush(patience);
    }
}

/// Returns the number of lines dropped so far because standard error was not read fast enough.
pub fn dropped() -> u64 {
    QUEUE.dropped()
}

/// Returns the log filter. Libraries log warnings at most: the compiler alone would log hundreds of
/// thousands of lines.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let libraries = level.min(LevelFilter::WARN);
    Targets::new().with_default(libraries).with_targets([
        ("karuta", level),
        ("plugin", level),
        ("audit", level),
    ])
}
