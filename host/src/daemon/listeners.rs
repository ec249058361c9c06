//! The daemon's listeners, set up once for its whole life.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use nix::sys::resource::{Resource, getrlimit};
use tokio::sync::Semaphore;

use super::addresses::{Addresses, Site};
use super::error::{Error, system};
use super::socket_file::SocketFile;
use crate::admin;
use crate::config::{self, Config, RateLimits};
use crate::frontend::sockets::{BUFFER, Listen};
use crate::frontend::{RouteTable, Routes};
use crate::limits::Limiter;
use crate::state_dir::StateDir;
use crate::tls::{self, Certificates};

/// All listeners, in the order of the configuration.
#[derive(Clone)]
pub struct Listeners {
    pub http: Vec<Arc<HttpListener>>,
    pub udp: Vec<Arc<UdpListener>>,
    /// The addresses and socket files of the admin API.
    admin: Vec<String>,
    /// Those of the doors for sites, each with its name.
    doors: Vec<(&'static str, String)>,
}

/// An HTTP listener, shared by all workers.
pub struct HttpListener {
    pub settings: config::Http,
    pub listen: Listen,
    pub routes: Routes,
    /// A permit for each connection that may be open.
    pub room: Arc<Semaphore>,
    pub tls: Option<Arc<tls::Listener>>,
    /// The most handshakes at once of one worker.
    pub handshakes: usize,
    /// Its position in [`Listeners::list`].
    pub number: u16,
}

/// A UDP listener, shared by all workers.
pub struct UdpListener {
    pub settings: config::Udp,
    pub listen: Listen,
    pub routes: Routes,
    /// The size of the smallest of its sockets' buffers for received packets, in bytes.
    pub receive_buffer: AtomicUsize,
    /// The key of the connection ids.
    pub secret: Arc<[u8]>,
    pub error_budget: Option<Arc<Limiter>>,
    /// Its position in [`Listeners::list`].
    pub number: u16,
}

impl Listeners {
    /// Sets secrets, connection limits and budgets.
    pub fn new(
        config: &Config,
        workers: usize,
        routes: ListenerRoutes,
        addresses: &Addresses,
        certificates: &Certificates,
    ) -> Result<Self, Error> {
        let mut http = Vec::new();
        let rooms = rooms(config, workers);
        let settings = config.http.iter().zip(&addresses.http);
        let tls = certificates.http.iter().cloned();
        for ((((settings, site), routes), room), tls) in
            settings.zip(routes.http).zip(rooms).zip(tls)
        {
            let (settings, listen) = (settings.clone(), site.listen);
            let handshakes = handshakes(&room, workers);
            let number = http.len() as u16;
            let listener = HttpListener { settings, listen, routes, room, tls, handshakes, number };
            http.push(Arc::new(listener));
        }
        let mut udp = Vec::new();
        let mut own_secret = None;
        let settings = config.udp.iter().zip(&addresses.udp);
        for ((settings, site), routes) in settings.zip(routes.udp) {
            let secret = match &settings.connection_id_secret {
                Some(secret) => secret.expose().into(),
                None => match &own_secret {
                    Some(secret) => Arc::clone(secret),
                    None => own_secret.insert(kept_secret(config)?).clone(),
                },
            };
            let error_budget = error_budget(settings);
            let number = (http.len() + udp.len()) as u16;
            let (settings, listen) = (settings.clone(), site.listen);
            udp.push(Arc::new(UdpListener {
                settings,
                listen,
                routes,
                receive_buffer: AtomicUsize::new(BUFFER),
                secret,
                error_budget,
                number,
            }));
        }
        let bound = |site: &Site| site.listen.address.to_string();
        let sockets = config.admin.sockets().map(SocketFile::name);
        let admin = addresses.admin.iter().map(bound).chain(sockets).collect();
        let doors = addresses.doors.iter().map(|(door, site)| (door.name(), bound(site))).collect();
        Ok(Self { http, udp, admin, doors })
    }

