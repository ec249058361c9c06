//! Assembles, runs and shuts down the tracker.

mod accounts;
mod addresses;
mod admin;
mod bound;
mod candidate;
mod certificates;
mod compare;
mod confine;
mod crew;
mod error;
mod expiry;
mod explain;
mod exports;
mod foresight;
mod guards;
mod keeper;
mod listeners;
mod loaded;
mod on_trial;
mod preview;
mod reload;
mod reloader;
mod replay;
mod shared;
mod signals;
mod snapshots;
mod socket_file;
mod standing;
mod start;
mod status;
mod watch;
mod worker;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use karuta_swarm::{Options, Shared, Store};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use self::addresses::Addresses;
use self::admin::AdminThread;
use self::bound::AdminSockets;
use self::candidate::Maker;
use self::confine::confine;
use self::crew::Crew;
pub use self::error::Error;
use self::error::{seconds, system};
use self::exports::Exports;
use self::listeners::{ListenerRoutes, Listeners};
use self::loaded::{Loaded, Loader, refused};
use self::reloader::Reloader;
pub use self::replay::{Replayed, replay};
use self::shared::{Prepared, Started};
use self::signals::Signals;
use self::snapshots::{Order, Snapshots};
use self::socket_file::SocketFile;
use self::standing::Standing;
pub use self::start::{Pinned, Start};
use self::status::Status;
use crate::admin::{
    Access, Admin, Archive, Audit, ConfigurationFile, Doctor, Events, HANDSHAKES, HEAD, Listener,
    Recent, Swarms,
};
use crate::books::Books;
use crate::config::{self, Config};
use crate::confine::Wall;
use crate::data;
use crate::decisions::Decisions;
use crate::doctor::examine_around;
use crate::doors::Doors;
use crate::history::History;
use crate::log;
use crate::metrics::Metrics;
use crate::policy::{self, Artifacts, Compiler, Engine, Estate, Generation};
use crate::public::Public;
use crate::recording::Rings;
use crate::service::{Inheritance, Notifier, Watchdog};
use crate::state_dir::StateDir;
use crate::tls::{Certificates, Handshakes};

/// The most questions and reloads of the admin API that may wait.
const WAITING: usize = 16;

/// Checks whether [`run`] would accept the configuration. Binds and writes nothing. Returns what is
/// accepted, but unusual.
pub fn check(config: Config, compiler: Compiler) -> Result<Vec<config::Error>, Error> {
    let certificates = certificates::load(&config)?;
    let (store, _) = shared::store(&config, options(&config))?;
    socket_file::group(&config)?;
    let warnings = certificates.warnings().into_iter().chain(config.warnings());
    let warnings =
        warnings.map(|(key, said)| config.source.error(&key, format!("warning: {said}")));
    let warnings: Vec<_> = warnings.collect();
    let state = StateDir::existing(config.state_dir.as_deref()).ok().flatten();
    let artifacts = state.and_then(|state| Artifacts::look(&state).ok().flatten());
    let loader = Loader {
        policies: policy::Loader {
            engine: Arc::new(Engine::new(compiler, artifacts)?),
            estate: Estate::default(),
            opening: data::Opening::default(),
        },
        swarms: Arc::new(store),
        routes: ListenerRoutes::read(&config)?.table,
    };
    let config = Arc::new(config);
    let loaded = loader.load(config.clone().into())?;
    let unasked = unasked(&loaded)
        .map(|said| config.source.error("swarms.full_scrape", format!("warning: {said}")));
    Ok(Vec::into_iter(warnings).chain(unasked).collect())
}

/// Returns what is unusual about full scrapes beside policies that decide on scrapes.
fn unasked(loaded: &Loaded) -> Option<String> {
    loaded.config.swarms.full_scrape.as_ref()?;
    let policies = loaded.generation.policies.iter().map(|policy| policy.plugin());
    let names = policies.filter(|plugin| plugin.code.hooks.scrape.is_some());
    let names: Vec<_> = names.map(|plugin| format!("`{}`", plugin.name)).collect();
    let said = "policies that decide on scrapes are not asked about full ones";
    (!names.is_empty()).then(|| format!("{said}: {}", names.join(", ")))
}

/// Compiles the plugins of all policies into the state folder, for the next start. Calls `done` with
/// each policy, and with `false` if its plugin was there already. Needs no secrets.
pub fn warm(
    config: &Config,
    compiler: Compiler,
    done: impl FnMut(&str, bool),
) -> Result<(), Error> {
    let state = StateDir::open(config.state_dir.as_deref());
    let artifacts = state.and_then(|state| Artifacts::open(&state)).map_err(unusable_state)?;
    let engine = Engine::new(compiler, Some(artifacts))?;
    policy::warm(&engine, &config.policies, done).map_err(|error| refused(config, &error))
}

