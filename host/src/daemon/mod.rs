//! Puts the parts together, runs them, and takes them down.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use karuta_swarm::{Memory, Options, Store};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch as watched};
use tokio::time::MissedTickBehavior;

mod explain;
mod site;
mod version;
mod watch;
mod worker;

use self::site::Site;
use self::version::{Version, Versions, refused};
use self::watch::Plugins;
use self::worker::Worker;
use crate::admin::{self, Admin};
use crate::config::{self, Config};
use crate::data;
use crate::metrics::Metrics;
use crate::policy::{self, Artifacts, Compiler, Engine, Generation, Shutdown};
use crate::state_dir::StateDir;
use crate::watch::POLL;

/// Why the daemon did not run, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the operator wrote cannot be used. The text names file, line and key.
    #[error("{0}")]
    Config(config::Error),
    #[error("{what}: {error}")]
    System { what: String, error: io::Error },
    #[error("the policy engine: {0}")]
    Engine(#[from] policy::EngineError),
    #[error("the log: {0}")]
    Log(io::Error),
    /// The log has it.
    #[error("told twice to end")]
    Hurried,
}

/// Questions that may wait for their answers.
const WAITING: usize = 16;
/// How long everything together may take when the daemon stops, whatever policies and clients do;
/// the operator is promised 10 s.
const END: Duration = Duration::from_secs(8);
/// How much of it workers have, and calls of control instances that are under way.
const UNDER_WAY: Duration = Duration::from_secs(5);
/// How long one round of expiry takes at most, spread over many slices.
const LONGEST_ROUND: Duration = Duration::from_secs(60);
/// And at least, for the store knows whole seconds only.
const SHORTEST_ROUND: Duration = Duration::from_secs(1);

/// Says whether [`run`] would accept the configuration. Binds and writes nothing.
pub fn check(config: Config, compiler: Compiler) -> Result<(), Error> {
    let state = StateDir::existing(config.state_dir.as_deref()).ok().flatten();
    let artifacts = state.and_then(|state| Artifacts::look(&state).ok().flatten());
    let engine = Engine::new(compiler, artifacts, Arc::default())?;
    let store = Arc::new(Memory::new(options(&config)));
    let (routes, ..) = site::routes(&config)?;
    let config = Arc::new(config);
    let nothing = Generation::default();
    let opening = data::Opening::default();
    Version::load(config.clone(), &engine, store, &routes, &opening, &nothing, |_| false)
        .map_err(|(at, error)| refused(&config, at, &error))?;
    Ok(())
}

/// Serves until SIGTERM or SIGINT, by what `file` says when it is read again. Threads that did not
/// end in time are left behind.
pub fn run(config: Config, file: PathBuf, compiler: Compiler) -> Result<(), Error> {
    let start = Instant::now();
    raise_file_limit();
    let config = Arc::new(config);
    let workers = match config.tracker.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    };
    let store = Arc::new(Memory::new(options(&config)));
    let metrics = Arc::new(Metrics::new({
        let store = store.clone();
        move || store.totals().now_or_never().unwrap_or_default()
    }));
    let state = state(&config)?;
    let artifacts = state.as_ref().map(Artifacts::open).transpose();
    let engine = Engine::new(compiler, artifacts.map_err(unusable_state)?, metrics.plugins())?;
    let opening = data::Opening::new(state.as_ref(), data::Fetch::Soon).map_err(unusable_state)?;
    let routes = site::routes(&config)?;
    let nothing = Generation::default();
    let refuse = |(at, error)| refused(&config, at, &error);
    let version = Version::load(
        config.clone(),
        &engine,
        store.clone(),
        &routes.0,
        &opening,
        &nothing,
        |_| false,
    )
    .map_err(refuse)?;
    let rules = version.rules(&nothing, workers, &metrics).map_err(refuse)?;
    let site = Site::settle(&config, workers, routes)?;

    let (stop, stopping) = watched::channel(false);
    let (at_work, done) = channel();
    let mut orders = Vec::new();
    for (number, rules) in rules.into_iter().enumerate() {
        let (order, received) = mpsc::unbounded_channel();
        let worker = Worker {
            config: config.clone(),
            site: site.clone(),
            sockets: site.bind()?,
            store: store.clone(),
            rules,
            series: metrics.worker(),
            start,
            orders: received,
            stopping: stopping.clone(),
            at_work: at_work.clone(),
        };
        worker.start(number)?;
        orders.push(order);
    }
    drop(at_work);
    version
        .generation
        .serve(workers, &metrics)
        .map_err(|error| system("a control instance", error))?;
    metrics.set_generation(1);
    metrics.set_data(version.data());

    let shown = Arc::new(Mutex::new(version.shown()));
    let (ask, asked) = mpsc::channel(16);
    let (wonder, questions) = mpsc::channel(WAITING);
    let admin = Admin {
        token: config.admin.token.clone(),
        metrics: metrics.clone(),
        start,
        listeners: site.list(),
        policies: shown.clone(),
        reload: ask,
        explain: wonder,
    };
    let crew = Crew { stop, workers, done, shutdown: engine.shutdown().clone() };
    let current = Arc::new(ArcSwap::from_pointee(version));
    explain::start(questions, current.clone(), site.clone())
        .map_err(|error| system("a thread", error))?;
    let versions = Versions {
        file,
        engine,
        swarms: store.clone(),
        routes: site.routes.clone(),
        opening,
        metrics,
        workers: orders,
        shown,
        started: config.clone(),
        current,
    };
    let runtime = runtime()?;
    runtime.block_on(async {
        let socket = tokio::net::TcpListener::from_std(site.bind_admin()?)
            .map_err(|error| system("the admin socket", error))?;
        let mut signals = Signals::listen()?;
        tokio::spawn(admin.serve(socket));
        tokio::spawn(expire(store, round(config.tracker.peer_lifetime), start));
        for admin::Listener { transport, address } in site.list() {
            tracing::info!(transport, %address, "listening");
        }
        tracing::info!(workers, policies = config.policies.len(), "ready");
        signals.obey(versions, asked).await;
        tracing::info!("stopping");
        let ended = tokio::task::spawn_blocking(move || crew.end());
        tokio::select! {
            _ = ended => Ok(()),
            () = signals.end() => {
                tracing::warn!("told twice to end, what is under way is cut off");
                Err(Error::Hurried)
            }
        }
    })?;
    tracing::info!("stopped");
    // A reload that is under way is of no use to anybody now.
    runtime.shutdown_background();
    Ok(())
}

