//! The log of the daemon: what goes into it, how a line looks, and who writes it.

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

/// The lines that wait for whoever reads standard error.
static QUEUE: Queue = Queue::new();

/// The level, to be changed while the daemon runs.
static LEVEL: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Starts the log, on standard error. Only ever called once.
pub fn start(log: &Log) -> io::Result<()> {
    // A descriptor of our own: nobody shall wait for the lock that the library has on it.
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

/// Changes the level.
pub fn set_level(level: LogLevel) {
    if let Some(Err(error)) = LEVEL.get().map(|handle| handle.reload(filter(level))) {
        tracing::error!(%error, "the level of the log stays as it was");
    }
}

/// Waits until all is written that was said so far, but not for ever.
pub fn flush(patience: Duration) {
    if LEVEL.get().is_some() {
        QUEUE.flush(patience);
    }
}

/// Lines that were left out so far, because nobody read those before them.
pub fn dropped() -> u64 {
    QUEUE.dropped()
}

/// What is logged: of the libraries warnings at most, for the compiler alone has hundreds of thousands of
/// lines to say.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let libraries = level.min(LevelFilter::WARN);
    Targets::new().with_default(libraries).with_targets([("karuta", level), ("plugin", level)])
}
