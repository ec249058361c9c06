//! Puts the parts together, runs them, and takes them down.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::Type;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::admin::{self, Admin};
use crate::bittorrent::connection_id::ConnectionIds;
use crate::bittorrent::{Event, Transport};
use crate::config::{self, Config, RateLimits};
use crate::frontend::sockets::{self, Listen};
use crate::frontend::{RouteTable, Routes, http, udp};
use crate::limits::Limiter;
use crate::metrics::{self, Metrics};
use crate::policy::{self, Chain, Engine, LoadError, Plugin, Policy, Scope, Stage, Supplier, When};
use crate::state_dir::StateDir;
use crate::swarm::{Memory, Options, Store};
use crate::tracker::{Settings, Tracker};

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

/// How long requests that are under way may take when the daemon stops.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one round of expiry takes, spread over many slices.
const ROUND: Duration = Duration::from_secs(60);

/// Says whether [`run`] would accept the configuration. Binds and writes nothing.
pub fn check(config: &Config) -> Result<(), Error> {
    let engine = Engine::new()?;
    let store = Arc::new(Memory::new(options(config)));
    plugins(config, &engine, store)?;
    Table::new(config)?;
    Ok(())
}

/// Serves until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<(), Error> {
    let start = Instant::now();
    raise_file_limit();
    let workers = match config.tracker.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    };
    let store = Arc::new(Memory::new(options(&config)));
    let engine = Engine::new()?;
    let plugins = plugins(&config, &engine, store.clone())?;
    let table = Table::new(&config)?;
    let metrics = Arc::new(Metrics::new({
        let store = store.clone();
        move || store.totals().now_or_never().unwrap_or_default()
    }));
    let policies = table.policies(&config, &plugins)?;
    let addresses = Addresses::settle(&config)?;
    let secrets = secrets(&config)?;
    let limits = Limiter::new(&config.tracker.limits).map(Arc::new);
    let budgets: Vec<_> = config.udp.iter().map(|udp| budget(udp).map(Arc::new)).collect();

    let (stop, stopping) = watch::channel(false);
    let mut crew = Vec::new();
    for number in 0..workers {
        let chain = Chain::new(&policies, number as u32, workers as u32, &metrics)
            .map_err(|(at, reason)| refused(&config, at, &plugins[at].init_error(reason)))?;
        let worker = Worker {
            config: config.clone(),
            table: table.clone(),
            store: store.clone(),
            limits: limits.clone(),
            chain,
            secrets: secrets.clone(),
            budgets: budgets.clone(),
            http: bind_all(&addresses.http, sockets::tcp)?,
            udp: bind_all(&addresses.udp, sockets::udp)?,
            series: metrics.worker(),
            start,
            stopping: stopping.clone(),
        };
        crew.push(worker.start(number)?);
    }
    let admin = Admin {
        token: config.admin.token.clone(),
        metrics: metrics.clone(),
        start,
        listeners: addresses.list(),
        policies: shown(&plugins),
    };
    metrics.set_generation(1);

    let runtime = runtime()?;
    runtime.block_on(async {
        let socket = sockets::tcp(addresses.admin).and_then(tokio::net::TcpListener::from_std);
        let socket = socket.map_err(|error| cannot_listen(addresses.admin, error))?;
        for admin::Listener { transport, address } in addresses.list() {
            tracing::info!(transport, %address, "listening");
        }
        let policies = config.policies.len();
        tracing::info!(workers, policies, "ready");
        tokio::spawn(admin.serve(socket));
        tokio::spawn(expire(store, start));
        asked_to_stop().await
    })?;
    tracing::info!("stopping");
    let _ = stop.send(true);
    for worker in crew {
        let _ = worker.join();
    }
    tracing::info!("stopped");
    Ok(())
}