    /// Lists the listeners with their bound addresses.
    pub fn list(&self) -> Vec<admin::Listener> {
        let listener = |transport, address, receive_buffer| admin::Listener {
            transport,
            address,
            receive_buffer,
        };
        let bound = |listen: Listen| listen.address.to_string();
        let http = self.http.iter().map(|one| listener(one.transport(), bound(one.listen), None));
        let udp = self.udp.iter().map(|one| {
            let granted = one.receive_buffer.load(Relaxed);
            let buffer = admin::ReceiveBuffer { requested: BUFFER, granted };
            listener("udp", bound(one.listen), Some(buffer))
        });
        let admin = self.admin.iter().map(|place| listener("admin", place.clone(), None));
        let doors = self.doors.iter().map(|(name, place)| listener(name, place.clone(), None));
        http.chain(udp).chain(admin).chain(doors).collect()
    }
}

impl HttpListener {
    pub fn transport(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// The routes of each listener, in the order of the configuration.
pub struct ListenerRoutes {
    /// The routes of all listeners.
    pub table: RouteTable,
    pub http: Vec<Routes>,
    pub udp: Vec<Routes>,
}

impl ListenerRoutes {
    /// Reads the routes from the configuration.
    pub fn read(config: &Config) -> Result<Self, Error> {
        let mut table = RouteTable::default();
        let wrong = |path: String, reason| Error::Config(config.source.error(&path, reason));
        let http = config.http.iter().enumerate().map(|(at, listener)| {
            Routes::new(&listener.announce, &listener.scrape, &mut table)
                .map_err(|reason| wrong(format!("http[{at}].announce"), reason))
        });
        let http = http.collect::<Result<_, _>>()?;
        let udp = config.udp.iter().enumerate().map(|(at, listener)| {
            Routes::new(&listener.announce, &[], &mut table)
                .map_err(|reason| wrong(format!("udp[{at}].announce"), reason))
        });
        let udp = udp.collect::<Result<_, _>>()?;
        Ok(Self { table, http, udp })
    }
}

/// Returns the secret that the state folder keeps. If there is no such folder and the configuration
/// sets none, returns a secret that is lost when the process ends.
fn kept_secret(config: &Config) -> Result<Arc<[u8]>, Error> {
    let kept = StateDir::open(config.state_dir.as_deref())
        .and_then(|folder| folder.connection_id_secret());
    match kept {
        Ok(secret) => Ok(secret.into()),
        Err(error) if config.state_dir.is_some() => Err(system("state_dir", error)),
        Err(error) => {
            tracing::warn!(%error, "no state folder; connection ids will not survive a restart");
            Ok(Arc::new(rand::random::<[u8; 32]>()))
        }
    }
}

/// Descriptors reserved for the admin API, reloads, data and state.
const RESERVE: usize = 128;

/// Returns the connection limit of each HTTP listener. The limits leave descriptors for everything
/// else, so that the admin API can be reached when the tracker is full.
fn rooms(config: &Config, workers: usize) -> Vec<Arc<Semaphore>> {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
    // A runtime, its sockets, and for each HTTP socket a connection that waits for a permit.
    let worker = 8 + 2 * config.http.len() + config.udp.len();
    let all = limit.saturating_sub(RESERVE + workers * worker).max(limit / 4);
    let wanted: Vec<_> = config.http.iter().map(|listener| listener.max_connections).collect();
    if wanted.iter().fold(0, |sum: usize, wanted| sum.saturating_add(*wanted)) > all {
        let what = "max_connections exceed the limit on open files; the last listeners get fewer";
        tracing::warn!(connections = all, "{what}");
    }
    divide(all, &wanted)
}

/// The most TLS handshakes of a worker on a listener, however many connections there may be.
const HANDSHAKES: usize = 1024;

/// Returns how many TLS handshakes a worker may have at once. Handshakes alone cannot take all
/// connections of a listener, so the oldest one fails before honest clients have to wait.
fn handshakes(room: &Semaphore, workers: usize) -> usize {
    (room.available_permits() / 2 / workers.max(1)).clamp(1, HANDSHAKES)
}

/// Gives each listener what it wants while there is some left. Those that want 0 share the rest.
fn divide(mut left: usize, wanted: &[usize]) -> Vec<Arc<Semaphore>> {
    let own = wanted.iter().map(|wanted| {
        let size = (*wanted).min(left);
        left -= size;
        (*wanted > 0).then(|| Arc::new(Semaphore::new(size.max(1))))
    });
    let own: Vec<_> = own.collect();
    let shared = Arc::new(Semaphore::new(left.max(1)));
    own.into_iter().map(|own| own.unwrap_or_else(|| shared.clone())).collect()
}

fn error_budget(listener: &config::Udp) -> Option<Arc<Limiter>> {
    let budget = listener.error_budget;
    let limits = RateLimits {
        per_second: budget.per_second,
        burst: 0,
        ipv4_prefix: budget.ipv4_prefix,
        ipv6_prefix: budget.ipv6_prefix,
    };
    Limiter::new(&limits).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_divided_among_the_listeners() {
        for (all, wanted, given) in [
            (100, &[0][..], &[100][..]),
            (100, &[0, 30, 0], &[70, 30, 70]),
            (100, &[30, 40], &[30, 40]),
            (100, &[90, 40, 0], &[90, 10, 1]),
            (100, &[1000, 5], &[100, 1]),
        ] {
            let rooms = divide(all, wanted);
            let found: Vec<_> = rooms.iter().map(|room| room.available_permits()).collect();
            assert_eq!(found, given, "{wanted:?}");
        }
        let rooms = divide(100, &[0, 30, 0]);
        assert!(Arc::ptr_eq(&rooms[0], &rooms[2]), "one room for all that set no limit");
    }
}
