//! The daemon's reactions to signals and to reload requests.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::error::{Error, system};
use super::reload::Reloader;
use super::watch::Plugins;
use crate::admin::{AskReload, By};
use crate::log;
use crate::watch::POLL;

/// The signals that the daemon handles.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    rotated: Signal,
}

impl Signals {
    pub fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|error| system("cannot handle signals", error));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
            rotated: listen(SignalKind::user_defined1())?,
        })
    }

    /// Waits for SIGTERM or SIGINT.
    pub async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Reloads at SIGHUP, at a request, and when the file of a watched plugin changes, one reload
    /// at a time. Reopens the log file at SIGUSR1. Returns at SIGTERM or SIGINT.
    pub async fn obey(&mut self, reloader: Reloader, mut asked: mpsc::Receiver<AskReload>) {
        let mut plugins = Plugins::default();
        let mut look = tokio::time::interval(POLL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let reloader = Arc::new(Mutex::new(reloader));
        let reload = |by: By, expected: Option<[u8; 32]>| {
            let reloader = reloader.clone();
            tokio::task::spawn_blocking(move || reloader.lock().reload(&by, expected))
        };
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hangup.recv() => {
                    reload(By::Signal, None);
                }
                _ = self.rotated.recv() => log::reopen(),
                _ = look.tick() => {
                    // While a reload is running there is nothing to compare with.
                    let serving = reloader.try_lock().map(|reloader| reloader.current.load_full());
                    if serving.is_some_and(|loaded| plugins.have_changed(&loaded.generation)) {
                        reload(By::Watch, None);
                    }
                }
                Some(AskReload { by, expected, reply }) = asked.recv() => {
                    let result = reload(By::Caller(by), expected);
                    tokio::spawn(async move {
                        if let Ok(result) = result.await {
                            let _ = reply.send(result);
                        }
                    });
                }
            }
        }
    }
}