/// Serves until SIGTERM or SIGINT, on the sockets that the service manager has passed and on new
/// ones. A reload reads the configuration from `file`. Threads that do not end in time are
/// abandoned.
pub fn run(
    start: Start,
    file: PathBuf,
    compiler: Compiler,
    inheritance: Inheritance,
) -> Result<(), Error> {
    raise_file_limit();
    let Start { config, pinned } = start;
    let mut tracker = Tracker::new(config, file)?;
    let routes = ListenerRoutes::read(&tracker.config)?;
    let workers = workers(&tracker.config);
    confine::check(&tracker.config)?;
    let mut addresses = Addresses::claim(&tracker.config, inheritance)?;
    // What comes from now on waits in the sockets.
    let files = SocketFile::listen_all(&tracker.config)?;
    let sockets = addresses.bind(workers, files, &tracker.manager)?;
    // Before there are threads and policies, which would keep what is given up.
    tracker.wall = confine(&tracker.config, &tracker.file)?;
    log::write(&tracker.config.log).map_err(Error::Log)?;
    tracker.decisions.open_log(&tracker.config).map_err(Error::Log)?;
    let starting = tracker.manager.extend_timeout();
    let (loader, archive) = tracker.loader(compiler, &routes)?;
    let shutdown = loader.policies.estate.shutdown.clone();
    // What belongs to the user of `run_as` could not be looked at before.
    let pinned = pinned.or_else(|| Pinned::find(&tracker.file));
    let standing = Standing::load(&loader, &tracker, pinned, archive)?;
    let loaded = &standing.loaded;
    tracker.metrics.set_generation(standing.number - 1);
    let listeners =
        Listeners::new(&tracker.config, workers, routes, &addresses, &tracker.certificates)?;
    let sockets = sockets.assign(&listeners, workers);
    tracker.decisions.set_listeners(listeners.list().into_iter().map(|one| one.address));
    if let Some(rings) = &tracker.rings {
        let named = |one: Listener| (one.transport.to_owned(), one.address);
        rings.set_listeners(listeners.list().into_iter().map(named).collect());
    }
    let prepared = tracker.prepared.take();
    tracker.books = accounts::open(&tracker.config, &tracker.store, tracker.start)?;
    let Tracker { config, store, metrics, start, books, .. } = &tracker;
    if let (Some(books), Some(rings)) = (books, &tracker.rings) {
        rings.set_interval(books.interval.clone());
    }
    if let Some(books) = books {
        metrics.set_accounts(books.accounts.clone());
    }
    metrics.set_udp_sockets(sockets.udp(&listeners));
    if let Some(books) = books {
        let lifetime = config.tracker.peer_lifetime;
        accounts::tell_observers(&books.accounts, &loaded.generation, lifetime)?;
    }
    let snapshots = Snapshots::open(config, store, metrics, *start)?;
    // Before the first instances that serve begin, and read key-values.
    let restored =
        snapshots.as_ref().and_then(|snapshots| snapshots.restore(&loaded.generation.kept()));
    // What comes meanwhile waits in the sockets.
    let sharing = prepared.map(|prepared| prepared.start(config, store, *start, restored));
    let sharing = sharing.transpose()?;
    let rules = loaded
        .rules(&Generation::default(), workers, metrics, false)
        .map_err(|error| refused(config, &error))?;
    let crew = Crew::start(rules, sockets.workers, sockets.leaving, &tracker, shutdown)?;
    tracker.show(&standing, workers)?;
    certificates::watch(&tracker.certificates, metrics)?;
    loaded::warn(&loaded.config);
    drop(starting);
    tracker.sharing = sharing;
    tracker.serve(loader, standing, listeners, sockets.admin, crew, snapshots)
}

/// Everything that lives as long as the process.
struct Tracker {
    /// The configuration that the process was started with.
    config: Arc<Config>,
    /// Its file, which a reload reads again.
    file: PathBuf,
    certificates: Arc<Certificates>,
    store: Arc<Shared>,
    /// Until swarms are shared, if they are to be.
    prepared: Option<Prepared>,
    /// From then on.
    sharing: Option<Started>,
    /// `None` until they are opened, and if there are none.
    books: Option<Books>,
    metrics: Arc<Metrics>,
    decisions: Arc<Decisions>,
    /// `None`: requests are not recorded.
    rings: Option<Arc<Rings>>,
    public: Public,
    start: Instant,
    manager: Notifier,
    /// Down until the sockets are bound.
    wall: Wall,
}

