//! Where the daemon listens, settled once for its whole life.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit};
use socket2::Type;
use tokio::sync::Semaphore;

use super::{Error, system};
use crate::admin;
use crate::config::{self, Config, RateLimits};
use crate::frontend::sockets::{self, Listen};
use crate::frontend::{RouteTable, Routes};
use crate::limits::Limiter;
use crate::state_dir::StateDir;

/// The listeners of a configuration, with what the workers share of them.
#[derive(Clone)]
pub struct Site {
    pub routes: RouteTable,
    /// With room for as many connections as there may be, for all workers together.
    pub http: Vec<(Listen, Routes, Arc<Semaphore>)>,
    pub udp: Vec<(Listen, Routes, Udp)>,
    pub admin: Listen,
}

/// What the workers share of a UDP listener.
#[derive(Clone)]
pub struct Udp {
    /// What connection ids are keyed with.
    pub secret: Arc<[u8]>,
    pub error_budget: Option<Arc<Limiter>>,
}

impl Site {
    /// Makes sure that every address is free, and settles ports, secrets and how many connections
    /// there may be.
    pub fn settle(
        config: &Config,
        workers: usize,
        (routes, http, udp): AllRoutes,
    ) -> Result<Self, Error> {
        let settle = |address, only_v6, kind| {
            let listen = Listen { address, only_v6 };
            sockets::settle(listen, kind).map_err(|error| cannot_listen(listen, error))
        };
        let rooms = rooms(config, workers);
        let http = config.http.iter().zip(http).zip(rooms).map(|((listener, routes), room)| {
            Ok((settle(listener.listen, listener.only_v6, Type::STREAM)?, routes, room))
        });
        let http = http.collect::<Result<Vec<_>, Error>>()?;
        let mut own_secret = None;
        let udp = config.udp.iter().zip(udp).map(|(listener, routes)| {
            let listen = settle(listener.listen, listener.only_v6, Type::DGRAM)?;
            let secret = match &listener.connection_id_secret {
                Some(secret) => secret.expose().into(),
                None => match &own_secret {
                    Some(secret) => Arc::clone(secret),
                    None => own_secret.insert(kept_secret(config)?).clone(),
                },
            };
            Ok((listen, routes, Udp { secret, error_budget: error_budget(listener) }))
        });
        let udp = udp.collect::<Result<Vec<_>, Error>>()?;
        let admin = settle(config.admin.listen, config.admin.listen.is_ipv6(), Type::STREAM)?;
        Ok(Self { routes, http, udp, admin })
    }

    /// Binds one worker's sockets, in the order of the configuration.
    pub fn bind(&self) -> Result<(Vec<TcpListener>, Vec<UdpSocket>), Error> {
        let tcp = self.http.iter().map(|(listen, ..)| bind(*listen, sockets::tcp));
        let udp = self.udp.iter().map(|(listen, ..)| bind(*listen, sockets::udp));
        Ok((tcp.collect::<Result<_, _>>()?, udp.collect::<Result<_, _>>()?))
    }

    pub fn bind_admin(&self) -> Result<TcpListener, Error> {
        bind(self.admin, sockets::tcp)
    }

    /// The listeners with their addresses as bound.
    pub fn list(&self) -> Vec<admin::Listener> {
        let listener =
            |transport, listen: &Listen| admin::Listener { transport, address: listen.address };
        let http = self.http.iter().map(|(listen, ..)| listener("http", listen));
        let udp = self.udp.iter().map(|(listen, ..)| listener("udp", listen));
        http.chain(udp).chain([listener("admin", &self.admin)]).collect()
    }
}

/// The routes of all listeners, of each HTTP listener and of each UDP listener.
pub type AllRoutes = (RouteTable, Vec<Routes>, Vec<Routes>);

/// Reads the routes of the configuration.
pub fn routes(config: &Config) -> Result<AllRoutes, Error> {
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
    Ok((table, http, udp))
}

fn bind<T>(listen: Listen, bind: fn(Listen) -> io::Result<T>) -> Result<T, Error> {
    bind(listen).map_err(|error| cannot_listen(listen, error))
}

fn cannot_listen(listen: Listen, error: io::Error) -> Error {
    system(&format!("cannot listen on {}", listen.address), error)
}

/// The secret that the state folder keeps. Without such a folder, where the configuration names
/// none, one that ends with the process.
fn kept_secret(config: &Config) -> Result<Arc<[u8]>, Error> {
    let kept = StateDir::open(config.state_dir.as_deref())
        .and_then(|folder| folder.connection_id_secret());
    match kept {
        Ok(secret) => Ok(secret.into()),
        Err(error) if config.state_dir.is_some() => Err(system("state_dir", error)),
        Err(error) => {
            tracing::warn!(%error, "no state folder; connection ids end with this process");
            Ok(Arc::new(rand::random::<[u8; 32]>()))
        }
    }
}

/// Descriptors for the operator's side, reloads, data and state.
const RESERVE: usize = 128;

/// Room for the connections of each HTTP listener. What else needs descriptors keeps them, or nobody
/// could look at a tracker that is full.
fn rooms(config: &Config, workers: usize) -> Vec<Arc<Semaphore>> {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
    // A runtime, its sockets, and a connection that waits for room at each of those of HTTP.
    let worker = 8 + 2 * config.http.len() + config.udp.len();
    let all = limit.saturating_sub(RESERVE + workers * worker).max(limit / 4);
    let wanted: Vec<_> = config.http.iter().map(|listener| listener.max_connections).collect();
    if wanted.iter().fold(0, |sum: usize, wanted| sum.saturating_add(*wanted)) > all {
        let what = "more max_connections than the limit on open files leaves; the last get fewer";
        tracing::warn!(connections = all, "{what}");
    }
    divide(all, &wanted)
}

/// Gives each what it wants as long as there is some, and what is left to those who do not say (0),
/// together.
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
    fn connections_are_divided() {
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
        assert!(Arc::ptr_eq(&rooms[0], &rooms[2]), "one room for all who do not say");
    }
}
