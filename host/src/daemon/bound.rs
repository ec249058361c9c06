//! The sockets of the workers: those that the service manager has passed, and new ones for what is
//! missing.

use std::collections::{BTreeSet, HashSet};
use std::io::{self, ErrorKind};
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use nix::sys::stat::fstat;
use socket2::{Socket, Type};

use super::addresses::{Addresses, Site, cannot_listen};
use super::error::Error;
use super::listeners::{HttpListener, Listeners, UdpListener};
use super::socket_file::SocketFile;
use crate::config::SiteDoor;
use crate::frontend::sockets;
use crate::metrics::UdpSockets;
use crate::service::{self, Inherited, Notifier};

/// The sockets of one worker, each with its listener. There may be several for one listener.
#[derive(Default)]
pub struct Bound {
    pub http: Vec<(Arc<HttpListener>, TcpListener)>,
    pub udp: Vec<(Arc<UdpListener>, UdpSocket)>,
}

/// All sockets, before they have their listeners.
pub struct Unassigned {
    /// Of each listener, with the number of a worker.
    http: Vec<Vec<(usize, Socket)>>,
    udp: Vec<Vec<(usize, Socket)>>,
    admin: AdminSockets,
    leaving: Vec<Inherited>,
}

/// The sockets of the admin API.
pub struct AdminSockets {
    pub addresses: Vec<TcpListener>,
    pub files: Vec<SocketFile>,
    /// Of each door for a site.
    pub doors: Vec<(SiteDoor, TcpListener)>,
}

/// All sockets.
pub struct BoundSockets {
    /// For each worker.
    pub workers: Vec<Bound>,
    pub admin: AdminSockets,
    /// The sockets of earlier addresses, which still have to be read empty.
    pub leaving: Bound,
}

impl BoundSockets {
    /// Returns those of each UDP listener. Those that workers share are in it once.
    pub fn udp(&self, listeners: &Listeners) -> Vec<UdpSockets> {
        let of_listener = |listener: &Arc<UdpListener>| {
            let all = self.workers.iter().flat_map(|worker| &worker.udp);
            let own = all.filter(|(of, _)| Arc::ptr_eq(of, listener));
            let inodes = own.filter_map(|(_, socket)| Some(fstat(socket).ok()?.st_ino));
            UdpSockets {
                listener: listener.listen.address,
                receive_buffer: listener.receive_buffer.load(Relaxed),
                inodes: BTreeSet::from_iter(inodes).into_iter().collect(),
            }
        };
        listeners.udp.iter().map(of_listener).collect()
    }
}

impl Addresses {
    /// Binds what is missing, and divides all sockets among the workers. Every new one is given to
    /// the service manager, for the next process.
    pub fn bind(
        &mut self,
        workers: usize,
        files: Vec<SocketFile>,
        manager: &Notifier,
    ) -> Result<Unassigned, Error> {
        let Self { http, udp, admin, doors, leaving } = self;
        for socket in &*leaving {
            let address = socket.address;
            tracing::info!(%address, "leaving an address that is no longer configured");
            manager.forget(&socket.name);
        }
        let mut keeper = Keeper { names: HashSet::new(), manager };
        let of_doors = doors.iter().map(|(_, site)| site);
        for site in http.iter().chain(&*udp).chain(&*admin).chain(of_doors) {
            keeper.names.extend(site.inherited.iter().map(|socket| socket.name.clone()));
        }
        let mut bind = |sites: &mut [Site]| {
            let sites = sites.iter_mut().enumerate();
            sites.map(|(at, site)| site.bind(at, workers, &mut keeper)).collect::<Result<_, _>>()
        };
        let (http, udp) = (bind(http)?, bind(udp)?);
        let mut bind_one = |at, site: &mut Site| -> Result<TcpListener, Error> {
            site.bind_one(at, &mut keeper).map(Socket::into)
        };
        let addresses = admin.iter_mut().enumerate().map(|(at, site)| bind_one(at, site));
        let addresses = addresses.collect::<Result<_, _>>()?;
        // There is one of each name.
        let doors = doors.iter_mut().map(|(door, site)| Ok((*door, bind_one(0, site)?)));
        let doors = doors.collect::<Result<_, Error>>()?;
        let admin = AdminSockets { addresses, files, doors };
        keeper.warn_of_full_store();
        Ok(Unassigned { http, udp, admin, leaving: std::mem::take(leaving) })
    }
}

impl Unassigned {
    /// Gives each of the workers its sockets, with their listeners.
    pub fn assign(self, listeners: &Listeners, workers: usize) -> BoundSockets {
        let mut bound: Vec<Bound> = (0..workers).map(|_| Bound::default()).collect();
        for (sockets, listener) in self.http.into_iter().zip(&listeners.http) {
            for (worker, socket) in sockets {
                bound[worker].http.push((listener.clone(), socket.into()));
            }
        }
        for (sockets, listener) in self.udp.into_iter().zip(&listeners.udp) {
            for (worker, socket) in sockets {
                let granted = sockets::receive_buffer(&socket).unwrap_or_default();
                listener.receive_buffer.fetch_min(granted, Relaxed);
                bound[worker].udp.push((listener.clone(), socket.into()));
            }
        }
        BoundSockets { workers: bound, admin: self.admin, leaving: serve(self.leaving, listeners) }
    }
}

