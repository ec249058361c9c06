//! Swarms that nodes share, from the start of the daemon to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use karuta_swarm::{Options, Part, Shared};

use super::error::{Error, system};
use crate::config::Config;
use crate::metrics::{Metrics, Share};
use crate::service::Notifier;
use crate::share::{Ends, Progress, Settings, Sharing};

/// What is needed to share swarms.
pub struct Prepared {
    settings: Settings,
    /// How long a start waits until the log has been read.
    catch_up: Duration,
    parts: Vec<Part>,
    node: u64,
    share: Arc<Share>,
}

/// Swarms while they are shared.
pub struct Started {
    sharing: Sharing,
    /// How long the start waits; `None`: it need not.
    until: Option<Instant>,
}

/// How long the end may take to send what waits.
const END: Duration = Duration::from_secs(2);

/// Makes a store, and what is needed to share it if it is to be shared. Reads the files of the
/// configuration.
pub fn store(config: &Config, options: Options) -> Result<(Shared, Option<Prepared>), Error> {
    let Some(share) = &config.swarms.share else { return Ok((Shared::alone(options), None)) };
    let settings = Settings::read(config, share).map_err(Error::Config)?;
    let node = rand::random();
    let sharing = karuta_swarm::Sharing { node, parts: share.parts, queue: share.queue };
    let (store, parts) = Shared::sharing(options, sharing);
    let catch_up = share.catch_up;
    let share = Arc::new(Share::new(&share.name, share.topology.name(), share.parts));
    Ok((store, Some(Prepared { settings, catch_up, parts, node, share })))
}

impl Prepared {
    /// Shows in the metrics what will be known.
    pub fn show(&self, metrics: &Metrics) {
        metrics.set_share(self.share.clone());
    }

    /// Starts to share, and waits until the log has been read, or it turns out that it cannot be.
    /// The clock of the store began at `start`; a snapshot has `restored` what was announced before
    /// that time.
    ///
    /// # Errors
    ///
    /// The log has another number of parts, or the thread cannot be started.
    pub fn start(
        self,
        config: &Config,
        store: &Arc<Shared>,
        start: Instant,
        restored: Option<Instant>,
    ) -> Result<Started, Error> {
        let Self { settings, catch_up, parts, node, share } = self;
        let begin = Instant::now();
        let ends =
            Ends { store: store.clone(), parts, node, share: share.clone(), start, restored };
        let failed = |error| system("swarms.share", error);
        let sharing = Sharing::start(settings, ends).map_err(failed)?;
        let until = match sharing.wait(catch_up).map_err(failed)? {
            Progress::Refused(reason) => {
                return Err(Error::Config(config.source.error("swarms.share.parts", reason)));
            }
            Progress::CaughtUp => {
                share.started();
                let milliseconds = begin.elapsed().as_millis() as u64;
                tracing::info!(milliseconds, "read the log of shared swarms");
                None
            }
            Progress::Reading | Progress::CutOff => Some(begin + catch_up),
        };
        Ok(Started { sharing, until })
    }
}

impl Started {
    /// Returns what waits until the log has been read, or for as long as the start may wait for it;
    /// `None`: it has been read.
    pub fn catch_up(&self, manager: Notifier) -> Option<impl Future<Output = ()> + Send + 'static> {
        let until = self.until?;
        let caught_up = self.sharing.catch_up(until);
        Some(async move {
            let waiting = manager.extend_timeout();
            match caught_up.await {
                Progress::CaughtUp => tracing::info!("read the log of shared swarms"),
                // The thread has said so.
                Progress::Refused(_) => {}
                Progress::Reading | Progress::CutOff => tracing::warn!(
                    "serving without having read the log of shared swarms; reading goes on"
                ),
            }
            drop(waiting);
        })
    }

    /// Sends what waits. Nobody announces any more.
    pub fn end(self) {
        self.sharing.end(END);
    }
}
