//! A worker thread with its own runtime, sockets, connections and instances.

use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use karuta_bittorrent::connection_id::ConnectionIds;
use karuta_swarm::Shared;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, watch};

use super::bound::Bound;
use super::error::{Error, seconds, system};
use super::listeners::{HttpListener, UdpListener};
use crate::accept::Acceptor;
use crate::books::Books;
use crate::config::Config;
use crate::decisions::Recorder;
use crate::frontend::gathering::Gathering;
use crate::frontend::{Challenges, http, udp};
use crate::metrics;
use crate::policy;
use crate::public::Public;
use crate::recording::Tape;
use crate::service::Pulse;
use crate::tls::Handshakes;
use crate::tracker::{Rules, Tracker};

/// How long open requests may take when the daemon stops. At a restart, all others wait for them.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the sockets of earlier addresses are read.
const LEAVE: Duration = Duration::from_secs(1);

/// How often policies check for new data while there are no requests, and how often the worker
/// shows that it is alive.
const LOOK: Duration = Duration::from_millis(250);

/// Everything a worker thread starts with.
pub struct Worker {
    pub config: Arc<Config>,
    pub sockets: Bound,
    /// Sockets that are only read empty.
    pub leaving: Bound,
    pub pulse: Pulse,
    pub store: Arc<Shared>,
    pub books: Option<Books>,
    pub rules: Rules,
    pub recorder: Recorder,
    /// `None`: requests are not recorded.
    pub tape: Option<Tape>,
    pub series: Arc<metrics::Worker>,
    pub metrics: Arc<metrics::Metrics>,
    pub public: Public,
    pub start: Instant,
    pub orders: mpsc::UnboundedReceiver<Order>,
    pub stopping: watch::Receiver<bool>,
    /// Notified, then dropped, when the worker has ended.
    pub at_work: Sender<()>,
}

/// A command for a worker.
pub enum Order {
    Adopt {
        rules: Rules,
        /// Notified when the worker has adopted them.
        done: Sender<()>,
    },
    /// Stay with the rules in use, and let go of what was parked.
    Settle,
}

impl Worker {
    /// Starts the thread. Returns when its sockets are registered.
    pub fn start(self, number: usize) -> Result<(), Error> {
        let (started, starting) = channel();
        let work = move || {
            let at_work = self.at_work.clone();
            // The runtime must stay on the thread that creates it.
            match Builder::new_current_thread().enable_all().build_local(<_>::default()) {
                Ok(runtime) => runtime.block_on(self.work(&started)),
                Err(error) => drop(started.send(Err(system("cannot start async runtime", error)))),
            }
            // The receiver may have given up.
            let _ = at_work.send(());
        };
        std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .stack_size(policy::THREAD_STACK)
            .spawn(work)
            .map_err(|error| system("cannot start worker thread", error))?;
        starting.recv().unwrap_or(Ok(()))
    }

    /// Registers the sockets, reports the result, and serves.
    async fn work(self, started: &Sender<Result<(), Error>>) {
        let Self {
            config,
            pulse,
            store,
            books,
            rules,
            recorder,
            tape,
            series,
            metrics,
            public,
            start,
            mut orders,
            mut stopping,
            ..
        } = self;
        let registered = Sockets::register(self.sockets)
            .and_then(|sockets| Ok((sockets, Sockets::register(self.leaving)?)));
        let (sockets, leaving) = match registered {
            Ok(registered) => registered,
            Err(error) => return drop(started.send(Err(error))),
        };
        let _ = started.send(Ok(()));
        series.runs_on(Handle::current().metrics());
        let tracker = Rc::new(Tracker::new(store, rules, recorder, tape, books, start));
        let gathering = Rc::new(Gathering::new(tracker.clone()));
        tokio::task::spawn_local(gathering.clone().serve());
        // Every connection and listener of this worker holds a receiver. When the last one is gone,
        // the work is done.
        let (stop, local) = watch::channel(false);
        let max_scrape = config.tracker.max_scrape;
        let serve = |sockets: Sockets, stopping: watch::Receiver<bool>| {
            for (shared, socket) in sockets.http {
                let timeout = shared.settings.header_timeout;
                let tls = shared
                    .tls
                    .as_ref()
                    .map(|tls| Handshakes::new(tls, timeout, shared.handshakes, metrics.clone()));
                let webroot = shared.settings.acme_webroot.as_deref();
                let listener = http::Listener {
                    tracker: tracker.clone(),
                    gathering: gathering.clone(),
                    routes: shared.routes.clone(),
                    tls,
                    challenges: webroot.map(Challenges::new),
                    real_ip: shared.settings.real_ip.clone(),
                    allow_address_override: shared.settings.allow_address_override,
                    keep_alive: shared.settings.keep_alive,
                    header_timeout: timeout,
                    max_request: shared.settings.max_request,
                    max_scrape,
                    public: public.clone(),
                    series: series.clone(),
                    connections: metrics.connections(shared.listen.address),
                    number: shared.number,
                    pool: http::Pool::default(),
                };
                let acceptor = Acceptor::new(socket, shared.room.clone(), shared.transport());
                tokio::task::spawn_local(listener.serve(acceptor, stopping.clone()));
            }
            for (shared, socket) in sockets.udp {
                let lifetime = seconds(shared.settings.connection_id_lifetime);
                let listener = udp::Listener {
                    tracker: tracker.clone(),
                    routes: shared.routes.clone(),
                    connection_ids: ConnectionIds::new(&shared.secret, lifetime),
                    error_budget: shared.error_budget.clone(),
                    max_scrape,
                    series: series.clone(),
                    number: shared.number,
                };
                tokio::task::spawn_local(listener.serve(socket, stopping.clone()));
            }
        };
        serve(sockets, local.clone());
        if !leaving.is_empty() {
            let (leave, left) = watch::channel(false);
            serve(leaving, left);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(LEAVE).await;
                leave.send(true)
            });
        }
        drop(local);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(order) = orders.recv() => match order {
                    Order::Adopt { rules, done } => {
                        tracker.adopt(rules);
                        // The receiver may have given up.
                        let _ = done.send(());
                    }
                    Order::Settle => tracker.settle(),
                },
                _ = look.tick() => {
                    pulse.beat();
                    tracker.freshen();
                }
                _ = stopping.wait_for(|stop| *stop) => break,
            }
        }
        let _ = stop.send(true);
        let _ = tokio::time::timeout(PATIENCE, stop.closed()).await;
    }
}

/// A worker's sockets, registered with its runtime.
struct Sockets {
    http: Vec<(Arc<HttpListener>, tokio::net::TcpListener)>,
    udp: Vec<(Arc<UdpListener>, AsyncFd<UdpSocket>)>,
}

impl Sockets {
    fn is_empty(&self) -> bool {
        self.http.is_empty() && self.udp.is_empty()
    }

    fn register(bound: Bound) -> Result<Self, Error> {
        let http = bound.http.into_iter().map(|(listener, socket)| {
            let socket = tokio::net::TcpListener::from_std(socket);
            Ok((listener, socket.map_err(|error| system("cannot register HTTP socket", error))?))
        });
        let udp = bound.udp.into_iter().map(|(listener, socket)| {
            let socket = udp::register(socket);
            Ok((listener, socket.map_err(|error| system("cannot register UDP socket", error))?))
        });
        Ok(Self {
            http: http.collect::<Result<_, Error>>()?,
            udp: udp.collect::<Result<_, Error>>()?,
        })
    }
}
