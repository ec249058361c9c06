//! The thread of the admin API, whose answers may be slow or large.

use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::bound::AdminSockets;
use super::error::{Error, system};
use super::socket_file::SocketFile;
use crate::admin::{Admin, Sockets};
use crate::process;

/// The thread while it serves.
pub struct AdminThread {
    stop: oneshot::Sender<()>,
    /// Disconnects when the thread has ended.
    ended: Receiver<()>,
    /// Removed when this is dropped.
    _files: Vec<SocketFile>,
}

/// How long the thread may take to end. It is interrupted between two steps of an answer.
const PATIENCE: Duration = Duration::from_secs(1);

impl AdminThread {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// It cannot be started, or a socket cannot be registered.
    pub fn start(admin: Admin, sockets: AdminSockets) -> Result<Self, Error> {
        let runtime = super::runtime()?;
        let AdminSockets { addresses, files, doors } = sockets;
        let sockets = {
            // Sockets are registered with the runtime that is entered.
            let _runtime = runtime.enter();
            let register = || -> std::io::Result<Sockets> {
                let addresses = addresses.into_iter().map(TcpListener::from_std);
                let files = files
                    .iter()
                    .map(|file| file.listener().and_then(tokio::net::UnixListener::from_std));
                let doors = doors
                    .into_iter()
                    .map(|(door, socket)| Ok((door, TcpListener::from_std(socket)?)));
                Ok(Sockets {
                    addresses: addresses.collect::<Result<_, _>>()?,
                    files: files.collect::<Result<_, _>>()?,
                    doors: doors.collect::<std::io::Result<_>>()?,
                })
            };
            register().map_err(|error| system("cannot register admin socket", error))?
        };
        let (stop, stopped) = oneshot::channel();
        let (at_work, ended) = channel();
        let work = move || {
            // Workers come first.
            process::lower_priority(process::BEHIND);
            runtime.block_on(async {
                admin.serve(sockets);
                let _ = stopped.await;
            });
            drop(runtime);
            drop::<std::sync::mpsc::Sender<()>>(at_work);
        };
        let thread = thread::Builder::new().name("admin".into()).spawn(work);
        thread.map_err(|error| system("cannot start admin thread", error))?;
        Ok(Self { stop, ended, _files: files })
    }

    /// Cuts off all connections, and removes the socket files. A thread that takes longer is
    /// abandoned.
    pub fn end(self) {
        let _ = self.stop.send(());
        let _ = self.ended.recv_timeout(PATIENCE);
    }
}
