//! Puts the parts together, runs them, and takes them down.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
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
use crate::config::{self, Config, LogLevel};
use crate::data;
use crate::metrics::Metrics;
use crate::policy::{self, Artifacts, Compiler, Engine, Generation};
use crate::state_dir::StateDir;
use crate::swarm::{Memory, Options, Store};
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
}

/// Questions that may wait for their answers.
const WAITING: usize = 16;
/// How long a reload that is under way may take when the daemon stops.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one round of expiry takes, spread over many slices.
const ROUND: Duration = Duration::from_secs(60);

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

/// Serves until SIGTERM or SIGINT. `set_level` changes the level of the log when the configuration
/// in `file` is read again.
pub fn run(
    config: Config,
    file: PathBuf,
    compiler: Compiler,
    set_level: fn(LogLevel),
) -> Result<(), Error> {
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
    let site = Site::settle(&config, routes)?;

    let (stop, stopping) = watched::channel(false);
    let mut crew = Vec::new();
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
        };
        crew.push(worker.start(number)?);
        orders.push(order);
    }
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
        set_level,
        shown,
        started: config.clone(),
        current,
    };
    let runtime = runtime()?;
    let generation = runtime.block_on(async {
        let socket = tokio::net::TcpListener::from_std(site.bind_admin()?)
            .map_err(|error| system("the admin socket", error))?;
        let signals = Signals::listen()?;
        tokio::spawn(admin.serve(socket));
        tokio::spawn(expire(store, start));
        for admin::Listener { transport, address } in site.list() {
            tracing::info!(transport, %address, "listening");
        }
        tracing::info!(workers, policies = config.policies.len(), "ready");
        Ok::<_, Error>(signals.obey(versions, asked).await)
    })?;
    tracing::info!("stopping");
    let _ = stop.send(true);
    for worker in crew {
        let _ = worker.join();
    }
    generation.finish();
    tracing::info!("stopped");
    // A reload that is under way is of no use to anybody now.
    runtime.shutdown_background();
    Ok(())
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

    /// Reloads at SIGHUP, when asked and when the file of a watched plugin changes, one reload at a
    /// time, until SIGTERM or SIGINT. Returns what served last.
    async fn obey(
        mut self,
        versions: Versions,
        mut asked: mpsc::Receiver<admin::AskReload>,
    ) -> Generation {
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
        // A reload that does not end is not waited for.
        let last = versions.try_lock_for(PATIENCE);
        last.map_or_else(Generation::default, |versions| versions.current.load().generation.clone())
    }
}

/// Removes peers that have gone silent, slice by slice, a round in [`ROUND`].
async fn expire(store: Arc<impl Store>, start: Instant) {
    let mut slices = 1;
    let mut last_round = 1024;
    loop {
        tokio::time::sleep(ROUND / last_round).await;
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
