//! Connections to the admin API, bounded in number and in time.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::Admin;
use super::request::Request;
use super::stall::Stalling;
use crate::accept::Acceptor;

/// How long the head of a request may take to arrive, including the pause since the last request.
pub const HEAD: Duration = Duration::from_secs(30);
/// How long a client may leave an answer unread.
const STALL: Duration = Duration::from_secs(30);
/// The most connections at once, so that descriptors are left for everything else.
const CONNECTIONS: usize = 64;
/// The most TLS handshakes at once, so that they leave connections for those who are done.
pub const HANDSHAKES: usize = 32;

impl Admin {
    /// Serves until the task is dropped. Each connection has its own task.
    pub async fn serve(self, socket: TcpListener) {
        let admin = Arc::new(self);
        let mut acceptor = Acceptor::new(socket, Arc::new(Semaphore::new(CONNECTIONS)), "admin");
        loop {
            let (stream, _, place) = acceptor.next().await;
            let admin = admin.clone();
            tokio::spawn(async move {
                let _place = place;
                match &admin.tls {
                    None => admin.connection(stream).await,
                    Some(handshakes) => {
                        if let Some(stream) = handshakes.accept(stream).await {
                            admin.connection(stream).await;
                        }
                    }
                }
            });
        }
    }

    async fn connection<T: AsyncRead + AsyncWrite + Unpin>(&self, stream: T) {
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let (head, body) = request.into_parts();
            async move { Ok::<_, Infallible>(self.answer(Request { head, body }).await) }
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
