//! The daemon's reactions to signals and to reload requests.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::error::{Error, system};
use super::foresight::Foresight;
use super::reloader::Reloader;
use super::watch::Plugins;
use crate::admin::{Archive, AskReload, By, Refusal, Replies, Terms, Wish};
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
    /// at a time, and watches over trials. Reopens the log file at SIGUSR1. Returns at SIGTERM or SIGINT.
    pub async fn obey(&mut self, reloader: Reloader, mut asked: mpsc::Receiver<AskReload>) {
        let mut plugins = Plugins::default();
        let mut look = tokio::time::interval(POLL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (maker, reloads) = (reloader.maker.clone(), reloader.reloads.clone());
        let archive: Archive = reloader.keeper.generations.clone();
        let foresight = Arc::new(Foresight {
            rings: reloader.rings.clone(),
            started: maker.started.clone(),
            shutdown: maker.loader.policies.estate.shutdown.clone(),
            turn: Mutex::default(),
        });
        let reloader = Arc::new(Mutex::new(reloader));
        let obey = |by: By, wish: Wish| {
            let reloader = reloader.clone();
            tokio::task::spawn_blocking(move || reloader.lock().obey(&by, &wish))
        };
        let reload = |by: By| obey(by, Wish::Reload(Terms::default()));
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hangup.recv() => {
                    reload(By::Signal);
                }
                _ = self.rotated.recv() => log::reopen(),
                _ = look.tick() => {
                    // While a reload is running there is nothing to compare with.
                    let Some(locked) = reloader.try_lock() else { continue };
                    if locked.trial.is_some() {
                        let reloader = reloader.clone();
                        tokio::task::spawn_blocking(move || reloader.lock().watch_trial());
                    } else if reloads.pin().is_none() {
                        // What is pinned or on trial is not to be replaced by a file that changes.
                        let serving = maker.current.load_full();
                        if plugins.have_changed(&serving.generation) {
                            reload(By::Watch);
                        }
                    }
                }
                Some(asked) = asked.recv() => match asked {
                    AskReload::Change { by, wish, reply } => {
                        answer(obey(By::Caller(by), wish), reply);
                    }
                    AskReload::Preview { expected, reply } => {
                        let (maker, archive) = (maker.clone(), archive.clone());
                        let (pin, foresight) = (reloads.pin(), foresight.clone());
                        let look =
                            move || maker.preview(&expected, &archive, pin.as_ref(), &foresight);
                        answer(tokio::task::spawn_blocking(look), reply);
                    }
                },
            }
        }
    }
}

/// Tells the result when there is one.
fn answer<T: Send + 'static>(result: JoinHandle<Result<T, Refusal>>, reply: Replies<T>) {
    tokio::spawn(async move {
        if let Ok(result) = result.await {
            let _ = reply.send(result);
        }
    });
}
