//! Connections to the admin API, bounded in number and in time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;

use super::caller::Peer;
use super::request::Request;
use super::stall::Stalling;
use super::{Admin, gazelle, unit3d};
use crate::accept::Acceptor;
use crate::config::SiteDoor;

/// How long the head of a request may take to arrive, including the pause since the last request.
pub const HEAD: Duration = Duration::from_secs(30);
/// How long a client may leave an answer unread.
const STALL: Duration = Duration::from_secs(30);
/// The most connections at once to all addresses, so that descriptors are left for everything else.
const CONNECTIONS: usize = 64;
/// The most connections at once to socket files. Those to addresses leave them alone.
const LOCAL_CONNECTIONS: usize = 16;
/// The most connections at once to each door for a site, which leave those above alone.
const SITE_CONNECTIONS: usize = 32;
/// How long the head of a call may take to arrive.
const SITE_HEAD: Duration = Duration::from_secs(10);
/// The most bytes of it.
const SITE_ROOM: usize = 16 << 10;
/// The most TLS handshakes at once, so that they leave connections for those who are done.
pub const HANDSHAKES: usize = 32;

/// What the admin API listens on.
pub struct Sockets {
    pub addresses: Vec<TcpListener>,
    pub files: Vec<UnixListener>,
    /// Of each door for a site.
    pub doors: Vec<(SiteDoor, TcpListener)>,
}

impl Admin {
    /// Serves for as long as the runtime does. Each connection has its own task.
    pub fn serve(self, sockets: Sockets) {
        let admin = Arc::new(self);
        tokio::spawn(admin.clone().sample());
        tokio::spawn(admin.clone().follow_growth());
        tokio::spawn(admin.clone().tell_spent());
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        for socket in sockets.addresses {
            let acceptor = Acceptor::new(socket, room.clone(), "admin");
            tokio::spawn(admin.clone().serve_address(acceptor));
        }
        let room = Arc::new(Semaphore::new(LOCAL_CONNECTIONS));
        for socket in sockets.files {
            let acceptor = Acceptor::new(socket, room.clone(), "admin");
            tokio::spawn(admin.clone().serve_file(acceptor));
        }
        for (door, socket) in sockets.doors {
            let room = Arc::new(Semaphore::new(SITE_CONNECTIONS));
            let acceptor = Acceptor::new(socket, room, door.name());
            tokio::spawn(admin.clone().serve_door(acceptor, door));
        }
    }

    async fn serve_address(self: Arc<Self>, mut acceptor: Acceptor) {
        loop {
            let (stream, from, place) = acceptor.next().await;
            let admin = self.clone();
            let peer = Peer::Network(from.ip().to_canonical());
            tokio::spawn(async move {
                let _place = place;
                match &admin.tls {
                    None => admin.connection(stream, peer).await,
                    Some(handshakes) => {
                        if let Some(stream) = handshakes.accept(stream).await {
                            admin.connection(stream, peer).await;
                        }
                    }
                }
            });
        }
    }

    async fn serve_file(self: Arc<Self>, mut acceptor: Acceptor<UnixListener>) {
        loop {
            let (stream, _, place) = acceptor.next().await;
            // Linux knows it of every connection.
            let Ok(credentials) = stream.peer_cred() else { continue };
            let peer = Peer::Process { uid: credentials.uid() };
            let admin = self.clone();
            tokio::spawn(async move {
                let _place = place;
                admin.connection(stream, peer).await;
            });
        }
    }

    /// Serves a door for a site: one call for each connection, which ends with the answer.
    async fn serve_door(self: Arc<Self>, mut acceptor: Acceptor, door: SiteDoor) {
        loop {
            let (stream, from, place) = acceptor.next().await;
            let (admin, from) = (self.clone(), from.ip().to_canonical());
            tokio::spawn(async move {
                let _place = place;
                let service = service_fn(|request: hyper::Request<Incoming>| {
                    let (admin, (head, body)) = (admin.clone(), request.into_parts());
                    // A call that was begun is obeyed, even if the site has hung up.
                    tokio::spawn(async move {
                        match door {
                            SiteDoor::Gazelle => gazelle::answer(&admin, from, &head).await,
                            SiteDoor::Unit3d => {
                                let (peer, caller) = (Peer::Network(from), unit3d::caller());
                                unit3d::answer(&admin, Request { peer, caller, head, body }).await
                            }
                        }
                    })
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(SITE_HEAD)
                    .max_buf_size(SITE_ROOM)
                    .keep_alive(false)
                    .half_close(true)
                    .serve_connection(TokioIo::new(Stalling::new(stream, STALL)), service);
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "connection of a site failed");
                }
            });
        }
    }

    async fn connection<T: AsyncRead + AsyncWrite + Unpin>(&self, stream: T, peer: Peer) {
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let (head, body) = request.into_parts();
            async move {
                Ok::<_, Infallible>(
                    self.answer(Request { peer, caller: peer.into(), head, body }).await,
                )
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(Stalling::new(stream, STALL)), service);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "admin connection failed");
        }
    }
}