impl Tracker {
    fn new(config: Arc<Config>, file: PathBuf) -> Result<Self, Error> {
        let certificates = Arc::new(certificates::load(&config)?);
        let start = Instant::now();
        let (store, prepared) = shared::store(&config, options(&config))?;
        let store = Arc::new(store);
        let metrics = Metrics::new({
            let store = store.clone();
            move || store.totals()
        });
        if let Some(prepared) = &prepared {
            prepared.show(&metrics);
        }
        let manager = Notifier::of_environment();
        let metrics = Arc::new(metrics);
        let (decisions, wall) = (Arc::new(Decisions::new(metrics.clone())), Wall::Off);
        let public = Public::new(&config, &metrics);
        let rings = config.record.map(|record| {
            let workers = workers(&config);
            Arc::new(Rings::new(record.ring, workers, record.retain, record.max_size))
        });
        if let Some(rings) = rings.clone() {
            metrics.set_rings(move || rings.figures());
        }
        Ok(Self {
            config,
            file,
            certificates,
            store,
            prepared,
            sharing: None,
            books: None,
            metrics,
            decisions,
            rings,
            public,
            start,
            manager,
            wall,
        })
    }

    /// Opens the state folder, with the generations that are kept there, and prepares the policy loader.
    fn loader(
        &self,
        compiler: Compiler,
        routes: &ListenerRoutes,
    ) -> Result<(Loader, Archive), Error> {
        let state = state(&self.config)?;
        let artifacts = state.as_ref().map(Artifacts::open).transpose().map_err(unusable_state)?;
        let opening = data::Opening::new(state.as_ref(), data::Fetch::Soon);
        let archive = keeper::open(state.as_ref());
        if let (Some(_), Err(reason)) = (&state, &archive) {
            tracing::warn!(reason, "generations are not kept; there is no rollback");
        }
        let loader = Loader {
            policies: policy::Loader {
                engine: Arc::new(Engine::new(compiler, artifacts)?),
                estate: Estate::new(self.metrics.plugins()),
                opening: opening.map_err(unusable_state)?,
            },
            swarms: self.store.clone(),
            routes: routes.table.clone(),
        };
        Ok((loader, archive))
    }

    /// Starts the control instances, and publishes the first generation in the metrics.
    fn show(&self, standing: &Standing, workers: usize) -> Result<(), Error> {
        let Standing { loaded, number, .. } = standing;
        let serve = loaded.generation.serve(workers, &self.metrics);
        serve.map_err(|error| system("cannot start control instance", error))?;
        self.metrics.set_generation(*number);
        loaded.enter(*number, &self.decisions, self.rings.as_deref());
        self.metrics.configured(loaded.config.source.hash());
        self.metrics.set_data(loaded.data());
        Ok(())
    }

