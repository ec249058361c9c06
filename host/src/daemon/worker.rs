//! A worker thread: its own runtime, sockets, connections and instances.

use std::net::{TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use karuta_bittorrent::connection_id::ConnectionIds;
use karuta_swarm::Memory;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};

use super::site::Site;
use super::{Error, seconds, system};
use crate::accept::Acceptor;
use crate::config::Config;
use crate::frontend::{http, udp};
use crate::metrics;
use crate::policy;
use crate::tracker::{Rules, Tracker};

/// How long requests that are under way may take when the daemon stops.
const PATIENCE: Duration = Duration::from_secs(4);

/// How often policies take notice of new data, where no request makes them.
const LOOK: Duration = Duration::from_millis(250);

/// What one worker thread starts with.
pub struct Worker {
    pub config: Arc<Config>,
    pub site: Site,
    pub sockets: (Vec<TcpListener>, Vec<UdpSocket>),
    pub store: Arc<Memory>,
    pub rules: Rules,
    pub series: Arc<metrics::Worker>,
    pub start: Instant,
    pub orders: mpsc::UnboundedReceiver<Adopt>,
    pub stopping: watch::Receiver<bool>,
    /// Told, and dropped, when the worker has ended.
    pub at_work: Sender<()>,
}

/// The order to change over to other rules.
pub struct Adopt {
    pub rules: Rules,
    /// Told when it is done.
    pub done: Sender<()>,
}

impl Worker {
    pub fn start(self, number: usize) -> Result<(), Error> {
        let (made, making) = channel();
        let work = move || {
            // It stays on the thread that makes it.
            let runtime = Builder::new_current_thread().enable_all().build_local(<_>::default());
            let (runtime, result) = match runtime {
                Ok(runtime) => (Some(runtime), Ok(())),
                Err(error) => (None, Err(system("a runtime", error))),
            };
            // Whoever started it waits for this.
            let _ = made.send(result);
            let at_work = self.at_work.clone();
            if let Some(runtime) = runtime {
                runtime.block_on(self.serve());
            }
            // Whoever waited may have given up.
            let _ = at_work.send(());
        };
        std::thread::Builder::new()
            .name(format!("worker-{number}"))
            .stack_size(policy::THREAD_STACK)
            .spawn(work)
            .map_err(|error| system("a worker thread", error))?;
        making.recv().unwrap_or(Ok(()))
    }

    async fn serve(self) {
        let Self { config, site, mut orders, mut stopping, series, .. } = self;
        let tracker = Rc::new(Tracker::new(self.store, self.rules, self.start));
        // Every connection and listener of this worker holds a receiver; when the last is gone,
        // so is the work.
        let (stop, local) = watch::channel(false);
        let max_scrape = config.tracker.max_scrape;
        let (tcp_sockets, udp_sockets) = self.sockets;
        for ((listener, (_, routes, room)), socket) in
            config.http.iter().zip(site.http).zip(tcp_sockets)
        {
            let listener = http::Listener {
                tracker: tracker.clone(),
                routes,
                real_ip: listener.real_ip.clone(),
                allow_address_override: listener.allow_address_override,
                keep_alive: listener.keep_alive,
                header_timeout: listener.header_timeout,
                max_request: listener.max_request,
                max_scrape,
                series: series.clone(),
                pool: http::Pool::default(),
            };
            match tokio::net::TcpListener::from_std(socket) {
                Ok(socket) => {
                    let acceptor = Acceptor::new(socket, room, "http");
                    tokio::task::spawn_local(listener.serve(acceptor, local.clone()));
                }
                Err(error) => tracing::error!(%error, "an HTTP socket"),
            }
        }
        for ((listener, (_, routes, shared)), socket) in
            config.udp.iter().zip(site.udp).zip(udp_sockets)
        {
            let lifetime = seconds(listener.connection_id_lifetime);
            let listener = udp::Listener {
                tracker: tracker.clone(),
                routes,
                connection_ids: ConnectionIds::new(&shared.secret, lifetime),
                error_budget: shared.error_budget,
                max_scrape,
                series: series.clone(),
            };
            match udp::register(socket) {
                Ok(socket) => {
                    tokio::task::spawn_local(listener.serve(socket, local.clone()));
                }
                Err(error) => tracing::error!(%error, "a UDP socket"),
            }
        }
        drop(local);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(Adopt { rules, done }) = orders.recv() => {
                    tracker.adopt(rules);
                    // Whoever waited may have given up.
                    let _ = done.send(());
                }
                _ = look.tick() => tracker.freshen(),
                _ = stopping.wait_for(|stop| *stop) => break,
            }
        }
        let _ = stop.send(true);
        let _ = tokio::time::timeout(PATIENCE, stop.closed()).await;
    }
}