async fn asked_to_stop() -> Result<(), Error> {
    let listen = |kind| signal(kind).map_err(|error| system("signals", error));
    let (mut terminate, mut interrupt) =
        (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// What one worker thread starts with.
struct Worker {
    config: Config,
    table: Table,
    store: Arc<Memory>,
    limits: Option<Arc<Limiter>>,
    chain: Chain,
    secrets: Vec<Vec<u8>>,
    budgets: Vec<Option<Arc<Limiter>>>,
    http: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
    series: Arc<metrics::Worker>,
    start: Instant,
    stopping: watch::Receiver<bool>,
}

impl Worker {
    fn start(self, number: usize) -> Result<JoinHandle<()>, Error> {
        let runtime = runtime()?;
        std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .stack_size(policy::THREAD_STACK)
            .spawn(move || LocalSet::new().block_on(&runtime, self.serve()))
            .map_err(|error| system("a worker thread", error))
    }

    async fn serve(self) {
        let Self { config, table, mut stopping, .. } = self;
        let settings = settings(&config.tracker);
        let tracker =
            Rc::new(Tracker::new(self.store, self.limits, self.chain, settings, self.start));
        // Every connection and listener of this worker holds a receiver; when the last is gone,
        // so is the work.
        let (stop, local) = watch::channel(false);
        let max_scrape = config.tracker.max_scrape;
        for ((listener, routes), socket) in config.http.iter().zip(&table.http).zip(self.http) {
            let listener = http::Listener {
                tracker: tracker.clone(),
                routes: routes.clone(),
                real_ip: listener.real_ip.clone(),
                allow_address_override: listener.allow_address_override,
                keep_alive: listener.keep_alive,
                header_timeout: listener.header_timeout,
                max_request: listener.max_request,
                max_scrape,
                series: self.series.clone(),
                pool: http::Pool::default(),
            };
            match tokio::net::TcpListener::from_std(socket) {
                Ok(socket) => {
                    tokio::task::spawn_local(listener.serve(socket, local.clone()));
                }
                Err(error) => tracing::error!(%error, "an HTTP socket"),
            }
        }
        let rest = config.udp.iter().zip(&table.udp).zip(self.secrets).zip(self.budgets);
        for ((((listener, routes), secret), error_budget), socket) in rest.zip(self.udp) {
            let lifetime = seconds(listener.connection_id_lifetime);
            let listener = udp::Listener {
                tracker: tracker.clone(),
                routes: routes.clone(),
                connection_ids: ConnectionIds::new(&secret, lifetime),
                error_budget,
                max_scrape,
                series: self.series.clone(),
            };
            match tokio::net::UdpSocket::from_std(socket) {
                Ok(socket) => {
                    tokio::task::spawn_local(listener.serve(socket, local.clone()));
                }
                Err(error) => tracing::error!(%error, "a UDP socket"),
            }
        }
        drop(local);
        let _ = stopping.wait_for(|stop| *stop).await;
        let _ = stop.send(true);
        let _ = tokio::time::timeout(PATIENCE, stop.closed()).await;
    }
}

/// The routes of all listeners.
#[derive(Clone)]
struct Table {
    ids: RouteTable,
    http: Vec<Routes>,
    udp: Vec<Routes>,
}

impl Table {
    fn new(config: &Config) -> Result<Self, Error> {
        let mut ids = RouteTable::default();
        let wrong = |path: String, reason| Error::Config(config.source.error(&path, reason));
        let http = config.http.iter().enumerate().map(|(at, listener)| {
            Routes::new(&listener.announce, &listener.scrape, &mut ids)
                .map_err(|reason| wrong(format!("http[{at}].announce"), reason))
        });
        let http = http.collect::<Result<_, _>>()?;
        let udp = config.udp.iter().enumerate().map(|(at, listener)| {
            Routes::new(&listener.announce, &[], &mut ids)
                .map_err(|reason| wrong(format!("udp[{at}].announce"), reason))
        });
        let udp = udp.collect::<Result<_, _>>()?;
        Ok(Self { ids, http, udp })
    }

    /// The policies as the chains of all workers share them.
    fn policies(
        &self,
        config: &Config,
        plugins: &[Arc<Plugin>],
    ) -> Result<Vec<Arc<Policy>>, Error> {
        let mut ids = self.ids.clone();
        let policies = config.policies.iter().zip(plugins).map(|(policy, plugin)| {
            let when = &policy.when;
            Ok(Arc::new(Policy {
                supplier: Supplier::start(plugin.clone())
                    .map_err(|error| system("a thread for a policy", error))?,
                when: When {
                    transports: when.transports.iter().map(|t| transport(*t)).collect(),
                    events: when.events.iter().map(|e| event(*e)).collect(),
                    routes: when.routes.iter().map(|route| ids.id(route)).collect(),
                },
                on_error: policy.on_error,
            }))
        });
        policies.collect()
    }
}

/// The addresses of all listeners, with their ports settled.
struct Addresses {
    http: Vec<Listen>,
    udp: Vec<Listen>,
    admin: Listen,
}

impl Addresses {
    fn settle(config: &Config) -> Result<Self, Error> {
        let settle = |address, only_v6, kind| {
            let listen = Listen { address, only_v6 };
            sockets::settle(listen, kind).map_err(|error| cannot_listen(listen, error))
        };
        let http = config.http.iter().map(|http| settle(http.listen, http.only_v6, Type::STREAM));
        let udp = config.udp.iter().map(|udp| settle(udp.listen, udp.only_v6, Type::DGRAM));
        Ok(Self {
            http: http.collect::<Result<_, _>>()?,
            udp: udp.collect::<Result<_, _>>()?,
            admin: settle(config.admin.listen, true, Type::STREAM)?,
        })
    }

    fn list(&self) -> Vec<admin::Listener> {
        let list = |transport, all: &[Listen]| -> Vec<_> {
            let listener = |one: &Listen| admin::Listener { transport, address: one.address };
            all.iter().map(listener).collect()
        };
        [list("http", &self.http), list("udp", &self.udp), list("admin", &[self.admin])].concat()
    }
}

fn bind_all<T>(all: &[Listen], bind: fn(Listen) -> io::Result<T>) -> Result<Vec<T>, Error> {
    let bind = |listen: &Listen| bind(*listen).map_err(|error| cannot_listen(*listen, error));
    all.iter().map(bind).collect()
}

fn cannot_listen(listen: Listen, error: io::Error) -> Error {
    system(&format!("cannot listen on {}", listen.address), error)
}

fn system(what: &str, error: io::Error) -> Error {
    Error::System { what: what.to_owned(), error }
}

fn runtime() -> Result<Runtime, Error> {
    Builder::new_current_thread().enable_all().build().map_err(|error| system("a runtime", error))
}

/// Loads and tries the plugins; their errors are errors of the configuration.
fn plugins(
    config: &Config,
    engine: &Engine,
    store: Arc<Memory>,
) -> Result<Vec<Arc<Plugin>>, Error> {
    let scope = Scope {
        max_interval: seconds(config.tracker.max_interval),
        max_num_want: config.tracker.num_want.max,
        swarms: store,
    };
    policy::load(engine, &config.policies, &scope)
        .map_err(|(at, error)| refused(config, at, &error))
}

fn refused(config: &Config, at: usize, error: &LoadError) -> Error {
    let LoadError { policy, file, stage, reason } = error;
    let who = format!("(policy `{policy}`, plugin {})", file.display());
    let source = &config.source;
    Error::Config(match stage {
        Stage::Init => source.plugin_error(at, &format!("{reason} {who}")),
        Stage::Digest => source.error(&format!("policies[{at}].sha256"), format!("{reason} {who}")),
        _ => source.error(&format!("policies[{at}].plugin"), format!("{stage}: {reason} {who}")),
    })
}

fn shown(plugins: &[Arc<Plugin>]) -> Vec<admin::Policy> {
    let show = |plugin: &Arc<Plugin>| admin::Policy {
        name: plugin.name.to_string(),
        digest: policy::hex(&plugin.digest),
        mode: "enforce",
    };
    plugins.iter().map(show).collect()
}

/// What connection ids are keyed with, for each UDP listener.
fn secrets(config: &Config) -> Result<Vec<Vec<u8>>, Error> {
    let own = |path: Option<&Path>| -> io::Result<Vec<u8>> {
        StateDir::open(path)?.connection_id_secret()
    };
    let mut kept: Option<Vec<u8>> = None;
    let secret = |udp: &config::Udp| {
        if let Some(secret) = &udp.connection_id_secret {
            return Ok(secret.expose().to_vec());
        }
        if let Some(secret) = &kept {
            return Ok(secret.clone());
        }
        let secret = match own(config.state_dir.as_deref()) {
            Ok(secret) => secret,
            Err(error) if config.state_dir.is_some() => return Err(system("state_dir", error)),
            Err(error) => {
                tracing::warn!(%error, "no state folder; connection ids end with this process");
                rand::random::<[u8; 32]>().to_vec()
            }
        };
        kept = Some(secret.clone());
        Ok(secret)
    };
    config.udp.iter().map(secret).collect()
}

fn budget(udp: &config::Udp) -> Option<Limiter> {
    let budget = udp.error_budget;
    Limiter::new(&RateLimits {
        per_second: budget.per_second,
        burst: 0,
        ipv4_prefix: budget.ipv4_prefix,
        ipv6_prefix: budget.ipv6_prefix,
    })
}

fn options(config: &Config) -> Options {
    let limits = config.swarms.limits;
    Options {
        lifetime: seconds(config.tracker.peer_lifetime),
        keep_peer_ids: config.swarms.keep_peer_ids,
        echo_lone_peer: config.tracker.echo_lone_peer,
        max_torrents: limits.torrents as u64,
        max_peers_per_torrent: limits.peers_per_torrent as u32,
        max_peers_per_address: limits.peers_per_address as u32,
        ..Options::default()
    }
}

fn settings(tracker: &config::Tracker) -> Settings {
    Settings {
        interval: seconds(tracker.announce_interval),
        min_interval: seconds(tracker.min_announce_interval),
        default_num_want: tracker.num_want.default,
        max_num_want: tracker.num_want.max,
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

fn transport(transport: config::Transport) -> Transport {
    match transport {
        config::Transport::Http => Transport::Http,
        config::Transport::Https => Transport::Https,
        config::Transport::Udp => Transport::Udp,
    }
}

fn event(event: config::Event) -> Event {
    match event {
        config::Event::None => Event::None,
        config::Event::Started => Event::Started,
        config::Event::Stopped => Event::Stopped,
        config::Event::Completed => Event::Completed,
        config::Event::Paused => Event::Paused,
    }
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