    /// Starts the admin API, serves until a signal comes, and stops the crew.
    fn serve(
        self,
        loader: Loader,
        standing: Standing,
        listeners: Listeners,
        sockets: AdminSockets,
        crew: Crew,
        snapshots: Option<Snapshots>,
    ) -> Result<(), Error> {
        standing.keep();
        let Standing { loaded, keeper, .. } = standing;
        let (reloads, archive) = (keeper.reloads.clone(), keeper.generations.clone());
        let shown = Arc::new(Mutex::new(loaded.shown()));
        loaded.data().iter().for_each(|source| source.keep_edits());
        let audit = Arc::<Audit>::default();
        let noted = audit.clone();
        let mut doors = Doors::new(move |way, list, result| noted.fifo(way, list, result));
        doors.adopt(loaded.fifos());
        let current = Arc::new(ArcSwap::from_pointee(loaded));
        let (reload_tx, asked) = mpsc::channel(WAITING);
        let (explain_tx, questions) = mpsc::channel(WAITING);
        let (store, books) = (self.store.clone(), self.books.clone());
        explain::start(questions, current.clone(), listeners.clone(), store, books)
            .map_err(|error| system("cannot start explain thread", error))?;
        let snapshots = snapshots.map(|snapshots| snapshots.serve(current.clone())).transpose()?;
        let ask_snapshot = snapshots.as_ref().map(|writing| {
            let orders = writing.orders.clone();
            let ask = move |reply| drop(orders.send(Order::Save(reply)));
            Box::new(ask) as Box<dyn Fn(_) + Send + Sync>
        });
        let Self {
            config,
            file,
            certificates,
            store,
            prepared: _,
            sharing,
            books,
            metrics,
            decisions,
            rings,
            public,
            start,
            manager,
            wall,
        } = self;
        let interval = books.as_ref().map(|books| books.interval.clone()).unwrap_or_default();
        let books = books.map(|books| books.accounts);
        let reader =
            decisions.start().map_err(|error| system("cannot start decisions thread", error))?;
        let full_scrape = public.full_scrape.clone();
        let exports = Exports::start(store.clone(), metrics.clone(), full_scrape, start)?;
        exports.orders().adopt(&current.load().config, &wall);
        let access = Arc::new(Access::new(&current.load().config.admin));
        let history = Arc::<Mutex<History>>::default();
        let admin = Admin {
            access: access.clone(),
            audit,
            tls: certificates
                .admin
                .as_ref()
                .map(|tls| Handshakes::new(tls, HEAD, HANDSHAKES, metrics.clone())),
            metrics: metrics.clone(),
            decisions: decisions.clone(),
            rings: rings.clone(),
            start,
            listeners: listeners.list(),
            policies: shown.clone(),
            configuration: ConfigurationFile::new(file.clone()),
            reload: reload_tx,
            reloads: reloads.clone(),
            archive,
            explain: explain_tx,
            snapshot: ask_snapshot,
            doctor: {
                let current = current.clone();
                Doctor::new(move || examine_around(&current.load().config))
            },
            snapshot_every: config.swarms.snapshot.as_ref().map(|snapshot| snapshot.every),
            swarms: Swarms::new(store.clone(), start),
            accounts: books.clone(),
            interval,
            recent: Recent::default(),
            public: public.stats,
            history: history.clone(),
            events: Events::default(),
            landlock: wall.name(),
        };
        let status = Status { metrics: metrics.clone(), policies: shown.clone() };
        let watchdog = Watchdog::of_environment(crew.pulses.clone(), manager.clone());
        let maker = Maker {
            file,
            loader,
            metrics: metrics.clone(),
            started: config.clone(),
            current,
            wall,
        };
        let reloader = Reloader {
            maker: Arc::new(maker),
            metrics,
            decisions,
            rings,
            manager: manager.clone(),
            workers: crew.orders.clone(),
            shown,
            certificates,
            access,
            accounts: books.clone(),
            doors,
            reloads,
            exports: exports.orders(),
            keeper,
            history,
            trial: None,
        };
        let current_policies = reloader.maker.current.load().config.policies.len();
        let runtime = runtime()?;
        let admin = AdminThread::start(admin, sockets)?;
        let served = runtime.block_on(async {
            let mut signals = Signals::listen()?;
            tokio::spawn(expiry::run(store, config.tracker.peer_lifetime, start));
            for Listener { transport, address, receive_buffer } in listeners.list() {
                let receive_buffer = receive_buffer.map(|buffer| buffer.granted);
                tracing::info!(transport, %address, receive_buffer, "listening");
            }
            let catching_up =
                sharing.as_ref().and_then(|sharing| sharing.catch_up(manager.clone()));
            let ready = {
                let (workers, policies) = (crew.orders.len(), current_policies);
                let manager = manager.clone();
                move || {
                    tracing::info!(workers, policies, "ready");
                    manager.ready();
                    if manager.is_present() {
                        tokio::spawn(status.show(manager));
                    }
                    if let Some(watchdog) = watchdog {
                        tokio::spawn(watchdog.run());
                    }
                }
            };
            let catching_up = match catching_up {
                None => {
                    ready();
                    None
                }
                Some(catching_up) => Some(tokio::spawn(catching_up.map(|()| ready()))),
            };
            signals.obey(reloader, asked).await;
            // It would say that it serves.
            if let Some(catching_up) = catching_up {
                catching_up.abort();
            }
            tracing::info!("stopping");
            manager.stopping();
            let ended = tokio::task::spawn_blocking(move || {
                crew.end();
                if let Some(books) = books {
                    accounts::end(&books);
                }
                if let Some(sharing) = sharing {
                    sharing.end();
                }
                reader.end();
                exports.end();
                // Nobody announces any more.
                if let Some(writing) = snapshots {
                    writing.end();
                }
            });
            tokio::select! {
                _ = ended => Ok(()),
                () = signals.end() => {
                    tracing::warn!("received a second signal; cutting off open requests");
                    Err(Error::Hurried)
                }
            }
        });
        admin.end();
        served?;
        tracing::info!("stopped");
        // A running reload does not delay the exit.
        runtime.shutdown_background();
        Ok(())
    }
}

/// Returns the state folder. Returns `None` if it cannot be opened and the configuration sets none.
fn state(config: &Config) -> Result<Option<StateDir>, Error> {
    match StateDir::open(config.state_dir.as_deref()) {
        Ok(state) => Ok(Some(state)),
        Err(error) if config.state_dir.is_some() => Err(unusable_state(error)),
        Err(error) => {
            tracing::debug!(%error, "no state folder; compiled components and fetched data are not kept");
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

/// Returns the number of worker threads.
fn workers(config: &Config) -> usize {
    match config.tracker.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    }
}

fn runtime() -> Result<Runtime, Error> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| system("cannot start async runtime", error))
}

/// Raises the limit on open files: a tracker has many connections open at once.
fn raise_file_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, limit = soft, "cannot raise the limit on open files");
    }
}