impl Site {
    /// Returns a socket or more for each worker, with the number of the worker. If there are more
    /// sockets than workers, some workers get several: what has arrived at a socket is lost if
    /// nobody reads it. If there are fewer and none can be added, workers share them.
    fn bind(
        &mut self,
        listener: usize,
        workers: usize,
        keeper: &mut Keeper<'_>,
    ) -> Result<Vec<(usize, Socket)>, Error> {
        let (listen, kind) = (self.listen, self.kind);
        let failed = |error| cannot_listen(listen, error);
        let mut sockets = Vec::new();
        while sockets.len() + self.inherited.len() < workers {
            match keeper.bind(self, listener) {
                Ok(socket) => sockets.push(socket),
                Err(error) if !self.inherited.is_empty() && is_refused(&error) => {
                    let (address, sockets) = (self.listen.address, self.inherited.len());
                    let text = "cannot add a socket; workers share those of the service manager";
                    tracing::warn!(%address, %error, sockets, workers, "{text}");
                    break;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        for Inherited { socket, .. } in self.inherited.drain(..) {
            sockets::adopt(&socket, listen, kind).map_err(failed)?;
            sockets.push(socket);
        }
        divide(sockets, workers).map_err(failed)
    }

    /// Returns the only socket of a listener that is not shared.
    fn bind_one(&mut self, listener: usize, keeper: &mut Keeper<'_>) -> Result<Socket, Error> {
        let surplus = self.inherited.len().saturating_sub(1);
        if surplus > 0 {
            tracing::warn!(
                surplus,
                "an address of the admin API needs one socket; closing the others"
            );
        }
        let inherited = self.inherited.drain(..).next();
        match inherited {
            Some(Inherited { socket, .. }) => Ok(socket),
            None => {
                let bound = keeper.bind(self, listener);
                bound.map_err(|error| cannot_listen(self.listen, error))
            }
        }
    }
}

/// Has new sockets, and gives them to the service manager.
struct Keeper<'a> {
    /// The names of the sockets that the manager has.
    names: HashSet<String>,
    manager: &'a Notifier,
}

impl Keeper<'_> {
    /// Returns the socket that has claimed the address, or another one beside it.
    fn bind(&mut self, site: &mut Site, listener: usize) -> io::Result<Socket> {
        let socket = match site.claimed.take() {
            Some(claimed) => sockets::share(&claimed).map(|()| claimed)?,
            None => sockets::bind(site.listen, site.kind)?,
        };
        let name = |number| Inherited::name(site.transport, listener, number);
        let mut number = 0;
        while !self.names.insert(name(number)) {
            number += 1;
        }
        self.manager.keep(&name(number), &socket);
        Ok(socket)
    }

    fn warn_of_full_store(&self) {
        let sockets = self.names.len();
        if let Some(room) = service::store_size().filter(|room| *room < sockets) {
            tracing::warn!(
                sockets,
                room,
                "the service manager does not keep all sockets, so a restart loses packets; raise \
                 FileDescriptorStoreMax="
            );
        }
    }
}

/// Divides sockets among workers. If there are fewer sockets, some workers get a copy.
fn divide(sockets: Vec<Socket>, workers: usize) -> io::Result<Vec<(usize, Socket)>> {
    let count = sockets.len();
    let copy = |worker: usize| Ok((worker, sockets[worker % count].try_clone()?));
    let copies = (count..workers).map(copy).collect::<io::Result<Vec<_>>>()?;
    let own = sockets.into_iter().enumerate().map(|(at, socket)| (at % workers, socket));
    Ok(own.chain(copies).collect())
}

/// Returns the sockets of earlier addresses with the listeners that answer what has arrived there.
/// Those of a transport that is no longer configured are closed.
fn serve(leaving: Vec<Inherited>, listeners: &Listeners) -> Bound {
    let mut bound = Bound::default();
    for socket in leaving {
        match socket.left_by_us() {
            Some(("http", at)) if socket.kind == Type::STREAM => {
                let listener = listeners.http.get(at).or(listeners.http.first()).cloned();
                bound.http.extend(listener.map(|listener| (listener, socket.socket.into())));
            }
            Some(("udp", at)) if socket.kind == Type::DGRAM => {
                let listener = listeners.udp.get(at).or(listeners.udp.first()).cloned();
                bound.udp.extend(listener.map(|listener| (listener, socket.socket.into())));
            }
            _ => {}
        }
    }
    bound
}

/// Returns whether this process may not add a socket to those of an address: they belong to another
/// user, do not share it, or the port is below 1024.
fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_has_a_socket_and_every_socket_a_worker() {
        for (sockets, workers, expected) in [
            (2, 2, &[0, 1][..]),
            (1, 3, &[0, 1, 2]),
            (2, 5, &[0, 1, 2, 3, 4]),
            (5, 2, &[0, 1, 0, 1, 0]),
        ] {
            let bind = |_| UdpSocket::bind("127.0.0.1:0").unwrap();
            let bound: Vec<Socket> = (0..sockets).map(bind).map(Socket::from).collect();
            let ports = |sockets: &[Socket]| -> HashSet<_> {
                sockets.iter().map(|one| one.local_addr().unwrap().as_socket().unwrap()).collect()
            };
            let all = ports(&bound);
            let divided = divide(bound, workers).unwrap();
            let (who, what): (Vec<usize>, Vec<Socket>) = divided.into_iter().unzip();
            assert_eq!(who, expected, "{sockets} for {workers}");
            assert_eq!(ports(&what), all);
        }
    }
}