/// Who is at work, and has to end when the daemon does.
struct Crew {
    stop: watched::Sender<bool>,
    workers: usize,
    /// Disconnected when the last worker is gone.
    done: Receiver<()>,
    shutdown: Arc<Shutdown>,
}

impl Crew {
    /// Tells all of them at once, and waits for them together. Whoever takes longer is abandoned.
    fn end(self) {
        let now = Instant::now();
        let under_way = now + UNDER_WAY;
        self.shutdown.begin(under_way, now + END);
        let _ = self.stop.send(true);
        let left = || under_way.saturating_duration_since(Instant::now());
        let mut workers = self.workers;
        loop {
            match self.done.recv_timeout(left()) {
                Ok(()) => workers -= 1,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    tracing::warn!(workers, "workers do not end, their requests are cut off");
                    break;
                }
            }
        }
        // What workers had to tell to observers is told.
        for policy in self.shutdown.finish() {
            let policy = &*policy;
            tracing::warn!(
                policy,
                "a control instance does not end, what it was to be told is lost"
            );
        }
    }
}

/// The signals that the daemon obeys.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|error| system("signals", error));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGTERM or SIGINT.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Reloads at SIGHUP, when asked and when the file of a watched plugin changes, one reload at a
    /// time, until SIGTERM or SIGINT.
    async fn obey(&mut self, versions: Versions, mut asked: mpsc::Receiver<admin::AskReload>) {
        let mut plugins = Plugins::default();
        let mut look = tokio::time::interval(POLL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let versions = Arc::new(Mutex::new(versions));
        let reload = || {
            let versions = versions.clone();
            tokio::task::spawn_blocking(move || versions.lock().reload())
        };
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hangup.recv() => {
                    reload();
                }
                _ = look.tick() => {
                    // While a reload is under way there is nothing to compare with.
                    let generation = versions.try_lock().map(|versions| versions.current.load().generation.clone());
                    if generation.is_some_and(|generation| plugins.have_changed(&generation)) {
                        reload();
                    }
                }
                Some(reply) = asked.recv() => {
                    let result = reload();
                    tokio::spawn(async move {
                        if let Ok(result) = result.await {
                            let _ = reply.send(result);
                        }
                    });
                }
            }
        }
    }
}

/// A tenth of the lifetime, so that a peer stays little longer, and is looked at ten times at most
/// between two announces.
fn round(lifetime: Duration) -> Duration {
    (lifetime / 10).clamp(SHORTEST_ROUND, LONGEST_ROUND)
}

/// Removes peers that have gone silent, slice by slice, about as many of them in a `round` as it took
/// the last time.
async fn expire(store: Arc<impl Store>, round: Duration, start: Instant) {
    let mut slices: u32 = 1;
    let mut last_round = 1024;
    loop {
        // Where there are more, the rest goes faster and faster.
        tokio::time::sleep(round / slices.max(last_round)).await;
        let now = u32::try_from(start.elapsed().as_secs()).unwrap_or(u32::MAX);
        if store.expire(now).await {
            last_round = slices;
            slices = 0;
        }
        slices += 1;
    }
}

/// The state folder; `None` where there is none and the configuration names none.
fn state(config: &Config) -> Result<Option<StateDir>, Error> {
    match StateDir::open(config.state_dir.as_deref()) {
        Ok(state) => Ok(Some(state)),
        Err(error) if config.state_dir.is_some() => Err(unusable_state(error)),
        Err(error) => {
            tracing::debug!(%error, "no state folder: what is compiled and fetched is not kept");
            Ok(None)
        }
    }
}

fn unusable_state(error: io::Error) -> Error {
    system("state_dir", error)
}

fn options(config: &Config) -> Options {
    let limits = config.swarms.limits;
    Options {
        lifetime: seconds(config.tracker.peer_lifetime),
        keep_downloads: seconds(config.swarms.keep_downloads),
        keep_peer_ids: config.swarms.keep_peer_ids,
        echo_lone_peer: config.tracker.echo_lone_peer,
        max_torrents: limits.torrents as u64,
        max_peers_per_torrent: u32::try_from(limits.peers_per_torrent).unwrap_or(u32::MAX),
        max_peers_per_address: u32::try_from(limits.peers_per_address).unwrap_or(u32::MAX),
        ..Options::default()
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn system(what: &str, error: io::Error) -> Error {
    Error::System { what: what.to_owned(), error }
}

fn runtime() -> Result<Runtime, Error> {
    Builder::new_current_thread().enable_all().build().map_err(|error| system("a runtime", error))
}

/// A tracker has many connections open at once.
fn raise_file_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, limit = soft, "the limit on open files stays low");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_follows_the_lifetime() {
        let seconds = |lifetime| round(Duration::from_secs(lifetime)).as_secs();
        assert_eq!([2, 5, 10, 20, 300, 2700, 86_400].map(seconds), [1, 1, 1, 2, 30, 60, 60]);
    }
}
